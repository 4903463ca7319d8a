"""Says at the end of a process what was added to transactions that nobody ended: a script that forgot to commit.

Knows nothing of a data manager but its tasks, and whether it still collects them.
"""

from __future__ import annotations

import atexit
import os
import weakref
from typing import Protocol

from .. import notices
from ..record import Task


class Collecting(Protocol):
    """What is watched: a data manager."""

    @property
    def is_collecting(self) -> bool:
        """Whether its transaction is still open."""

    @property
    def tasks(self) -> tuple[Task, ...]:
        """What was added."""


_open: weakref.WeakSet[Collecting] = weakref.WeakSet()


def watch(manager: Collecting) -> None:
    """Remember a data manager for as long as its transaction does."""
    _open.add(manager)


def tell() -> None:
    """Tell what the open transactions of this process hold."""
    for manager in list(_open):
        if manager.is_collecting and manager.tasks:
            notices.tell(
                notices.Event.DISCARDED,
                task_ids=tuple(task.id for task in manager.tasks),
                detail="the process ended, and the transaction that they were added to was never committed: "
                "call transaction.commit(), or add them in a block: with transaction.manager",
            )


def _forget_in_child() -> None:
    global _open  # noqa: PLW0603  # the transactions of a parent are not its child's to tell of
    _open = weakref.WeakSet()


os.register_at_fork(after_in_child=_forget_in_child)
atexit.register(tell)
