"""Settlements as changes of rows, as many in one statement as ended alike. Each function works in an open session.

Knows no files, no locks and no threads. With one statement for each settlement the module ``sqlite3`` would let the
threads of its process take turns fourteen times a task; while they work, most of an exchange was waiting for those.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from ..interfaces import Settlement
from .rowvalues import only_row
from .sessions import Session
from .statements import load

_SELECT_SETTLED = load("select_settled")
_SETTLE_ALIKE = load("settle_alike")


class _Alike(NamedTuple):
    """What settlements of one statement have in common."""

    state: str
    delay: float
    attempts: int
    wipe: bool
    started: bool
    has_outcome: bool


def settle_claims(session: Session, settlements: Sequence[Settlement], now: float) -> list[str]:
    """Take in what became of claims; returns the ids of those that came too late."""
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
    rows = _rows(session, settlements)
    groups: dict[_Alike, list[Settlement]] = defaultdict(list)
    for task_id in rows:
        groups[_alike(settlements[task_id])].append(settlements[task_id])
    for alike, members in groups.items():
        _settle(session, alike, members, rows, now)
    return rows.keys()


def _rows(session: Session, settlements: Mapping[str, Settlement]) -> dict[str, int]:
    """The numbers of the rows that these settle, by id; of those that came too late there is none."""
    # Somebody else may have written what JSON cannot tell SQLite of: it keeps no other from being settled.
    claims = {
        each.id: each.claim_number
        for each in settlements.values()
        if "\0" not in each.id and math.isfinite(each.claim_number)
    }
    found: dict[str, int] = json.loads(only_row(session.run(_SELECT_SETTLED, claims=json.dumps(claims)))[0])
    return found


def _alike(settlement: Settlement) -> _Alike:
    return _Alike(
        settlement.state,
        max(0.0, settlement.delay),
        settlement.attempts,
        settlement.wipe,
        settlement.started,
        settlement.outcome is not None,
    )


def _settle(
    session: Session, alike: _Alike, settlements: Sequence[Settlement], rows: Mapping[str, int], now: float
) -> None:
    begin = 1  # as SQLite counts
    settled: dict[int, int] = {}
    for each in settlements:
        length = len(each.outcome or b"")
        settled[rows[each.id]] = begin << 32 | length
        begin += length
    parameters: dict[str, Any] = {
        "state": alike.state,
        "due": now + alike.delay,
        "attempts": alike.attempts,
        "wipe": alike.wipe,
        "started": alike.started,
        "outcomes": b"".join([each.outcome or b"" for each in settlements]) if alike.has_outcome else None,
        "settled": json.dumps(settled),
        "now": now,
    }
    session.run(_SETTLE_ALIKE, **parameters)
