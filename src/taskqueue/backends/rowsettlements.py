"""Settlements as changes of rows, as many in one change as ended alike. Each function works in an open session.

Knows no files, no locks and no threads.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence

import msgspec

from ..interfaces import Settlement
from .rowchanges import Change, change_all
from .rowvalues import to_ids
from .sessions import Session
from .statements import load

_SELECT_SETTLED = load("select_settled")
_encoder = msgspec.json.Encoder()


def settle(session: Session, settlements: Iterable[Settlement], now: float) -> list[Change]:
    """The changes by which settlements of different tasks are taken in, all or none.

    Raises ValueError or OverflowError when one is of what is in no store of ours.
    """
    groups: dict[tuple[str, int, bool, bool, bool], list[Settlement]] = defaultdict(list)
    for each in settlements:
        groups[each.state, each.attempts, each.wipe, each.started, each.outcome is None].append(each)
    return [_change(session, members, now) for members in groups.values()]


def _change(session: Session, settlements: Sequence[Settlement], now: float) -> Change:
    """``settlements`` are alike but for their outcomes and delays."""
    begin = 1  # as SQLite counts
    given: dict[str, tuple[int, int, int, float]] = {}
    outcomes = []
    for each in settlements:
        if "\0" in each.id:
            raise ValueError("an id of which SQLite would see the beginning only")
        outcome = each.outcome or b""
        given[each.id] = each.claim_number, begin, len(outcome), max(0.0, each.delay)
        outcomes.append(outcome)
        begin += len(outcome)
    first = settlements[0]
    return Change(
        "settle",
        session.queue,
        now,
        given=_encoder.encode(given).decode(),
        tasks=len(settlements),
        state=first.state,
        attempts=first.attempts,
        wipe=first.wipe,
        started=first.started,
        outcomes=None if first.outcome is None else b"".join(outcomes),
    )


def settle_one_by_one(session: Session, settlements: Sequence[Settlement], now: float) -> list[str]:
    """Take in what came in time, within a transaction; returns the ids of what did not."""
    late: set[int] = set()  # places among the settlements
    left = dict(enumerate(settlements))
    while left:
        # Of one task there may be several, of several claims: the later ones come in a round of their own.
        places: dict[str, int] = {}
        for place, each in left.items():
            places.setdefault(each.id, place)
        taken = _settle_round(session, {task_id: left[place] for task_id, place in places.items()}, now)
        late.update(place for task_id, place in places.items() if task_id not in taken)
        for place in places.values():
            del left[place]
    return [settlements[place].id for place in sorted(late)]


def _settle_round(session: Session, settlements: Mapping[str, Settlement], now: float) -> Collection[str]:
    """Take in one settlement of each task; returns the ids of those that came in time."""
    # Somebody else may have written what JSON cannot tell SQLite of: it keeps no other from being settled.
    claims = {
        each.id: each.claim_number
        for each in settlements.values()
        if "\0" not in each.id and math.isfinite(each.claim_number)
    }
    found = set(to_ids(session.run(_SELECT_SETTLED, claims=json.dumps(claims)))) & claims.keys()
    if found:
        change_all(session, settle(session, [each for each in settlements.values() if each.id in found], now))
    return found
