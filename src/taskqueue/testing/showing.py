"""Tasks as a failing test tells them: without credentials, and with no more of a payload than its size."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..record import Task, is_secret_header

SHOWN = 20  # tasks in one text


def listing(tasks: Sequence[Task], note: Callable[[Task], str] = lambda task: "") -> str:
    """The first of these tasks, one a line; ``note`` tells more of each."""
    lines = [f"\n  {number}. {shown(task)}{note(task)}" for number, task in enumerate(tasks[:SHOWN], start=1)]
    if len(tasks) > SHOWN:
        lines.append(f"\n  and {len(tasks) - SHOWN} more")
    return "".join(lines) or " nothing"


def shown(task: Task) -> str:
    """One task: what it requests, where it waits, and its state."""
    size = f", {len(task.payload)} bytes" if task.payload else ""
    return f"{task.method} {shown_url(task.url)} in {task.queue!r}{size} ({task.state or 'pending'})"


def shown_url(url: str) -> str:
    """The query is shown, since tests are about it; but not the value of what is called like a secret."""
    path, mark, query = url.partition("?")
    return path + mark + "&".join(_shown_pair(pair) for pair in query.split("&"))


def _shown_pair(pair: str) -> str:
    name, mark, _ = pair.partition("=")
    return name + mark + "…" if is_secret_header(name) else pair
