"""The data manager: tasks are staged before the commit, published after it, discarded when there is none.

One for each transaction, for all its queues, so that one budget of time covers all calls that the transaction costs.
Knows nothing of requests but that one may have caused it to join. What cannot be done within the budget goes to the
keeper, which does it later.

    collecting ──vote──▶ voted ──finish──▶ over: published, or in the keeper's hands
        │                  │
      abort          abort, tpc_abort
        ▼                  ▼
      over:              over:
    discarded          discarded where nothing else took part in the transaction, else in doubt: held

After a vote nobody here can know whether a neighbour committed before another one failed, so what is staged stays.
"""

from __future__ import annotations

import secrets
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from enum import Enum
from typing import Any, NamedTuple

import transaction
from transaction.interfaces import IDataManagerSavepoint, ISavepointDataManager
from zope.interface import implementer

from .. import notices
from ..context import InnermostRequest, Origin
from ..errors import BackendError, BackendUnavailableError, InvalidTaskError
from ..interfaces import Record, Verdict
from ..keeper import process_keeper
from ..notices import Event
from ..queues import Queue
from ..record import Envelope, Task, encode_part
from . import forgotten

BUDGET_SECONDS = 2.0

_DATA_KEY = object()  # the transaction's set_data knows it by its identity
_COMMITTING = "Committing"  # ITransaction.status


class _Phase(Enum):
    COLLECTING = "collecting"
    VOTED = "voted"
    OVER = "over"


class _Entry(NamedTuple):
    queue: Queue
    record: Record
    task: Task


_Group = tuple[Queue, list[Record]]


class _Budget:
    """Seconds that the backend calls of one transaction may take together; what others take meanwhile costs nothing."""

    def __init__(self, seconds: float) -> None:
        self._left = seconds

    @contextmanager
    def spend(self) -> Iterator[Callable[[], float]]:
        """For the time of a block: a function that tells how many seconds are left. Raises when there are none."""
        if self._left <= 0:
            raise _SpentError(f"the transaction has used up its {BUDGET_SECONDS:g} s for calls to backends")
        deadline = time.monotonic() + self._left
        try:
            yield lambda: max(0.0, deadline - time.monotonic())
        finally:
            self._left = deadline - time.monotonic()


class _SpentError(BackendUnavailableError):
    """There was no time left to ask: nothing is said of this backend."""


# ---- which transaction, and joining it ---------------------------------------------------------------------------


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


def discard_unfinished(origin: Origin) -> tuple[str, ...]:
    """Forget, for good, what a request that has ended added to transactions that are still open; return the ids.

    Otherwise the commit of a later request in the same thread would deliver it. That commit still succeeds.
    """
    return tuple(task_id for manager in origin.joined for task_id in manager.discard_unless_ended())


# ---- the data manager --------------------------------------------------------------------------------------------


@implementer(ISavepointDataManager)
class TaskDataManager:
    """The tasks of one transaction."""

    taskqueue_volatile = True  # it keeps nothing that a commit could make durable: no company for another of its kind

    def __init__(self, current: Any, transaction_manager: Any) -> None:
        self.transaction_manager = transaction_manager
        self._transaction = current
        self._transaction_id = secrets.token_hex(16)
        self._phase = _Phase.COLLECTING
        self._entries: list[_Entry] = []
        self._sent: set[str] = set()  # ids that may be staged: noted before each call, since a lost answer says nothing
        self._staged: set[str] = set()
        self._hook_was_called = False
        self._is_alone = False
        self._budget = _Budget(BUDGET_SECONDS)

    def __repr__(self) -> str:
        return f"<TaskDataManager {self._phase.value}, {len(self._entries)} tasks>"

    @property
    def is_collecting(self) -> bool:
        """Whether tasks can still be added."""
        return self._phase is _Phase.COLLECTING

    @property
    def tasks(self) -> tuple[Task, ...]:
        """What was added, and would be delivered by a commit."""
        return tuple(entry.task for entry in self._entries)

    def append(self, queue: Queue, record: Record, task: Task) -> None:
        """Add one task to the transaction."""
        self._see_that_hook_is_pending()
        self._entries.append(_Entry(queue, record, task))

    def discard_unless_ended(self) -> tuple[str, ...]:
        """Forget all tasks, unless the transaction has ended or is ending; return their ids."""
        if not self.is_collecting or self._transaction.status == _COMMITTING:
            return ()
        ids = tuple(entry.record.id for entry in self._entries)
        self._retract()
        return ids

    # ---- what the transaction calls, in this order

    def sortKey(self) -> str:  # noqa: N802  # the name is IDataManager's
        """Behind all keys of storages, before those of data managers that commit in their vote."""
        return f"~!taskqueue:{self._transaction_id}"

    def savepoint(self) -> _Savepoint:
        """Where to roll back to: what was added later is cut off."""
        return _Savepoint(self, len(self._entries))

    def tpc_begin(self, _transaction: Any) -> None:
        """Nothing: everything is staged already, before any storage took its locks."""

    def commit(self, _transaction: Any) -> None:
        """Nothing."""

    def tpc_vote(self, _transaction: Any) -> None:
        """Stage what was added since the hook; from here on this transaction may commit."""
        self._stage()
        self._is_alone = not self._has_company()
        self._phase = _Phase.VOTED

    def tpc_finish(self, _transaction: Any) -> None:
        """Publish. Never raises, but for an interrupt: the neighbours have committed, there is no way back."""
        entries = self._end()
        _each(_grouped(entries), self._publish, _redo)
        for entry in entries:
            notices.tell(Event.ADDED, queue=entry.queue.name, task=entry.task)

    def abort(self, _transaction: Any) -> None:
        """Called outside of a commit, inside one before the vote, on the rollback to a savepoint before we joined, and
        on every data manager after a good commit when there are after-commit hooks."""
        self._retract()

    def tpc_abort(self, _transaction: Any) -> None:
        """Called when any data manager fails, wherever this one is."""
        self._retract()

    # ---- staging

    def _see_that_hook_is_pending(self) -> None:
        """A hook that raises has all hooks forgotten, and one that was called is listed until the last one was."""
        pending = any(hook == self._before_commit for hook, _, _ in self._transaction.getBeforeCommitHooks())
        if self._hook_was_called or not pending:
            self._transaction.addBeforeCommitHook(self._before_commit)
            self._hook_was_called = False

    def _before_commit(self) -> None:
        self._hook_was_called = True
        self._stage()

    def _stage(self) -> None:
        keeper = process_keeper()
        envelope = encode_part(Envelope(transaction_id=self._transaction_id, owner=keeper.owner_id))
        for queue, records in _grouped(entry for entry in self._entries if entry.record.id not in self._staged):
            ids = [record.id for record in records]
            try:
                with self._budget.spend() as seconds_left:
                    keeper.hold_lease(queue, seconds_left())
                    self._sent.update(ids)
                    queue.backend.stage(records, envelope, keeper.owner_id, seconds_left())
            except BackendUnavailableError as error:
                _report(queue, error)
                raise
            self._staged.update(ids)

    def _has_company(self) -> bool:
        """Whether anything else takes part that may commit. Unknown is yes: the list is not ours to read."""
        resources = getattr(self._transaction, "_resources", None)
        return resources is None or not all(getattr(each, "taskqueue_volatile", False) for each in resources)

    # ---- after the commit

    def _publish(self, queue: Queue, records: list[Record]) -> None:
        keeper = process_keeper()
        try:
            keeper.refuse_if_down(queue)
            with self._budget.spend() as seconds_left:
                queue.backend.publish(records, seconds_left())
        except BackendError as error:
            _report(queue, error)
            keeper.redo(queue, records, error)
        except Exception as error:  # noqa: BLE001  # whatever a backend raises, the transaction has committed
            keeper.redo(queue, records, BackendError(f"publishing failed: {error!r}"))

    # ---- without a commit

    def cut(self, count: int) -> None:
        """Keep the first ``count`` tasks, and forget the later ones for good."""
        later = self._entries[count:]
        del self._entries[count:]
        self._discard(later)

    def _retract(self) -> None:
        """The transaction has aborted, or lets go of this data manager. Once that is over, no tasks are left."""
        in_doubt = self._phase is _Phase.VOTED and not self._is_alone
        entries = self._end()
        if in_doubt:
            _each(_grouped(entries), self._leave_in_doubt, _decide_later)
        else:
            self._discard(entries)

    def _discard(self, entries: Iterable[_Entry]) -> None:
        sent = [entry for entry in entries if entry.record.id in self._sent]
        _each(_grouped(sent), self._discard_group, _discard_later)

    def _discard_group(self, queue: Queue, records: list[Record]) -> None:
        self._decide(queue, records, "discard")

    def _leave_in_doubt(self, queue: Queue, records: list[Record]) -> None:
        verdict = _verdict(queue)
        self._decide(queue, records, verdict)
        _tell_doubt(queue, records, verdict)

    def _decide(self, queue: Queue, records: list[Record], verdict: Verdict) -> None:
        """Within the budget, and without an error: an abort has its own reason, which must not be hidden."""
        keeper = process_keeper()
        ids = [record.id for record in records]
        try:
            keeper.refuse_if_down(queue)
            with self._budget.spend() as seconds_left:
                if verdict == "discard":
                    queue.backend.discard(ids, seconds_left())
                else:
                    queue.backend.settle(ids, verdict, seconds_left())
        except Exception as error:  # noqa: BLE001  # whatever a backend raises, the keeper tries again
            _report(queue, error)
            keeper.settle_later(queue, ids, verdict)

    def _end(self) -> list[_Entry]:
        """Nothing can be added any more, and nothing is done twice: the tasks are the caller's now."""
        self._phase = _Phase.OVER
        entries, self._entries = self._entries, []
        return entries


@implementer(IDataManagerSavepoint)
class _Savepoint:
    """How many tasks there were."""

    def __init__(self, manager: TaskDataManager, count: int) -> None:
        self._manager = manager
        self._count = count

    def rollback(self) -> None:
        """Forget what was added since."""
        self._manager.cut(self._count)


# ---- groups: one call for each queue -----------------------------------------------------------------------------


def _grouped(entries: Iterable[_Entry]) -> list[_Group]:
    groups: dict[int, _Group] = {}
    for entry in entries:
        groups.setdefault(id(entry.queue), (entry.queue, []))[1].append(entry.record)
    return list(groups.values())


def _each(
    groups: Iterable[_Group],
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


def _report(queue: Queue, error: Exception) -> None:
    """Have the keeper refuse further tasks, if this error says that the backend is down."""
    if isinstance(error, BackendUnavailableError) and not isinstance(error, _SpentError):
        process_keeper().report_down(queue, error)


def _redo(queue: Queue, records: list[Record]) -> None:
    process_keeper().redo(queue, records, BackendError("publishing was interrupted"))


def _discard_later(queue: Queue, records: list[Record]) -> None:
    process_keeper().settle_later(queue, [record.id for record in records], "discard")


def _decide_later(queue: Queue, records: list[Record]) -> None:
    process_keeper().settle_later(queue, [record.id for record in records], _verdict(queue))


def _verdict(queue: Queue) -> Verdict:
    """What its configuration says of a queue's tasks that are in doubt."""
    if queue.in_doubt == "publish":
        return "publish"
    return "discard" if queue.in_doubt == "discard" else "hold"


def _tell_doubt(queue: Queue, records: list[Record], verdict: Verdict) -> None:
    detail = "their transaction failed after it was voted on, and a part of it may have committed"
    if verdict != "hold":
        detail += f"; in_doubt = {verdict} decides"
    ids = tuple(record.id for record in records)
    notices.tell(Event.HELD if verdict == "hold" else Event.WARNING, queue=queue.name, task_ids=ids, detail=detail)
