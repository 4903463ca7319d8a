"""The backend ``local``: tasks in the memory of one process, gone with it. Knows no file and no other process."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from weakref import WeakSet

from ..interfaces import (
    CLAIM_COUNT_LIMIT,
    Counts,
    Exchanged,
    Owner,
    OwnerStatus,
    Reclaimed,
    Record,
    Settlement,
    TaskQueue,
    Verdict,
)
from ..record import STORED_STATES, State
from . import rules
from .hints import Hints
from .shelf import Shelf
from .trials import trial


class LocalQueue(TaskQueue):
    """A queue of this process. A forked child starts with an empty one.

    Owners are alive as long as the process is, so only one that has retired leaves anything to be reclaimed.
    """

    capabilities: frozenset[str] = frozenset({"certain"})

    def __init__(self, *, name: str, prefix: str = "taskqueue", length_limit: int | None = None) -> None:
        self.name = name
        self.prefix = prefix
        self._length_limit = length_limit
        self._start_empty()
        _queues.add(self)

    def _start_empty(self) -> None:
        self._lock = threading.Lock()
        self._hints = Hints()
        self._shelf = Shelf()
        self._beats: dict[str, tuple[Owner, float]] = {}
        self._retired: set[str] = set()
        self._paused = False

    # ---- the way in ----

    def stage(self, records: Sequence[Record], envelope: bytes, owner_id: str, timeout: float) -> None:
        with self._lock:
            now = time.time()
            self._refuse_over_limit(records, now)
            for record in records:
                self._shelf.step(record, "stage", State.STAGED, now, envelope=envelope, owner=owner_id, staged_at=now)

    def _refuse_over_limit(self, records: Sequence[Record], now: float) -> None:
        new = len({record.id for record in records if self._shelf.state(record.id, now) is None})
        if new and self._length_limit is not None:
            rules.refuse_over_limit(self.name, self._shelf.count(*rules.WAITING) + new, self._length_limit)

    def publish(self, records: Sequence[Record], timeout: float) -> None:
        self._publish(records, is_limited=False)

    def deliver(self, records: Sequence[Record], timeout: float) -> None:
        self._publish(records, is_limited=True)

    def _publish(self, records: Sequence[Record], is_limited: bool) -> None:
        with self._lock:
            now = time.time()
            if is_limited:
                self._refuse_over_limit(records, now)
            for record in records:
                self._shelf.publish(record, "publish", now)
        self._hints.give()

    def try_adding(self, timeout: float) -> None:
        with self._lock:
            self._refuse_over_limit([trial()], time.time())

    def discard(self, ids: Collection[str], timeout: float) -> None:
        with self._lock:
            self._shelf.forget(ids, "discard", time.time())

    # ---- in doubt ----

    def staged(self, limit: int = 100, after: str = "") -> Sequence[Record]:
        return self.list((State.STAGED.value, State.HELD.value), limit, after)

    def settle(self, ids: Collection[str], verdict: Verdict, timeout: float | None = None) -> int:
        with self._lock:
            now = time.time()
            if verdict == "discard":
                return len(self._shelf.forget(ids, "settle", now))
            known = self._shelf.known(ids)
            if verdict == "hold":
                return sum(self._shelf.step(record, "settle", State.HELD, now) for record in known)
            published = sum(self._shelf.publish(record, "settle", now) for record in known)
        self._hints.give()
        return published

    # ---- the way out ----

    def exchange(
        self, owner_id: str, consumer: str, settlements: Sequence[Settlement], wanted: int, alone: bool = False
    ) -> Exchanged:
        with self._lock:
            now = time.time()
            refused = tuple(each.id for each in settlements if not self._shelf.settle_claim(each, now))
            self._shelf.promote(now)
            wanted = 0 if self._paused else min(wanted, CLAIM_COUNT_LIMIT)
            claimed = self._shelf.claim(owner_id, consumer, wanted, alone, now)
            answer = Exchanged(
                claimed=tuple(claimed),
                refused=refused,
                suspects_wait=self._shelf.next_suspect() is not None,
                next_due=self._next_due(now),
                paused=self._paused,
            )
        if not {each.state for each in settlements} <= _FINISHED:
            self._hints.give()
        return answer

    def release(self, owner_id: str, consumer: str, holding: Collection[str]) -> int:
        with self._lock:
            now = time.time()
            mine = [
                record
                for record in self._shelf.select(State.RUNNING)
                if record.owner == owner_id and record.consumer == consumer and record.id not in holding
            ]
            for record in mine:
                self._shelf.give_back(record, now)
        if mine:
            self._hints.give()
        return len(mine)

    def wait(self, seen: int, timeout: float) -> int:
        return self._hints.wait(seen, timeout)

    def wake(self) -> None:
        self._hints.give()

    # ---- upkeep ----

    def beat(self, owner: Owner, lease: float, timeout: float) -> None:
        with self._lock:
            self._beats[owner.id] = (owner, time.time())
            self._retired.discard(owner.id)

    def retire(self, owner_id: str, timeout: float | None = None) -> None:
        with self._lock:
            # Stays in this set, even when it is forgotten: what is staged in its name from now on belongs to nobody.
            self._retired.add(owner_id)
            if owner_id not in self._holding():
                self._beats.pop(owner_id, None)

    def _holding(self) -> set[str]:
        return {record.owner for record in self._shelf.select(State.STAGED, State.HELD, State.RUNNING)}

    def owners(self) -> Sequence[OwnerStatus]:
        with self._lock:
            known = [
                OwnerStatus(owner=owner, alive=owner.id not in self._retired, seen_at=seen_at)
                for owner, seen_at in self._beats.values()
            ]
        return sorted(known, key=lambda status: (status.owner.started_at, status.owner.id))

    def reclaim(self, max_deaths: int) -> Reclaimed:
        with self._lock:
            now = time.time()
            lost = [each for each in self._shelf.select(State.STAGED, State.RUNNING) if each.owner in self._retired]
            lost.sort(key=lambda record: record.id)
            now_in = [(self._shelf.reclaim(record, max_deaths, now), record.id) for record in lost]
        if lost:
            self._hints.give()
        return Reclaimed(
            ready=tuple(task_id for state, task_id in now_in if state is State.READY),
            dead=tuple(task_id for state, task_id in now_in if state is State.DEAD),
            held=tuple(task_id for state, task_id in now_in if state is State.HELD),
            owners=tuple(sorted({record.owner for record in lost})),
        )

    def promote(self) -> float | None:
        with self._lock:
            now = time.time()
            promoted = self._shelf.promote(now)
            next_due = self._next_due(now)
        if promoted:
            self._hints.give()
        return next_due

    def _next_due(self, now: float) -> float | None:
        record = self._shelf.next_scheduled()
        return None if record is None else max(0.0, record.due - now)

    def prune(
        self, keep_done: float, keep_done_count: int, keep_dead: float | None, keep_secrets: float
    ) -> Mapping[str, int]:
        with self._lock:
            now = time.time()
            done = self._oldest_first(State.DONE)
            surplus = len(done) - keep_done_count
            old_done = [r for rank, r in enumerate(done) if rank < surplus or _is_older(r, keep_done, now)]
            old_dead = [r for r in self._oldest_first(State.DEAD) if _is_older(r, keep_dead, now)]
            pruned = {"done": self._prune(old_done, now), "dead": self._prune(old_dead, now)}
            exposed = [r for r in self._oldest_first(State.DEAD) if _is_older(r, keep_secrets, now)]
            self._shelf.forget_gone(now)
            self._forget_owners(now)
            return {**pruned, "wiped": self._shelf.wipe(exposed)}

    def _oldest_first(self, state: State) -> Sequence[Record]:
        return sorted(self._shelf.select(state), key=lambda record: (record.finished_at or 0.0, record.id))

    def _prune(self, records: Sequence[Record], now: float) -> int:
        return len(self._shelf.forget([record.id for record in records[: rules.PRUNE_LIMIT]], "prune", now))

    def _forget_owners(self, now: float) -> None:
        holding = self._holding()
        for owner_id, (_, seen_at) in tuple(self._beats.items()):
            if owner_id in self._retired - holding and now - seen_at >= rules.GONE_SECONDS:
                del self._beats[owner_id]

    # ---- looking and mending ----

    def __len__(self) -> int:
        with self._lock:
            return self._shelf.count(State.READY, State.SCHEDULED)

    def counts(self) -> Counts:
        with self._lock:
            now = time.time()
            ages = [now - max(each.published_at or 0.0, each.due) for each in self._shelf.select(State.READY)]
            states = {state.value: self._shelf.count(state) for state in STORED_STATES}
            return Counts(states=states, oldest_ready_age=max(0.0, *ages) if ages else None, paused=self._paused)

    def get(self, task_id: str) -> Record | None:
        with self._lock:
            return self._shelf.records.get(task_id)

    def list(
        self, states: Collection[str], limit: int = 100, after: str = "", newest_first: bool = False
    ) -> Sequence[Record]:
        with self._lock:
            found = self._shelf.select(*states)
        found.sort(key=lambda record: record.id, reverse=newest_first)
        if after:
            found = [record for record in found if (record.id < after if newest_first else record.id > after)]
        return found[: max(0, limit)]

    def requeue(self, ids: Collection[str]) -> Sequence[str]:
        with self._lock:
            now = time.time()
            changed = [record.id for record in self._shelf.known(ids) if self._shelf.requeue(record, now)]
        if changed:
            self._hints.give()
        return changed

    def delete(self, ids: Collection[str]) -> Sequence[str]:
        with self._lock:
            return self._shelf.forget(ids, "delete", time.time())

    def purge(self, states: Collection[str]) -> int:
        with self._lock:
            chosen = [record.id for record in self._shelf.select(*states)]
            return len(self._shelf.forget(chosen, "delete", time.time()))

    def pause(self) -> None:
        with self._lock:
            self._paused = True

    def resume(self) -> None:
        with self._lock:
            self._paused = False
        self._hints.give()

    def close(self) -> None:
        """Nothing is open."""


def _is_older(record: Record, seconds: float | None, now: float) -> bool:
    return seconds is not None and (record.finished_at or 0.0) <= now - seconds


_FINISHED = frozenset(state.value for state in rules.FINISHED)
_queues: WeakSet[LocalQueue] = WeakSet()


def _start_empty_in_child() -> None:
    # The locks may be held by threads that the child does not have, and the tasks are the parent's to run.
    for queue in list(_queues):
        queue._start_empty()


os.register_at_fork(after_in_child=_start_empty_in_child)
