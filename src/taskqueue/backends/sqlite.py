"""The backend ``sqlite``: tasks in one file, shared by the processes of one machine. Knows no file locks' insides.

Each verb is one transaction. A verb that may find nothing to do looks first, with the connection that reads: consumers
that are idle write nothing, and so do not wake each other.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from itertools import chain

from ..interfaces import (
    Counts,
    Exchanged,
    Owner,
    OwnerStatus,
    PendingExchange,
    Reclaimed,
    Record,
    SchemaStatus,
    Settlement,
    TaskQueue,
    Verdict,
)
from ..record import STORED_STATES, State
from . import rows, rules
from .database import DEFAULT_TIMEOUT, Database
from .deadlines import Deadline
from .filehints import FileHints
from .filelocks import OwnerLocks
from .rowexchanges import Asked, exchange
from .schema import Layout
from .sessions import Session, Synchronous
from .trials import trial

PURGE_LIMIT = 1000  # tasks that one transaction of a purge deletes


class SQLiteQueue(TaskQueue):
    """A queue in a file. ``path`` is created, with its directory, when it is missing. ``synchronous`` is SQLite's: with
    "full" each commit reaches the disk, with "normal" the log does now and then.

    An owner is alive as long as its process lives, however long its last beat is ago: the kernel tells.
    """

    capabilities = frozenset({"certain", "durable", "shared"})
    begin_exchange_at = 80  # an answer that waits keeps asking for its turn of the interpreter

    def __init__(
        self,
        *,
        name: str,
        path: str | os.PathLike[str],
        synchronous: Synchronous = "full",
        prefix: str = "taskqueue",
        length_limit: int | None = None,
    ) -> None:
        self.name = name
        self.prefix = prefix
        self.path = os.path.abspath(path)
        self._length_limit = length_limit
        self._database = Database(self.path, Layout(self.path, prefix, name), synchronous)
        self._owner_locks = OwnerLocks(f"{self.path}.owners")
        self._hints = FileHints(self.path, (prefix, name), self._database.has_changed)

    # ---- the way in ----

    def stage(self, records: Sequence[Record], envelope: bytes, owner_id: str, timeout: float) -> None:
        with self._database.writing(timeout) as session:
            if rows.stage(session, records, envelope, owner_id, time.time()):
                self._refuse_over_limit(session)

    def _refuse_over_limit(self, session: Session) -> None:
        if self._length_limit is not None:
            waiting = rows.count_waiting(session, self._length_limit + 1)
            rules.refuse_over_limit(self.name, waiting, self._length_limit)

    def publish(self, records: Sequence[Record], timeout: float) -> None:
        self._publish(records, timeout, is_limited=False)

    def deliver(self, records: Sequence[Record], timeout: float) -> None:
        self._publish(records, timeout, is_limited=True)

    def _publish(self, records: Sequence[Record], timeout: float, is_limited: bool) -> None:
        with self._database.writing(timeout) as session:
            if rows.publish(session, records, time.time()) and is_limited:
                self._refuse_over_limit(session)
        self._hints.spread()

    def try_adding(self, timeout: float) -> None:
        given = trial()
        with self._database.writing(timeout) as session:
            rows.stage(session, [given], b"", "", time.time())
            self._refuse_over_limit(session)
            rows.take_back(session, given.id)

    def discard(self, ids: Collection[str], timeout: float) -> None:
        with self._database.writing(timeout) as session:
            rows.forget(session, rows.select_ids(session, ids, rules.sources("discard")), time.time())

    # ---- in doubt ----

    def staged(self, limit: int = 100, after: str = "") -> Sequence[Record]:
        return self.list((State.STAGED.value, State.HELD.value), limit, after)

    def settle(self, ids: Collection[str], verdict: Verdict, timeout: float | None = None) -> int:
        with self._database.writing(timeout) as session:
            changed = rows.settle(session, ids, verdict, time.time())
        if verdict == "publish":
            self._hints.spread()
        return changed

    # ---- the way out ----

    def exchange(
        self, owner_id: str, consumer: str, settlements: Sequence[Settlement], wanted: int, alone: bool = False
    ) -> Exchanged:
        asked = Asked(owner_id, consumer, settlements, wanted, alone)
        return self._exchange(asked, Deadline(DEFAULT_TIMEOUT), lambda: None)

    def begin_exchange(
        self, owner_id: str, consumer: str, settlements: Sequence[Settlement], wanted: int, alone: bool = False
    ) -> PendingExchange:
        asked = Asked(owner_id, consumer, settlements, wanted, alone)
        deadline = Deadline(DEFAULT_TIMEOUT)  # from now on, also where others come first
        return PendingExchange(*self._database.errands.begin(partial(self._exchange, asked, deadline)))

    def _exchange(self, asked: Asked, deadline: Deadline, let_go: Callable[[], None]) -> Exchanged:
        if not asked.settlements:
            with self._database.reading(deadline.remaining()) as session:
                seen = rows.look(session, time.time())
            if not seen.is_worth_writing(asked.wanted, asked.alone):
                return seen.answer()
        with self._database.alone(deadline.remaining()) as session:
            changed = exchange(session, asked, let_go)
            self._database.let_others_write(session)
            answer = changed.answer(session)
        if any(each.state in rules.RETURNED for each in asked.settlements):
            self._hints.spread()
        return answer

    def release(self, owner_id: str, consumer: str, holding: Collection[str]) -> int:
        with self._database.reading() as session:
            if not rows.select_claimed(session, owner_id, consumer, holding):
                return 0
        with self._database.writing() as session:
            released = rows.release(session, rows.select_claimed(session, owner_id, consumer, holding))
        self._hints.spread()
        return released

    def wait(self, seen: int, timeout: float) -> int:
        return self._hints.wait(seen, timeout)

    def wake(self) -> None:
        self._hints.give()

    # ---- upkeep ----

    def beat(self, owner: Owner, lease: float, timeout: float) -> None:
        deadline = Deadline(timeout)
        with self._database.writing(timeout) as session:
            # The lock comes first: an owner that is written down without one counts as dead.
            self._owner_locks.hold(owner.id, deadline)
            rows.beat(session, owner, time.time())

    def retire(self, owner_id: str, timeout: float | None = None) -> None:
        try:
            with self._database.writing(timeout) as session:
                rows.retire(session, owner_id)
        finally:
            self._owner_locks.release(owner_id)

    def owners(self) -> Sequence[OwnerStatus]:
        with self._database.reading() as session:
            return [
                OwnerStatus(owner=owner, alive=self._is_alive(owner.id, retired), seen_at=seen_at)
                for owner, seen_at, retired in rows.select_owners(session)
            ]

    def _is_alive(self, owner_id: str, retired: bool) -> bool:
        return not retired and self._owner_locks.is_alive(owner_id)

    def reclaim(self, max_deaths: int) -> Reclaimed:
        with self._database.reading() as session:
            holders = rows.select_holders(session)
            lapsed = [owner_id for owner_id, retired in holders if not self._is_alive(owner_id, retired)]
        if not lapsed:
            return Reclaimed()
        with self._database.writing() as session:
            reclaimed = rows.reclaim(session, lapsed, max_deaths, time.time())
        for owner_id in lapsed:
            self._owner_locks.forget(owner_id)
        self._hints.spread()
        return reclaimed

    def promote(self) -> float | None:
        with self._database.reading() as session:
            seen = rows.look(session, time.time())
        if seen.next_due is None or seen.next_due > 0:
            return seen.next_due
        with self._database.writing() as session:
            now = time.time()
            rows.promote(session, now)
            next_due = rows.look(session, now).next_due
        self._hints.spread()
        return next_due

    def prune(
        self, keep_done: float, keep_done_count: int, keep_dead: float | None, keep_secrets: float
    ) -> Mapping[str, int]:
        keep = rows.Keep(keep_done, keep_done_count, keep_dead, keep_secrets)
        with self._database.reading() as session:
            found = rows.select_prunable(session, keep, time.time(), self._is_alive)
        if any(found.values()):
            with self._database.writing() as session:
                now = time.time()
                found = rows.select_prunable(session, keep, now, self._is_alive)
                rows.prune(session, found, now)
            for owner_id in found["owners"]:
                self._owner_locks.forget(owner_id)
        return {sort: len(found[sort]) for sort in ("done", "dead", "wiped")}

    # ---- looking and mending ----

    def __len__(self) -> int:
        states = self.counts().states
        return states[State.READY] + states[State.SCHEDULED]

    def counts(self) -> Counts:
        with self._database.reading() as session:
            counted = rows.count(session)
            age, paused = rows.oldest_ready_age(session, time.time())
        states = {state.value: counted.get(state.value, 0) for state in STORED_STATES}
        return Counts(states=states, oldest_ready_age=age, paused=paused)

    def get(self, task_id: str) -> Record | None:
        with self._database.reading() as session:
            return next(iter(rows.select_tasks(session, [task_id])), None)

    def list(
        self, states: Collection[str], limit: int = 100, after: str = "", newest_first: bool = False
    ) -> Sequence[Record]:
        known = [state.value for state in STORED_STATES if state.value in states]
        with self._database.reading() as session, session.snapshot():
            ids = chain.from_iterable(rows.list_ids(session, state, limit, after, newest_first) for state in known)
            chosen = sorted(ids, reverse=newest_first)[: max(0, limit)]
            found = {record.id: record for record in rows.select_tasks(session, chosen)}
        return [found[task_id] for task_id in chosen if task_id in found]

    def requeue(self, ids: Collection[str]) -> Sequence[str]:
        with self._database.writing() as session:
            changed = rows.requeue(session, ids, time.time())
        if changed:
            self._hints.spread()
        return changed

    def delete(self, ids: Collection[str]) -> Sequence[str]:
        with self._database.writing() as session:
            return rows.forget(session, rows.select_ids(session, ids, rules.sources("delete")), time.time())

    def purge(self, states: Collection[str]) -> int:
        deletable = rules.sources("delete").intersection(states)
        purged = 0
        while True:
            with self._database.writing() as session:
                chosen = rows.select_in_states(session, deletable, PURGE_LIMIT)
                purged += len(rows.forget(session, chosen, time.time()))
            if len(chosen) < PURGE_LIMIT:
                return purged

    def pause(self) -> None:
        with self._database.writing() as session:
            rows.set_paused(session, True)

    def resume(self) -> None:
        with self._database.writing() as session:
            rows.set_paused(session, False)
        self._hints.spread()

    # ---- the schema ----

    def schema(self) -> SchemaStatus:
        """Which version the file has."""
        return self._database.schema()

    def migrate(self) -> Sequence[int]:
        """Create what is missing, and raise the schema to this release's version."""
        return self._database.migrate()

    def close(self) -> None:
        """Close the file, and end the leases that this object took."""
        self._hints.close()
        self._database.errands.close()
        self._database.close()
        self._owner_locks.release_all()
