from __future__ import annotations

import contextvars
import io
import logging
import sys
from typing import Any
from urllib.parse import quote_from_bytes
from wsgiref.validate import validator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskqueue.consumer.acknowledge import Acknowledgement
from taskqueue.consumer.replay import build_environ, replay
from taskqueue.record import Task

from .fakes import answering, make_task


def environ_of(task: Task) -> dict[str, Any]:
    return build_environ(task, Acknowledgement())


class Recorder:
    """An application that keeps what it was called with."""

    def __init__(self, status: str = "200 OK") -> None:
        self.environ: dict[str, Any] = {}
        self.body = b""
        self._status = status

    def __call__(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        self.environ = environ
        self.body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        start_response(self._status, [("Content-Type", "text/plain")])
        return [b"thank you"]


# ---- the environ -------------------------------------------------------------------------------------------------


def test_a_request_is_rebuilt():
    task = make_task(
        "/a/b%20c?x=1&y=%C3%A9",
        base_url="https://www.example.org:8443/mount%20point",
        headers=(("Content-Type", "application/json"), ("Accept-Language", "de"), ("Cookie", "a=1")),
        payload=b"{}",
        connection={"SERVER_NAME": "inner", "SERVER_PORT": "8080", "REMOTE_ADDR": "192.0.2.1"},
    )
    environ = environ_of(task)
    assert environ["REQUEST_METHOD"] == "POST"
    assert environ["wsgi.url_scheme"] == "https"
    assert environ["SCRIPT_NAME"] == "/mount point"
    assert environ["PATH_INFO"] == "/a/b c"
    assert environ["QUERY_STRING"] == "x=1&y=%C3%A9"
    assert environ["HTTP_HOST"] == "www.example.org:8443"
    assert (environ["SERVER_NAME"], environ["SERVER_PORT"]) == ("inner", "8080")
    assert environ["REMOTE_ADDR"] == "192.0.2.1"
    assert environ["CONTENT_TYPE"] == "application/json"
    assert environ["CONTENT_LENGTH"] == "2"
    assert environ["HTTP_ACCEPT_LANGUAGE"] == "de"
    assert environ["HTTP_COOKIE"] == "a=1"
    assert environ["wsgi.input"].read() == b"{}"


@pytest.mark.parametrize(
    ("base_url", "facts"),
    [
        ("http://site.example", ("http", "site.example", "site.example", "80", "")),
        ("https://site.example", ("https", "site.example", "site.example", "443", "")),
        ("http://site.example:8080/app/", ("http", "site.example:8080", "site.example", "8080", "/app")),
        ("http://[::1]:8080", ("http", "[::1]:8080", "::1", "8080", "")),
        ("https://[::1]", ("https", "[::1]", "::1", "443", "")),
        ("", ("http", "localhost", "localhost", "80", "")),
        ("gopher://user:secret@site.example", ("http", "site.example", "site.example", "80", "")),
    ],
)
def test_scheme_host_port_and_mount_point_come_from_the_base_url(base_url, facts):
    environ = environ_of(make_task("/", base_url=base_url))
    keys = ("wsgi.url_scheme", "HTTP_HOST", "SERVER_NAME", "SERVER_PORT", "SCRIPT_NAME")
    assert tuple(environ[key] for key in keys) == facts


def test_a_host_header_goes_before_the_base_url():
    environ = environ_of(make_task("/", headers=(("Host", "other.example"),)))
    assert environ["HTTP_HOST"] == "other.example"


def test_the_task_says_who_it_is():
    task = make_task("/", queue="reports", attempts=2)
    environ = environ_of(task)
    assert environ["HTTP_USER_AGENT"] == "TaskQueueServer"
    assert environ["HTTP_X_TASK_ID"] == environ["HTTP_IDEMPOTENCY_KEY"] == task.id
    assert environ["HTTP_X_TASK_QUEUE"] == "reports"
    assert environ["HTTP_X_TASK_ATTEMPT"] == "3"
    assert environ["taskqueue.task"] is task
    assert isinstance(environ["taskqueue.acknowledgement"], Acknowledgement)


@pytest.mark.parametrize(
    "name",
    ["X-Task-Id", "x_task-user", "X-TASK_QUEUE", "Content-Length", "Transfer-Encoding", "User-Agent", "Proxy"],
)
def test_a_record_cannot_say_what_only_the_replay_says(name):
    environ = environ_of(make_task("/", headers=((name, "forged"),)))
    assert "forged" not in environ.values()


def test_a_record_cannot_put_anything_into_the_environ_but_the_facts_of_a_connection():
    forged = {"wsgi.input": "x", "tm.active": "x", "taskqueue.task": "x", "HTTP_HOST": "x", "SCRIPT_NAME": "x"}
    environ = environ_of(make_task("/", connection={**forged, "REMOTE_USER": "anna"}))
    assert "x" not in [value for value in environ.values() if isinstance(value, str)]
    assert "tm.active" not in environ
    assert environ["REMOTE_USER"] == "anna"


def test_an_unknown_client_has_no_address():
    assert "REMOTE_ADDR" not in environ_of(make_task("/"))


def test_headers_of_the_same_name_are_joined():
    headers = (("X-A", "1"), ("Cookie", "a=1"), ("x-a", "2"), ("cookie", "b=2"))
    environ = environ_of(make_task("/", headers=headers))
    assert environ["HTTP_X_A"] == "1, 2"
    assert environ["HTTP_COOKIE"] == "a=1; b=2"


def test_a_body_that_is_not_there_has_no_length():
    assert "CONTENT_LENGTH" not in environ_of(make_task("/", method="GET"))
    assert environ_of(make_task("/", method="POST"))["CONTENT_LENGTH"] == "0"
    assert environ_of(make_task("/", method="GET", payload=b""))["CONTENT_LENGTH"] == "0"


def test_each_attempt_has_an_environ_of_its_own():
    task = make_task("/", payload=b"abc")
    recorder = Recorder()
    replay(recorder, task)
    first = recorder.environ
    first["PATH_INFO"] = "rewritten"
    replay(recorder, task)
    assert recorder.environ is not first
    assert recorder.environ["PATH_INFO"] == "/"
    assert recorder.body == b"abc"


def test_the_body_can_be_read_again():
    environ = environ_of(make_task("/", payload=b"abc"))
    assert environ["wsgi.input"].read() == b"abc"
    environ["wsgi.input"].seek(0)
    assert environ["wsgi.input"].read() == b"abc"


_token = st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=1, max_size=12).map(lambda name: "X-Own-" + name)
_value = st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=40)


@given(
    path=st.binary(max_size=60),
    query=st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="#"), max_size=60),
    headers=st.lists(st.tuples(_token, _value), max_size=8, unique_by=lambda header: header[0]),
    payload=st.none() | st.binary(max_size=200),
    method=st.sampled_from(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]),
)
def test_the_view_gets_path_query_headers_and_body_unchanged(path, query, headers, payload, method):
    recorder = Recorder()
    url = "/" + quote_from_bytes(path) + ("?" + query if query else "")
    task = make_task(url, method=method, headers=tuple(headers), payload=payload)
    answer = replay(recorder, task)
    environ = recorder.environ
    assert answer.status == 200
    assert environ["REQUEST_METHOD"] == method
    assert environ["PATH_INFO"].encode("latin-1") == b"/" + path
    assert environ["QUERY_STRING"] == query
    assert recorder.body == (payload or b"")
    for name, value in headers:
        assert environ["HTTP_" + name.upper().replace("-", "_")] == value


@given(path=st.binary(max_size=30), payload=st.none() | st.binary(max_size=50), query=st.text(max_size=20))
def test_the_protocol_checker_finds_nothing(path, payload, query):
    recorder = Recorder()
    task = make_task(
        "/" + quote_from_bytes(path) + "?" + query,
        payload=payload,
        base_url="https://site.example/app/",
        headers=(("Content-Type", "text/plain"), ("Content-Length", "77"), ("X-Name", "Łódź"), ("Cookie", "a=1")),
    )
    answer = replay(validator(recorder), task)
    assert answer.exception is None
    assert answer.body == b"thank you"


# ---- the response ------------------------------------------------------------------------------------------------


def test_the_answer_tells_what_came_back():
    answer = replay(answering("418 Teapot", [("X-A", "b")], b"tea"), make_task("/"))
    assert (answer.status, answer.headers, answer.body) == (418, (("X-A", "b"),), b"tea")
    assert answer.exception is None
    assert answer.committed is None
    assert answer.duration_seconds >= 0


class Stream:
    """A response that tells how far it was read, and whether it was closed."""

    def __init__(self, *parts: Any, fails: BaseException | None = None, fails_to_close: bool = False) -> None:
        self._parts = iter(parts)
        self._fails = fails
        self._fails_to_close = fails_to_close
        self.was_read_to_its_end = False
        self.closed = 0

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> Any:
        for part in self._parts:
            return part
        if self._fails is not None:
            raise self._fails
        self.was_read_to_its_end = True
        raise StopIteration

    def close(self) -> None:
        self.closed += 1
        if self._fails_to_close:
            raise OSError("cannot close")


def streaming(stream: Stream, status: str | None = "200 OK") -> Any:
    def application(environ: dict[str, Any], start_response: Any) -> Stream:
        if status is not None:
            start_response(status, [])
        return stream

    return application


def test_the_response_is_read_to_its_end_and_closed():
    stream = Stream(b"a" * 3000, b"", b"b" * 3000, b"c" * 3000)
    answer = replay(streaming(stream), make_task("/"))
    assert stream.was_read_to_its_end
    assert stream.closed == 1
    assert answer.body == b"a" * 3000 + b"b" * 1096


@pytest.mark.parametrize("fault", [ValueError("x"), SystemExit(1), KeyboardInterrupt(), GeneratorExit()])
def test_a_response_that_breaks_off_is_an_exception_and_is_closed(fault):
    stream = Stream(b"a", fails=fault)
    answer = replay(streaming(stream), make_task("/"))
    assert answer.exception is fault
    assert answer.status is None
    assert stream.closed == 1


@pytest.mark.parametrize("fault", [ValueError("x"), SystemExit(1), KeyboardInterrupt(), GeneratorExit(), MemoryError()])
def test_whatever_the_application_raises_is_in_the_answer(fault):
    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        raise fault

    answer = replay(application, make_task("/"))
    assert answer.exception is fault
    assert fault.__traceback__ is None


def test_an_error_in_closing_is_an_exception():
    answer = replay(streaming(Stream(b"a", fails_to_close=True)), make_task("/"))
    assert isinstance(answer.exception, OSError)


@pytest.mark.parametrize("part", ["text", None, bytearray(b"x"), 7])
def test_a_body_of_anything_but_bytes_is_an_exception(part):
    stream = Stream(part)
    answer = replay(streaming(stream), make_task("/"))
    assert isinstance(answer.exception, TypeError)
    assert stream.closed == 1


@pytest.mark.parametrize("parts", [(), (b"",), (b"body",)])
def test_a_response_that_was_never_started_is_an_exception(parts):
    stream = Stream(*parts)
    answer = replay(streaming(stream, status=None), make_task("/"))
    assert "did not call start_response" in str(answer.exception)
    assert stream.closed == 1


def test_a_response_may_start_with_the_first_step_of_its_iterable():
    def application(environ: dict[str, Any], start_response: Any) -> Any:
        start_response("201 Created", [])
        yield b"late"

    assert replay(application, make_task("/")).status == 201


@pytest.mark.parametrize("status", ["", "abc", "20 OK", "2000 OK", "٢٠٠ OK", b"200 OK", 200, None])
def test_a_status_that_is_none_is_an_exception(status):
    answer = replay(answering(status), make_task("/"))
    assert isinstance(answer.exception, (TypeError, ValueError))


def test_what_is_written_comes_before_the_rest():
    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        write = start_response("200 OK", [])
        write(b"first ")
        return [b"second"]

    assert replay(application, make_task("/")).body == b"first second"


def test_a_second_start_needs_an_exception():
    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        start_response("500 Error", [])
        return []

    assert "called twice" in str(replay(application, make_task("/")).exception)


def test_a_second_start_with_an_exception_takes_the_place_of_the_first():
    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        try:
            raise ValueError("too late to be good")
        except ValueError:
            start_response("500 Error", [("X-A", "b")], sys.exc_info())
        return [b"sorry"]

    answer = replay(application, make_task("/"))
    assert (answer.status, answer.headers, answer.body) == (500, (("X-A", "b"),), b"sorry")


def test_after_some_of_the_body_the_exception_is_raised_again():
    fault = ValueError("too late")

    def application(environ: dict[str, Any], start_response: Any) -> Any:
        start_response("200 OK", [])
        yield b"some of the body"
        try:
            raise fault
        except ValueError:
            start_response("500 Error", [], sys.exc_info())

    assert replay(application, make_task("/")).exception is fault


def test_how_the_transaction_ended_is_seen_even_when_it_raises():
    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        environ["taskqueue.acknowledgement"].state = "aborted"
        raise ValueError

    assert replay(application, make_task("/")).committed is False


def test_a_record_that_makes_no_request_is_an_exception_and_no_more():
    assert replay(answering(), make_task("/", base_url="http://[broken")).exception is not None


# ---- one task and the next ---------------------------------------------------------------------------------------

_note = contextvars.ContextVar("note", default="nothing")


def test_nothing_of_a_context_is_seen_inside_or_afterwards():
    seen = []

    def application(environ: dict[str, Any], start_response: Any) -> Any:
        seen.append(_note.get())
        _note.set("left behind")
        start_response("200 OK", [])
        yield b""
        seen.append(_note.get())

    _note.set("from outside")
    replay(application, make_task("/"))
    replay(application, make_task("/"))
    assert seen == ["nothing", "left behind"] * 2
    assert _note.get() == "from outside"


# ---- what the application says beside ----------------------------------------------------------------------------


def test_what_goes_to_the_error_stream_is_logged_line_by_line(caplog):
    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        stream = environ["wsgi.errors"]
        stream.write("first\nsec")
        stream.writelines(["ond\r\n", "third\x1b[31m"])
        stream.flush()
        print("printed", file=stream)
        start_response("200 OK", [])
        return []

    task = make_task("/")
    with caplog.at_level(logging.INFO):
        replay(application, task)
    assert [record.name for record in caplog.records] == ["taskqueue.application"] * 4
    assert [record.getMessage().partition(": ")[2] for record in caplog.records] == [
        "first",
        "second",
        "third\\x1b[31m",
        "printed",
    ]
    assert all(task.id in record.getMessage() for record in caplog.records)


def test_a_line_without_end_is_not_kept_for_ever(caplog):
    stream = environ_of(make_task("/"))["wsgi.errors"]
    stream.write("x" * 100_000)
    assert len(caplog.records) == 1
    assert len(caplog.records[0].getMessage()) < 10_000


def test_the_place_of_an_exception_is_logged_without_its_text(caplog):
    def misbehaving_view(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        raise ValueError(environ["HTTP_AUTHORIZATION"])

    replay(misbehaving_view, make_task("/", headers=(("Authorization", "canary"),)))
    assert "misbehaving_view" in caplog.text
    assert "ValueError" in caplog.text
    assert "canary" not in caplog.text


def test_a_conflict_is_not_worth_a_stack(caplog):
    class ConflictError(Exception):
        pass

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        raise ConflictError

    replay(application, make_task("/"))
    assert not caplog.records


def test_the_error_stream_is_no_file_of_the_process():
    assert not isinstance(environ_of(make_task("/"))["wsgi.errors"], io.IOBase)
