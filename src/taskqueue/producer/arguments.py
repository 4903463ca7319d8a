"""What ``add`` is given beside URL and headers, checked and brought into one form. Values only: ``now`` is passed in.

Error texts say what was expected and of which type it was; they repeat no value.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

from ..errors import InvalidTaskError, TooLargeError

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
METHODS_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
HIGHEST_PRIORITY = 2**31 - 1
LOWEST_PRIORITY = -(2**31)
MOST_ATTEMPTS = 2**31 - 1
LATEST_DUE = 253_402_300_799.0  # the end of the year 9999, where datetime ends

Pairs = Mapping[str, Any] | Iterable[tuple[str, Any]]


class Current(Enum):
    """Stands for what the active request has."""

    CURRENT = "current"

    def __repr__(self) -> str:
        return "<the active request's>"


CURRENT = Current.CURRENT
Payload = bytes | bytearray | memoryview | str | None


def pairs(given: Pairs | None, what: str) -> Iterator[tuple[Any, Any]]:
    """Names and values from a mapping or from pairs; none for None."""
    if given is None:
        return
    wrong = f"{what} must be a mapping of names to values, or pairs of them, not {kind(given)}"
    if isinstance(given, (str, bytes, bytearray)) or not isinstance(given, Iterable):
        raise InvalidTaskError(wrong)
    for pair in given.items() if isinstance(given, Mapping) else given:
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise InvalidTaskError(wrong)
        yield pair[0], pair[1]


def checked_method(method: str) -> str:
    """A method in capitals, when it is one of those that can be replayed."""
    name = method.upper() if isinstance(method, str) else ""
    if name not in METHODS:
        raise InvalidTaskError(f"the method must be one of {', '.join(METHODS)}")
    return name


def payload_bytes(method: str, payload: Payload) -> bytes | None:
    """A given payload as bytes; None when there is none."""
    if payload is None:
        return None
    if isinstance(payload, str):
        try:
            payload = payload.encode()
        except UnicodeEncodeError:
            raise InvalidTaskError("the payload holds a lone surrogate, which is no character: give bytes") from None
    elif not isinstance(payload, (bytes, bytearray, memoryview)):
        raise InvalidTaskError(
            f"the payload must be bytes or str, not {kind(payload)}: encode it, as JSON for instance"
        )
    content = bytes(payload)
    if content and method not in METHODS_WITH_BODY:
        raise InvalidTaskError(f"a {method} request has no payload: use params, or POST, PUT or PATCH")
    return content or None


def refuse_too_large(what: str, size: int, limit: int, limited_by: str, cure: str) -> None:
    """Raise TooLargeError when something has more bytes than an option of its queue allows."""
    if size > limit:
        raise TooLargeError(f"the {what} {size} bytes, and {limited_by} allows {limit}: {cure}, or raise {limited_by}")


def due_time(delay: float | timedelta | None, eta: datetime | None, now: float) -> float:
    """Not before when, in seconds since the epoch; 0 is at once."""
    if delay is not None and eta is not None:
        raise InvalidTaskError("give delay or eta, not both")
    if eta is not None:
        due = _moment(eta)
    elif delay is not None:
        seconds = _seconds(delay)
        due = now + seconds if seconds else 0.0
    else:
        return 0.0
    if due > LATEST_DUE:
        raise InvalidTaskError("delay or eta lead beyond the year 9999")
    return max(0.0, due)


def checked_priority(priority: int) -> int:
    """A priority that every store can keep: 32 bits."""
    return _bounded_int(priority, "priority", LOWEST_PRIORITY, HIGHEST_PRIORITY)


def checked_max_attempts(max_attempts: int | None) -> int | None:
    """One attempt at least; None leaves it to the consumer."""
    return None if max_attempts is None else _bounded_int(max_attempts, "max_attempts", 1, MOST_ATTEMPTS)


def kind(value: object) -> str:
    """The type of a value, as error texts tell it."""
    return f"a {type(value).__name__}"


def _moment(eta: datetime) -> float:
    if not isinstance(eta, datetime):
        raise InvalidTaskError(f"eta must be a datetime with a time zone, not {kind(eta)}")
    if eta.utcoffset() is None:
        raise InvalidTaskError("eta has no time zone: give one, as in datetime.now(timezone.utc) + timedelta(hours=1)")
    return eta.timestamp()


def _seconds(delay: float | timedelta) -> float:
    if isinstance(delay, timedelta):
        delay = delay.total_seconds()
    if isinstance(delay, bool) or not isinstance(delay, (int, float)):
        raise InvalidTaskError(f"delay must be a number of seconds or a timedelta, not {kind(delay)}")
    if not 0 <= delay <= LATEST_DUE:  # nan is not, either
        raise InvalidTaskError("delay must be 0 or more seconds, and lead to a time before the year 10000")
    return float(delay)


def _bounded_int(value: int, what: str, lowest: int, highest: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidTaskError(f"{what} must be an int, not {kind(value)}")
    if not lowest <= value <= highest:
        raise InvalidTaskError(f"{what} must be from {lowest} to {highest}")
    return value
