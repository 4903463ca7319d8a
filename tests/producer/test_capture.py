"""Capture: the arguments of add and the active request as one task."""

import io
import re
from urllib.parse import parse_qsl, unquote_to_bytes

import msgspec
import pytest
import webob
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from taskqueue import record
from taskqueue.backends.local import LocalQueue
from taskqueue.errors import InvalidTaskError, PayloadLostError, TooLargeError
from taskqueue.producer.capture import capture, origin_of
from taskqueue.queues import Queue
from taskqueue.record import Keyring

from .fakes import Body, origin

NOW = 1_000_000.0
KEYRING = Keyring([b"k" * 32])
PATH_BYTES = sorted(set(range(0x20, 0x100)) - {0x7F, ord("\\")})
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=10)
LATIN_1 = st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f")


def queue(**options):
    return Queue("default", LocalQueue(name="default"), **options)


def task(url="/x", active=None, of=None, **arguments):
    return capture(task_id="id", now=NOW, queue=of or queue(), origin=active, url=url, **arguments)


def test_a_task_outside_a_request_has_what_was_given_and_nothing_else():
    made = task("/a?b=c", method="post", payload="é", given_headers={"X-A": True}, priority=3, max_attempts=2, delay=5)

    assert made == record.Task(
        id="id",
        queue="default",
        method="POST",
        url="/a?b=c",
        headers=(("X-A", "true"),),
        payload=b"\xc3\xa9",
        base_url="http://localhost",
        priority=3,
        due=NOW + 5,
        max_attempts=2,
        added_at=NOW,
    )


@pytest.mark.parametrize(
    ("configured", "base_url"),
    [("", "http://localhost"), ("https://example.com/app/", "https://example.com/app"), ("http://h:1", "http://h:1")],
)
def test_outside_a_request_the_queue_says_where_the_site_is(configured, base_url):
    assert task(of=queue(base_url=configured)).base_url == base_url


def test_a_given_host_replaces_that_of_the_queue():
    made = task(of=queue(base_url="https://example.com:8/app"), given_headers={"Host": "other.example"})

    assert made.base_url == "https://other.example/app"


@pytest.mark.parametrize(
    ("environ", "base_url"),
    [
        ({"HTTP_HOST": "example.com"}, "http://example.com"),
        ({"HTTP_HOST": "example.com:8080", "wsgi.url_scheme": "https"}, "https://example.com:8080"),
        ({"HTTP_HOST": "h", "SCRIPT_NAME": "/app"}, "http://h/app"),
        ({"HTTP_HOST": "h", "SCRIPT_NAME": "/"}, "http://h"),
        ({"HTTP_HOST": "h", "SCRIPT_NAME": "/gr\xc3\xbcn a?"}, "http://h/gr%C3%BCn%20a%3F"),
        ({"HTTP_HOST": "h", "SCRIPT_NAME": "/日"}, "http://h/%E6%97%A5"),
        ({}, "http://site"),
        ({"SERVER_PORT": "8080"}, "http://site:8080"),
        ({"SERVER_PORT": "443", "wsgi.url_scheme": "https"}, "https://site"),
        ({"SERVER_NAME": "::1", "SERVER_PORT": "8080"}, "http://[::1]:8080"),
        ({"SERVER_NAME": "a/b"}, "http://localhost"),
        ({"HTTP_HOST": "evil/@x?#"}, "http://site"),
        ({"HTTP_HOST": "[:::]"}, "http://site"),
        ({"HTTP_HOST": "h", "wsgi.url_scheme": "javascript"}, "http://h"),
    ],
)
def test_in_a_request_the_base_url_is_where_the_caller_saw_the_site(environ, base_url):
    assert task(active=origin(environ)).base_url == base_url


def test_a_given_host_is_in_the_base_url_and_a_removed_one_is_still_known():
    active = origin({"HTTP_HOST": "example.com"})

    assert task(active=active, given_headers={"host": "other.example"}).base_url == "http://other.example"
    assert task(active=active, given_headers={"host": None}).base_url == "http://example.com"
    assert "Host" not in dict(task(active=active, given_headers={"host": None}).headers)


def test_the_queue_says_which_headers_are_copied():
    active = origin({"HTTP_COOKIE": "a=b", "HTTP_ACCEPT": "*"})

    assert dict(task(active=active, of=queue(copy_headers=frozenset({"accept"}))).headers) == {"Accept": "*"}


def test_the_callers_connection_is_kept_and_the_user_only_by_option():
    cgi = {
        "REMOTE_ADDR": "192.0.2.1",
        "REMOTE_PORT": "4711",
        "SERVER_NAME": "site",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
    }
    active = origin({**cgi, "REMOTE_USER": "joe", "PATH_INFO": "/", "SERVER_SOFTWARE": "x"})

    assert task(active=active).connection == cgi
    assert task(active=active, of=queue(copy_remote_user=True)).connection == {**cgi, "REMOTE_USER": "joe"}


@pytest.mark.parametrize("value", ["joe\nX: 1", "\x00", "\ud800"])
def test_a_connection_that_cannot_be_is_refused(value):
    with pytest.raises(InvalidTaskError, match="REMOTE_ADDR of the active request") as caught:
        task(active=origin({"REMOTE_ADDR": value}))
    assert "joe" not in str(caught.value)


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
def test_the_body_of_the_request_is_copied_with_its_type(method):
    active = origin({"CONTENT_TYPE": "text/plain", "CONTENT_LENGTH": "4"}, b"body")

    made = task(active=active, method=method)

    assert made.payload == b"body"
    assert dict(made.headers) == {"Content-Type": "text/plain"}


def test_a_given_type_replaces_that_of_the_copied_body():
    made = task(
        active=origin({"CONTENT_TYPE": "text/plain"}, b"body"), method="POST", given_headers={"content-type": "a/b"}
    )

    assert made.payload == b"body"
    assert dict(made.headers) == {"Content-Type": "a/b"}


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
def test_a_method_without_a_body_leaves_the_body_alone(method):
    made = task(active=origin({"CONTENT_TYPE": "text/plain", "CONTENT_LENGTH": "4"}, b"body"), method=method)

    assert made.payload is None
    assert made.headers == ()


@pytest.mark.parametrize(("given_payload", "payload"), [(None, None), (b"mine", b"mine"), ("", None)])
def test_a_given_payload_brings_nothing_of_the_requests_content(given_payload, payload):
    active = origin({"CONTENT_TYPE": "text/plain", "HTTP_CONTENT_LANGUAGE": "de"}, b"body")

    made = task(active=active, method="POST", payload=given_payload)

    assert made.payload == payload
    assert made.headers == ()


def test_a_request_without_a_body_gives_none():
    assert task(active=origin({"CONTENT_LENGTH": "0"}), method="POST").payload is None
    assert task(active=origin({"CONTENT_LENGTH": ""}), method="POST").payload is None
    assert task(active=origin(body=b""), method="POST").payload is None


@pytest.mark.parametrize("environ", [{"CONTENT_LENGTH": "4"}, {"HTTP_TRANSFER_ENCODING": "chunked"}])
def test_a_body_that_nobody_remembers_is_an_error_and_not_empty(environ):
    with pytest.raises(PayloadLostError, match="give payload="):
        task(active=origin(environ), method="POST")
    assert task(active=origin(environ), method="POST", payload=b"mine").payload == b"mine"


def test_a_body_that_is_gone_is_an_error():
    active = origin()
    active.body = Body(None)

    with pytest.raises(PayloadLostError):
        task(active=active, method="POST")


@pytest.mark.parametrize(
    ("over", "option"),
    [
        ({"method": "POST", "payload": b"x" * 101}, "payload_limit"),
        ({"method": "POST", "payload": "é" * 51}, "payload_limit"),
        ({"given_headers": {"X-Canary": "x" * 200}}, "header_limit"),
        ({"params": {"x": "x" * 200}}, "header_limit"),
    ],
)
def test_what_is_over_a_limit_is_refused_with_the_option_that_says_so(over, option):
    with pytest.raises(TooLargeError, match=f"{option} allows 100: .*, or raise {option}"):
        task(of=queue(payload_limit=100, header_limit=100), **over)


def test_what_is_just_within_the_limits_passes():
    made = task(
        "/" + "x" * 99,
        of=queue(payload_limit=100, header_limit=100),
        method="POST",
        payload=b"x" * 100,
        given_headers={"X-A": "x" * 93},
    )

    assert len(made.payload) == 100


def test_a_copied_body_over_the_limit_is_refused():
    with pytest.raises(TooLargeError):
        task(active=origin({}, b"x" * 101), of=queue(payload_limit=100), method="POST")


TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.mark.parametrize(
    ("value", "trace"),
    [(TRACE, TRACE), ("", None), ("nonsense", None), ("ff" + TRACE[2:], None), (TRACE + "-" + "x" * 1000, None)],
)
def test_the_trace_is_kept_when_it_is_one(value, trace):
    assert task(active=origin({"HTTP_TRACEPARENT": value})).trace == trace


# ---- a request that is given ----


def test_a_given_webob_request_is_copied_as_it_is_and_still_has_its_body():
    request = webob.Request.blank("/y", base_url="https://h:8/app", method="POST", body=b"body", headers={"X-A": "1"})
    request.body_file.read()

    made = task(active=origin_of(request), method="POST")

    assert made.payload == b"body"
    assert made.base_url == "https://h:8/app"
    assert dict(made.headers)["X-A"] == "1"
    assert origin_of(request).live_environ is request.environ


def test_a_given_environ_will_do():
    environ = {"HTTP_X_A": "1", "wsgi.input": io.BytesIO(b"body"), "CONTENT_LENGTH": "4", "mine": object(), 5: "x"}
    environ["wsgi.input"].read(2)

    made = task(active=origin_of(environ), method="POST")

    assert made.payload == b"body"
    assert dict(made.headers) == {"X-A": "1"}
    assert environ["wsgi.input"].read() == b"dy"


class OnceOnly:
    """A stream that cannot be read again."""

    def read(self, size=-1):
        """Nothing is left."""
        return b""


@pytest.mark.parametrize("stream", [OnceOnly(), io.BytesIO(b"bo"), None])
def test_the_body_of_a_given_request_is_copied_only_when_it_is_all_there(stream):
    with pytest.raises(PayloadLostError):
        task(active=origin_of({"wsgi.input": stream, "CONTENT_LENGTH": "4"}), method="POST")


@pytest.mark.parametrize("wrong", [5, "request", object()])
def test_something_else_is_no_request(wrong):
    with pytest.raises(InvalidTaskError, match="request must be a WSGI environ"):
        origin_of(wrong)


# ---- what is captured comes back ----


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(
    path=st.lists(st.sampled_from(PATH_BYTES), max_size=20),
    params=st.dictionaries(TEXT, TEXT, max_size=3),
    sent=st.dictionaries(st.from_regex(r"[A-Z0-9_]{1,10}", fullmatch=True), st.text(LATIN_1, max_size=20), max_size=4),
    body=st.binary(max_size=50),
    script_name=st.text(LATIN_1, max_size=10),
    host=st.text(LATIN_1, max_size=10),
)
def test_a_captured_task_is_the_same_after_the_store(path, params, sent, body, script_name, host):
    environ = {"HTTP_" + name: value for name, value in sent.items()}
    environ.update({"HTTP_HOST": host, "SCRIPT_NAME": script_name, "CONTENT_TYPE": "application/octet-stream"})
    url = "/x/" + "".join(f"%{byte:02x}" for byte in path)
    assume(not {b".", b".."} & set(re.split(rb"/", bytes(path))) and b"%2" not in bytes(path))

    made = task(url, origin(environ, body), method="POST", params=params)
    came_back = record.decode(record.encode(made, KEYRING), KEYRING)

    assert came_back == msgspec.structs.replace(made, headers=_open_first(made.headers))
    assert (made.payload or b"") == body
    assert unquote_to_bytes(made.path) == b"/x/" + bytes(path)
    assert parse_qsl(made.url.partition("?")[2], keep_blank_values=True) == list(params.items())


def _open_first(headers):
    """Headers in the order in which the store gives them back."""
    return tuple(sorted(headers, key=lambda header: record.is_secret_header(header[0])))


# ---- several tasks of one request ----


def test_the_tasks_of_a_request_share_what_they_copy_of_it():
    active = origin({"HTTP_HOST": "site", "HTTP_COOKIE": "a=b", "REMOTE_ADDR": "::1"})
    same = queue()
    first, second = (task(url, active, same) for url in ("/a", "/b"))

    assert first.headers is second.headers
    assert first.connection is second.connection
    assert (first.url, second.url) == ("/a", "/b")


def test_headers_that_one_task_is_given_are_not_the_next_ones():
    active = origin({"HTTP_HOST": "site", "HTTP_COOKIE": "a=b"})
    same = queue()
    plain = task("/x", active, same)
    given_other = task("/x", active, same, given_headers={"Host": "other", "Cookie": None, "X-A": "1"})

    assert given_other.headers == (("Host", "other"), ("X-A", "1"))
    assert given_other.base_url == "http://other"
    assert task("/x", active, same) == plain


def test_each_queue_copies_by_its_own_rules():
    active = origin({"HTTP_HOST": "site", "HTTP_COOKIE": "a=b", "CONTENT_TYPE": "text/plain"}, body=b"body")
    strict, open_one = queue(auth="principal"), queue()

    assert task("/x", active, open_one).headers == (("Host", "site"), ("Cookie", "a=b"))
    assert task("/x", active, strict).headers == (("Host", "site"),)
    with_body = task("/x", active, open_one, method="POST")
    assert with_body.headers == (("Host", "site"), ("Cookie", "a=b"), ("Content-Type", "text/plain"))


def test_a_fault_of_the_request_is_told_to_every_task():
    active = origin({"REMOTE_ADDR": "a\nb"})
    same = queue()
    for _ in range(2):
        with pytest.raises(InvalidTaskError, match="REMOTE_ADDR"):
            task("/x", active, same)
