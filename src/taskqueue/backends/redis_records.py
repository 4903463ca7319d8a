"""Records, settlements and answers as they travel to and from the Lua scripts. Knows no connection.

What is told of tasks comes in columns: ids, progresses, bodies, secrets, outcomes, envelopes.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import msgspec

from ..interfaces import Exchanged, Record, Settlement

_WHOLE_NUMBER = re.compile(r"-?[0-9]{1,20}")
_ARRAY = struct.Struct(">BI")  # the head of a MessagePack array


class _Progress(msgspec.Struct, array_like=True):
    state: str
    priority: str  # as it was given: Lua's numbers do not hold 64 bits
    due: float
    claim_number: int
    attempts: int
    deaths: int
    suspect: int
    owner: str
    consumer: str
    staged_at: float
    published_at: float
    first_claimed_at: float
    claimed_at: float
    finished_at: float


_progress_decoder = msgspec.msgpack.Decoder(_Progress)
_progresses_decoder = msgspec.msgpack.Decoder(list[_Progress])
_encoder = msgspec.msgpack.Encoder()


def encode_text(text: str) -> bytes:
    """An id or a name; any text that Python can hold."""
    return text.encode("utf-8", "surrogatepass")


def decode_text(data: bytes) -> str:
    """An id or a name, whatever the store holds."""
    return data.decode("utf-8", "replace")


def encode_ids(ids: Iterable[str]) -> list[bytes]:
    """Ids, each once."""
    return [encode_text(task_id) for task_id in dict.fromkeys(ids)]


def decode_ids(ids: Iterable[bytes]) -> list[str]:
    """Ids as the store tells them."""
    return [decode_text(task_id) for task_id in ids]


def new_records(records: Iterable[Record]) -> list[bytes | int | float]:
    """What is stored of new records: six arguments each."""
    arguments: list[bytes | int | float] = []
    for record in records:
        secrets = record.secrets
        arguments += (
            encode_text(record.id),
            record.priority,
            record.due,
            record.body,
            0 if secrets is None else 1,
            secrets or b"",
        )
    return arguments


def settlements(given: Sequence[Settlement]) -> list[bytes]:
    """Settlements as one argument, and their outcomes, one argument each."""
    outcomes: list[bytes] = []
    rows = []
    for each in given:
        if each.outcome is not None:
            outcomes.append(each.outcome)
        number = 0 if each.outcome is None else len(outcomes)
        rows.append(
            (each.id, each.claim_number, each.state, each.delay, each.attempts, each.wipe, each.started, number)
        )
    return [_encoder.encode(rows), *outcomes]


def exchanged(answer: Sequence[Any]) -> Exchanged:
    """What an exchange told."""
    refused, suspects_wait, next_due, paused, claimed = answer
    return Exchanged(
        claimed=tuple(records(claimed)),
        refused=tuple(decode_ids(refused)),
        suspects_wait=bool(suspects_wait),
        next_due=float(next_due) if next_due else None,
        paused=bool(paused),
    )


def records(columns: Sequence[Any]) -> list[Record]:
    """Records as the store tells them. Raises msgspec.MsgspecError or ValueError for what are none."""
    ids, progresses, bodies, secrets, outcomes, envelopes = columns
    if not ids:
        return []
    nothing = [None] * len(ids)
    rows = zip(_progresses(progresses), ids, bodies, secrets, outcomes or nothing, envelopes or nothing, strict=True)
    return [_record(*row) for row in rows]


def _progresses(packed: Sequence[bytes]) -> Sequence[_Progress | None]:
    """All progresses; None for one that somebody else has written: it spoils no other."""
    try:  # all at once costs a third of one by one
        return _progresses_decoder.decode(_ARRAY.pack(0xDD, len(packed)) + b"".join(packed))
    except msgspec.DecodeError:
        return [_progress(each) for each in packed]


def _progress(packed: bytes) -> _Progress | None:
    try:
        return _progress_decoder.decode(packed)
    except msgspec.DecodeError:
        return None


def _record(
    progress: _Progress | None,
    task_id: bytes | None,
    body: bytes | None,
    secrets: bytes | None,
    outcome: bytes | None,
    envelope: bytes | None,
) -> Record:
    if progress is None or not _WHOLE_NUMBER.fullmatch(progress.priority):
        # With no body it is told as unreadable, and keeps nobody from running.
        return Record(id=decode_text(task_id or b""), body=b"")
    # By their names, so many would take ten times as long.
    return Record(
        decode_text(task_id or b""),
        body or b"",
        secrets,
        int(progress.priority),
        progress.due,
        progress.state,
        progress.claim_number,
        progress.attempts,
        progress.deaths,
        bool(progress.suspect),
        progress.owner,
        progress.consumer,
        envelope or b"",
        outcome or b"",
        progress.staged_at or None,
        progress.published_at or None,
        progress.first_claimed_at or None,
        progress.claimed_at or None,
        progress.finished_at or None,
    )


def in_portions(ids: Collection[str], size: int) -> Iterable[list[bytes]]:
    """Ids in portions: no call keeps the server busy for long."""
    encoded = encode_ids(ids)
    for first in range(0, len(encoded), size):
        yield encoded[first : first + size]
