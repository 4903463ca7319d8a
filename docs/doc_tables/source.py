"""What only the source tells: docstrings, comments beside fields, the floors of the house."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from pathlib import Path

from taskqueue import notices

from .markup import code, escaped, listed, table

ROOT = Path(__file__).parent.parent.parent
PACKAGE = ROOT / "src" / "taskqueue"


def fields(name: str) -> Callable[[], str]:
    """The fields of a class in ``record``, with the comments that stand beside them."""

    def part() -> str:
        rows = [
            (code(ast.unparse(each.target)), code(ast.unparse(each.annotation)), escaped(_comment(each)))
            for each in _class("record", name).body
            if isinstance(each, ast.AnnAssign)
        ]
        return table(("Field", "Type", ""), rows, "25 30 45")

    return part


def error_classes() -> str:
    """The classes of errors, each with its first sentence."""
    tree = ast.parse((PACKAGE / "errors.py").read_text("utf-8"))
    classes = [each for each in tree.body if isinstance(each, ast.ClassDef)]
    rows = ((code(each.name), listed(map(ast.unparse, each.bases)), ast.get_docstring(each) or "") for each in classes)
    return table(("Error", "Is also", ""), rows, "25 25 50")


def _class(module: str, name: str) -> ast.ClassDef:
    tree = ast.parse((PACKAGE / f"{module}.py").read_text("utf-8"))
    return next(each for each in tree.body if isinstance(each, ast.ClassDef) and each.name == name)


def _comment(node: ast.stmt) -> str:
    line = (PACKAGE / "record.py").read_text("utf-8").splitlines()[node.lineno - 1]
    return line.partition("  # ")[2]


def events() -> str:
    """What can be listened to, and the fields that each event fills in."""
    source = (PACKAGE / "notices.py").read_text("utf-8")
    comments = dict(re.findall(r'^    [A-Z_]+ = "([^"]+)"(?:  # (.*))?$', source, re.MULTILINE))
    rows = ((code(f"Event.{event.name}"), escaped(comments[event.value])) for event in notices.Event)
    return table(("Event", "Fields beside ``queue``"), rows, "35 65")


def floors() -> str:
    """The floors of the package, the top one first, each room with the first sentence of its docstring."""
    layers = re.search(r"^layers = (\[.*?^\])", (ROOT / "pyproject.toml").read_text("utf-8"), re.MULTILINE | re.DOTALL)
    if layers is None:
        raise AssertionError("pyproject.toml states no layers")
    rows = []
    for floor in ast.literal_eval(layers[1]):
        rooms = [room.strip() for room in floor.split("|")]
        for index, room in enumerate(rooms):
            rows.append((str(floor_number(floor)) if index == 0 else "", code(room), first_sentence(room)))
    return table(("Floor", "Room", "What it is"), rows, "8 20 72")


def floor_number(floor: str) -> int:
    """Counted from the ground."""
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    found = re.findall(r'^    "([a-z| ]+)",$', text.partition("layers = [")[2].partition("\n]")[0], re.MULTILINE)
    return len(found) - 1 - found.index(floor)


def first_sentence(room: str) -> str:
    """Of a module's or package's docstring."""
    file = PACKAGE / room / "__init__.py" if (PACKAGE / room).is_dir() else PACKAGE / f"{room}.py"
    docstring = ast.get_docstring(ast.parse(file.read_text("utf-8"))) or ""
    return re.split(r"(?<=[.])\s", " ".join(docstring.split()), maxsplit=1)[0]
