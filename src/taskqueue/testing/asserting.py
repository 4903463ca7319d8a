"""Asserting: is what was added what the test expects? Runs nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

import transaction
from transaction.interfaces import NoTransaction

from ..producer.joining import pending
from ..producer.urls import task_url
from ..record import Task
from .capturing import Captured, innermost
from .showing import listing, shown_url


def assert_added(
    url: str,
    *,
    method: str | None = None,
    params: Mapping[str, Any] | Iterable[tuple[str, Any]] | None = None,
    headers: Mapping[str, str | None] | None = None,
    payload: bytes | str | None = None,
    queue: str | None = None,
    count: int | None = 1,
    transaction_manager: Any = None,
) -> list[Task]:
    """Fail unless ``count`` tasks like this were added and committed; return them, in the order of adding.

    What is not given is not compared. ``url`` and ``params`` are read as ``add`` reads them; when neither has a query,
    only the path is compared. ``headers`` are some of the task's, None for one that it must not have. ``count=None`` is
    any number but 0. With ``transaction_manager``, look at what its open transaction would deliver, in place of what
    was committed.
    """
    __tracebackhide__ = True
    tasks = innermost()
    expected = _Expected(
        url=task_url(url, params),
        with_query="?" in url or params is not None,
        method=method and method.upper(),
        headers=tuple((headers or {}).items()),
        payload=payload.encode() if isinstance(payload, str) else payload,
        queue=queue,
    )
    added = tasks if transaction_manager is None else pending(transaction_manager)
    found = [task for task in added if not expected.differences(task)]
    if len(found) == count or (count is None and found):
        return found
    wanted = "some tasks" if count is None else "1 task" if count == 1 else f"{count} tasks"
    raise AssertionError(
        f"expected {wanted} {expected}, found {len(found)}; "
        f"{'added and committed' if transaction_manager is None else 'pending'}:"
        f"{listing(added, expected.note)}{_hints(tasks)}"
    )


def assert_nothing_added() -> None:
    """Fail if any task was added and committed."""
    __tracebackhide__ = True
    tasks = innermost()
    if tasks:
        raise AssertionError(f"expected no task; added and committed:{listing(tasks)}")


@dataclass(frozen=True, kw_only=True)
class _Expected:
    url: str
    with_query: bool
    method: str | None
    headers: tuple[tuple[str, str | None], ...]
    payload: bytes | None
    queue: str | None

    def __str__(self) -> str:
        parts = [self.method or "", shown_url(self.url)]
        parts += [f"in {self.queue!r}"] if self.queue is not None else []
        parts += ["with " + ", ".join(name for name, _ in self.headers)] if self.headers else []
        parts += [f"with {len(self.payload)} bytes"] if self.payload is not None else []
        return " ".join(filter(None, parts))

    def note(self, task: Task) -> str:
        """What a failing test tells of a task: in what it is another."""
        differences = self.differences(task)
        return f": another {', '.join(differences)}" if differences else ""

    def differences(self, task: Task) -> list[str]:
        """In what a task is another; none when it is as expected."""
        given = {name.lower(): value for name, value in task.headers}
        found = {
            "path": task.path != self.url.partition("?")[0],
            "query": self.with_query and _query(task.url) != _query(self.url),
            "method": self.method not in (None, task.method),
            "queue": self.queue not in (None, task.queue),
            "payload": self.payload is not None and self.payload != (task.payload or b""),
        }
        found.update(
            (f"header {name}", value != given.get(name.lower().replace("_", "-"))) for name, value in self.headers
        )
        return [name for name, differs in found.items() if differs]


def _query(url: str) -> list[tuple[str, str]]:
    return sorted(parse_qsl(url.partition("?")[2], keep_blank_values=True))


def _hints(tasks: Captured) -> str:
    """What else may explain that something is missing."""
    hints = list(tasks.discarded)
    if still_open := not_committed():
        hints.append(f"{still_open}; commit it, or give transaction_manager=transaction.manager")
    return "".join(f"\n  {hint}" for hint in hints)


def not_committed() -> str:
    """What is said of tasks in the open transaction of this thread; empty when there are none."""
    try:
        count = len(pending(transaction.manager))
    except NoTransaction:
        return ""
    return f"{count} not committed: the transaction of this thread is still open" if count else ""
