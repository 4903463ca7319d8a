"""The tasks of the backend ``local``, and the one place where their state changes. Knows no threads and no owners.

Every change is a step of ``record.TRANSITIONS``, taken in ``Shelf.step`` and nowhere else.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Collection, Iterable
from typing import Any, Generic, TypeVar

import msgspec

from ..interfaces import Record, Settlement
from ..record import TRANSITIONS, State
from . import rules

# As text, which is what records hold.
READY, SCHEDULED, RUNNING = State.READY.value, State.SCHEDULED.value, State.RUNNING.value
Key = TypeVar("Key", int, float)
GONE, _RUNNING = State.GONE, State.RUNNING
# Asked twice for each task; an enumeration would answer in Python.
_STATES = {state.value: state for state in State}
_TEXTS = {state: state.value for state in State}
# Every step of the table as texts: one look for each change, of which every task takes several.
_STEPS = frozenset(
    (None if before is None else before.value, verb, to.value)
    for (before, verb), ends in TRANSITIONS.items()
    for to in ends
)
_replace = msgspec.structs.replace


class Shelf:
    """Records by id. Whoever uses it holds a lock, and passes the time.

    Each order may hold stale entries; they are dropped when they come up. ``_ready`` and ``_suspects`` order what is
    ready by priority and id, ``_scheduled`` what is scheduled by its due time.
    """

    def __init__(self) -> None:
        self.records: dict[str, Record] = {}
        self._count = dict.fromkeys(_STATES, 0)
        self._gone: dict[str, float] = {}  # id -> when it was forgotten
        self._ready: _Order[int] = _Order()
        self._suspects: _Order[int] = _Order()
        self._scheduled: _Order[float] = _Order()

    # ---- looking ----

    def state(self, task_id: str, now: float) -> State | None:
        """Where a task is; None when it is unknown, or gone for longer than gone ones are remembered."""
        record = self.records.get(task_id)
        if record is not None:
            return _STATES[record.state]
        return State.GONE if now - self._gone.get(task_id, -rules.GONE_SECONDS) < rules.GONE_SECONDS else None

    def count(self, *states: State) -> int:
        """How many records are in these states."""
        return sum(self._count[state.value] for state in states)

    def select(self, *states: str) -> list[Record]:
        """The records in these states, in no order."""
        return [record for record in self.records.values() if record.state in states]

    def known(self, ids: Collection[str]) -> list[Record]:
        """The records of these ids, each once."""
        return [self.records[task_id] for task_id in dict.fromkeys(ids) if task_id in self.records]

    def next_ready(self) -> Record | None:
        """The first record to be claimed that is not suspect."""
        return self._top(self._ready, _is_ready)

    def next_suspect(self) -> Record | None:
        """The first suspect to be claimed."""
        return self._top(self._suspects, _is_suspect)

    def next_scheduled(self) -> Record | None:
        """The scheduled record that is due first."""
        return self._top(self._scheduled, _is_scheduled)

    def _top(self, order: _Order[Key], is_current: Callable[[Record, Key], bool]) -> Record | None:
        while (entry := order.first()) is not None:
            record = self.records.get(entry[1])
            if record is not None and is_current(record, entry[0]):
                return record
            order.drop_first()
        return None

    # ---- changing ----

    def step(self, record: Record, verb: str, to: State, now: float, **changes: Any) -> bool:
        """Take one step of the table with a known or a new record; False, and no change, when there is no such step."""
        stored = self.records.get(record.id)
        before = self.state(record.id, now) if stored is None else stored.state
        state = _TEXTS[to]
        if (before, verb, state) not in _STEPS:
            return False
        if stored is None:
            stored = Record(
                id=record.id, body=record.body, secrets=record.secrets, priority=record.priority, due=record.due
            )
            self._gone.pop(record.id, None)
        else:
            self._count[stored.state] -= 1
        if to is GONE:
            del self.records[record.id]
            self._gone[record.id] = now
        else:
            self._put(_replace(stored, state=state, **changes), state)
        return True

    def _put(self, record: Record, state: str) -> None:
        self.records[record.id] = record
        self._count[state] += 1
        if state == SCHEDULED:
            self._scheduled.put((record.due, record.id))
        elif state == READY:
            (self._suspects if record.suspect else self._ready).put((-record.priority, record.id))

    def publish(self, record: Record, verb: str, now: float) -> bool:
        """Make a record runnable, at once or when it is due."""
        due = self.records.get(record.id, record).due
        return self.step(record, verb, rules.published_state(due, now), now, envelope=b"", owner="", published_at=now)

    def forget(self, ids: Iterable[str], verb: str, now: float) -> list[str]:
        """Let tasks go, and remember their ids; returns those that went."""
        return [r.id for r in self.known(list(ids)) if self.step(r, verb, State.GONE, now)]

    def promote(self, now: float) -> int:
        """Make ready what is due."""
        promoted = 0
        while (record := self.next_scheduled()) is not None and record.due <= now:
            promoted += self.step(record, "promote", State.READY, now)
        return promoted

    def claim(self, owner_id: str, consumer: str, wanted: int, alone: bool, now: float) -> list[Record]:
        """Take up to ``wanted`` records to run: a suspect by itself, or others while there is room."""
        suspect, first = self.next_suspect(), self.next_ready()
        if suspect is not None and alone and wanted > 0 and (first is None or rules.comes_before(suspect, first)):
            return [self._claim_one(suspect, owner_id, consumer, now)]
        claimed: list[Record] = []
        claimed_bytes = 0
        while len(claimed) < wanted and first is not None and rules.has_room(claimed_bytes, first):
            self._ready.drop_first()
            claimed.append(self._claim_one(first, owner_id, consumer, now))
            claimed_bytes += rules.size(first)
            first = self._top(self._ready, _is_ready)
        return claimed

    def _claim_one(self, record: Record, owner_id: str, consumer: str, now: float) -> Record:
        self.step(
            record,
            "exchange",
            _RUNNING,
            now,
            claim_number=record.claim_number + 1,
            owner=owner_id,
            consumer=consumer,
            claimed_at=now,
            first_claimed_at=record.first_claimed_at or now,
        )
        return self.records[record.id]

    def settle_claim(self, settlement: Settlement, now: float) -> bool:
        """Take in what became of a claim; False when somebody else has claimed the task since, or it runs no more."""
        record = self.records.get(settlement.id)
        if record is None or record.state != RUNNING or record.claim_number != settlement.claim_number:
            return False
        to = settlement.state
        changes: dict[str, Any] = {"attempts": record.attempts + settlement.attempts, "owner": "", "consumer": ""}
        if settlement.started:
            changes["suspect"] = False
        else:
            changes["first_claimed_at"] = rules.first_claim_after_return(record.first_claimed_at, record.claimed_at)
        if to == SCHEDULED:
            changes["due"] = now + max(0.0, settlement.delay)
        elif to != READY:
            changes["finished_at"] = now
        if settlement.outcome is not None:
            changes["outcome"] = settlement.outcome
        if settlement.wipe:
            changes["secrets"] = None
        return self.step(record, "exchange", _STATES[to], now, **changes)

    def give_back(self, record: Record, now: float) -> None:
        """Make a claimed record ready again, nothing spent."""
        first = rules.first_claim_after_return(record.first_claimed_at, record.claimed_at)
        self.step(record, "release", State.READY, now, owner="", consumer="", first_claimed_at=first)

    def reclaim(self, record: Record, max_deaths: int, now: float) -> State:
        """Take a record back from an owner that died; returns where it is now."""
        if record.state == State.STAGED:
            self.step(record, "reclaim", State.HELD, now)
            return State.HELD
        death = rules.after_death(record.suspect, record.deaths, max_deaths, now)
        changes: dict[str, Any] = {"deaths": death.deaths, "suspect": True, "owner": "", "consumer": ""}
        if death.outcome is not None:
            changes.update(outcome=death.outcome, finished_at=now)
        self.step(record, "reclaim", death.state, now, **changes)
        return death.state

    def requeue(self, record: Record, now: float) -> bool:
        """Start over with a dead or scheduled record; one whose secrets are wiped cannot run."""
        if record.secrets is None:
            return False
        fresh = {"attempts": 0, "deaths": 0, "suspect": False, "first_claimed_at": None, "finished_at": None}
        return self.step(record, "requeue", State.READY, now, due=now, **fresh)

    def wipe(self, records: Iterable[Record]) -> int:
        """Forget the secrets of these, of so many as one call of prune may; returns how many."""
        wipable = [record for record in records if record.id in self.records and record.secrets is not None]
        for record in wipable[: rules.PRUNE_LIMIT]:
            self.records[record.id] = _replace(record, secrets=None)
        return len(wipable[: rules.PRUNE_LIMIT])

    def forget_gone(self, now: float) -> None:
        """Forget the ids that were remembered long enough."""
        old = [task_id for task_id, gone_at in self._gone.items() if now - gone_at >= rules.GONE_SECONDS]
        for task_id in old[: rules.GONE_PRUNE_LIMIT]:
            del self._gone[task_id]


class _Order(Generic[Key]):
    """Entries, the smallest first. Most come in their order, and wait in a row; the others wait in a heap, which asks
    more and more of memory the more there are."""

    __slots__ = ("_heap", "_row")

    def __init__(self) -> None:
        self._row: deque[tuple[Key, str]] = deque()
        self._heap: list[tuple[Key, str]] = []

    def put(self, entry: tuple[Key, str]) -> None:
        if self._row and entry < self._row[-1]:
            heapq.heappush(self._heap, entry)
        else:
            self._row.append(entry)

    def first(self) -> tuple[Key, str] | None:
        if self._heap and not (self._row and self._row[0] <= self._heap[0]):
            return self._heap[0]
        return self._row[0] if self._row else None

    def drop_first(self) -> None:
        """Drop the one that ``first`` has returned."""
        if self._heap and not (self._row and self._row[0] <= self._heap[0]):
            heapq.heappop(self._heap)
        else:
            self._row.popleft()


# Whether an entry is of this record as it is now, and not of one of that id that was forgotten.


def _is_ready(record: Record, key: int) -> bool:
    return record.state == READY and record.priority == -key and not record.suspect


def _is_suspect(record: Record, key: int) -> bool:
    return record.state == READY and record.priority == -key and record.suspect


def _is_scheduled(record: Record, due: float) -> bool:
    return record.state == SCHEDULED and record.due == due
