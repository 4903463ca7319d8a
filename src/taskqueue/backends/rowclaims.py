"""Ready tasks are chosen, claimed and read, in few statements of one row each. Each function works in an open session.

Knows no files, no locks and no threads. With each row of an answer the module ``sqlite3`` lets the other threads of its
process take a turn, and while those work an exchange waits for them: what it tells of many tasks is therefore one row.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import accumulate, pairwise, takewhile

import msgspec

from ..interfaces import CLAIM_BYTES_LIMIT, CLAIM_COUNT_LIMIT, Record
from ..record import State
from . import rules
from .rowvalues import COLUMNS, only_row, to_record
from .sessions import Session
from .statements import load

_CLAIM = load("claim")
_READ_PLAIN = load("read_plain")
_READ_ROWS = load("read_rows").format(columns=", ".join(COLUMNS))
_SELECT_READY = load("select_ready")
_SELECT_SUSPECT = load("select_suspect")


class _Plain(msgspec.Struct, array_like=True, gc=False):
    """What ``read_plain.sql`` tells of one record beside its bytes."""

    row: int
    id: str
    priority: int
    claim_number: int
    attempts: int
    deaths: int
    suspect: int
    due: str
    staged_at: str | None
    published_at: str | None
    first_claimed_at: str | None
    finished_at: str | None
    body: int  # these are lengths
    secrets: int | None
    envelope: int
    outcome: int


_plain_decoder = msgspec.json.Decoder(list[_Plain])
_sizes_decoder = msgspec.json.Decoder(list[tuple[int, int]])


def claim(session: Session, owner_id: str, consumer: str, wanted: int, alone: bool, now: float) -> list[Record]:
    """Take up to ``wanted`` records to run: a suspect by itself, or others while there is room."""
    rows = _choose(session, max(0, min(wanted, CLAIM_COUNT_LIMIT)), alone)
    if not rows:
        return []
    records = _read(session, rows)
    session.run(_CLAIM, rows=json.dumps(rows), owner=owner_id, consumer=consumer, now=now)
    return [
        msgspec.structs.replace(
            record,
            state=State.RUNNING.value,
            claim_number=record.claim_number + 1,
            owner=owner_id,
            consumer=consumer,
            claimed_at=now,
            first_claimed_at=now if record.first_claimed_at is None else record.first_claimed_at,
        )
        for record in records
    ]


def _choose(session: Session, wanted: int, alone: bool) -> list[int]:
    """The numbers of the rows to claim, in the order of claims."""
    if not wanted:
        return []
    sizes = _sizes_decoder.decode(only_row(session.run(_SELECT_READY, most=wanted))[0])
    room = accumulate(max(1, size) for _, size in sizes)
    chosen = [
        row for (row, _), _ in zip(sizes, takewhile(lambda taken: taken <= CLAIM_BYTES_LIMIT, room), strict=False)
    ]
    chosen = chosen or [row for row, _ in sizes[:1]]
    suspect = session.run(_SELECT_SUSPECT).fetchone() if alone else None
    if suspect is None:
        return chosen
    if not chosen:
        return [suspect[0]]
    record, first = _read_rows(session, [suspect[0], chosen[0]])
    return [suspect[0]] if rules.comes_before(record, first) else chosen


def _read(session: Session, rows: Sequence[int]) -> list[Record]:
    """The records in these rows, in their order."""
    if len(rows) == 1:  # one row either way
        return _read_rows(session, rows)
    plain = _read_plain(session, rows)
    odd = [row for row in rows if row not in plain]
    plain.update(zip(odd, _read_rows(session, odd), strict=True))
    return [plain[row] for row in rows]


def _read_plain(session: Session, rows: Sequence[int]) -> dict[int, Record]:
    """Those records in these rows that are as we write them, by row."""
    told, content = only_row(session.run(_READ_PLAIN, rows=json.dumps(rows)))
    found = _plain_decoder.decode(told)
    lengths = [length for each in found for length in (each.body, each.secrets or 0, each.envelope, each.outcome)]
    if sum(lengths) != len(content or b""):
        return {}  # the text of this file is not UTF-8, though we make no other
    parts = iter([content[begin:end] for begin, end in pairwise(accumulate(lengths, initial=0))])
    return {each.row: _record(each, next(parts), next(parts), next(parts), next(parts)) for each in found}


def _record(plain: _Plain, body: bytes, secrets: bytes, envelope: bytes, outcome: bytes) -> Record:
    return Record(
        id=plain.id,
        body=body,
        secrets=None if plain.secrets is None else secrets,
        priority=plain.priority,
        due=float(plain.due),
        claim_number=plain.claim_number,
        attempts=plain.attempts,
        deaths=plain.deaths,
        suspect=bool(plain.suspect),
        envelope=envelope,
        outcome=outcome,
        staged_at=_time(plain.staged_at),
        published_at=_time(plain.published_at),
        first_claimed_at=_time(plain.first_claimed_at),
        finished_at=_time(plain.finished_at),
    )


def _time(digits: str | None) -> float | None:
    return None if digits is None else float(digits)


def _read_rows(session: Session, rows: Sequence[int]) -> list[Record]:
    """The records in these rows, in their order, whatever somebody else may have written there."""
    if not rows:
        return []
    found = {row[-1]: to_record(row) for row in session.run(_READ_ROWS, rows=json.dumps(rows))}
    return [found[row] for row in rows]
