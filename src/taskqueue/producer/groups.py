"""The tasks of a transaction by queue: one call to a backend for each. Knows no backend and no transaction."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import NamedTuple

from ..interfaces import Record
from ..queues import Queue
from ..record import Task


class Entry(NamedTuple):
    """One task that was added."""

    queue: Queue
    record: Record
    task: Task


Group = tuple[Queue, list[Record]]


def grouped(entries: Iterable[Entry]) -> list[Group]:
    """The records of each queue, in the order in which they were added."""
    groups: dict[int, Group] = {}
    for entry in entries:
        groups.setdefault(id(entry.queue), (entry.queue, []))[1].append(entry.record)
    return list(groups.values())


def each_of(
    groups: Iterable[Group],
    action: Callable[[Queue, list[Record]], None],
    if_interrupted: Callable[[Queue, list[Record]], None],
) -> None:
    """Do something with each group. When an interrupt cuts that short, the rest and the one at hand go another way."""
    waiting = deque(groups)
    try:
        while waiting:
            action(*waiting[0])
            waiting.popleft()
    except BaseException:
        for group in waiting:
            if_interrupted(*group)
        raise
