"""What the source tells whoever listens, read from the calls themselves: so the table of the log lacks none of them."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

from taskqueue.notices import Event, Notice

from .source import PACKAGE

# Of details that a call is given from elsewhere: what one of them reads like.
ELSEWHERE: Mapping[str, str] = {
    "backends/postgresql_server.py": "PostgreSQL at …: a transaction is open in it for more than 5 minutes, so that …",
    "backends/redis_server.py": "Redis at …: its maxmemory-policy is …, so that it may evict tasks; set …",
    "doubts.py": "the … witness could not be asked: …; it is asked again",
}
SAMPLE_ID = "019a4f6e-53c2-7e01-8d4c-1f2e3d4c5b6a"


def notices_of(event: Event) -> list[Notice]:
    """A notice for each call that tells of this event, in the order of the files."""
    found = [notice for path in sorted(PACKAGE.rglob("*.py")) for notice in _in_file(path, event)]
    return list(dict.fromkeys(found))


def _in_file(path: Path, event: Event) -> Iterator[Notice]:
    tree = ast.parse(path.read_text("utf-8"))
    functions = [each for each in ast.walk(tree) if isinstance(each, ast.FunctionDef)]
    for function in functions:
        for call in ast.walk(function):
            if isinstance(call, ast.Call) and _tells(call, event):
                yield _notice(call, function, event, path)


def _tells(call: ast.Call, event: Event) -> bool:
    is_tell = ast.unparse(call.func) in {"notices.tell", "tell"}
    return is_tell and bool(call.args) and ast.unparse(call.args[0]).endswith(f"Event.{event.name}")


def _notice(call: ast.Call, function: ast.FunctionDef, event: Event, path: Path) -> Notice:
    given = {each.arg: each.value for each in call.keywords}
    is_about_a_claim = None in given  # its queue and consumer are given as a dictionary
    file = path.relative_to(PACKAGE).as_posix()
    detail = _words(given["detail"], function) or ELSEWHERE.get(file)
    if detail is None:
        raise AssertionError(f"{file}, line {call.lineno}: ELSEWHERE has no sample of what is told here")
    return Notice(
        event=event,
        queue="default" if "queue" in given or is_about_a_claim else "",
        consumer="default" if "consumer" in given or is_about_a_claim else "",
        task_ids=(SAMPLE_ID,) if "task_ids" in given else (),
        detail=detail,
    )


def _words(value: ast.expr, function: ast.FunctionDef) -> str | None:
    """The text of an expression, with … for what differs; None when it comes from elsewhere."""
    if isinstance(value, ast.Name):
        assigned = [each.value for each in ast.walk(function) if isinstance(each, ast.Assign) and _is(each, value.id)]
        return _words(assigned[0], function) if assigned else None
    if isinstance(value, ast.Constant):
        return str(value.value)
    if isinstance(value, ast.JoinedStr):
        return "".join(str(each.value) if isinstance(each, ast.Constant) else "…" for each in value.values).replace(
            "……", "…"
        )
    return None


def _is(assignment: ast.Assign, name: str) -> bool:
    return [ast.unparse(each) for each in assignment.targets] == [name]
