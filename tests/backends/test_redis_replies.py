"""Commands and replies of Redis as bytes: with hiredis and without it the same."""

import pytest

from taskqueue.backends import redis_replies
from taskqueue.backends.redis_faults import RefusedError
from taskqueue.backends.redis_replies import LINE_BYTES_LIMIT, NoReplyError, SlowReplies, pack, pack_slowly, replies

BOTH = pytest.mark.parametrize("make", [replies, SlowReplies])


def test_hiredis_is_here_so_that_both_are_tested():
    assert redis_replies.hiredis is not None


def test_without_hiredis_the_same_is_done_here(monkeypatch):
    monkeypatch.setattr(redis_replies, "hiredis", None)
    assert isinstance(replies(), SlowReplies)
    assert pack(["PING"]) == b"*1\r\n$4\r\nPING\r\n"


@pytest.mark.parametrize(
    "arguments", [["PING"], [b"\0\r\n", "ü", -1, 1.5, 1234567890.1234567, b""], [b"x" * 70000, ""]]
)
def test_a_command_is_packed_alike(arguments):
    assert pack(arguments) == pack_slowly(arguments)


GIVEN = {
    b"+OK\r\n": b"OK",
    b":-12\r\n": -12,
    b"$-1\r\n": None,
    b"*-1\r\n": None,
    b"$0\r\n\r\n": b"",
    b"$4\r\n\r\n\r\n\r\n": b"\r\n\r\n",
    b"*0\r\n": [],
    b"*4\r\n*2\r\n:1\r\n$-1\r\n$3\r\nabc\r\n*0\r\n+x\r\n": [[1, None], b"abc", [], b"x"],
}


@BOTH
@pytest.mark.parametrize("data", GIVEN)
def test_a_reply_is_read_in_one_piece_and_byte_by_byte(make, data):
    whole = make()
    whole.feed(data)
    assert whole.gets() == GIVEN[data]
    assert whole.gets() is False
    slowly = make()
    for index in range(len(data) - 1):
        slowly.feed(data[index : index + 1])
        assert slowly.gets() is False
    slowly.feed(data[-1:])
    assert slowly.gets() == GIVEN[data]


@BOTH
def test_replies_come_one_after_the_other(make):
    reader = make()
    reader.feed(b":1\r\n:2\r\n:")
    assert [reader.gets(), reader.gets(), reader.gets()] == [1, 2, False]
    reader.feed(b"3\r\n")
    assert reader.gets() == 3


@BOTH
@pytest.mark.parametrize(
    ("line", "code", "text"),
    [
        (b"-OOM no room\r\n", "OOM", "no room"),
        (b"-ERR what\r\n", "ERR", "what"),
        (b"-unknown thing\r\n", "ERR", "unknown thing"),
        (b"-\r\n", "ERR", ""),
    ],
)
def test_an_error_is_told_by_its_code(make, line, code, text):
    reader = make()
    reader.feed(line)
    refused = reader.gets()
    assert isinstance(refused, RefusedError)
    assert (refused.code, refused.text) == (code, text)


@BOTH
@pytest.mark.parametrize("data", [b"HTTP/1.1 400 Bad Request\r\n", b":x\r\n", b"$x\r\n", b"*x\r\n"])
def test_what_is_no_reply_is_an_error(make, data):
    reader = make()
    reader.feed(data)
    with pytest.raises(NoReplyError):
        reader.gets()


def test_a_line_that_does_not_end_is_an_error():
    reader = SlowReplies()
    reader.feed(b"+" + b"x" * LINE_BYTES_LIMIT)
    with pytest.raises(NoReplyError):
        reader.gets()


def test_lists_that_are_nested_too_deeply_are_an_error():
    reader = SlowReplies()
    reader.feed(b"*1\r\n" * 100 + b":1\r\n")
    with pytest.raises(NoReplyError):
        reader.gets()
