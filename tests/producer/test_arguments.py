"""What is given to add beside URL and headers."""

from datetime import datetime, timedelta, timezone

import pytest

from taskqueue.errors import InvalidTaskError
from taskqueue.producer.arguments import (
    CURRENT,
    HIGHEST_PRIORITY,
    LATEST_DUE,
    LOWEST_PRIORITY,
    METHODS,
    METHODS_WITH_BODY,
    checked_max_attempts,
    checked_method,
    checked_priority,
    due_time,
    payload_bytes,
)

NOW = 1_000_000.0


def test_current_says_what_it_stands_for():
    assert repr(CURRENT) == "<the active request's>"


@pytest.mark.parametrize("method", [*METHODS, "get", "Post"])
def test_the_six_methods_pass_in_any_case(method):
    assert checked_method(method) == method.upper()


@pytest.mark.parametrize("method", ["", "OPTIONS", "TRACE", "CONNECT", "GET ", "GET\n", None, 5, b"GET"])
def test_any_other_method_is_refused(method):
    with pytest.raises(InvalidTaskError, match="the method must be one of GET, HEAD, POST, PUT, PATCH, DELETE"):
        checked_method(method)


@pytest.mark.parametrize(
    ("payload", "content"),
    [
        (None, None),
        (b"", None),
        ("", None),
        (b"\x00\xff", b"\x00\xff"),
        ("é", b"\xc3\xa9"),
        (bytearray(b"a"), b"a"),
        (memoryview(b"a"), b"a"),
    ],
)
def test_a_payload_is_bytes_or_text_as_utf_8(payload, content):
    assert payload_bytes("POST", payload) == content


@pytest.mark.parametrize("payload", [5, {"a": 1}, ["a"], object()])
def test_a_payload_of_another_type_is_refused(payload):
    with pytest.raises(InvalidTaskError, match="the payload must be bytes or str, not a "):
        payload_bytes("POST", payload)


def test_a_payload_of_half_a_character_is_refused():
    with pytest.raises(InvalidTaskError, match="surrogate"):
        payload_bytes("POST", "\ud800")


@pytest.mark.parametrize("method", sorted(set(METHODS) - METHODS_WITH_BODY))
def test_a_payload_for_a_method_without_one_is_refused(method):
    with pytest.raises(InvalidTaskError, match=f"a {method} request has no payload"):
        payload_bytes(method, b"a")
    assert payload_bytes(method, None) is None


@pytest.mark.parametrize(
    ("delay", "due"), [(None, 0.0), (0, 0.0), (5, NOW + 5), (0.5, NOW + 0.5), (timedelta(minutes=1), NOW + 60)]
)
def test_a_delay_counts_from_now(delay, due):
    assert due_time(delay, None, NOW) == due


@pytest.mark.parametrize(
    "delay",
    [-1, -0.001, timedelta(seconds=-1), float("nan"), float("inf"), 1e300, 10**400, LATEST_DUE, timedelta.max],
)
def test_a_delay_into_the_past_or_beyond_all_calendars_is_refused(delay):
    with pytest.raises(InvalidTaskError, match="delay"):
        due_time(delay, None, NOW)


@pytest.mark.parametrize("delay", ["5", True, b"5", [5]])
def test_a_delay_of_a_wrong_type_is_refused(delay):
    with pytest.raises(InvalidTaskError, match="delay must be a number of seconds or a timedelta, not a "):
        due_time(delay, None, NOW)


def test_an_eta_is_a_moment_in_any_time_zone():
    moment = datetime(2030, 1, 1, 12, tzinfo=timezone.utc)

    assert due_time(None, moment, NOW) == moment.timestamp()
    assert due_time(None, moment.astimezone(timezone(timedelta(hours=9))), NOW) == moment.timestamp()


def test_an_eta_before_the_epoch_is_at_once():
    assert due_time(None, datetime(1900, 1, 1, tzinfo=timezone.utc), NOW) == 0.0


def test_an_eta_without_a_time_zone_is_refused():
    with pytest.raises(InvalidTaskError, match="eta has no time zone"):
        due_time(None, datetime(2030, 1, 1), NOW)


@pytest.mark.parametrize("eta", [5, "2030-01-01", timedelta(1)])
def test_an_eta_of_a_wrong_type_is_refused(eta):
    with pytest.raises(InvalidTaskError, match="eta must be a datetime with a time zone, not a "):
        due_time(None, eta, NOW)


def test_delay_and_eta_together_are_refused():
    with pytest.raises(InvalidTaskError, match="delay or eta, not both"):
        due_time(0, datetime(2030, 1, 1, tzinfo=timezone.utc), NOW)


@pytest.mark.parametrize("priority", [0, -1, HIGHEST_PRIORITY, LOWEST_PRIORITY])
def test_a_priority_is_any_int_of_32_bits(priority):
    assert checked_priority(priority) == priority


@pytest.mark.parametrize("priority", [HIGHEST_PRIORITY + 1, LOWEST_PRIORITY - 1, "1", 1.0, True, None])
def test_any_other_priority_is_refused(priority):
    with pytest.raises(InvalidTaskError, match="priority must be"):
        checked_priority(priority)


@pytest.mark.parametrize("max_attempts", [None, 1, 100])
def test_one_attempt_or_more_may_be_asked_for(max_attempts):
    assert checked_max_attempts(max_attempts) == max_attempts


@pytest.mark.parametrize("max_attempts", [0, -1, 2**40, "3", 2.0, True])
def test_fewer_attempts_or_no_number_are_refused(max_attempts):
    with pytest.raises(InvalidTaskError, match="max_attempts must be"):
        checked_max_attempts(max_attempts)
