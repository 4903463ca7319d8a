"""Rows of the tables and what they stand for: records, and lists of ids. Knows no statements."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterable
from typing import Any

import msgspec

from ..interfaces import Record

COLUMNS = Record.__struct_fields__


def from_record(record: Record) -> dict[str, Any]:
    """What the statements that store one are given of a record."""
    return {
        "id": record.id,
        "priority": record.priority,
        "due": record.due,
        "body": record.body,
        "secrets": record.secrets,
    }


def to_record(row: tuple[Any, ...]) -> Record:
    """A record, of a row that begins with its columns."""
    fields = dict(zip(COLUMNS, row, strict=False))
    fields["suspect"] = bool(fields["suspect"])
    try:
        return msgspec.convert(fields, Record)
    except msgspec.ValidationError:
        # Somebody else has written here. With no body it is claimed, told as unreadable, and keeps nobody from running.
        known = {name: fields[name] for name in ("id", "state", "suspect", "claim_number")}
        if not isinstance(known["claim_number"], (int, float)):
            known["claim_number"] = 0  # as SQLite counts on
        return Record(**known, body=b"")


def to_ids(rows: Iterable[tuple[str]]) -> list[str]:
    """The ids in rows of one; those that are no text are left out."""
    return [task_id for (task_id,) in rows if isinstance(task_id, str)]


def as_json(words: Collection[str]) -> str:
    """Words for ``json_each()`` in a statement."""
    # Text for json_each(): as many words as one likes, and no character that SQLite cannot take.
    return json.dumps(list(words))


def only_row(cursor: sqlite3.Cursor) -> tuple[Any, ...]:
    """The row of a statement that always has one. Raises sqlite3.DatabaseError when it is missing."""
    row = cursor.fetchone()
    if row is None:
        raise sqlite3.DatabaseError("the queue's own row is missing")
    return tuple(row)
