"""Records, settlements and owners as they travel to and from the statements. Knows no connection.

New records and settlements travel as JSON, one parameter for however many: any driver can send it.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from ..interfaces import Owner, Record, Settlement
from ..record import State
from . import rules
from .leases import Row, Sight
from .postgresql_statements import COLUMNS

_encoder = msgspec.json.Encoder()


def encode_records(records: Iterable[Record]) -> str:
    """What is stored of new records, each id once."""
    by_id: dict[str, Record] = {}
    for record in records:
        by_id.setdefault(record.id, record)
    return encode(
        [
            {
                "id": record.id,
                "priority": record.priority,
                "due": record.due,
                "body": record.body,
                "secrets": record.secrets,
            }
            for record in by_id.values()
        ]
    )


def encode_settlements(settlements: Iterable[Settlement]) -> str:
    """Settlements; of several for one claim the first."""
    by_claim: dict[tuple[str, int], Settlement] = {}
    for each in settlements:
        by_claim.setdefault((each.id, each.claim_number), each)
    return encode(list(by_claim.values()))


def encode(rows: Sequence[Any]) -> str:
    """Values as JSON; bytes in Base64."""
    return _encoder.encode(rows).decode()


def select_refused(settlements: Iterable[Settlement], settled: Iterable[tuple[str, int]]) -> tuple[str, ...]:
    """The ids of those settlements that came too late."""
    taken = set(settled)
    refused = []
    for each in settlements:
        claim = (each.id, each.claim_number)
        if claim in taken:
            taken.remove(claim)
        else:
            refused.append(each.id)
    return tuple(refused)


def storable(ids: Iterable[str]) -> list[str]:
    """Ids, each once; without those that no row can have."""
    return [each for each in dict.fromkeys(ids) if is_storable(each)]


def is_storable(text: str) -> bool:
    """Whether a text can be stored: PostgreSQL knows no NUL, and UTF-8 no halves of characters."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text


def record(row: Sequence[Any]) -> Record:
    """A whole row as a record."""
    return Record(*row)


def in_order_of_claims(rows: Sequence[Sequence[Any]]) -> list[Record]:
    """What was claimed as records, in the order in which they are claimed. A row without a task stands alone."""
    if rows[0][-len(COLUMNS)] is None:
        return []
    claimed = [record(row[-len(COLUMNS) :]) for row in rows]
    return sorted(claimed, key=lambda each: (-each.priority, each.id))


# ---- owners ------------------------------------------------------------------------------------------------------


def owner_parameters(owner: Owner) -> Mapping[str, Any]:
    """An owner as it is written down."""
    return {
        "id": owner.id,
        "host": owner.host,
        "pid": owner.pid,
        "started_at": owner.started_at,
        "consumers": json.dumps(list(owner.consumers)),
    }


def sight(owners: Sequence[Sequence[Any]], holders: Iterable[Sequence[Any]]) -> Sight:
    """What was seen of owners in one look."""
    rows = {row[1]: msgspec.msgpack.encode(_lease_row(row)) for row in owners if row[1] is not None}
    return Sight(now=owners[0][0], rows=rows, holders=frozenset(owner for (owner,) in holders))


def _lease_row(row: Sequence[Any]) -> Row:
    _, owner_id, beats, seen_at, lease, retired, host, pid, started_at, consumers = row
    owner = Owner(id=owner_id, host=host, pid=pid, started_at=started_at, consumers=_consumers(consumers))
    return Row(beats=beats, seen_at=seen_at, lease=lease, retired=retired, about=msgspec.json.encode(owner).decode())


def _consumers(text: str) -> tuple[str, ...]:
    try:
        return msgspec.json.decode(text, type=tuple[str, ...])
    except msgspec.MsgspecError:
        return ()  # somebody else has written here


# ---- reclaiming --------------------------------------------------------------------------------------------------


def judge(task: Sequence[Any], max_deaths: int, now: float) -> Mapping[str, Any]:
    """What becomes of a task that a dead owner held, as the statement that takes it back is told."""
    task_id, state, owner, claim_number, suspect, deaths = task
    verdict: dict[str, Any] = {"id": task_id, "owner": owner, "claim_number": claim_number, "deaths": deaths}
    if state == State.STAGED:
        return {**verdict, "state": State.HELD.value}
    death = rules.after_death(suspect, deaths, max_deaths, now)
    return {**verdict, "state": death.state.value, "deaths": death.deaths, "outcome": death.outcome}


def lapsed_rows(lapsed: Collection[str], seen: Sight) -> str:
    """Owners whose lease has lapsed, and how often each had beaten when it was looked at."""
    beats = {owner: msgspec.msgpack.decode(row, type=Row).beats for owner, row in seen.rows.items()}
    return encode([{"id": owner, "beats": beats.get(owner)} for owner in lapsed])
