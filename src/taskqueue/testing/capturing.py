"""Capturing: queues in memory stand in for those that are configured, for as long as a block lasts."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import overload

import transaction
from transaction.interfaces import NoTransaction

from .. import notices
from ..backends.local import LocalQueue
from ..keeper import process_keeper
from ..producer.joining import discard_pending, pending
from ..queues import Queue, Queues, stood_in
from ..record import State, Task, decode
from ..wsgi import Lifecycle
from .showing import listing

COMMITTED = tuple(state.value for state in (State.SCHEDULED, State.READY, State.RUNNING, State.DONE, State.DEAD))
ALL = 1_000_000  # a backend's list wants a limit


@dataclass(frozen=True)
class Site:
    """What was configured, the queues that stand in for it, and what knows its application and its consumers."""

    configured: Queues | None
    queues: Queues
    lifecycle: Lifecycle | None


Place = tuple[Site, Queue]


class Captured(Sequence[Task]):
    """What was added since the capture began and has been committed, in the order of adding; each task as it is now."""

    def __init__(self) -> None:
        self._sites: list[Site] = []
        self._lock = threading.Lock()
        self.discarded: list[str] = []  # why, of what was never committed
        self.attempts_before: dict[str, int] = {}  # of those whose time was made to come

    @overload
    def __getitem__(self, index: int) -> Task: ...
    @overload
    def __getitem__(self, index: slice) -> list[Task]: ...
    def __getitem__(self, index: int | slice) -> Task | list[Task]:
        return self.in_states(COMMITTED)[index]

    def __len__(self) -> int:
        return len(self.in_states(COMMITTED))

    def __repr__(self) -> str:
        return f"<Captured:{listing(self)}>"

    def in_states(self, states: Sequence[str]) -> list[Task]:
        """The tasks that are in one of these states now."""
        found = (decode(r, queue.keyring) for _, queue in self.places() for r in queue.backend.list(states, ALL))
        return sorted(found, key=lambda task: task.id)

    def places(self) -> list[Place]:
        """Every queue that was asked for, with its site."""
        return [(site, queue) for site in list(self._sites) for queue in list(site.queues.values())]

    def stand_in(self, configured: Queues | None) -> Queues:
        """The queues in memory for those that are configured; the same ones each time."""
        with self._lock:
            for site in self._sites:
                if configured is site.configured or configured is site.queues:
                    return site.queues
            queues = _AnyQueues() if configured is None else Queues(_in_memory(configured))
            lifecycle = next((each for each in Lifecycle.all() if each.installation.queues is configured), None)
            self._sites.append(Site(configured, queues, lifecycle))
            return queues

    def note(self, notice: notices.Notice) -> None:
        """Remember why something was not committed, for the next failure that it explains."""
        if notice.event is notices.Event.DISCARDED:
            self.discarded.append(f"{len(notice.task_ids)} discarded: {notice.detail}")


def _in_memory(configured: Queues) -> dict[str, Queue]:
    return {
        name: replace(queue, backend=LocalQueue(name=name, prefix=queue.backend.prefix), type="local")
        for name, queue in configured.items()
    }


class _AnyQueues(Queues):
    """Where nothing is configured: any name is a queue."""

    def __init__(self) -> None:
        super().__init__({})

    def __getitem__(self, name: str | None) -> Queue:
        name = name or "default"
        return self._queues.setdefault(name, Queue(name, LocalQueue(name=name)))

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str)


_active: list[Captured] = []


@contextmanager
def captured() -> Iterator[Captured]:
    """Capture what is added in a block, by any thread. Of nested captures the innermost gets it.

    What this thread has added to a transaction that is still open at the end is forgotten.
    """
    tasks = Captured()
    was_open = _has_pending()
    _active.append(tasks)
    notices.listen(tasks.note)
    try:
        with stood_in(tasks.stand_in):
            yield tasks
    finally:
        notices.unlisten(tasks.note)
        _active.remove(tasks)
        if _has_pending() and not was_open:  # the next capture has nothing to do with it
            discard_pending(transaction.manager)
        for _, queue in tasks.places():
            process_keeper().forget(queue)


def _has_pending() -> bool:
    try:
        return bool(pending(transaction.manager))
    except NoTransaction:
        return False


def innermost() -> Captured:
    """The capture that gets what is added now."""
    if not _active:
        raise RuntimeError(
            "no capture is active: use the fixture captured_tasks, or a block of `with taskqueue.testing.captured():`"
        )
    return _active[-1]
