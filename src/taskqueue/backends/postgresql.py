"""The backend ``postgresql``: tasks in a PostgreSQL database, shared by machines. Knows no connection's insides.

Each verb is one transaction and one round trip, at READ COMMITTED, and none is open while a task runs. Rows are locked
in the order of their ids, and claims pass over what others have locked. What a task is stored as stands in
``sql/postgresql/migrations``. Who is idle writes nothing but its lease.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from ..interfaces import (
    Counts,
    Exchanged,
    Execute,
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
from . import postgresql_joined, postgresql_rows, postgresql_schema, rules
from . import postgresql_statements as statements
from .deadlines import Deadline
from .hints import Hints
from .postgresql_address import address_of
from .postgresql_exchange import PROMOTE_LIMIT, Exchange
from .postgresql_hints import Cry, channel_of
from .postgresql_link import DEFAULT_TIMEOUT, Call, Link
from .postgresql_owners import PostgreSQLOverseer
from .postgresql_rows import storable
from .postgresql_server import Herald
from .postgresql_statements import Statement
from .trials import trial

PORTION = 1000  # tasks that one transaction changes: none holds its locks for long
TELLING_SECONDS = 0.5  # of a beat's time at most: a request may be waiting for it


class PostgreSQLQueue(TaskQueue):
    """A queue in a PostgreSQL database, 12 or newer. ``url`` is read by libpq, which finds what it leaves out, such as
    the password. ``shared`` says that the application's own data is there as well: its transactions may carry tasks.

    An owner is alive as long as it beats; who looks measures that by a clock of its own.
    """

    def __init__(
        self, *, name: str, url: str, shared: bool = False, prefix: str = "taskqueue", length_limit: int | None = None
    ) -> None:
        self.name = name
        self.prefix = prefix
        self.capabilities = frozenset({"durable", "shared", "joins"} if shared else {"durable", "shared"})
        self._length_limit = length_limit
        self._link = Link(address_of(url), prefix, name)
        self._channel = channel_of(prefix, name)
        self._start()
        _queues.add(self)

    def __repr__(self) -> str:
        return f"<PostgreSQLQueue {self.name!r} at {self._link.address.where}>"

    def _start(self) -> None:
        self._own: set[str] = set()  # owners of this process
        self._hints = Hints()
        self._home: str | None = None  # where the tables are, for sessions of the application
        self._cry = Cry(self._channel, self._own)
        self._overseer = PostgreSQLOverseer(self._link)
        self._herald = Herald(self._link, self.name)
        pool = self._link.pool
        self._end = weakref.finalize(self, pool.abandon, self._link, self._channel, self._hints)
        self._end.atexit = False

    def _run(
        self, statement: Statement, *, timeout: float = DEFAULT_TIMEOUT, repeat: bool = False, **parameters: Any
    ) -> list[tuple[Any, ...]]:
        return self._link.run(statement, timeout, repeat=repeat, **parameters)

    # ---- the way in ----

    def stage(self, records: Sequence[Record], envelope: bytes, owner_id: str, timeout: float) -> None:
        deadline = Deadline(timeout)
        given = {"owner": owner_id, "envelope": envelope, "records": postgresql_rows.encode_records(records)}
        stage = self._stage if self._length_limit is None else self._stage_limited
        known = {record.id for record in records} - stage(given, deadline)
        if known and self._forget_old(known, deadline):
            stage(given, deadline)

    def _stage(self, given: Mapping[str, Any], deadline: Deadline) -> set[str]:
        """Stage what is new; returns its ids."""
        return _ids(self._run(statements.STAGE, timeout=deadline.remaining(), repeat=True, **given))

    def _stage_limited(self, given: Mapping[str, Any], deadline: Deadline) -> set[str]:
        """The same, within the limit: those who stage wait for each other, so that together they keep it as well."""
        limited = {**given, "length_limit": self._length_limit}
        calls: Sequence[Call] = [(statements.LOCK_QUEUE, {}), (statements.STAGE_LIMITED, limited)]
        _, ((staged, waiting, new),) = self._link.run_all(calls, deadline.remaining(), repeat=True)
        if new and self._length_limit is not None:
            rules.refuse_over_limit(self.name, waiting, self._length_limit)
        return set(staged)

    def try_adding(self, timeout: float) -> None:
        """Who stages within a limit waits for others; this does not, and nobody waits for it."""
        given = trial()
        new = {"owner": "", "envelope": b"", "records": postgresql_rows.encode_records([given])}
        stage: Call = (statements.STAGE, new)
        if self._length_limit is not None:
            stage = (statements.STAGE_LIMITED, {**new, "length_limit": self._length_limit})
        calls: Sequence[Call] = [stage, (statements.TAKE_BACK, {"id": given.id})]
        (told, *_), _ = self._link.run_all(calls, timeout, repeat=True)
        if self._length_limit is not None:
            rules.refuse_over_limit(self.name, told[1], self._length_limit)

    def publish(self, records: Sequence[Record], timeout: float) -> None:
        deadline = Deadline(timeout)
        is_told = False
        for first in range(0, len(records), PORTION):
            is_told = self._publish({record.id: record for record in records[first : first + PORTION]}, deadline)
        self._notify_unless(is_told)

    def publish_in_time(self, records: Sequence[Record], max_age: float, timeout: float) -> None:
        deadline = Deadline(timeout)
        ids = storable(record.id for record in records[:PORTION])
        is_told, ((is_in_time,),) = self._run_with_hint(
            (statements.PUBLISH_IN_TIME, {"ids": ids, "max_age": max_age}), deadline
        )
        if not is_in_time:
            raise rules.too_late(self.name)
        if len(records) > PORTION:
            self.publish(records[PORTION:], deadline.remaining())
        else:
            self._notify_unless(is_told)

    def _publish(self, by_id: Mapping[str, Record], deadline: Deadline) -> bool:
        """Publish by their ids what is staged; the bodies travel only for what is not stored. Tells whether others were
        given a hint of all of it."""
        is_told, published = self._run_with_hint((statements.PUBLISH_STAGED, {"ids": storable(by_id)}), deadline)
        left = by_id.keys() - _ids(published)
        if not left:
            return is_told
        left -= self._publish_new([by_id[task_id] for task_id in left], deadline)
        if left and self._forget_old(left, deadline):
            self._publish_new([by_id[task_id] for task_id in left], deadline)
        return False

    def _run_with_hint(self, call: Call, deadline: Deadline) -> tuple[bool, list[tuple[Any, ...]]]:
        """A hint that comes alone travels with what it tells of. Returns whether it did, and the rows."""
        hint: Sequence[Call] = ()
        if self._link.pool.crier.may_cry_at_once():
            hint = [(statements.HINT, self._cry.parameters())]
        (rows,) = self._link.run_all([call], deadline.remaining(), repeat=True, afterwards=hint)
        return bool(hint), rows

    def _notify_unless(self, is_told: bool) -> None:
        if is_told:
            self._hints.give()
        else:
            self.notify()

    def _publish_new(self, records: Sequence[Record], deadline: Deadline) -> set[str]:
        if not records:
            return set()
        given = postgresql_rows.encode_records(records)
        return _ids(self._run(statements.PUBLISH, timeout=deadline.remaining(), repeat=True, records=given))

    def _forget_old(self, ids: Collection[str], deadline: Deadline) -> bool:
        """Forget those that are gone for an hour; tell whether there are any."""
        forgotten = self._run(
            statements.FORGET_OLD,
            timeout=deadline.remaining(),
            repeat=True,
            ids=storable(ids),
            gone_seconds=rules.GONE_SECONDS,
        )
        return bool(forgotten)

    def now(self, timeout: float) -> float:
        return float(self._run(statements.SELECT_NOW, timeout=timeout, repeat=True)[0][0])

    def discard(self, ids: Collection[str], timeout: float) -> None:
        self._forget("discard", ids, timeout, repeat=True)

    def _forget(self, verb: str, ids: Collection[str], timeout: float, *, repeat: bool = False) -> list[str]:
        states = sorted(rules.sources(verb))
        return self._change(statements.FORGET, ids, timeout, repeat=repeat, states=states)

    def _change(
        self, statement: Statement, ids: Collection[str], timeout: float, *, repeat: bool = False, **parameters: Any
    ) -> list[str]:
        """Do the same to so many tasks; returns those that it changed."""
        deadline = Deadline(timeout)
        changed: list[str] = []
        for portion in _in_portions(storable(ids)):
            told = self._run(statement, timeout=deadline.remaining(), repeat=repeat, ids=portion, **parameters)
            found = _ids(told)
            changed += [task_id for task_id in portion if task_id in found]
        return changed

    # ---- the way in, and out, within a transaction of the application ----

    def enlist(self, records: Sequence[Record], execute: Execute) -> None:
        """Store records as published through ``execute``, which runs one statement with parameters written ``:name`` in
        the application's transaction: they are there if and only if it commits. ``notify`` is to be called after it.

        Raises QueueFullError when more tasks wait than may; transactions side by side do not see each other's.
        """
        if self._home is None:
            self._home = str(self._run(statements.SELECT_HOME, repeat=True)[0][0])
        postgresql_joined.enlist(self._home, self.prefix, self.name, self._length_limit, records, execute)

    def finish_within(self, settlement: Settlement, execute: Execute) -> bool:
        """Settle one claim as done through ``execute``, if and only if the application's transaction commits.

        False when the claim number is old or the task runs no more: the transaction is to be aborted then, since
        somebody else runs the task, or has.
        """
        return postgresql_joined.finish_within(self.prefix, self.name, settlement, execute)

    def notify(self) -> None:
        """Tell whoever waits that there may be something to exchange."""
        self._hints.give()
        self._link.pool.crier.cry(self._link, self._cry)

    # ---- in doubt ----

    def staged(self, limit: int = 100, after: str = "") -> Sequence[Record]:
        return self.list((State.STAGED.value, State.HELD.value), limit, after)

    def settle(self, ids: Collection[str], verdict: Verdict, timeout: float | None = None) -> int:
        timeout = DEFAULT_TIMEOUT if timeout is None else timeout
        if verdict == "discard":
            return len(self._forget("settle", ids, timeout))
        statement = statements.HOLD if verdict == "hold" else statements.PUBLISH_STAGED
        changed = self._change(statement, ids, timeout)
        if verdict == "publish":
            self.notify()
        return len(changed)

    # ---- the way out ----

    def exchange(
        self, owner_id: str, consumer: str, settlements: Sequence[Settlement], wanted: int, alone: bool = False
    ) -> Exchanged:
        return self.begin_exchange(owner_id, consumer, settlements, wanted, alone).end()

    def begin_exchange(
        self, owner_id: str, consumer: str, settlements: Sequence[Settlement], wanted: int, alone: bool = False
    ) -> PendingExchange:
        return Exchange(self._link, self.notify, owner_id, consumer, settlements, wanted, alone).begin()

    def release(self, owner_id: str, consumer: str, holding: Collection[str]) -> int:
        released = self._run(statements.RELEASE, owner=owner_id, consumer=consumer, holding=storable(holding))
        if released:
            self.notify()
        return len(released)

    def wait(self, seen: int, timeout: float) -> int:
        self._link.pool.listener.start(self._channel, self._hints)
        return self._hints.wait(seen, timeout)

    def wake(self) -> None:
        self._hints.give()

    # ---- upkeep ----

    def beat(self, owner: Owner, lease: float, timeout: float) -> None:
        deadline = Deadline(timeout)
        about = postgresql_rows.owner_parameters(owner)
        with self._overseer.watch.beating():
            self._run(statements.BEAT, timeout=deadline.remaining(), repeat=True, lease=lease, **about)
        self._own.add(owner.id)
        self._herald.tell(Deadline(min(TELLING_SECONDS, deadline.remaining())))

    def retire(self, owner_id: str, timeout: float | None = None) -> None:
        self._own.discard(owner_id)
        timeout = DEFAULT_TIMEOUT if timeout is None else timeout
        self._run(statements.RETIRE, timeout=timeout, repeat=True, id=owner_id)

    def owners(self) -> Sequence[OwnerStatus]:
        return self._overseer.owners()

    def reclaim(self, max_deaths: int) -> Reclaimed:
        reclaimed = self._overseer.reclaim(max_deaths)
        if reclaimed.owners:
            self.notify()
        return reclaimed

    def promote(self) -> float | None:
        calls: Sequence[Call] = [(statements.PROMOTE, {"most": PROMOTE_LIMIT}), (statements.LOOK, {})]
        promoted, ((_, _, next_due),) = self._link.run_all(calls, DEFAULT_TIMEOUT, repeat=True)
        if promoted:
            self.notify()
        return None if next_due is None else max(0.0, next_due)

    def prune(
        self, keep_done: float, keep_done_count: int, keep_dead: float | None, keep_secrets: float
    ) -> Mapping[str, int]:
        ((done, dead, wiped),) = self._run(
            statements.PRUNE,
            keep_done=float(keep_done),
            keep_done_count=keep_done_count,
            keep_dead=None if keep_dead is None else float(keep_dead),
            keep_secrets=float(keep_secrets),
            gone_seconds=rules.GONE_SECONDS,
            most=rules.PRUNE_LIMIT,
            most_gone=rules.GONE_PRUNE_LIMIT,
        )
        return {"done": done, "dead": dead, "wiped": wiped}

    def warnings(self) -> Sequence[str]:
        """What about the server endangers tasks, or slows them down, in one line each."""
        return self._herald.warnings(Deadline(DEFAULT_TIMEOUT))

    # ---- looking and mending ----

    def __len__(self) -> int:
        states = self.counts().states
        return states[State.READY] + states[State.SCHEDULED]

    def counts(self) -> Counts:
        wanted = (statements.LET_SCAN, statements.COUNT, statements.SELECT_OLDEST_READY)
        calls: Sequence[Call] = [(statement, {}) for statement in wanted]
        _, counted, ((age, paused),) = self._link.run_all(calls, DEFAULT_TIMEOUT, repeat=True)
        by_state: dict[str, int] = dict(counted)
        states = {state.value: by_state.get(state.value, 0) for state in STORED_STATES}
        return Counts(states=states, oldest_ready_age=None if age is None else max(0.0, age), paused=paused)

    def get(self, task_id: str) -> Record | None:
        found = self._run(statements.SELECT_TASKS, repeat=True, ids=storable([task_id]))
        return postgresql_rows.record(found[0]) if found else None

    def list(
        self, states: Collection[str], limit: int = 100, after: str = "", newest_first: bool = False
    ) -> Sequence[Record]:
        known = [state.value for state in STORED_STATES if state.value in states]
        statement = statements.LIST_NEWEST_FIRST if newest_first else statements.LIST
        found = self._run(statement, repeat=True, states=known, after=after, most=max(0, limit))
        return [postgresql_rows.record(row) for row in found]

    def requeue(self, ids: Collection[str]) -> Sequence[str]:
        changed = self._change(statements.REQUEUE, ids, DEFAULT_TIMEOUT)
        if changed:
            self.notify()
        return changed

    def delete(self, ids: Collection[str]) -> Sequence[str]:
        return self._forget("delete", ids, DEFAULT_TIMEOUT)

    def purge(self, states: Collection[str]) -> int:
        chosen = sorted(rules.sources("delete").intersection(states))
        purged = 0
        while True:
            gone = len(self._run(statements.PURGE, states=chosen, most=PORTION))
            purged += gone
            if gone < PORTION:
                return purged

    def pause(self) -> None:
        self._run(statements.SET_PAUSED, repeat=True, paused=True)

    def resume(self) -> None:
        self._run(statements.SET_PAUSED, repeat=True, paused=False)
        self.notify()

    # ---- the schema ----

    def schema(self) -> SchemaStatus:
        """Which version the database has."""
        return SchemaStatus(found=self._link.version(), known=postgresql_schema.SCHEMA_VERSION)

    def migrate(self) -> Sequence[int]:
        """Create what is missing, and raise the schema to this release's version."""
        return self._link.migrate()

    def close(self) -> None:
        """Close the connections, and stop listening; both begin again when needed."""
        self._link.pool.listener.stop(self._channel, self._hints)
        self._link.close()

    def _start_in_child(self) -> None:
        self._end.detach()  # the threads are the parent's
        self._start()


def _ids(rows: Sequence[tuple[Any, ...]]) -> set[str]:
    return {row[0] for row in rows}


def _in_portions(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for first in range(0, len(ids), PORTION):
        yield ids[first : first + PORTION]


_queues: weakref.WeakSet[PostgreSQLQueue] = weakref.WeakSet()


def _start_in_child() -> None:
    # The locks may be held by threads that the child does not have; the pool has begun anew by itself.
    for queue in list(_queues):
        queue._start_in_child()


os.register_at_fork(after_in_child=_start_in_child)
