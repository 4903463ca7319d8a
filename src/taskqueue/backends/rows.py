"""Tasks as rows: what the statements in ``sql/`` are given, and what they tell. Each function works in an open session.

Knows no files, no locks and no threads. Where a statement changes tasks, its ``WHERE state`` is the step of
``record.TRANSITIONS`` that it may take.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

from ..interfaces import Exchanged, Owner, Reclaimed, Record, Verdict
from ..record import State
from . import rules
from .rowvalues import COLUMNS, as_json, from_record, only_row, to_ids, to_record
from .sessions import Session
from .statements import load

_BEAT = load("beat")
_COUNT = load("count")
_COUNT_WAITING = load("count_waiting")
_FORGET = load("forget")
_FORGET_GONE = load("forget_gone")
_FORGET_IDLE_OWNER = load("forget_idle_owner")
_FORGET_OWNERS = load("forget_owners")
_HOLD = load("hold")
_LIST = load("list")
_LIST_NEWEST_FIRST = load("list_newest_first")
_LOOK = load("look")
_PROMOTE = load("promote")
_PUBLISH = load("publish")
_RECLAIM = load("reclaim")
_RELEASE = load("release")
_REMEMBER_GONE = load("remember_gone")
_REQUEUE = load("requeue")
_RETIRE = load("retire")
_SELECT_CLAIMED = load("select_claimed")
_SELECT_EXPOSED = load("select_exposed")
_SELECT_GONE = load("select_gone")
_SELECT_HELD = load("select_held")
_SELECT_HOLDERS = load("select_holders")
_SELECT_IDS = load("select_ids")
_SELECT_IN_STATES = load("select_in_states")
_SELECT_OLDEST_READY = load("select_oldest_ready")
_SELECT_OWNERS = load("select_owners")
_SELECT_PRUNABLE_DEAD = load("select_prunable_dead")
_SELECT_PRUNABLE_DONE = load("select_prunable_done")
_SELECT_REMEMBERED = load("select_remembered")
_SELECT_REQUEUABLE = load("select_requeuable")
_SELECT_TASKS = load("select_tasks").format(columns=", ".join(COLUMNS))
_SETTLE_PUBLISH = load("settle_publish")
_SET_PAUSED = load("set_paused")
_STAGE = load("stage")
_WIPE = load("wipe")


# ---- looking -----------------------------------------------------------------------------------------------------


class Seen(NamedTuple):
    """Whether there is anything to exchange."""

    paused: bool
    ready: bool
    suspects: bool
    next_due: float | None  # seconds from now

    def is_worth_writing(self, wanted: int, alone: bool) -> bool:
        """Whether an exchange without settlements would change anything."""
        can_claim = wanted > 0 and not self.paused and (self.ready or (self.suspects and alone))
        return can_claim or self.next_due == 0.0

    def answer(self, claimed: Sequence[Record] = (), refused: Sequence[str] = ()) -> Exchanged:
        """What an exchange tells."""
        return Exchanged(
            claimed=tuple(claimed),
            refused=tuple(refused),
            suspects_wait=self.suspects,
            next_due=self.next_due,
            paused=self.paused,
        )


def look(session: Session, now: float) -> Seen:
    """See what there is, without changing it."""
    paused, ready, suspects, due = only_row(session.run(_LOOK))
    return Seen(bool(paused), bool(ready), bool(suspects), max(0.0, due - now) if isinstance(due, float) else None)


def select_tasks(session: Session, ids: Collection[str]) -> list[Record]:
    """Whole records, in no order."""
    return [to_record(row) for row in session.run(_SELECT_TASKS, ids=as_json(ids))]


def list_ids(session: Session, state: str, limit: int, after: str, newest_first: bool) -> list[str]:
    """The ids in one state, beyond one."""
    statement = _LIST_NEWEST_FIRST if newest_first else _LIST
    return to_ids(session.run(statement, state=state, after=after, most=max(0, limit)))


def select_ids(session: Session, ids: Collection[str], states: Collection[str]) -> list[str]:
    """Those of the ids that are in these states."""
    return to_ids(session.run(_SELECT_IDS, ids=as_json(ids), states=as_json(states)))


def select_in_states(session: Session, states: Collection[str], most: int) -> list[str]:
    """Some ids in these states."""
    return to_ids(session.run(_SELECT_IN_STATES, states=as_json(states), most=most))


def count(session: Session) -> dict[str, int]:
    """How many tasks are in each state."""
    return dict(session.run(_COUNT).fetchall())


def count_waiting(session: Session, most: int) -> int:
    """How many tasks wait, counted up to ``most``."""
    return int(only_row(session.run(_COUNT_WAITING, most=most))[0])


def oldest_ready_age(session: Session, now: float) -> tuple[float | None, bool]:
    """How long the oldest ready task has waited to run, and whether the queue is paused."""
    since, paused = only_row(session.run(_SELECT_OLDEST_READY))
    return max(0.0, now - since) if isinstance(since, float) else None, bool(paused)


# ---- the way in --------------------------------------------------------------------------------------------------


def stage(session: Session, records: Sequence[Record], envelope: bytes, owner_id: str, now: float) -> int:
    """Put new records aside; returns how many."""
    shared = {"envelope": envelope, "owner": owner_id, "now": now, "remembered_since": now - rules.GONE_SECONDS}
    return session.run_many(_STAGE, ({**from_record(record), **shared} for record in records))


def publish(session: Session, records: Sequence[Record], now: float) -> int:
    """Make records runnable; returns how many became so."""
    shared = {"now": now, "remembered_since": now - rules.GONE_SECONDS}
    return session.run_many(_PUBLISH, ({**from_record(record), **shared} for record in records))


def settle(session: Session, ids: Collection[str], verdict: Verdict, now: float) -> int:
    """Decide what is in doubt; returns how many changed."""
    if verdict == "publish":
        return session.run(_SETTLE_PUBLISH, ids=as_json(ids), now=now).rowcount
    if verdict == "hold":
        return session.run(_HOLD, ids=as_json(ids)).rowcount
    return len(forget(session, select_ids(session, ids, rules.sources("settle")), now))


def take_back(session: Session, task_id: str) -> None:
    """Have it that a task was never staged, in the transaction that has staged it: nobody else has seen it."""
    session.run(_FORGET, ids=as_json([task_id]))


def forget(session: Session, ids: list[str], now: float) -> list[str]:
    """Let tasks go, and remember their ids."""
    if ids:
        session.run(_REMEMBER_GONE, ids=as_json(ids), now=now)
        session.run(_FORGET, ids=as_json(ids))
    return ids


# ---- the way out -------------------------------------------------------------------------------------------------


def promote(session: Session, now: float) -> None:
    """Make ready what is due, the first thousand of it."""
    session.run(_PROMOTE, now=now, most=1000)


def select_claimed(session: Session, owner_id: str, consumer: str, holding: Collection[str]) -> list[str]:
    """What runs in a consumer's name, but for what it knows of."""
    running = to_ids(session.run(_SELECT_CLAIMED, owner=owner_id, consumer=consumer))
    return [task_id for task_id in running if task_id not in holding]


def release(session: Session, ids: Collection[str]) -> int:
    """Give claimed tasks back, nothing spent."""
    return session.run(_RELEASE, ids=as_json(ids)).rowcount


# ---- upkeep ------------------------------------------------------------------------------------------------------


def beat(session: Session, owner: Owner, now: float) -> None:
    """Write an owner down."""
    session.run(
        _BEAT,
        id=owner.id,
        host=owner.host,
        pid=owner.pid,
        started_at=owner.started_at,
        consumers=as_json(owner.consumers),
        now=now,
    )


def retire(session: Session, owner_id: str) -> None:
    """End an owner's lease, and forget it if it holds nothing."""
    session.run(_RETIRE, id=owner_id)
    session.run(_FORGET_IDLE_OWNER, id=owner_id)


def select_owners(session: Session) -> list[tuple[Owner, float, bool]]:
    """All owners, when they were seen last, and whether they have retired."""
    return [
        (
            Owner(id=row[0], host=row[1], pid=row[2], started_at=row[3], consumers=tuple(json.loads(row[4]))),
            row[5],
            bool(row[6]),
        )
        for row in session.run(_SELECT_OWNERS).fetchall()
    ]


def select_holders(session: Session) -> list[tuple[str, bool]]:
    """In whose name something is staged or running, and whether they have retired."""
    return [(owner_id, bool(retired)) for owner_id, retired in session.run(_SELECT_HOLDERS).fetchall()]


def reclaim(session: Session, owner_ids: Collection[str], max_deaths: int, now: float) -> Reclaimed:
    """Take back what owners held that are no more."""
    held = session.run(_SELECT_HELD, owners=as_json(owner_ids)).fetchall()
    now_in: dict[State, list[str]] = {State.HELD: [], State.READY: [], State.DEAD: []}
    for task_id, state, _, suspect, deaths in held:
        if state == State.STAGED:
            now_in[State.HELD].append(task_id)
            continue
        death = rules.after_death(bool(suspect), deaths, max_deaths, now)
        now_in[death.state].append(task_id)
        session.run(_RECLAIM, id=task_id, state=death.state.value, deaths=death.deaths, outcome=death.outcome, now=now)
    session.run(_HOLD, ids=as_json(now_in[State.HELD]))
    return Reclaimed(
        ready=tuple(now_in[State.READY]),
        dead=tuple(now_in[State.DEAD]),
        held=tuple(now_in[State.HELD]),
        owners=tuple(sorted({row[2] for row in held})),
    )


class Keep(NamedTuple):
    """How long finished tasks are kept: seconds, but for ``done_count``."""

    done: float
    done_count: int
    dead: float | None
    secrets: float


def select_prunable(
    session: Session, keep: Keep, now: float, is_alive: Callable[[str, bool], bool]
) -> Mapping[str, list[str]]:
    """The ids of what may go, by sort; of each no more than one call of prune may delete."""
    most = rules.PRUNE_LIMIT
    done = session.run(_SELECT_PRUNABLE_DONE, before=now - keep.done, keep_count=keep.done_count, most=most)
    found = {"done": to_ids(done), "dead": []}
    if keep.dead is not None:
        found["dead"] = to_ids(session.run(_SELECT_PRUNABLE_DEAD, before=now - keep.dead, most=most))
    exposed = to_ids(session.run(_SELECT_EXPOSED, before=now - keep.secrets, most=most))
    found["wiped"] = [task_id for task_id in exposed if task_id not in set(found["dead"])]
    remembered_since = now - rules.GONE_SECONDS
    found["gone"] = to_ids(session.run(_SELECT_GONE, remembered_since=remembered_since, most=rules.GONE_PRUNE_LIMIT))
    holding = set(to_ids(session.run(_SELECT_REMEMBERED)))
    found["owners"] = [
        owner.id
        for owner, seen_at, retired in select_owners(session)
        if owner.id not in holding and seen_at <= remembered_since and not is_alive(owner.id, retired)
    ]
    return found


def prune(session: Session, found: Mapping[str, list[str]], now: float) -> None:
    """Let go what was found, and wipe."""
    forget(session, [*found["done"], *found["dead"]], now)
    session.run(_WIPE, ids=as_json(found["wiped"]))
    session.run(_FORGET_GONE, ids=as_json(found["gone"]))
    session.run(_FORGET_OWNERS, ids=as_json(found["owners"]))


# ---- mending -----------------------------------------------------------------------------------------------------


def requeue(session: Session, ids: Collection[str], now: float) -> list[str]:
    """Start over with those of the ids that can; returns them."""
    chosen = to_ids(session.run(_SELECT_REQUEUABLE, ids=as_json(ids)))
    session.run(_REQUEUE, ids=as_json(chosen), now=now)
    return chosen


def set_paused(session: Session, paused: bool) -> None:
    """Pause or resume the queue."""
    session.run(_SET_PAUSED, paused=paused)
