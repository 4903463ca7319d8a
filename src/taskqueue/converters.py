"""How the value of an option is read: from text, or already of its type when it comes from keywords.

A converter raises ValueError, whose text says what is allowed and shows nothing of the value, which may be a secret.
Knows no options, and no files but one that holds keys.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from .record import MINIMUM_KEY_BYTES

_DURATION_UNITS = {
    "ms": 0.001,
    "s": 1,
    "sec": 1,
    "second": 1,
    "seconds": 1,
    "m": 60,
    "min": 60,
    "minute": 60,
    "minutes": 60,
    "h": 3600,
    "hour": 3600,
    "hours": 3600,
    "d": 86400,
    "day": 86400,
    "days": 86400,
}
_SIZE_UNITS = {"b": 1, "kb": 1000, "mb": 1000**2, "gb": 1000**3, "kib": 1024, "mib": 1024**2, "gib": 1024**3}
_TRUE = frozenset({"true", "yes", "on", "1"})
_FALSE = frozenset({"false", "no", "off", "0"})
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_LONGEST_SECONDS = 100 * 366 * 86400  # what is longer overflows the waits of threads
_LARGEST_BYTES = 1024**4


def _quantity(value: Any, units: Mapping[str, float], largest: float, allowed: str) -> float:
    match = re.fullmatch(r"\s*([+-]?[0-9]{0,15}\.?[0-9]{1,15})\s*([A-Za-z]*)\s*", _written(value, allowed))
    if match is None:
        raise ValueError(allowed)
    number, unit = float(match[1]), match[2].lower()
    if unit and unit not in units:
        raise ValueError(allowed)
    quantity = number * units.get(unit, 1)
    if not 0 <= quantity <= largest:
        raise ValueError(allowed)
    return quantity


def _written(value: Any, allowed: str) -> str:
    """Text, or a number as it would be written in an ini file."""
    if isinstance(value, float) and math.isfinite(value):
        return f"{value:.6f}"
    if isinstance(value, int):
        return str(value) if abs(value) < 10**18 else ""
    if isinstance(value, str):
        return value
    raise ValueError(allowed)


def _words(value: Any, allowed: str) -> str:
    """Text without blanks around it; keywords may give anything, and ``None`` is no text."""
    if not isinstance(value, str):
        raise ValueError(allowed)
    return value.strip()


def duration(minimum: float = 0.0) -> Callable[[Any], float]:
    """Seconds from text such as ``250 ms``, ``5 s``, ``10 min``, ``24 h``, ``7 d``; a bare number is seconds."""
    allowed = "a duration such as 30 s, 10 min or 24 h" + (f", {minimum:g} s or more" if minimum else "")

    def convert(value: Any) -> float:
        if isinstance(value, timedelta):
            value = value.total_seconds()
        seconds = _quantity(value, _DURATION_UNITS, _LONGEST_SECONDS, allowed)
        if seconds < minimum:
            raise ValueError(allowed)
        return seconds

    return convert


def duration_or_for_ever(value: Any) -> float | None:
    """A duration, or None for ``for ever``."""
    if value is None or str(value).strip().lower() in {"for ever", "forever"}:
        return None
    return _quantity(value, _DURATION_UNITS, _LONGEST_SECONDS, "a duration such as 30 d, or: for ever")


def size(value: Any) -> int:
    """Bytes from text such as ``1 MiB`` or ``32 KiB``; a bare number is bytes."""
    return int(_quantity(value, _SIZE_UNITS, _LARGEST_BYTES, "a size such as 32 KiB or 1 MiB"))


def whole_number(minimum: int, none_word: str | None = None) -> Callable[[Any], int | None]:
    """A whole number from ``minimum`` on, or None for ``none_word``."""
    allowed = f"a whole number, {minimum} or more" + (f", or: {none_word}" if none_word else "")

    def convert(value: Any) -> int | None:
        if none_word is not None and (value is None or str(value).strip().lower() == none_word):
            return None
        if isinstance(value, float):
            raise ValueError(allowed)
        word = _written(value, allowed).strip()
        if not re.fullmatch(r"[+-]?[0-9]{1,18}", word) or int(word) < minimum:
            raise ValueError(allowed)
        return int(word)

    return convert


def one_of(*words: str) -> Callable[[Any], str]:
    """One of these words."""

    def convert(value: Any) -> str:
        if isinstance(value, bool):  # keywords may say consume=False
            value = "yes" if value else "no"
        word = str(value).strip().lower()
        if word not in words:
            raise ValueError("one of: " + ", ".join(words))
        return word

    return convert


def boolean(value: Any) -> bool:
    """true, yes, on, 1 or their opposites."""
    word = str(value).strip().lower()
    if word not in _TRUE | _FALSE:
        raise ValueError("true or false")
    return word in _TRUE


def name(value: Any) -> str:
    """A name of a queue, a consumer or a prefix."""
    allowed = "a name of letters, digits, - _ and . (at most 100, a letter or digit first)"
    word = _words(value, allowed)
    if not _NAME.fullmatch(word):
        raise ValueError(allowed)
    return word


def text(value: Any) -> str:
    """One line of text, not empty; a path may be given as such."""
    word = _words(os.fspath(value) if isinstance(value, os.PathLike) else value, "some text")
    if not word or re.search(r"[\x00-\x1f\x7f]", word):
        raise ValueError("some text, in one line")
    return word


def host(value: Any) -> str:
    """The name or address of a host; what has several colons is an IPv6 address."""
    word = text(value)
    if re.fullmatch(r"\[.*\]:[0-9]*|[^:]+:[0-9]*", word):
        raise ValueError("a host alone, as the port belongs into port")
    return word


def is_plain_path(value: str) -> bool:
    """Whether it is a path, and nothing that looks like one: a home folder, a URL, SQLite's name for memory."""
    return not re.match(r"~|:memory:|[A-Za-z][A-Za-z0-9+.-]+:", value.strip())


def file_path(value: Any) -> str:
    """The path of a file, as text or as a path."""
    word = text(value)
    if not is_plain_path(word):
        raise ValueError("the path of a file, without ~ and not as a URL, such as %(here)s/var/tasks.db in an ini file")
    return word


def base_url(value: Any) -> str:
    """Scheme, host and perhaps a mount point; empty for none."""
    allowed = "a URL such as https://www.example.org"
    word = _words(value, allowed).rstrip("/")
    if word and not re.fullmatch(r"https?://[A-Za-z0-9.\-\[\]:_]+(/[^\s?#\\]*)?", word):
        raise ValueError(allowed)
    return word


def header_names(value: Any) -> frozenset[str] | None:
    """``all`` (None), or names of headers, separated by commas or blanks."""
    allowed = "all, or names of headers separated by blanks"
    if value is None:
        return None
    if isinstance(value, (list, tuple, set, frozenset)):
        words = [_words(word, allowed) for word in value]
    else:
        words = re.split(r"[\s,]+", _words(value, allowed))
    folded = frozenset(word.lower().replace("_", "-") for word in words if word)
    if folded == {"all"}:
        return None
    if not all(re.fullmatch(r"[a-z0-9!#$%&'*+.^`|~-]+", word) for word in folded) or "all" in folded:
        raise ValueError(allowed)
    return folded


def dotted_names(value: Any) -> tuple[str, ...]:
    """Names of things in modules, such as ``shop.models:Session``, separated by blanks."""
    allowed = "dotted names such as shop.models:Session"
    names = tuple(_words(value, allowed).split())
    if not all(re.fullmatch(r"\w+([.:]\w+)+", each) for each in names):
        raise ValueError(allowed)
    return names


def keys(value: Any) -> tuple[bytes, ...]:
    """Keys, newest first, separated by blanks or line ends; each of 32 bytes or more."""
    given = value if isinstance(value, (list, tuple)) else [value]
    found: list[bytes] = []
    for each in given:
        if isinstance(each, bytes):
            found.append(each)
        elif isinstance(each, str):
            found.extend(word.encode() for word in each.split())
        else:
            found.append(b"")  # too short, whatever it is
    if not found or any(len(key) < MINIMUM_KEY_BYTES for key in found):
        raise ValueError(
            f"keys of {MINIMUM_KEY_BYTES} characters or more, newest first, separated by blanks "
            "(python3 -c 'import secrets; print(secrets.token_hex(32))' makes one)"
        )
    return tuple(found)


def key_file(value: Any) -> tuple[bytes, ...]:
    """Keys from a file."""
    try:
        content = Path(text(value)).read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise ValueError(f"a file that can be read ({getattr(error, 'strerror', None) or 'not text'})") from None
    return keys(content)


def readable_file(value: Any) -> str:
    """The path of a file that can be read now; its content is read when it is needed."""
    try:
        path = text(value)
        with open(path, "rb"):
            return path
    except (OSError, ValueError) as error:
        raise ValueError(f"a file that can be read ({getattr(error, 'strerror', None) or 'no path'})") from None


def or_none(convert: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """What another converter takes, or None for ``none``."""

    def convert_or_none(value: Any) -> Any:
        if value is None or (isinstance(value, str) and value.strip().lower() == "none"):
            return None
        try:
            return convert(value)
        except ValueError as error:
            raise ValueError(f"{error}, or: none") from None

    return convert_or_none


OUTCOME_WORDS = ("done", "retry", "dead", "conflict")


def outcomes(value: Any) -> dict[str, str]:
    """Changes to the outcome table: ``302=done 4xx=retry exception=dead``."""
    allowed = (
        "pairs such as 302=done 4xx=retry exception=dead; left a status, a class of them (4xx), exception or conflict, "
        f"right one of {', '.join(OUTCOME_WORDS)}"
    )
    pairs: Iterable[Sequence[str]]
    if isinstance(value, Mapping):
        pairs = [(str(left), str(right)) for left, right in value.items()]
    else:
        pairs = [pair.partition("=")[::2] for pair in re.split(r"[\s,]+", str(value).strip()) if pair]
    table = {left.strip().lower(): right.strip().lower() for left, right in pairs}
    for left, right in table.items():
        if not re.fullmatch(r"[1-5][0-9][0-9]|[1-5]xx|exception|conflict", left) or right not in OUTCOME_WORDS:
            raise ValueError(allowed)
    return table
