from __future__ import annotations

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from taskqueue.body import CHUNK_BYTES, RecordedBody, SeekableBody
from taskqueue.errors import PayloadLostError, TooLargeError


class Wire:
    """A server's input: read once, no more at a time than it likes, and never past what the client sent."""

    def __init__(self, content: bytes, piece: int = 1 << 30) -> None:
        self._content = io.BytesIO(content)
        self._piece = piece
        self.largest_request = 0
        self.count = 0

    def read(self, size: int) -> bytes:
        self.largest_request = max(self.largest_request, size)
        self.count += 1
        return self._content.read(min(size, self._piece))

    def readline(self, size: int) -> bytes:
        self.largest_request = max(self.largest_request, size)
        return self._content.readline(min(size, self._piece))

    def rest(self) -> bytes:
        return self._content.read()


class FailingWire(Wire):
    """Fails once, when what it has is read; afterwards it looks as if it had ended."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self._failed = False

    def read(self, size: int) -> bytes:
        part = super().read(size)
        if not part and not self._failed:
            self._failed = True
            raise OSError("the client has gone away")
        return part

    readline = read


# Lines of all lengths, and parts that are longer than one chunk.
contents = st.one_of(
    st.binary(max_size=60),
    st.lists(st.binary(max_size=8), max_size=20).map(b"\n".join),
    st.integers(0, 3 * CHUNK_BYTES).map(lambda size: (b"0123456\n89" * (size // 10 + 1))[:size]),
)
sizes = st.none() | st.integers(-1, 70) | st.sampled_from([CHUNK_BYTES - 1, CHUNK_BYTES, 2 * CHUNK_BYTES + 3])
limits = st.integers(0, 70) | st.sampled_from([CHUNK_BYTES, 4 * CHUNK_BYTES])


class ReadingWhileCopying(RuleBasedStateMachine):
    """An application reads in any way it likes, and tasks copy the body in between."""

    @initialize(
        content=contents,
        after=st.binary(max_size=5),
        is_known=st.booleans(),
        piece=st.sampled_from([1 << 30, 1000, 7, 1]),
        limit=limits,
    )
    def begin(self, content: bytes, after: bytes, is_known: bool, piece: int, limit: int) -> None:
        self.content = content
        self.limit = limit
        if len(content) > 1000:
            piece = max(piece, 1000)
        # Behind a body of known length the next request of the connection waits: it is not ours to read.
        self.after = after if is_known else b""
        self.wire = Wire(content + self.after, piece)
        self.body = RecordedBody(self.wire, len(content) if is_known else None, limit)
        self.expected = io.BytesIO(content)

    @rule(size=sizes)
    def read(self, size: int | None) -> None:
        assert self.body.read(size) == self.expected.read(size)

    @rule(size=sizes)
    def readline(self, size: int | None) -> None:
        assert self.body.readline(size) == self.expected.readline(size)

    @rule(hint=sizes)
    def readlines(self, hint: int | None) -> None:
        assert self.body.readlines(hint) == self.expected.readlines(hint or -1)

    @rule(count=st.integers(1, 5))
    def iterate(self, count: int) -> None:
        mine, theirs = iter(self.body), iter(self.expected)
        for _ in range(count):
            assert next(mine, b"") == next(theirs, b"")

    @rule(limit=limits)
    def copy(self, limit: int) -> None:
        if len(self.content) <= min(limit, self.limit):
            assert self.body.whole(limit) == self.content
        else:
            with pytest.raises(TooLargeError, match="payload_limit"):
                self.body.whole(limit)

    @precondition(lambda self: self.expected.tell() == len(self.content))
    @rule()
    def there_is_no_more(self) -> None:
        assert self.body.read(10) == b""
        assert self.body.readline() == b""

    @invariant()
    def memory_is_bounded(self) -> None:
        assert len(self.body._recorded) <= self.limit + CHUNK_BYTES

    @invariant()
    def no_call_asks_the_server_for_more_than_a_chunk(self) -> None:
        assert self.wire.largest_request <= CHUNK_BYTES

    def teardown(self) -> None:
        assert self.body.read() == self.expected.read()
        if self.after:
            assert self.wire.rest() == self.after


ReadingWhileCopying.TestCase.settings = settings(max_examples=150, stateful_step_count=20, deadline=None)
TestReadingWhileCopying = ReadingWhileCopying.TestCase


def test_the_body_is_there_before_it_is_read_while_it_is_read_and_afterwards() -> None:
    body = RecordedBody(Wire(b"one\ntwo\nthree"), 13, 100)
    assert body.whole(100) == b"one\ntwo\nthree"
    assert body.readline() == b"one\n"
    assert body.whole(100) == b"one\ntwo\nthree"
    assert body.read() == b"two\nthree"
    assert body.whole(100) == b"one\ntwo\nthree"


@pytest.mark.parametrize("size", [99, 100])
@pytest.mark.parametrize("length_is_known", [True, False])
def test_a_body_up_to_its_limit_is_copied_when_it_was_read_before(size: int, length_is_known: bool) -> None:
    content = b"x" * size
    body = RecordedBody(Wire(content), size if length_is_known else None, 100)
    assert body.read() == content
    assert body.whole(100) == content


@pytest.mark.parametrize("length_is_known", [True, False])
@pytest.mark.parametrize("was_read", [True, False])
def test_a_body_over_its_limit_is_an_error_and_reaches_the_application(length_is_known: bool, was_read: bool) -> None:
    content = b"x" * 101
    body = RecordedBody(Wire(content), 101 if length_is_known else None, 100)
    if was_read:
        assert body.read() == content
    with pytest.raises(TooLargeError, match="more than the 100 bytes"):
        body.whole(1000)
    assert body.read() == (b"" if was_read else content)


@pytest.mark.parametrize("length_is_known", [True, False])
def test_no_more_of_a_large_body_is_kept_than_its_limit(length_is_known: bool) -> None:
    content = b"x" * (3 * CHUNK_BYTES)
    body = RecordedBody(Wire(content), len(content) if length_is_known else None, 100)
    kept = 0
    while body.read(1000):
        kept = max(kept, len(body._recorded))
    assert kept <= 100
    with pytest.raises(TooLargeError):
        body.whole(100)


def test_a_body_that_says_it_is_too_large_is_not_waited_for() -> None:
    wire = Wire(b"x" * 101)
    with pytest.raises(TooLargeError):
        RecordedBody(wire, 101, 100).whole(100)
    assert wire.count == 0


@pytest.mark.parametrize("read_first", [0, 3, None])
def test_a_body_that_was_cut_short_is_lost(read_first: int | None) -> None:
    body = RecordedBody(Wire(b"12345"), 10, 100)
    got = body.read(read_first)
    for _ in range(2):
        with pytest.raises(PayloadLostError, match="ended too early"):
            body.whole(100)
    assert got + body.read() == b"12345"


def test_a_body_that_never_came_is_lost_and_not_empty() -> None:
    with pytest.raises(PayloadLostError, match="ended too early"):
        RecordedBody(Wire(b""), 10, 100).whole(100)


@pytest.mark.parametrize("length", [10, None])
@pytest.mark.parametrize("who_meets_it", ["the application", "the copy"])
def test_a_body_whose_stream_failed_is_lost_ever_after(length: int | None, who_meets_it: str) -> None:
    body = RecordedBody(FailingWire(b"12345"), length, 100)
    if who_meets_it == "the application":
        with pytest.raises(OSError, match="gone away"):
            body.read()
    for _ in range(2):
        with pytest.raises(PayloadLostError, match="its stream failed"):
            body.whole(100)


def test_an_empty_body_is_empty() -> None:
    assert RecordedBody(Wire(b""), None, 100).whole(100) == b""
    assert RecordedBody(Wire(b"next request"), 0, 100).whole(100) == b""
    assert RecordedBody(Wire(b"next request"), 0, 100).read() == b""


def test_reading_nothing_asks_for_nothing() -> None:
    wire = Wire(b"x")
    body = RecordedBody(wire, 1, 100)
    assert (body.read(0), body.readline(0), wire.count) == (b"", b"", 0)


def test_many_short_lines_that_were_copied_first_are_not_copied_again_for_each_line() -> None:
    body = RecordedBody(Wire(b"\n" * 200_000), 200_000, 200_000)
    body.whole(200_000)
    copied = 0
    ahead = body._ahead

    def counted(size: int) -> bytes:
        nonlocal copied
        part = ahead(size)
        copied += len(part)
        return part

    body._ahead = counted  # type: ignore[method-assign]  # to see what it costs
    assert len(body.readlines()) == 200_000
    assert copied == 200_000


# ---- streams that can be read again ------------------------------------------------------------------------------


class Slow(io.BytesIO):
    """Returns less than it is asked for."""

    def read(self, size: int | None = -1) -> bytes:
        return super().read(3 if size is None or size < 0 else min(size, 3))


@given(
    before=st.binary(max_size=5),
    content=st.binary(max_size=50),
    read_first=st.integers(0, 60),
    limit=st.integers(0, 60),
    is_known=st.booleans(),
    slow=st.booleans(),
)
def test_a_copy_of_a_seekable_body_moves_nothing(
    before: bytes, content: bytes, read_first: int, limit: int, is_known: bool, slow: bool
) -> None:
    stream = (Slow if slow else io.BytesIO)(before + content)
    stream.seek(len(before))
    body = SeekableBody(stream, len(content) if is_known else None)
    stream.seek(min(read_first, len(content)), io.SEEK_CUR)
    position = stream.tell()
    if len(content) <= limit:
        assert body.whole(limit) == content
    else:
        with pytest.raises(TooLargeError):
            body.whole(limit)
    assert stream.tell() == position


def test_a_seekable_body_of_known_length_ends_where_it_should() -> None:
    assert SeekableBody(io.BytesIO(b"mine, and not mine"), 4).whole(100) == b"mine"


def test_a_seekable_body_that_was_cut_short_is_lost() -> None:
    stream = io.BytesIO(b"12345")
    body = SeekableBody(stream, 10)
    stream.read(2)
    with pytest.raises(PayloadLostError, match="ended too early"):
        body.whole(100)
    assert stream.read() == b"345"


def test_a_seekable_body_whose_stream_was_closed_is_lost() -> None:
    stream = io.BytesIO(b"12345")
    body = SeekableBody(stream, 5)
    stream.close()
    with pytest.raises(PayloadLostError, match="closed"):
        body.whole(100)


def test_a_seekable_body_that_fails_in_a_copy_stays_where_it_was() -> None:
    class Failing(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise OSError("disk")

    stream = Failing(b"12345")
    body = SeekableBody(stream, 5)
    stream.seek(3)
    with pytest.raises(PayloadLostError):
        body.whole(100)
    assert stream.tell() == 3


def test_errors_say_what_to_do_and_show_nothing_of_the_body() -> None:
    for body in (RecordedBody(Wire(b"secret"), 7, 100), RecordedBody(Wire(b"secret"), 6, 2)):
        with pytest.raises((PayloadLostError, TooLargeError)) as caught:
            body.whole(100)
        assert "payload=" in str(caught.value)
        assert "secret" not in str(caught.value)


def test_a_body_that_was_copied_once_is_not_read_again():
    stream = io.BytesIO(b"a=1&b=2")
    body = SeekableBody(stream, 7)
    first = body.whole(100)
    stream.close()

    assert body.whole(7) is first


def test_a_smaller_limit_holds_for_a_body_that_was_copied_before():
    body = SeekableBody(io.BytesIO(b"a=1&b=2"), None)
    assert body.whole(7) == b"a=1&b=2"

    with pytest.raises(TooLargeError):
        body.whole(6)
