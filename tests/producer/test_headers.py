"""Header rules."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskqueue.errors import InvalidTaskError
from taskqueue.producer import headers
from taskqueue.producer.headers import HOP_BY_HOP, fold, is_authority, names_credentials, size

TOKEN_CHARACTERS = "abcXYZ019!#$%&'*+.^_`|~-"
NAMES = st.text(TOKEN_CHARACTERS, min_size=1, max_size=12)
LATIN_1 = st.text(st.characters(max_codepoint=0xFF), max_size=20)
CLEAN = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=20)
# Spellings of the names that matter most are tried more often than chance would.
TASK_NAMES = st.builds(
    lambda x, first, task, second, rest: x + first + task + second + rest,
    st.sampled_from("xX"),
    st.sampled_from("-_"),
    st.sampled_from(["task", "TASK", "Task", "tAsK"]),
    st.sampled_from("-_"),
    st.sampled_from(["id", "User-Id", "USER_ID", "queue", "", "-"]),
)
FORBIDDEN_NAMES = st.one_of(
    TASK_NAMES, st.sampled_from(sorted(HOP_BY_HOP)), st.sampled_from(["content-length", "Content_Length", "Proxy"])
)


def task_headers(environ, given_headers, listed, with_content, with_credentials=True):
    found = headers.copied_headers(environ, listed, with_content, with_credentials)
    return headers.task_headers(found, given_headers, with_credentials)


def copied(environ, given_headers=None, listed=None, with_content=False):
    return dict(task_headers(environ, given_headers, listed, with_content))


def test_headers_of_the_request_are_copied():
    environ = {"HTTP_COOKIE": "a=b", "HTTP_X_REQUESTED_WITH": "js", "REMOTE_ADDR": "::1", "wsgi.url_scheme": "http"}

    assert copied(environ) == {"Cookie": "a=b", "X-Requested-With": "js"}


@pytest.mark.parametrize(
    "key",
    [
        *("HTTP_" + name.upper().replace("-", "_") for name in sorted(HOP_BY_HOP)),
        "CONTENT_LENGTH",
        "HTTP_CONTENT_LENGTH",
        "HTTP_IF_MATCH",
        "HTTP_IF_NONE_MATCH",
        "HTTP_IF_MODIFIED_SINCE",
        "HTTP_IF_RANGE",
        "HTTP_IF_WHATEVER",
        "HTTP_RANGE",
        "HTTP_EXPECT",
        "HTTP_ACCEPT_ENCODING",
        "HTTP_PROXY",
        "HTTP_USER_AGENT",
        "HTTP_IDEMPOTENCY_KEY",
        "HTTP_X_HTTP_METHOD_OVERRIDE",
        "HTTP_X_ORIGINAL_URL",
        "HTTP_X_TASK_ID",
        "HTTP_X_TASK_USER_ID",
        "HTTP_X-TASK-ID",
        "HTTP_x_task_id",
        "HTTP_X_TASK-QUEUE",
        "HTTP_X_TASK_",
        "HTTP_",
        "HTTP_NO TOKEN",
        "HTTP_X_TAS\u212a_ID",
    ],
)
def test_what_a_replay_must_not_get_is_never_copied(key):
    assert copied({key: "value"}, with_content=True) == {}


def test_headers_that_connection_names_are_not_copied():
    environ = {"HTTP_CONNECTION": "close, X-Hop ,x_other", "HTTP_X_HOP": "1", "HTTP_X_OTHER": "2", "HTTP_X_STAYS": "3"}

    assert copied(environ) == {"X-Stays": "3"}


def test_content_headers_come_with_the_body_or_not_at_all():
    environ = {"CONTENT_TYPE": "text/plain", "HTTP_CONTENT_ENCODING": "gzip", "CONTENT_LENGTH": "5", "HTTP_ACCEPT": "*"}

    assert copied(environ, with_content=True) == {
        "Content-Type": "text/plain",
        "Content-Encoding": "gzip",
        "Accept": "*",
    }
    assert copied(environ, with_content=False) == {"Accept": "*"}


def test_content_type_is_the_variable_of_its_own_when_a_server_sends_both():
    assert copied({"CONTENT_TYPE": "a/b", "HTTP_CONTENT_TYPE": "c/d"}, with_content=True) == {"Content-Type": "a/b"}


def test_a_list_of_headers_to_copy_leaves_the_others_out_but_what_urls_are_built_from():
    environ = {
        "HTTP_COOKIE": "a=b",
        "HTTP_AUTHORIZATION": "Basic x",
        "HTTP_HOST": "example.com",
        "HTTP_FORWARDED": "for=1.2.3.4",
        "HTTP_X_FORWARDED_PROTO": "https",
        "CONTENT_TYPE": "text/plain",
    }

    assert copied(environ, listed=frozenset({"cookie"}), with_content=True) == {
        "Cookie": "a=b",
        "Host": "example.com",
        "Forwarded": "for=1.2.3.4",
        "X-Forwarded-Proto": "https",
        "Content-Type": "text/plain",
    }


def test_a_list_of_headers_to_copy_cannot_name_what_is_never_copied():
    environ = {"HTTP_X_TASK_ID": "1", "HTTP_TE": "trailers"}

    assert copied(environ, listed=frozenset({"x-task-id", "te"})) == {}


def test_given_headers_add_replace_and_remove_whatever_their_spelling():
    environ = {"HTTP_COOKIE": "a=b", "HTTP_ACCEPT": "*", "HTTP_X_TOKEN": "old"}

    assert copied(environ, {"cookie": None, "ACCEPT": "text/html", "x_token": "new", "x-new": "1"}) == {
        "Accept": "text/html",
        "X-Token": "new",
        "X-New": "1",
    }


def test_given_headers_are_not_limited_by_the_list_of_those_to_copy():
    assert copied({}, {"X-A": "1"}, listed=frozenset()) == {"X-A": "1"}


@pytest.mark.parametrize(
    ("value", "text"),
    [(True, "true"), (False, "false"), (1, "1"), (2.5, "2.5"), ("é", "é"), (" a b ", "a b"), ("", "")],
)
def test_given_values_become_text(value, text):
    assert copied({}, {"X-A": value}) == {"X-A": text}


def test_given_headers_may_be_pairs():
    assert copied({}, [("X-A", "1"), ("X-B", None)]) == {"X-A": "1"}


@pytest.mark.parametrize("twice", [{"X-A": "1", "x-a": "2"}, [("X-A", "1"), ("X_A", "2")], {"X-A": None, "x_a": "1"}])
def test_a_header_that_is_given_twice_is_refused(twice):
    with pytest.raises(InvalidTaskError, match="given twice"):
        copied({}, twice)


@pytest.mark.parametrize("name", ["", "a b", "a:b", "a\nb", "é", "X-Tas\u212a-Id", "X-Ta\u017fk-Id", 5, None, b"X-A"])
def test_a_name_that_is_no_token_is_refused(name):
    with pytest.raises(InvalidTaskError, match="the header name"):
        copied({}, {name: "1"})


@pytest.mark.parametrize(
    "name",
    [
        "X-Task-Id",
        "x_task_user_id",
        "X-TASK_",
        "Content-Length",
        "content_length",
        "Connection",
        "TE",
        "Transfer_Encoding",
        "Upgrade",
        "Proxy",
        "Proxy-Authorization",
        "Idempotency-Key",
    ],
)
def test_what_only_the_replay_or_a_connection_may_say_cannot_be_given(name):
    with pytest.raises(InvalidTaskError, match="cannot be given"):
        copied({}, {name: "1"})
    assert copied({}, {name: None}) == {}


@pytest.mark.parametrize("name", ["If-Match", "User-Agent", "Range", "X-HTTP-Method-Override"])
def test_what_is_only_not_copied_can_be_given(name):
    assert list(copied({}, {name: "1"}).values()) == ["1"]


@pytest.mark.parametrize("value", ["a\nb", "a\r\nX-Task-Id: 1", "\x00", "a\tb", "\x7f", "\x1b[0m"])
def test_control_characters_in_given_values_are_refused(value):
    with pytest.raises(InvalidTaskError, match="'X-A' that was given holds a control character"):
        copied({}, {"X-A": value})


@pytest.mark.parametrize("value", ["a\nb", "\x00", "\x7f"])
def test_control_characters_in_copied_values_are_refused(value):
    with pytest.raises(InvalidTaskError, match="'x-a' of the active request holds a control character"):
        copied({"HTTP_X_A": value})


def test_a_tab_in_a_copied_value_is_a_blank():
    assert copied({"HTTP_X_A": "a\tb"}) == {"X-A": "a b"}


@pytest.mark.parametrize("value", ["€", "\ud800", b"bytes", bytearray(b"bytes")])
def test_a_given_value_that_http_cannot_carry_is_refused(value):
    with pytest.raises(InvalidTaskError, match="'X-A'"):
        copied({}, {"X-A": value})


@pytest.mark.parametrize("wrong", ["X-A: 1", b"X-A: 1", 5, [("X-A",)], ["ab"]])
def test_headers_of_a_wrong_shape_are_refused(wrong):
    with pytest.raises(InvalidTaskError, match="headers must be a mapping of names to values"):
        copied({}, wrong)


@pytest.mark.parametrize(
    "host", ["a b", "host/path", "user@host", "", "http://host", "[::1", "[:::]", "[1.2.3.4]", "h:123456"]
)
def test_a_given_host_must_be_one(host):
    assert not is_authority(host)
    with pytest.raises(InvalidTaskError, match="no host"):
        copied({}, {"Host": host})


@pytest.mark.parametrize(
    "host", ["example.com", "example.com:8080", "127.0.0.1:1", "[::1]", "[::1]:8080", "xn--bcher-kva"]
)
def test_a_host_may_have_a_port(host):
    assert copied({}, {"host": host}) == {"Host": host}


def test_no_error_repeats_a_value():
    for wrong in ("canary\n", "canary€", b"canary"):
        with pytest.raises(InvalidTaskError) as caught:
            copied({}, {"Authorization": wrong})
        assert "canary" not in str(caught.value)


def test_the_size_is_that_of_the_lines():
    assert size((("X-A", "12"), ("X-B", ""))) == len("X-A: 12\r\n") + len("X-B: \r\n")


@given(
    st.dictionaries(st.one_of(NAMES, FORBIDDEN_NAMES), LATIN_1, max_size=6),
    st.dictionaries(st.one_of(NAMES, FORBIDDEN_NAMES, st.text(max_size=5)), st.one_of(LATIN_1, st.none()), max_size=4),
    st.lists(NAMES, max_size=3),
    st.booleans(),
    st.booleans(),
)
def test_no_control_character_no_task_header_and_no_hop_by_hop_header_passes(sent, added, named, with_content, upper):
    environ = {"HTTP_" + (name.upper().replace("-", "_") if upper else name): value for name, value in sent.items()}
    environ["HTTP_CONNECTION"] = ", ".join(named)
    try:
        passed = task_headers(environ, added, None, with_content)
    except InvalidTaskError:
        return
    given_names = {fold(name) for name in added}
    for name, value in passed:
        folded = fold(name)
        assert re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^`|~-]+", name)
        assert not any(character < " " or character == "\x7f" for character in value)
        assert not folded.startswith("x-task-")
        assert folded not in HOP_BY_HOP
        assert folded != "content-length"
        assert folded in given_names or folded not in {fold(other) for other in named}
    assert len({fold(name) for name, _ in passed}) == len(passed)


@given(st.dictionaries(NAMES, CLEAN, max_size=6))
def test_every_other_header_passes_as_it_was_sent(sent):
    environ = {"HTTP_X_" + name.upper().replace("-", "_"): value for name, value in sent.items()}
    expected = {fold(key[5:]): value for key, value in environ.items()}
    for name in list(expected):
        if name.startswith("x-task-"):
            del expected[name]

    assert {fold(name): value for name, value in task_headers(environ, None, None, True)} == expected


# ---- credentials -------------------------------------------------------------------------------------------------

CREDENTIALS = {
    "HTTP_COOKIE": "a=b",
    "HTTP_AUTHORIZATION": "Basic abc",
    "HTTP_X_API_KEY": "k",
    "HTTP_X_CSRF_TOKEN": "t",
    "HTTP_ACCEPT_LANGUAGE": "de",
}


@pytest.mark.parametrize("listed", [None, {"cookie", "accept-language"}])
def test_where_no_credentials_are_stored_none_are_copied(listed):
    assert dict(task_headers(CREDENTIALS, None, listed, False, with_credentials=False)) == {"Accept-Language": "de"}


@pytest.mark.parametrize("name", ["Cookie", "authorization", "X_Auth_Token"])
def test_where_no_credentials_are_stored_none_may_be_given_and_their_value_is_not_told(name):
    with pytest.raises(InvalidTaskError, match=r"auth = principal") as caught:
        task_headers({}, {name: "hunter2"}, None, False, with_credentials=False)
    assert "hunter2" not in str(caught.value)
    assert task_headers(CREDENTIALS, {name: None, "X-Colour": "red"}, None, False, with_credentials=False) == (
        ("Accept-Language", "de"),
        ("X-Colour", "red"),
    )


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, False),
        ({}, False),
        ({"X-Authorization": "a", "Accept": "b"}, False),
        ({"authorization": "a"}, True),
        ([("COOKIE", None)], True),
    ],
)
def test_given_headers_decide_as_whom_a_task_logs_in_if_they_name_what_logs_in(given, expected):
    assert names_credentials(given) is expected
