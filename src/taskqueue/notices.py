"""Notices: what happens to tasks, told to whoever listens: log, metrics, tests. Nobody who tells knows them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from enum import Enum
from typing import Any

import msgspec

from .forks import held_back
from .record import Outcome, Task


class Event(str, Enum):
    """What can be told. The comment says which fields of the notice are filled in beside ``queue``."""

    ADDED = "added"  # task; after the commit
    DISCARDED = "discarded"  # task_ids, detail; a request that adds ended with its transaction still open
    STARTED = "started"  # task, consumer
    DONE = "done"  # task, consumer, outcome
    RETRIED = "retried"  # task, consumer, outcome, delay_seconds
    DEAD = "dead"  # task or task_ids, consumer, outcome
    RETURNED = "returned"  # task_ids, consumer: given back before they started
    REFUSED = "refused"  # task_ids, consumer: settled too late, another has claimed them
    UNREADABLE = "unreadable"  # task_ids, consumer, detail: left in the store, or dead
    OVERDUE = "overdue"  # task, consumer: past its deadline
    RECLAIMED = "reclaimed"  # task_ids: ready again, their owner died
    HELD = "held"  # task_ids, detail: in doubt, waiting for a decision
    SETTLED = "settled"  # task_ids, detail: were in doubt, and are published or discarded
    TORN = "torn"  # task_ids, detail: published, since a part of their transaction committed, and another did not
    UNPUBLISHED = "unpublished"  # task_ids, detail: committed, could not be published yet
    PUBLISHED_LATE = "published late"  # task_ids: at last
    BACKEND_DOWN = "backend down"  # detail
    BACKEND_UP = "backend up"
    CONSUMER_STARTED = "consumer started"  # consumer, detail
    CONSUMER_STOPPING = "consumer stopping"  # consumer, detail: it claims no more, and waits for what runs
    CONSUMER_STOPPED = "consumer stopped"  # consumer, detail
    CONSUMER_FAILED = "consumer failed"  # consumer, detail: an error of our own; it goes on
    CONSUMER_REFUSED = "consumer refused"  # detail: it cannot run in this process, and does not start
    REMARK = "remark"  # detail: something that is worth knowing
    WARNING = "warning"  # detail: something about the configuration or the store

    __hash__ = str.__hash__  # that of Enum is written in Python, and every notice is looked up by its event


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that happened."""

    event: Event
    queue: str = ""
    consumer: str = ""
    task: Task | None = None
    task_ids: tuple[str, ...] = ()
    outcome: Outcome | None = None
    delay_seconds: float = 0.0
    detail: str = ""


Listener = Callable[[Notice], None]

_listeners: list[Listener] = []
_log = logging.getLogger("taskqueue")


def listen(listener: Listener) -> None:
    """Tell this one, too; registering twice is registering once.

    It may have a method ``hears``, which is given an event and its outcome: what nobody would hear is told to nobody.
    """
    if listener not in _listeners:
        _listeners.append(listener)


def unlisten(listener: Listener) -> None:
    """Tell this one no more."""
    if listener in _listeners:
        _listeners.remove(listener)


def tell(event: Event, *, outcome: Outcome | None = None, **fields: Any) -> None:
    """Tell everybody who listens. A listener that raises is logged, and harms nobody."""
    if not is_heard(event, outcome):
        return
    notice = Notice(event=event, outcome=outcome, **fields)
    with held_back:
        for listener in tuple(_listeners):
            try:
                listener(notice)
            except Exception:  # noqa: BLE001  # whoever listens is not ours, and must not stop a task
                _log.exception("A listener to task notices failed.")


def is_heard(event: Event, outcome: Outcome | None = None) -> bool:
    """Whether anybody would hear it. Most that could be told of a task without trouble is of no interest to anybody:
    who asks before ``tell`` need not gather what nobody hears."""
    try:
        for listener in _listeners:
            hears = getattr(listener, "hears", None)
            if hears is None or hears(event, outcome):
                return True
    except Exception:  # noqa: BLE001  # the same
        return True
    return False
