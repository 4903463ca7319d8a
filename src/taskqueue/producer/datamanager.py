"""The data manager: tasks are staged before the commit, published after it, discarded when there is none.

One for each transaction, for all its queues, so that one budget of time covers all calls that the transaction costs.
Knows nothing of requests but that one may have caused it to join. What cannot be done within the budget goes to the
keeper, which does it later.

    collecting ──vote──▶ voted ──finish──▶ over: published, or in the keeper's hands
        │                  │
      abort          abort, tpc_abort
        ▼                  ▼
      over:              over:
    discarded          discarded where nothing durable took part in the transaction, else in doubt: held

After a vote nobody here can know whether a neighbour committed before another one failed, so what is staged stays, and
the keeper asks the witnesses that have left their marks in the transaction. Where there are no neighbours at all, and
one queue has all tasks and can tell for certain whether it has taken them, nothing is staged: the vote is the commit.
"""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Iterable
from enum import Enum
from functools import partial
from typing import Any

from transaction.interfaces import IDataManagerSavepoint, ISavepointDataManager
from zope.interface import implementer

from .. import notices, witnesses
from ..errors import BackendError, BackendUnavailableError
from ..failpoints import reach
from ..interfaces import Record
from ..keeper import process_keeper
from ..notices import Event
from ..queues import Queue
from ..record import Envelope, Task, encode_part
from .budget import BUDGET_SECONDS, Budget
from .company import Company
from .groups import Entry, each_of, grouped
from .handing_over import (
    commit_by,
    decide,
    deliver,
    discard_later,
    hold_later,
    is_certain,
    is_durable,
    joins,
    publish,
    publish_in_time,
    redo,
    report,
    see_that_they_are_there,
)

HOOK_ROUNDS = 10  # so often our hook steps behind those that were registered later

_COMMITTING = "Committing"  # ITransaction.status


class _Phase(Enum):
    COLLECTING = "collecting"
    VOTED = "voted"
    OVER = "over"


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
        self._entries: list[Entry] = []
        self._sent: set[str] = set()  # ids that may be staged: noted before each call, since a lost answer says nothing
        self._staged: set[str] = set()
        self._staged_at: dict[int, float] = {}  # when a queue has last confirmed that, monotonic
        self._hook_was_called = False
        self._hook_rounds = 0
        self._has_begun = False  # to commit; neighbours may have voted
        self._leases_end_at = math.inf  # monotonic: nobody can have taken this process for dead before
        self._has_joining = False  # something that is added in the application's own transaction
        self._has_handed_over = False  # to the thread that publishes
        self._is_delivered = False  # all of it, in the vote
        self._company = Company(current, self._transaction_id)
        self._in_doubt: list[Queue] = []  # where something was held, and the witnesses are to be asked
        self._budget = Budget(BUDGET_SECONDS)

    def __repr__(self) -> str:
        return f"<TaskDataManager {self._phase.value}, {len(self._entries)} tasks>"

    @property
    def is_collecting(self) -> bool:
        """Whether tasks can still be added."""
        return self._phase is _Phase.COLLECTING

    @property
    def may_commit(self) -> bool:
        """Whether the transaction, or a part of it, may still commit in this process: nobody is to be asked yet."""
        return self._phase is not _Phase.OVER or self._transaction.status == _COMMITTING

    @property
    def tasks(self) -> tuple[Task, ...]:
        """What was added, and would be delivered by a commit."""
        return tuple(entry.task for entry in self._entries)

    def append(self, queue: Queue, record: Record, task: Task) -> None:
        """Add one task to the transaction."""
        self._see_that_hook_is_pending()
        self._entries.append(Entry(queue, record, task))
        self._has_joining = self._has_joining or joins(queue)
        if self._sent and self._has_prepared_neighbours():
            self._stage()  # what they prepare may be committed by others, should this process die before our vote

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
        """Everything is staged already, before any storage took its locks."""
        self._has_begun = True

    def commit(self, _transaction: Any) -> None:
        """Nothing."""

    def tpc_vote(self, _transaction: Any) -> None:
        """Stage what was added since the hook; from here on this transaction may commit."""
        reach("vote.begun")
        self._enlist()
        self._company.take_newcomers_for_strangers()
        groups = grouped(self._entries) if self._company.is_none else []
        if len(groups) == 1 and is_certain(groups[0][0]):
            self._deliver(*groups[0])
        else:
            self._stage()
        self._phase = _Phase.VOTED
        reach("vote.done")

    def tpc_finish(self, _transaction: Any) -> None:
        """Publish. Never raises, but for an interrupt: the neighbours have committed, there is no way back.

        Where there are no neighbours, this is the commit, and it may fail.
        """
        reach("finish.begun")
        entries = self._end()
        try:
            if self._company.is_alone:
                if not self._is_delivered:
                    self._commit_alone(entries)
            else:
                each_of(grouped(entries), self._publish, redo)
            if not self._has_handed_over:
                reach("finish.published")
        finally:
            self._is_settled()
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
        if not self._entries or self._steps_behind():
            return
        reach("hook.begun")
        self._enlist()
        self._company.leave_marks()
        reach("hook.marked")
        # Where nothing durable takes part, there are no locks that a slow backend could have others wait for, so the
        # vote stages: whoever joins until then is not missed.
        if self._company.is_known:
            self._stage()
        reach("hook.staged")

    def _steps_behind(self) -> bool:
        """Let those hooks run first that were registered later: they may change what takes part, and add tasks."""
        *_, last = self._transaction.getBeforeCommitHooks()
        if last[0] == self._before_commit or self._hook_rounds >= HOOK_ROUNDS:
            return False
        self._hook_rounds += 1
        self._transaction.addBeforeCommitHook(self._before_commit)
        self._hook_was_called = False
        return True

    def _enlist(self) -> None:
        """Add in the application's own transaction what goes into its own database: there is nothing to settle."""
        if not self._has_joining:
            return
        for queue, records in grouped(each for each in self._entries if joins(each.queue)):
            new = [record for record in records if record.id not in self._staged]
            if new:
                execute = witnesses.executor(self._transaction, self.transaction_manager)
                if execute is None:
                    raise BackendError(
                        f"queue {queue.name!r} shares the application's database (shared = true), and nobody knows its "
                        "sessions: call taskqueue.register_witness(session_factory), or set witness in its section"
                    )
                self._take_lease(queue)  # whoever comes first makes the tables
                queue.backend.enlist(new, execute)
                self._staged.update(record.id for record in new)

    def _take_lease(self, queue: Queue) -> None:
        try:
            with self._budget as seconds_left:
                process_keeper().hold_lease(queue, seconds_left())
        except BackendUnavailableError as error:
            report(queue, error)
            raise

    def _stage(self) -> None:
        keeper = process_keeper()
        keeper.in_flight.enter(self._transaction_id, self)
        envelope = encode_part(
            Envelope(
                transaction_id=self._transaction_id,
                owner=keeper.owner_id,
                witnesses=self._company.marking.marks,
                strangers=self._company.marking.strangers,
            )
        )
        left = (each for each in self._entries if each.record.id not in self._staged and not joins(each.queue))
        for queue, records in grouped(left):
            ids = [record.id for record in records]
            try:
                with self._budget as seconds_left:
                    self._leases_end_at = min(self._leases_end_at, keeper.hold_lease(queue, seconds_left()))
                    self._sent.update(ids)
                    queue.backend.stage(records, envelope, keeper.owner_id, seconds_left())
            except BackendUnavailableError as error:
                report(queue, error, adding=True)
                raise
            reach("stage.sent")
            self._staged.update(ids)
            self._staged_at[id(queue)] = time.monotonic()

    def _deliver(self, queue: Queue, records: list[Record]) -> None:
        """With nothing left to do behind our vote, this is the commit."""
        self._take_lease(queue)
        ids = {record.id for record in records}
        self._sent |= ids  # an abort sees to it that nothing comes of a call that has failed
        interrupt = commit_by(deliver, queue, records, self._budget)
        self._sent -= ids
        self._is_delivered = True
        if interrupt is not None:
            raise interrupt

    # ---- after the commit

    def _publish(self, queue: Queue, records: list[Record]) -> None:
        keeper = process_keeper()
        if joins(queue):
            queue.backend.notify()
            return
        if self._company.tells_of_us and is_durable(queue) and keeper.publisher.hand_over(queue, records):
            self._has_handed_over = True
            return
        try:
            publish(queue, records, self._budget)
        except BackendError as error:
            keeper.redo(queue, records, error)  # first: a probe that knows nothing of them would find the backend up
            report(queue, error)
        except Exception as error:  # noqa: BLE001  # whatever a backend raises, the transaction has committed
            keeper.redo(queue, records, BackendError(f"publishing failed: {error!r}"))

    def _commit_alone(self, entries: list[Entry]) -> None:
        """Nothing durable takes part, so the first queue's answer is the commit, and the others follow as they can.

        Put off, it could be lost: when this process dies, or cannot be seen for as long as its lease lasts, everybody
        may conclude that it never committed.
        """
        groups = grouped(entries)
        for queue, records in groups[:1]:
            try:
                commit = partial(publish_in_time, staged_at=self._staged_at.get(id(queue), time.monotonic()))
                interrupt = commit_by(commit, queue, records, self._budget)
            except BaseException:
                self._discard(entries)
                raise
            if interrupt is not None:
                each_of(groups[1:], redo, redo)
                raise interrupt
            if time.monotonic() >= self._leases_end_at:
                see_that_they_are_there(queue, records)
        each_of(groups[1:], self._publish, redo)

    # ---- without a commit

    def cut(self, count: int) -> None:
        """Keep the first ``count`` tasks, and forget the later ones for good."""
        later = self._entries[count:]
        del self._entries[count:]
        self._discard(later)

    def _retract(self) -> None:
        """The transaction has aborted, or lets go of this data manager. Once that is over, no tasks are left."""
        reach("abort.begun")
        in_doubt = (self._phase is _Phase.VOTED and not self._company.is_alone) or self._is_prepared_elsewhere()
        entries = self._end()
        try:
            if in_doubt:
                left = grouped(each for each in entries if not joins(each.queue))
                self._in_doubt = [queue for queue, _ in left]
                each_of(left, self._hold_group, hold_later)
            else:
                self._discard(entries)
        finally:
            # The first time, neighbours may not have aborted yet; then the keeper lets it be, and the second one tells.
            for queue in self._in_doubt:
                process_keeper().look_into_doubts(queue)
        if not self.may_commit:
            self._is_settled()
        reach("abort.done")

    def _is_prepared_elsewhere(self) -> bool:
        """Whether somebody who sorts before us may have prepared the commit, so that it can be carried out later.

        Such is SQL in two phases: its answer may have been lost, and then an operator decides. Its witness tells.
        """
        return bool(self._sent) and self._has_prepared_neighbours()

    def _has_prepared_neighbours(self) -> bool:
        """Whether such take part that have prepared their commits, or are about to."""
        return self._has_begun and self._company.has_prepared_before(self.sortKey())

    def _discard(self, entries: Iterable[Entry]) -> None:
        sent = [entry for entry in entries if entry.record.id in self._sent]
        each_of(grouped(sent), self._discard_group, discard_later)

    def _discard_group(self, queue: Queue, records: list[Record]) -> None:
        decide(queue, records, "discard", self._budget)

    def _hold_group(self, queue: Queue, records: list[Record]) -> None:
        decide(queue, records, "hold", self._budget)

    def _is_settled(self) -> None:
        """From here on, others may decide what is in doubt."""
        process_keeper().in_flight.leave(self._transaction_id)

    def _end(self) -> list[Entry]:
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
