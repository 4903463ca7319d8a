"""Tasks and records for tests, and their parts."""

from __future__ import annotations

import msgspec

from taskqueue.interfaces import Record
from taskqueue.record import Principal, Task, new_id

KEY, OLD_KEY, OTHER_KEY = b"n" * 32, b"o" * 40, b"x" * 32
SECRETS = ("s3ss10n-c00k1e", "b4s1c-p4ssw0rd", "p4yl04d-bytes")


def make_task(**fields: object) -> Task:
    given: dict[str, object] = {
        "id": new_id(),
        "queue": "mail",
        "method": "POST",
        "url": "/send?to=a",
        "headers": (("Accept", "text/html"), ("Cookie", f"session={SECRETS[0]}"), ("Authorization", SECRETS[1])),
        "payload": SECRETS[2].encode(),
        "base_url": "https://www.example.org",
        "connection": {"REMOTE_ADDR": "192.0.2.1"},
        "principal": Principal("ada", "pyramid"),
    }
    return Task(**{**given, **fields})


def body_of(parts: tuple[object, ...]) -> bytes:
    return msgspec.msgpack.encode(parts)


def parts_of(record: Record) -> list[object]:
    return msgspec.msgpack.decode(record.body)


def change(record: Record, **fields: object) -> Record:
    return msgspec.structs.replace(record, **fields)
