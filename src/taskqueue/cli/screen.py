"""What people and scripts get to see: lines, tables, one JSON document. Knows no tasks.

Everything that is printed goes through here, and whatever could move a cursor, colour a screen or pretend to be a line
of its own is spelled out on the way: stores and requests are filled by others.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import Any

from ..errors import TaskQueueError

COLOURS = {"red": "31", "green": "32", "yellow": "33", "bold": "1", "faint": "2"}
STATE_COLOURS = {"running": "green", "dead": "red", "held": "yellow", "done": "faint"}
_AGES = ((86400, "d"), (3600, "h"), (60, "min"))

# A word of a line: text, or text with its colour.
Word = str | tuple[str, str]


def escaped(text: object) -> str:
    """Text in which control characters, line ends and invisible characters are spelled out as in Python."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in str(text))


def age(seconds: float | None) -> str:
    """A stretch of time for people: ``12 s``, ``3 min``, ``5 h``, ``2 d``; a dash for None."""
    if seconds is None:
        return "-"
    for size, unit in _AGES:
        if seconds >= 2 * size:
            return f"{seconds // size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def duration(seconds: float) -> str:
    """A duration as one would write it in a configuration: ``10 min``, ``1 h``, ``50 ms``."""
    for size, unit in _AGES:
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:g} s" if seconds >= 1 or seconds == 0 else f"{seconds * 1000:g} ms"


def size(count: int) -> str:
    """A number of bytes as one would write it in a configuration."""
    for factor, unit in ((1024**3, "GiB"), (1024**2, "MiB"), (1024, "KiB")):
        if count >= factor and count % factor == 0:
            return f"{count // factor} {unit}"
    return f"{count} B"


def iso(seconds: float | None) -> str | None:
    """Seconds since the epoch as ISO 8601 in UTC; None for None, and for what is no time."""
    if seconds is None:
        return None
    try:
        moment = datetime.fromtimestamp(seconds, timezone.utc)
    except (OverflowError, OSError, TypeError, ValueError):
        return None
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def counted(number: int, noun: str) -> str:
    """``1 task``, ``2 tasks``."""
    return f"{number} {noun}" + ("" if number == 1 else "s")


class OutputError(TaskQueueError):
    """Standard output takes no more, as on a disk that is full."""


class Screen:
    """Standard output and standard error, as far as one verb may use them."""

    def __init__(self, as_json: bool = False) -> None:
        self.as_json = as_json
        self.is_partial = False  # a store that was asked for could not be reached
        plain = bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
        self._has_colour = sys.stdout.isatty() and not plain
        self._has_progress = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._progress_shown = False

    def line(self, *words: Word) -> None:
        """One line for people; nothing when a script asked for JSON."""
        if not self.as_json:
            _write("".join(self._paint(word) for word in words).rstrip() + "\n")

    def table(self, headings: Sequence[str], rows: Iterable[Sequence[Word]]) -> None:
        """Aligned columns under headings."""
        lines: list[list[Word]] = [[(heading, "bold") for heading in headings], *(list(row) for row in rows)]
        widths = [max(len(escaped(_text(line[column]))) for line in lines) for column in range(len(headings))]
        for line in lines:
            self.line(*(word for pair in zip(line, widths, strict=True) for word in self._cell(*pair)))

    def document(self, value: Any) -> None:
        """The one JSON document, when a script asked for it."""
        if self.as_json:
            # ASCII only: what is not is spelled out, control characters and DEL included.
            _write(json.dumps(value, indent=2, ensure_ascii=True, default=str) + "\n")

    def note(self, text: str) -> None:
        """One line on standard error."""
        self.clear_progress()
        sys.stdout.flush()  # so that both come in the order in which they were said
        sys.stderr.write(f"taskqueue: {escaped(text)}\n")

    def progress(self, text: str) -> None:
        """A line that the next one replaces; on a terminal only."""
        if self._has_progress:
            sys.stderr.write(f"\r{escaped(text)}\x1b[K")
            sys.stderr.flush()
            self._progress_shown = True

    def clear_progress(self) -> None:
        """Take the progress line away."""
        if self._progress_shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
            self._progress_shown = False

    def _cell(self, word: Word, width: int) -> tuple[Word, str]:
        return word, " " * (width - len(escaped(_text(word))) + 2)

    def _paint(self, word: Word) -> str:
        text = escaped(_text(word))
        if isinstance(word, str) or not self._has_colour or not word[1] or not text:
            return text
        return f"\x1b[{COLOURS[word[1]]}m{text}\x1b[0m"


def flush() -> None:
    """Write out what standard output still holds back."""
    with _telling_unwritable():
        sys.stdout.flush()


def _write(text: str) -> None:
    with _telling_unwritable():
        sys.stdout.write(text)


@contextmanager
def _telling_unwritable() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(f"the output cannot be written: {error.strerror}") from None


def _text(word: Word) -> str:
    return word if isinstance(word, str) else word[0]
