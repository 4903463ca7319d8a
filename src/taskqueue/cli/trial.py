"""Whether a task could be added now: what ``status`` and ``check`` find out by a write that leaves nothing behind."""

from __future__ import annotations

from ..backends.rules import WAITING
from ..configure import Installation
from ..errors import BackendError, QueueFullError
from ..interfaces import Counts
from ..queues import Queue
from .screen import counted

ADDING_SECONDS = 2.0  # as long as a request that adds waits


def why_nothing_can_be_added(installation: Installation, queue: Queue, counts: Counts) -> str:
    """What an add would meet, in words; empty where it would succeed. Makes the tables where there are none."""
    try:
        queue.backend.try_adding(ADDING_SECONDS)
    except QueueFullError:
        return _told_full(installation, queue, counts)
    except BackendError as error:
        return f"no task can be added: {error}"
    return ""


def _told_full(installation: Installation, queue: Queue, counts: Counts) -> str:
    waiting = sum(counts.states.get(state.value, 0) for state in WAITING)
    settings = [each for each in installation.configuration.queues if each.queue == queue.name]
    limit = f"its length_limit is {settings[0].length_limit}" if settings else "it takes no more"
    wait = "waits" if waiting == 1 else "wait"
    return (
        f"it is full: {counted(waiting, 'task')} {wait}, and {limit}, so add is refused; let a consumer work them off, "
        "or raise the limit"
    )
