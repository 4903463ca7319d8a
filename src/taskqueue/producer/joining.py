"""Which transaction a task is added to, and how its data manager gets into it."""

from __future__ import annotations

from typing import Any

import transaction

from ..context import InnermostRequest, Origin
from ..errors import InvalidTaskError
from ..record import Task
from . import forgotten
from .datamanager import TaskDataManager

_DATA_KEY = object()  # the transaction's set_data knows it by its identity


def find_manager(given: Any, innermost: InnermostRequest | None, origin: Origin | None) -> Any:
    """The transaction manager of an ``add``: the given one, the framework's, the request's, the thread's."""
    if given is not None:
        if not callable(getattr(given, "get", None)):
            raise InvalidTaskError(f"transaction_manager must be one, not a {type(given).__name__}")
        return given
    if innermost is not None and innermost.transaction_manager is not None:
        return innermost.transaction_manager
    of_request = origin.live_environ.get("tm.manager") if origin is not None else None
    return of_request if of_request is not None else transaction.manager


def join(transaction_manager: Any, origin: Origin | None) -> TaskDataManager:
    """The data manager of the current transaction; it joins with the first task, and again when it has been un-joined.

    Lets out NoTransaction of a manager in explicit mode, and ValueError or TransactionFailedError of a transaction that
    takes no more data managers.
    """
    current = transaction_manager.get()
    try:
        known: TaskDataManager | None = current.data(_DATA_KEY)
    except KeyError:
        known = None
    if known is not None and known.is_collecting:
        return known
    fresh = TaskDataManager(current, transaction_manager)
    current.join(fresh)
    current.set_data(_DATA_KEY, fresh)
    forgotten.watch(fresh)
    if origin is not None:
        origin.joined.append(fresh)
    return fresh


def pending(transaction_manager: Any) -> tuple[Task, ...]:
    """What the manager's current transaction would deliver if it committed now. Lets out NoTransaction."""
    try:
        known: TaskDataManager = transaction_manager.get().data(_DATA_KEY)
    except KeyError:
        return ()
    return known.tasks


def discard_pending(transaction_manager: Any) -> None:
    """Forget what was added to the manager's current transaction, which may go on. Lets out NoTransaction."""
    try:
        known: TaskDataManager = transaction_manager.get().data(_DATA_KEY)
    except KeyError:
        return
    known.discard_unless_ended()


def discard_unfinished(origin: Origin) -> tuple[str, ...]:
    """Forget, for good, what a request that has ended added to transactions that are still open; return the ids.

    Otherwise the commit of a later request in the same thread would deliver it. That commit still succeeds.
    """
    return tuple(task_id for manager in origin.joined for task_id in manager.discard_unless_ended())
