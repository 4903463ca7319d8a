"""The transaction middleware: one transaction a request, ended before the response leaves."""

import io
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pytest
import transaction

from taskqueue.consumer.acknowledge import Acknowledgement
from taskqueue.transactions import TransactionMiddleware


class Witness:
    """A data manager that tells what became of its transaction."""

    def __init__(self, events, fail_in=None):
        self.events = events
        self.transaction_manager = None
        self._fail_in = fail_in

    def sortKey(self):  # noqa: N802  # the name that transaction asks for
        return "witness"

    def _phase(self, phase):
        if phase == self._fail_in:
            raise ValueError(phase)

    def tpc_begin(self, txn):
        pass

    def commit(self, txn):
        self._phase("commit")

    def tpc_vote(self, txn):
        self._phase("vote")

    def tpc_finish(self, txn):
        self.events.append("committed")

    def abort(self, txn):
        self.events.append("aborted")

    tpc_abort = abort


@pytest.fixture
def events():
    return []


def call(app, environ=None):
    """Status, headers and body of one request, as a server would make it."""
    environ = {**(environ or {})}
    setup_testing_defaults(environ)
    started = []

    def start_response(status, headers, exc_info=None):
        started[:] = [status, headers]
        return lambda data: None

    iterable = app(environ, start_response)
    try:
        body = b"".join(iterable)
    finally:
        if hasattr(iterable, "close"):
            iterable.close()
    return started[0], started[1], body


def answering(events, status="200 OK", body=(b"one", b"two"), **keywords):
    def app(environ, start_response):
        environ["tm.manager"].get().join(Witness(events, **keywords))
        start_response(status, [("Content-Type", "text/plain")])
        return list(body)

    return app


def test_a_response_commits_before_it_leaves(events):
    def server_start(status, headers, exc_info=None):
        events.append("started")

    environ = {}
    setup_testing_defaults(environ)
    iterable = TransactionMiddleware(answering(events))(environ, server_start)
    assert events == ["committed", "started"]
    assert b"".join(iterable) == b"onetwo"
    iterable.close()


@pytest.mark.parametrize("status", ["200 OK", "204 No Content", "302 Found", "304 Not Modified"])
def test_a_response_below_400_commits(events, status):
    assert call(TransactionMiddleware(answering(events, status, ())))[0] == status
    assert events == ["committed"]


@pytest.mark.parametrize("status", ["400 Bad Request", "404 Not Found", "409 Conflict", "500 Oops", "503 Later"])
def test_a_response_from_400_on_aborts_and_passes(events, status):
    answer = call(TransactionMiddleware(answering(events, status)))
    assert (answer[0], answer[2]) == (status, b"onetwo")
    assert events == ["aborted"]


def test_an_exception_aborts_and_passes(events):
    def app(environ, start_response):
        environ["tm.manager"].get().join(Witness(events))
        raise LookupError("from the application")

    with pytest.raises(LookupError, match="from the application"):
        call(TransactionMiddleware(app))
    assert events == ["aborted"]


def test_a_body_that_yields_none_aborts(events):
    with pytest.raises(TypeError):
        call(TransactionMiddleware(answering(events, body=(b"one", None, b"two"))))
    assert events == ["aborted"]


def test_an_exception_in_the_middle_of_the_body_aborts_and_nothing_leaves(events):
    def app(environ, start_response):
        environ["tm.manager"].get().join(Witness(events))
        start_response("200 OK", [])
        yield b"part"
        raise LookupError("from the body")

    left = []
    environ = {}
    setup_testing_defaults(environ)
    with pytest.raises(LookupError):
        TransactionMiddleware(app)(environ, lambda *arguments: left.append(arguments))
    assert events == ["aborted"]
    assert left == []


def test_a_doomed_transaction_aborts_and_the_response_passes(events):
    def app(environ, start_response):
        environ["tm.manager"].get().join(Witness(events))
        environ["tm.manager"].doom()
        start_response("200 OK", [])
        return [b"doomed"]

    assert call(TransactionMiddleware(app))[2] == b"doomed"
    assert events == ["aborted"]


@pytest.mark.parametrize("phase", ["commit", "vote"])
def test_a_commit_that_fails_is_an_exception_and_nothing_leaves(events, phase):
    left = []
    environ = {}
    setup_testing_defaults(environ)
    with pytest.raises(ValueError, match=phase):
        TransactionMiddleware(answering(events, fail_in=phase))(environ, lambda *arguments: left.append(arguments))
    assert "committed" not in events
    assert left == []


def test_what_a_generator_does_while_it_streams_is_in_the_transaction(events):
    def app(environ, start_response):
        start_response("200 OK", [])
        yield b"first"
        environ["tm.manager"].get().join(Witness(events))
        yield b"second"

    assert call(TransactionMiddleware(app))[2] == b"firstsecond"
    assert events == ["committed"]


def test_a_stream_leaves_part_by_part_after_the_commit(events):
    produced = []

    def app(environ, start_response):
        environ["tm.manager"].get().join(Witness(events))
        environ["taskqueue.stream"] = True
        start_response("200 OK", [])
        for part in (b"1", b"2", b"3"):
            produced.append(part)
            yield part

    environ = {}
    setup_testing_defaults(environ)
    iterable = TransactionMiddleware(app)(environ, lambda *arguments: None)
    assert events == ["committed"]
    assert produced == [b"1"]  # what it took to know the status
    assert b"".join(iterable) == b"123"
    iterable.close()


def test_a_large_body_arrives_whole(events):
    parts = [bytes([number]) * 300_000 for number in range(10)]
    assert call(TransactionMiddleware(answering(events, body=parts)))[2] == b"".join(parts)


def test_what_is_written_by_the_old_callable_arrives_before_the_body(events):
    def app(environ, start_response):
        write = start_response("200 OK", [])
        write(b"written ")
        return [b"returned"]

    assert call(TransactionMiddleware(app))[2] == b"written returned"


def test_start_response_with_exc_info_replaces_the_status(events):
    def app(environ, start_response):
        environ["tm.manager"].get().join(Witness(events))
        start_response("200 OK", [])
        try:
            raise LookupError
        except LookupError as error:
            start_response("500 Oops", [], (LookupError, error, None))
        return [b"sorry"]

    assert call(TransactionMiddleware(app))[0] == "500 Oops"
    assert events == ["aborted"]


@pytest.mark.parametrize("key", ["tm.active", "repoze.tm.active", "tm.manager"])
def test_it_does_nothing_where_a_manager_is_active(key):
    value = transaction.TransactionManager(explicit=True) if key == "tm.manager" else True
    seen = {}

    def app(environ, start_response):
        seen.update(environ)
        start_response("200 OK", [])
        return [b""]

    call(TransactionMiddleware(app), {key: value})
    assert {name for name in seen if "tm." in name} == {key}
    assert seen[key] is value


def test_the_body_of_the_application_is_closed_once_and_after_the_commit(events):
    class Body:
        def __iter__(self):
            return iter([b"x"])

        def close(self):
            events.append("closed")

    def app(environ, start_response):
        environ["tm.manager"].get().join(Witness(events))
        start_response("200 OK", [])
        return Body()

    call(TransactionMiddleware(app))
    assert events == ["committed", "closed"]


@pytest.mark.parametrize(("status", "state"), [("200 OK", "committed"), ("500 Oops", "aborted")])
def test_a_replay_learns_what_became_of_its_transaction(events, status, state):
    acknowledgement = Acknowledgement()
    call(TransactionMiddleware(answering(events, status)), {"taskqueue.acknowledgement": acknowledgement})
    assert acknowledgement.state == state


@pytest.mark.parametrize("body", [b"", b"short", b"x" * 3_000_000])
def test_who_asks_is_told_the_first_of_the_response_before_the_commit_and_it_leaves_whole(events, body):
    def app(environ, start_response):
        start_response("201 Created", [("X-Own", "1")])
        return [body[:10], body[10:]]

    told = []
    acknowledgement = Acknowledgement(lambda _transaction, _manager, answer: told.append(answer))
    answered = call(TransactionMiddleware(app), {"taskqueue.acknowledgement": acknowledgement})
    assert answered[2] == body
    (answer,) = told
    assert (answer.status, answer.headers, answer.body) == (201, (("X-Own", "1"),), body[:4096])


def test_it_keeps_the_rules_of_wsgi(events):
    def app(environ, start_response):
        assert environ["wsgi.input"].read(3) == b"abc"
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"fine"]

    environ = {"wsgi.input": io.BytesIO(b"abc"), "CONTENT_LENGTH": "3", "REQUEST_METHOD": "POST", "QUERY_STRING": ""}
    assert call(validator(TransactionMiddleware(validator(app))), environ)[2] == b"fine"
