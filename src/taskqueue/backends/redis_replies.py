"""What goes over a connection to a Redis server, as bytes: commands packed, replies read (RESP 2). Knows no connection.

hiredis does it where it is installed, in a third of the time; without it the same is done here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from .redis_faults import RefusedError

hiredis: Any
try:
    import hiredis
except ImportError:
    hiredis = None

Argument = bytes | str | int | float
LINE_BYTES_LIMIT = 64 * 1024
DEPTH_LIMIT = 8


class NoReplyError(Exception):
    """What was received is no reply of a Redis server."""


class Replies(Protocol):
    """Replies out of what comes in pieces."""

    def feed(self, data: bytes, /) -> object:
        """One more piece."""

    def gets(self) -> Any:
        """The next reply: bytes, an integer, a list, None, or a RefusedError, which may stand within a list, too.
        False when it has not come as a whole."""


def pack(arguments: Sequence[Argument]) -> bytes:
    """One command."""
    if hiredis is not None:
        packed: bytes = hiredis.pack_command(tuple(arguments))
        return packed
    return pack_slowly(arguments)


def pack_slowly(arguments: Sequence[Argument]) -> bytes:
    """The same without hiredis."""
    pieces = [b"*%d\r\n" % len(arguments)]
    for each in arguments:
        word = each if isinstance(each, bytes) else str(each).encode()
        pieces += (b"$%d\r\n" % len(word), word, b"\r\n")
    return b"".join(pieces)


def replies() -> Replies:
    """For a new connection."""
    if hiredis is None:
        return SlowReplies()
    reader: Replies = hiredis.Reader(protocolError=NoReplyError, replyError=_refused)
    return reader


def _refused(text: str | bytes) -> RefusedError:
    words = text if isinstance(text, str) else text.decode("utf-8", "replace")
    code, _, rest = words.partition(" ")
    return RefusedError(code, rest) if code.isupper() else RefusedError("ERR", words)


class _ShortError(Exception):
    """The reply has not come as a whole; it ends at this byte or behind it."""

    def __init__(self, end: int) -> None:
        super().__init__(end)
        self.end = end


class SlowReplies:
    """Reads replies without hiredis."""

    def __init__(self) -> None:
        self._data = b""
        self._at = 0
        self._wanted = 1  # bytes without which it is not worth to look again

    def feed(self, data: bytes, /) -> None:
        """One more piece."""
        self._data += data

    def gets(self) -> Any:
        """As the protocol says."""
        if len(self._data) < self._wanted:
            return False
        self._at = 0
        try:
            reply = self._read(0)
        except _ShortError as short:
            self._wanted = short.end
            return False
        self._data, self._wanted = self._data[self._at :], 1
        return reply

    def _read(self, depth: int) -> Any:
        line = self._line()
        kind, rest = line[:1], line[1:]
        if kind == b"$":
            return self._bytes(_number(rest))
        if kind == b":":
            return _number(rest)
        if kind == b"*" and depth < DEPTH_LIMIT:
            count = _number(rest)
            return None if count < 0 else [self._read(depth + 1) for _ in range(count)]
        if kind == b"+":
            return rest
        if kind == b"-":
            return _refused(rest)
        raise NoReplyError(f"it begins with {line[:20]!r}")

    def _line(self) -> bytes:
        begin = self._at
        end = self._data.find(b"\r\n", begin, begin + LINE_BYTES_LIMIT)
        if end < 0:
            if len(self._data) - begin >= LINE_BYTES_LIMIT:
                raise NoReplyError("its line does not end")
            raise _ShortError(len(self._data) + 1)
        self._at = end + 2
        return self._data[begin:end]

    def _bytes(self, count: int) -> bytes | None:
        if count < 0:
            return None
        begin = self._at
        self._at = begin + count + 2
        if len(self._data) < self._at:
            raise _ShortError(self._at)
        return self._data[begin : begin + count]


def _number(digits: bytes) -> int:
    try:
        return int(digits)
    except ValueError:
        raise NoReplyError(f"{digits[:20]!r} is no number") from None
