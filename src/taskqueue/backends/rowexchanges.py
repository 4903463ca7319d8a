"""Exchanges, each in an open session that is the only one who writes.

Nearly all of them are one statement, which is a transaction by itself. Where something has to be known in between, as
when a settlement came too late, it is done step by step in a transaction of several.

Knows no files, no locks and no threads.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from ..interfaces import Exchanged, Settlement
from ..record import State
from .rowchanges import CameTooLateError, Change, change_all
from .rowclaims import claim, next_suspect, read_claimed
from .rows import Seen, look, promote
from .rowsettlements import settle, settle_one_by_one
from .sessions import Session


class Asked(NamedTuple):
    """What ``TaskQueue.exchange`` is given."""

    owner_id: str
    consumer: str
    settlements: Sequence[Settlement]
    wanted: int
    alone: bool

    def claim(self, session: Session, now: float, row: int | None = None) -> Change:
        """The change by which so many are claimed, or the one in this row."""
        return claim(session, self.owner_id, self.consumer, self.wanted, now, row)


class Changed(NamedTuple):
    """What an exchange has come to."""

    asked: Asked
    now: float
    seen: Seen
    refused: Sequence[str] = ()
    has_claimed: bool = False

    def answer(self, session: Session) -> Exchanged:
        """What it tells. Only reads, and only what nobody else sees."""
        asked = self.asked
        claimed = read_claimed(session, asked.owner_id, asked.consumer, self.now) if self.has_claimed else ()
        return self.seen.answer(claimed, self.refused)


def exchange(session: Session, asked: Asked, let_go: Callable[[], None]) -> Changed:
    """Take in the settlements, and claim. ``let_go`` is called when little is left to do but for SQLite itself."""
    now = time.time()
    seen = look(session, now)
    delays = [each.delay for each in asked.settlements if each.state == State.SCHEDULED.value]
    if (
        seen.next_due == 0.0  # what is due has to be promoted first
        or (seen.suspects and asked.alone)
        or any(each.state == State.READY.value for each in asked.settlements)  # claimed at once, or suspects that wait
        or any(delay <= 0 for delay in delays)
        or len({each.id for each in asked.settlements}) != len(asked.settlements)
    ):
        return _step_by_step(session, asked, let_go)
    try:
        changes = settle(session, asked.settlements, now)
        has_claimed = seen.ready and not seen.paused and asked.wanted > 0
        if has_claimed:
            changes.append(asked.claim(session, now))
        let_go()
        if changes:
            change_all(session, changes)
    except (CameTooLateError, ValueError, OverflowError):
        return _step_by_step(session, asked, let_go)
    if delays:
        seen = seen._replace(next_due=min(delays) if seen.next_due is None else min(seen.next_due, *delays))
    return Changed(asked, now, seen, has_claimed=has_claimed)


def _step_by_step(session: Session, asked: Asked, let_go: Callable[[], None]) -> Changed:
    with session.transaction():
        now = time.time()
        refused = settle_one_by_one(session, asked.settlements, now)
        seen = look(session, now)
        if seen.next_due == 0.0:
            promote(session, now)
            seen = look(session, now)
        has_claimed = not seen.paused and asked.wanted > 0
        if has_claimed:
            suspect = next_suspect(session) if asked.alone and seen.suspects else None
            change_all(session, [asked.claim(session, now, suspect)])
            if suspect is not None:  # there may be no other
                seen = look(session, now)
        let_go()
    return Changed(asked, now, seen, refused, has_claimed)
