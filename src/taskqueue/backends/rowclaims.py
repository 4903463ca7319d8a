"""Ready tasks are claimed and read. Each function works in an open session.

Knows no files, no locks and no threads.
"""

from __future__ import annotations

from itertools import accumulate, pairwise

import msgspec

from ..interfaces import CLAIM_BYTES_LIMIT, CLAIM_COUNT_LIMIT, Record
from ..record import State
from . import rules
from .rowchanges import Change
from .rowvalues import COLUMNS, only_row, to_record
from .sessions import Session
from .statements import load

_READ_ANSWER = load("read_answer")
_READ_CHOSEN = load("read_chosen").format(columns=", ".join(COLUMNS))
_SELECT_FIRST = load("select_first").format(columns=", ".join(COLUMNS))
_UNIT = 2.0**30  # of times, to the second


class _Plain(msgspec.Struct, array_like=True, gc=False):
    """What the trigger tells of one record beside its bytes."""

    id: str
    priority: int
    claim_number: int
    attempts: int
    deaths: int
    suspect: int
    due: int
    staged_at: int | None
    published_at: int | None
    first_claimed_at: int | None
    finished_at: int | None
    body: int  # these are lengths
    secrets: int | None
    envelope: int
    outcome: int


_decoder = msgspec.json.Decoder(list[_Plain])


def claim(session: Session, owner_id: str, consumer: str, wanted: int, now: float, row: int | None = None) -> Change:
    """The change by which up to ``wanted`` records are claimed, or the one in this row."""
    return Change(
        "claim",
        session.queue,
        now,
        given=row,
        tasks=min(wanted, CLAIM_COUNT_LIMIT),
        bytes=CLAIM_BYTES_LIMIT,
        owner=owner_id,
        consumer=consumer,
    )


def next_suspect(session: Session) -> int | None:
    """The row of the suspect that is to be claimed before all others, None when others come first."""
    suspect = first = None
    for row in session.run(_SELECT_FIRST).fetchall():
        record = to_record(row)
        if record.suspect:
            suspect, number = record, int(row[-1])
        else:
            first = record
    if suspect is None or (first is not None and not rules.comes_before(suspect, first)):
        return None
    return number


def read_claimed(session: Session, owner_id: str, consumer: str, now: float) -> list[Record]:
    """What was claimed by the last change, in the order of claims."""
    count, told, content = only_row(session.run(_READ_ANSWER))
    if not count:
        return []
    found = _decoder.decode(told)
    lengths = [length for each in found for length in (each.body, each.secrets or 0, each.envelope, each.outcome)]
    if len(found) != count or sum(lengths) != len(content or b""):
        # Somebody else may have written anything there, or made the file, with text that is not UTF-8.
        chosen = session.run(_READ_CHOSEN, owner=owner_id, consumer=consumer, now=now)
        return [to_record(row) for row in chosen]
    parts = iter([content[begin:end] for begin, end in pairwise(accumulate(lengths, initial=0))])
    return [
        _record(each, owner_id, consumer, now, next(parts), next(parts), next(parts), next(parts)) for each in found
    ]


def _record(
    plain: _Plain,
    owner_id: str,
    consumer: str,
    now: float,
    body: bytes,
    secrets: bytes,
    envelope: bytes,
    outcome: bytes,
) -> Record:
    return Record(
        plain.id,
        body,
        None if plain.secrets is None else secrets,
        plain.priority,
        plain.due / _UNIT,
        State.RUNNING.value,
        plain.claim_number,
        plain.attempts,
        plain.deaths,
        bool(plain.suspect),
        owner_id,
        consumer,
        envelope,
        outcome,
        _time(plain.staged_at),
        _time(plain.published_at),
        _time(plain.first_claimed_at),
        now,
        _time(plain.finished_at),
    )


def _time(units: int | None) -> float | None:
    return None if units is None else units / _UNIT
