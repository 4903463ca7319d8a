"""The body of a request, remembered while the application reads it, so that a task can copy it later.

Knows file-like objects only: no WSGI environ, no framework. Memory is bounded: beyond its limit a body is no longer
remembered, and asking for it is an error, never an empty body.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from .errors import PayloadLostError, TooLargeError

CHUNK_BYTES = 64 * 1024


def _too_large(limit: int) -> TooLargeError:
    return TooLargeError(
        f"the body of the request has more than the {limit} bytes that payload_limit allows; "
        "raise it, or give payload= a reference to the data in place of the data"
    )


def _lost(reason: str) -> PayloadLostError:
    return PayloadLostError(f"the body of the request cannot be copied any more: {reason}; give payload= explicitly")


class KnownBody:
    """A body that is at hand: a replay's."""

    __slots__ = ("_content",)

    def __init__(self, content: bytes) -> None:
        self._content = content

    def whole(self, limit: int) -> bytes:
        """See ``context.BodySource``."""
        if len(self._content) > limit:
            raise _too_large(limit)
        return self._content


class SeekableBody:
    """A body whose stream can be read again: nothing has to be remembered but where it began."""

    def __init__(self, stream: Any, length: int | None) -> None:
        self._stream = stream
        self._start = stream.tell()
        self._length = length
        self._whole: bytes | None = None  # several tasks may copy it

    def whole(self, limit: int) -> bytes:
        """See ``context.BodySource``."""
        if self._length is not None and self._length > limit:
            raise _too_large(limit)
        if self._whole is None:
            self._whole = self._read_all(limit)
        if len(self._whole) > limit:
            raise _too_large(limit)
        return self._whole

    def _read_all(self, limit: int) -> bytes:
        try:
            position = self._stream.tell()
            try:
                self._stream.seek(self._start)
                content = self._read(limit + 1 if self._length is None else self._length)
            finally:
                self._stream.seek(position)
        except (OSError, ValueError):
            raise _lost("its stream was closed") from None
        if len(content) > limit:
            raise _too_large(limit)
        if self._length is not None and len(content) < self._length:
            raise _lost("it ended too early")
        return content

    def _read(self, size: int) -> bytes:
        """``size`` bytes or all there are; a stream may return fewer than it is asked for at a time."""
        content = bytearray()
        while len(content) < size:
            part = self._stream.read(size - len(content))
            if not part:
                break
            content += part
        return bytes(content)


class RecordedBody:
    """A body whose stream can be read once: what the application reads is remembered, up to ``limit`` bytes.

    It stands in the stream's place, with the methods that PEP 3333 demands of ``wsgi.input``.
    """

    def __init__(self, stream: Any, length: int | None, limit: int) -> None:
        self._stream = stream
        self._length = length
        self._left = length  # bytes that the stream still holds; None: until it ends
        self._limit = limit
        self._recorded = bytearray()
        self._position = 0  # of the application, in what is recorded
        self._forgotten = False
        self._ended = length == 0
        self._cut_short = False
        self._failed = False  # a stream that has failed may look as if it had ended

    def whole(self, limit: int) -> bytes:
        """See ``context.BodySource``. What the application has not read is read now, and kept for it."""
        limit = min(limit, self._limit)
        if self._length is not None and self._length > limit:
            raise _too_large(limit)  # without waiting for it
        while not (self._ended or self._failed or self._forgotten or len(self._recorded) > limit):
            try:
                self._fetch(CHUNK_BYTES, ahead=True)
            except (OSError, ValueError):
                break  # told below, as it is when the application has met the error
        if self._failed:
            raise _lost("its stream failed")
        if self._forgotten or len(self._recorded) > limit:
            raise _too_large(limit)
        if self._cut_short:
            raise _lost("it ended too early")
        return bytes(self._recorded)

    def read(self, size: int | None = -1) -> bytes:
        """Up to ``size`` bytes, all for a negative size or None."""
        wanted = float("inf") if size is None or size < 0 else size
        parts, count = [], 0
        while count < wanted:
            part = self._take(int(min(wanted - count, CHUNK_BYTES)))
            if not part:
                break
            parts.append(part)
            count += len(part)
        return b"".join(parts)

    def readline(self, size: int | None = -1) -> bytes:
        """One line with its end, or up to ``size`` bytes of it."""
        wanted = float("inf") if size is None or size < 0 else size
        line = bytearray()
        while len(line) < wanted and not line.endswith(b"\n"):
            part = self._take_line(int(min(wanted - len(line), CHUNK_BYTES)))
            if not part:
                break
            line += part
        return bytes(line)

    def readlines(self, hint: int | None = None) -> list[bytes]:
        """The lines that are left, or about ``hint`` bytes of them."""
        lines, count = [], 0
        for line in self:
            lines.append(line)
            count += len(line)
            if hint is not None and 0 < hint <= count:
                break
        return lines

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.readline, b"")

    def _take(self, size: int) -> bytes:
        ahead = self._ahead(size)
        if ahead or self._ended:
            return ahead
        part = self._fetch(size)
        self._position += len(part)
        return part

    def _take_line(self, size: int) -> bytes:
        # The end is looked for in place: a copy of what lies ahead for each line would take the square of the time.
        end = self._recorded.find(b"\n", self._position, self._position + size) + 1
        ahead = self._ahead(end - self._position if end else size)
        if ahead or self._ended:
            return ahead
        part = self._fetched(self._ask(self._stream.readline, size))
        self._position += len(part)
        return part

    def _ahead(self, size: int) -> bytes:
        """What was read before the application asked for it."""
        part = bytes(self._recorded[self._position : self._position + size])
        self._position += len(part)
        return part

    def _fetch(self, size: int, ahead: bool = False) -> bytes:
        return self._fetched(self._ask(self._stream.read, size), ahead)

    def _ask(self, read: Callable[[int], bytes], size: int) -> bytes:
        try:
            return read(size if self._left is None else min(size, self._left))
        except BaseException:
            self._failed = True
            raise

    def _fetched(self, part: bytes, ahead: bool = False) -> bytes:
        if self._left is not None:
            self._left -= len(part)
            self._cut_short = not part and self._left > 0
        self._ended = not part or self._left == 0
        self._remember(part, ahead)
        return part

    def _remember(self, part: bytes, ahead: bool) -> None:
        """Keep a part; past the limit keep nothing more, but for what the application has yet to get (``ahead``)."""
        if self._forgotten:
            return
        if len(self._recorded) + len(part) > self._limit and not ahead:
            self._forgotten = True
            self._recorded.clear()
            self._position = 0
            return
        self._recorded += part
