"""What may be shown of a stored record: everything but credentials, payloads and the values of queries.

Each function returns plain values, the same for text and for JSON. A record that cannot be read as a task is described
by the columns that its store keeps beside it, and by the reason.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import RecordError
from ..interfaces import Record
from ..queues import Queue
from ..record import Outcome, Task, as_dict, decode, decode_envelope, is_secret_header
from .screen import iso

REDACTED = "…"
UNLIMITED = sys.maxsize
TIMES = ("due", "added_at", "staged_at", "published_at", "first_claimed_at", "claimed_at", "finished_at")
_QUERY = re.compile(r"\?([^\s\"'<>#]*=[^\s\"'<>#]*)")


@dataclass(frozen=True)
class Described:
    """One record, and the task that it holds if it can be read; ``problem`` is why it would not be run."""

    queue: Queue
    record: Record
    task: Task | None
    problem: str = ""

    @property
    def path(self) -> str:
        """The URL without its query."""
        return self.task.path if self.task is not None else "?"

    @property
    def user(self) -> str | None:
        """Who added it."""
        principal = self.task.principal if self.task is not None else None
        return principal.user_id if principal is not None else None

    @property
    def outcome(self) -> Outcome | None:
        """What its last replay came to."""
        return self.task.last_outcome if self.task is not None else None

    @property
    def last(self) -> str:
        """What its last replay came to, in a few words."""
        if self.problem:
            return self.problem
        return redacted(self.outcome.reason) if self.outcome is not None else ""

    def told(self, width: int = UNLIMITED) -> str:
        """The same with its cause: what an exception says, and where a redirect leads. Too much of it is cut there, and
        not what comes of it."""
        if self.problem or self.outcome is None:
            return _cut(self.last, width)
        reason, cause = self.last, redacted(_cause(self.outcome))
        if not cause:
            return _cut(reason, width)
        what, semicolon, ending = reason.partition("; ")
        return _cut(f"{what}{cause}", max(0, width - len(semicolon + ending))) + semicolon + ending


def _cause(outcome: Outcome) -> str:
    """What the reason does not say."""
    kind, _, text = outcome.error.partition(": ")
    if text and outcome.reason.startswith(f"raised {kind}"):
        return f": {text}"
    location = next((value for name, value in outcome.headers if name.lower() == "location"), "")
    is_redirect = outcome.status is not None and 300 <= outcome.status < 400
    return f" to {location}" if is_redirect and location else ""


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: max(0, width - 1)]}…"


def read(queue: Queue, record: Record) -> Described:
    """Read a record as far as it can be read: one whose seal is not ours is looked at all the same."""
    try:
        return Described(queue, record, decode(record, queue.keyring))
    except (RecordError, TypeError) as error:  # a seal over what are no bytes is a TypeError
        problem = str(error)
    try:
        return Described(queue, record, decode(record, None), problem)
    except RecordError:
        return Described(queue, record, None, problem)


def state(record: Record) -> str:
    """The state of a record in a list, and whether it is to run by itself."""
    return f"{record.state}, suspect" if record.suspect and record.state in ("ready", "running") else record.state


def brief(described: Described) -> dict[str, Any]:
    """A record in a list."""
    record, task = described.record, described.task
    return {
        "id": record.id,
        "queue": described.queue.name,
        "state": record.state,
        "suspect": record.suspect,
        "method": task.method if task is not None else None,
        "path": task.path if task is not None else None,
        "user": described.user,
        "priority": record.priority,
        "attempts": record.attempts,
        "deaths": record.deaths,
        "added_at": iso(task.added_at) if task is not None else None,
        "due": iso(record.due or None),
        "claimed_at": iso(record.claimed_at),
        "finished_at": iso(record.finished_at),
        "last": described.last or None,
    }


def everything(described: Described) -> dict[str, Any]:
    """All that is known of a record."""
    shown = _of_task(described.task) if described.task is not None else _of_columns(described.record)
    shown["queue"] = described.queue.name
    for name in TIMES:
        shown[name] = iso(shown.get(name) or None)
    shown["envelope"] = _of_envelope(described.record.envelope)
    shown["problem"] = described.problem or None
    return shown


def redacted_url(url: str) -> str:
    """A URL with the names of its query, and without their values."""
    path, mark, query = url.partition("?")
    return path + mark + _redacted_query(query) if query else path


def redacted(text: str) -> str:
    """Text in which each URL has lost the values of its query."""
    return _QUERY.sub(lambda match: "?" + _redacted_query(match[1]), text)


def _redacted_query(query: str) -> str:
    names = (pair.partition("=")[:2] for pair in re.split("[&;]", query))
    return "&".join(f"{name}={REDACTED}" if equals else REDACTED for name, equals in names)


def _of_task(task: Task) -> dict[str, Any]:
    shown = as_dict(task)
    shown["url"] = redacted_url(task.url)
    shown["headers"] = _redacted_headers(shown["headers"])
    shown["connection"] = _redacted_connection(shown["connection"])
    outcome = shown.get("last_outcome")
    if outcome is not None:
        shown["last_outcome"] = outcome | {
            "reason": redacted(outcome["reason"]),
            "error": redacted(outcome["error"]),
            "headers": _redacted_headers(outcome["headers"]),
            "body": redacted(outcome["body"]),
            "finished_at": iso(outcome["finished_at"] or None),
        }
    return shown


def _redacted_headers(headers: Any) -> list[list[str]]:
    return [[name, REDACTED if is_secret_header(name) else redacted(value)] for name, value in headers]


def _redacted_connection(connection: Mapping[str, str]) -> dict[str, str]:
    return {
        name: REDACTED if name == "QUERY_STRING" or is_secret_header(name.removeprefix("HTTP_")) else redacted(value)
        for name, value in connection.items()
    }


def _of_columns(record: Record) -> dict[str, Any]:
    hidden = {"body", "secrets", "envelope", "outcome"}
    return {name: getattr(record, name) for name in record.__struct_fields__ if name not in hidden}


def _of_envelope(data: bytes) -> dict[str, Any] | str | None:
    if not data:
        return None
    try:
        envelope = decode_envelope(data)
    except RecordError as error:
        return str(error)
    return {
        "transaction_id": envelope.transaction_id,
        "owner": envelope.owner,
        "witnesses": [f"{mark.kind} {mark.database}" for mark in envelope.witnesses],
    }
