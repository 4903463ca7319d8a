"""What a replay came to: done, retry at a time, or dead. Values in, values out; no clock, no chance, no store.

The table is data: settings change its rows, and the documentation prints it.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import timezone
from email.utils import parsedate_to_datetime
from typing import Literal

import msgspec
from zope.interface import providedBy

from ..interfaces import Settlement
from ..notices import Event
from ..record import (
    CACHED_CHARACTERS,
    CACHED_NAMES,
    Headers,
    Outcome,
    Task,
    encode_part,
    is_secret_header,
    printable,
)
from ..settings import ServerSettings

Action = Literal["done", "retry", "dead"]
EndState = Literal["done", "scheduled", "dead"]

FREE_SECONDS = 24 * 3600.0  # so long after its first claim a task may wait for others without spending attempts
RETRY_AFTER_LIMIT = 3600.0
UNKNOWN_RECORD_DELAY = 60.0
BODY_BYTES = 4096
HEADER_COUNT = 50
HEADER_BYTES = 8 * 1024
ERROR_CHARACTERS = 500
SECRET_CHARACTERS = 6  # shorter values are words, and blotting them out would hide nothing
JITTER = 0.1
DOUBLINGS_LIMIT = 100  # beyond it any delay is at its maximum, and a float at its end


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What a replay ended in. With an exception there is no status: the response was never complete."""

    status: int | None = None
    headers: Headers = ()
    body: bytes = b""  # the first 4 KiB
    exception: BaseException | None = None
    duration_seconds: float = 0.0
    committed: bool | None = None  # None: no door let us see the transaction
    refusal: str = ""  # why a door did not let the task run


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the outcome table."""

    ended_in: str  # a status, a class of them, or "aborted", "refused", "conflict", "exception", "other"
    action: Action
    spends: bool = True  # False: no attempt is spent in the first 24 h
    at_most: int | None = None  # attempts, when fewer than configured
    quick: bool = False  # the delay starts at conflict_backoff in place of min_backoff
    why: str  # for the documentation


TABLE: tuple[Row, ...] = (
    Row(ended_in="2xx", action="done", why="its transaction committed, where a door lets us see it"),
    Row(ended_in="aborted", action="retry", why="answered 2xx, but its transaction aborted"),
    Row(ended_in="refused", action="dead", why="it would have run as somebody else than the user who added it"),
    Row(ended_in="3xx", action="dead", why="redirects are not followed; a lost login answers with one"),
    Row(ended_in="401", action="retry", at_most=3, why="a replica may lag behind the commit that added the task"),
    Row(ended_in="403", action="retry", at_most=3, why="the same"),
    Row(ended_in="404", action="retry", at_most=3, why="the same"),
    Row(ended_in="408", action="retry", why="a time-out passes"),
    Row(ended_in="409", action="retry", spends=False, quick=True, why="a conflict with somebody else's change"),
    Row(ended_in="423", action="retry", why="a lock is released"),
    Row(ended_in="425", action="retry", why="too early is not too late"),
    Row(ended_in="429", action="retry", spends=False, why="somebody is too busy, which is not the task's fault"),
    Row(ended_in="503", action="retry", spends=False, why="the same"),
    Row(ended_in="5xx", action="retry", why="an error that may pass"),
    Row(ended_in="exception", action="retry", why="the same"),
    Row(ended_in="conflict", action="retry", spends=False, quick=True, why="a TransientError, such as a ConflictError"),
    Row(ended_in="4xx", action="dead", why="the same request will be refused again"),
    Row(ended_in="other", action="retry", why="a status that ends no response"),
)

_ROWS: Mapping[str, Row] = {row.ended_in: row for row in TABLE}
# What the words of the option ``outcomes`` mean.
_WORDS: Mapping[str, Row] = {
    "done": Row(ended_in="", action="done", why="configured"),
    "retry": Row(ended_in="", action="retry", why="configured"),
    "dead": Row(ended_in="", action="dead", why="configured"),
    "conflict": Row(ended_in="", action="retry", spends=False, quick=True, why="configured"),
}
_STATES: Mapping[Action, EndState] = {"done": "done", "retry": "scheduled", "dead": "dead"}
_EVENTS: Mapping[EndState, Event] = {"done": Event.DONE, "scheduled": Event.RETRIED, "dead": Event.DEAD}
_CONFLICT_NAMES = frozenset({"TransientError", "ConflictError"})


class Judgement(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What is to be done about a claim, for the store and for whoever listens."""

    state: EndState
    outcome: Outcome
    delay_seconds: float = 0.0
    attempts: int = 1
    wipe: bool = False

    @property
    def event(self) -> Event:
        """What to tell."""
        return _EVENTS[self.state]

    def settlement(self, task_id: str, claim_number: int) -> Settlement:
        """The same, as the store takes it."""
        return Settlement(
            id=task_id,
            claim_number=claim_number,
            state=self.state,
            delay=self.delay_seconds,
            attempts=self.attempts,
            outcome=encode_part(self.outcome),
            wipe=self.wipe,
        )


def judge(answer: Answer, task: Task, settings: ServerSettings, now: float, random_fraction: float) -> Judgement:
    """Decide what becomes of a task. ``now`` is in seconds since the epoch; ``random_fraction``, from 0 to 1, is the
    jitter."""
    row = find_row(answer, settings.outcomes)
    if row.action == "done":
        outcome = _outcome(answer, task, state="done", reason=_in_words(answer, row), finished_at=now)
        return Judgement(state="done", outcome=outcome, wipe=True)
    attempt = task.attempts + 1
    spends = row.spends or now - (task.first_claimed_at or now) >= FREE_SECONDS
    limit = attempts_limit(row, task, settings)
    used_up = row.action == "retry" and spends and attempt >= limit
    action: Action = "dead" if used_up else row.action
    delay = 0.0
    if action == "retry":
        delay = retry_delay(row, answer.headers, task, settings, now, random_fraction)
    ending = _in_words(answer, row)
    if action == "retry":
        ending += f"; again in {duration_in_words(delay)}"
    elif used_up:
        ending += f"; attempts used up ({attempt}, allowed {limit})"
    return Judgement(
        state=_STATES[action],
        outcome=_outcome(answer, task, state=_STATES[action], reason=ending, finished_at=now),
        delay_seconds=delay,
        attempts=1 if spends or action != "retry" else 0,
    )


def done_before(task: Task, now: float) -> Judgement:
    """An earlier run has committed, and its consumer died before it could say so."""
    reason = "an earlier run had committed, its consumer died before it could say so; not run again"
    outcome = Outcome(state="done", reason=reason, attempt=task.attempts + 1, finished_at=now)
    return Judgement(state="done", outcome=outcome, attempts=1, wipe=True)


def done_within(answer: Answer, attempt: int, duration_seconds: float, now: float) -> Outcome:
    """Of a task that ends in the transaction of its view, which is about to commit."""
    return Outcome(
        state="done",
        reason=f"answered {answer.status}",
        status=answer.status,
        headers=_headers_to_keep(answer.headers),
        body=answer.body[:BODY_BYTES],
        attempt=attempt,
        duration_seconds=duration_seconds,
        finished_at=now,
    )


def refuse(reason: str, attempts: int, now: float) -> Judgement:
    """A record that must never be run: dead, its secrets kept for whoever looks into it."""
    outcome = Outcome(state="dead", reason=printable(reason), attempt=attempts + 1, finished_at=now)
    return Judgement(state="dead", outcome=outcome, attempts=0)


# ---- which row ---------------------------------------------------------------------------------------------------


def find_row(answer: Answer, overrides: Mapping[str, str]) -> Row:
    """The row that decides: of the settings first, and of each the exact one before the class of it.

    No setting changes what becomes of a task that a door refused.
    """
    if answer.refusal:
        return _ROWS["refused"]
    status = answer.status or 0
    row = _row_of_status(status) if answer.exception is None else _row_of(_names(answer))
    if overrides:
        names = _names(answer)
        row = next((_WORDS[overrides[name]] for name in names if name in overrides), row)
    if answer.committed is False and row.action == "done" and status < 400:
        return _ROWS["aborted"]  # whatever it answered, nothing of it was kept
    return row


def _names(answer: Answer) -> Sequence[str]:
    if answer.exception is not None:
        return ("conflict",) if is_conflict(answer.exception) else ("exception",)
    return _names_of_status(answer.status or 0)


def _names_of_status(status: int) -> Sequence[str]:
    names = [str(status), f"{status // 100}xx"]
    return [*names, "conflict"] if status == 409 else names


def _row_of(names: Sequence[str]) -> Row:
    return next((_ROWS[name] for name in names if name in _ROWS), _ROWS["other"])


@functools.lru_cache(maxsize=1000)
def _row_of_status(status: int) -> Row:
    return _row_of(_names_of_status(status))


def is_conflict(error: BaseException) -> bool:
    """Whether it lost against somebody else's change, told by the names of its classes: no library is imported."""
    if any(each.__name__ in _CONFLICT_NAMES for each in type(error).__mro__):
        return True
    # Pyramid marks what its databases call retryable.
    return any(each.__name__ == "IRetryableError" for each in providedBy(error).flattened())


def attempts_limit(row: Row, task: Task, settings: ServerSettings) -> int:
    """How many attempts a task has when it ends in this row."""
    limit = task.max_attempts if task.max_attempts is not None else settings.retry_max_count + 1
    return limit if row.at_most is None else min(limit, row.at_most)


# ---- when again --------------------------------------------------------------------------------------------------


def backoff(retry: int, minimum: float, maximum: float, max_doublings: int) -> float:
    """Seconds before retry number ``retry``, from 1: App Engine's formula.

    The delay doubles ``max_doublings`` times and then grows steadily, by its last doubling each time.
    """
    doublings = min(retry - 1, max_doublings, DOUBLINGS_LIMIT)
    steps = max(1, min(retry - doublings, 1_000_000))
    return min(maximum, math.ldexp(minimum, doublings) * steps)


def retry_delay(
    row: Row, headers: Headers, task: Task, settings: ServerSettings, now: float, random_fraction: float
) -> float:
    """Seconds before the next attempt.

    ``Retry-After`` (RFC 9110, 10.2.3) takes the place of the formula, up to an hour; it never hastens the first step of
    the formula, and its jitter only adds: whoever asked for a pause gets no less.
    """
    minimum = settings.conflict_backoff if row.quick else settings.min_backoff
    asked = retry_after(headers, now)
    if asked is not None:
        return max(minimum, min(asked, RETRY_AFTER_LIMIT)) * (1 + JITTER * random_fraction)
    # What spends no attempts is counted by its claims, so that it waits longer and longer, too.
    retry = task.attempts + 1 if row.spends else max(task.attempts + 1, task.claim_number)
    delay = backoff(retry, minimum, settings.max_backoff, settings.max_doublings)
    return delay * (1 + JITTER * (2 * random_fraction - 1))


def retry_after(headers: Headers, now: float) -> float | None:
    """Seconds that the response asks to wait, None when it does not, or not in a way that can be understood."""
    value = next((value.strip() for name, value in headers if name.lower() == "retry-after"), "")
    if value.isascii() and value.isdigit():
        return float(value[:18])
    try:
        date = parsedate_to_datetime(value)
        if date.tzinfo is None:  # -0000, which says UTC without knowing
            date = date.replace(tzinfo=timezone.utc)
        return max(0.0, date.timestamp() - now)
    except (TypeError, ValueError, IndexError, OverflowError):
        return None


# ---- in words ----------------------------------------------------------------------------------------------------


def _in_words(answer: Answer, row: Row) -> str:
    if answer.refusal:
        return printable(f"not run: {answer.refusal}"[:ERROR_CHARACTERS])
    if answer.exception is not None:
        return f"raised {printable(type(answer.exception).__name__)}"
    if row.ended_in == "aborted":
        return f"answered {answer.status}, but its transaction aborted"
    return f"answered {answer.status}"


def duration_in_words(seconds: float) -> str:
    """A delay as people say it: ``0.5 s``, ``12 s``, ``4 min``, ``1.5 h``."""
    if seconds < 120:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _outcome(answer: Answer, task: Task, state: EndState, reason: str, finished_at: float) -> Outcome:
    return Outcome(
        state=state,
        reason=reason,
        status=answer.status,
        headers=_headers_to_keep(answer.headers),
        body=answer.body[:BODY_BYTES],
        error="" if answer.exception is None else _error_to_keep(answer.exception, task),
        attempt=task.attempts + 1,
        duration_seconds=answer.duration_seconds,
        finished_at=finished_at,
    )


def _headers_to_keep(headers: Headers) -> Headers:
    """What may be looked at later: no cookies, nothing that carries credentials, and not too much."""
    kept: list[tuple[str, str]] = []
    total = 0
    for name, value in headers:
        shown = _common_name_to_keep(name) if len(name) <= CACHED_CHARACTERS else _name_to_keep(name)
        if shown is None:
            continue
        total += len(name) + len(value)
        if len(kept) == HEADER_COUNT or total > HEADER_BYTES:
            break
        kept.append((shown, value if value.isprintable() else printable(value)))
    return tuple(kept)


def _name_to_keep(name: str) -> str | None:
    is_secret = name.lower() in {"set-cookie", "set-cookie2"} or is_secret_header(name)
    return None if is_secret else printable(name)


_common_name_to_keep = functools.lru_cache(maxsize=CACHED_NAMES)(_name_to_keep)


def _error_to_keep(error: BaseException, task: Task) -> str:
    try:
        text = str(error)
    except BaseException:  # noqa: BLE001  # an exception of the application, which may have any __str__
        text = "(its text cannot be had)"
    for secret in _secrets_of(task):
        text = text.replace(secret, "…")
    return printable(f"{type(error).__name__}: {text}"[:ERROR_CHARACTERS])[:ERROR_CHARACTERS]


def _secrets_of(task: Task) -> Iterable[str]:
    """What an exception's text should not repeat: credentials, the payload, the query."""
    values = [value for name, value in task.headers if is_secret_header(name)]
    values += [value.partition(" ")[2] for value in values]  # the credentials without their scheme
    cookies = [value for name, value in task.headers if name.lower() == "cookie"]
    values += [pair.partition("=")[2].strip() for value in cookies for pair in value.split(";")]
    values.append(task.url.partition("?")[2])
    values.append((task.payload or b"").decode("utf-8", "replace"))
    return sorted((value for value in values if len(value) >= SECRET_CHARACTERS), key=len, reverse=True)
