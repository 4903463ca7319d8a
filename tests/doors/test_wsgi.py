"""The filter: what it remembers, what it takes away, what it looks after, and when it consumes."""

import io
import os
import signal
import subprocess
import sys
import threading
from wsgiref.util import FileWrapper, setup_testing_defaults
from wsgiref.validate import validator

import pytest
import transaction
from hypothesis import given
from hypothesis import strategies as st

import taskqueue
from taskqueue import context, notices, queues
from taskqueue.errors import PayloadLostError
from taskqueue.wsgi import TaskQueueFilter, TransactionMiddleware, task_only

from ..serving import wait_until
from .test_transactions import call


@pytest.fixture
def heard():
    collected = []
    notices.listen(collected.append)
    yield collected
    notices.unlisten(collected.append)


@pytest.fixture
def filtered(tmp_path):
    """Make filters that consume nothing."""
    made = []

    def make(app, **keywords):
        options = {"default": {"type": "sqlite", "path": str(tmp_path / "tasks.db"), **keywords}}
        made.append(TaskQueueFilter(app, queues=options))
        return made[-1]

    yield make
    for each in made:
        each.installation.close()
    queues.install(None)


def ok(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"fine"]


def stored(site):
    return site.installation.queues["default"].backend.list(("ready", "scheduled"))


@given(
    st.text("XxTtAaSsKk_-", min_size=1, max_size=12),
    st.sampled_from(["X_TASK_", "X-TASK-", "X_TASK-", "X-TASK_", "x_task_", "x-Task-"]),
)
def test_no_spelling_of_a_task_header_passes_from_outside(suffix, prefix):
    seen = {}

    def app(environ, start_response):
        seen.update(environ)
        return ok(environ, start_response)

    site = TaskQueueFilter(app, queues={"q": {"type": "sqlite", "path": "never-opened.db"}})
    call(site, {f"HTTP_{prefix}{suffix}": "forged", "HTTP_X_TASKS": "kept"})
    assert [key for key in seen if key.startswith("HTTP_") and "TASK" in key.upper()] == ["HTTP_X_TASKS"]
    assert context.active_origin() is None


def test_a_request_from_outside_cannot_bring_a_task(filtered):
    def app(environ, start_response):
        assert taskqueue.current_task() is None
        return ok(environ, start_response)

    call(filtered(app), {"taskqueue.task": "forged", "taskqueue.acknowledgement": "forged"})


def test_the_request_is_active_until_its_response_is_closed(filtered):
    seen = []

    def app(environ, start_response):
        start_response("200 OK", [])
        seen.append(context.active_origin())
        yield b""
        seen.append(context.active_origin())

    call(filtered(app))
    assert seen[0] is seen[1] is not None
    assert context.active_origin() is None


def test_the_request_is_no_longer_active_after_an_exception(filtered):
    def app(environ, start_response):
        raise LookupError

    with pytest.raises(LookupError):
        call(filtered(app))
    assert context.active_origin() is None


def test_a_file_reaches_the_server_in_the_servers_own_wrapper(filtered):
    def app(environ, start_response):
        start_response("200 OK", [])
        return environ["wsgi.file_wrapper"](io.BytesIO(b"content"))

    environ = {"wsgi.file_wrapper": FileWrapper}
    setup_testing_defaults(environ)
    assert isinstance(filtered(app)(environ, lambda *arguments: None), FileWrapper)


def test_a_filter_inside_of_a_filter_stays_out_of_the_way(filtered, tmp_path):
    inner = TaskQueueFilter(ok, queues={"inner": {"type": "sqlite", "path": str(tmp_path / "inner.db")}})
    seen = []

    def app(environ, start_response):
        seen.append(context.active_origin().queues)
        return inner(environ, start_response)

    outer = filtered(app)
    assert call(outer)[2] == b"fine"
    assert seen == [outer.installation.queues]


def test_a_task_of_a_request_without_a_transaction_is_discarded_and_said(filtered, heard):
    def app(environ, start_response):
        taskqueue.add("/orphan")
        return ok(environ, start_response)

    site = filtered(app)
    call(site)
    (notice,) = [notice for notice in heard if notice.event is notices.Event.DISCARDED]
    assert "TransactionMiddleware" in notice.detail
    transaction.commit()  # the next request's, on the same thread
    assert stored(site) == []


def test_a_transaction_that_began_outside_of_the_filter_may_end_there(filtered, heard):
    def app(environ, start_response):
        taskqueue.add("/kept")
        return ok(environ, start_response)

    site = filtered(app)
    call(TransactionMiddleware(site))
    assert len(stored(site)) == 1
    assert not [notice for notice in heard if notice.event is notices.Event.DISCARDED]


def test_a_task_whose_own_task_is_discarded_is_not_done(heard):
    def app(environ, start_response):
        taskqueue.add("/child" if taskqueue.current_task() else "/parent")
        return ok(environ, start_response)

    site = TaskQueueFilter(app, servers={"default": {"retry_max_count": 0}}, program="a-server")
    try:
        call(TransactionMiddleware(site))  # the wrong way round
        assert [notice for notice in heard if "stands outside of the taskqueue filter" in notice.detail]
        backend = site.installation.queues["default"].backend
        wait_until(lambda: backend.list(("dead",)))
        assert backend.counts().states["done"] == 0
    finally:
        site.installation.close()


@pytest.mark.parametrize("length", ["5", None])
@pytest.mark.parametrize("seekable", [True, False])
@pytest.mark.parametrize("read", [0, 2, 5])
def test_a_body_is_copied_however_much_of_it_was_read(filtered, length, seekable, read):
    class Once(io.RawIOBase):
        def __init__(self):
            self._file = io.BytesIO(b"hello")

        def read(self, size=-1):
            return self._file.read(size)

        def readable(self):
            return True

        def seekable(self):
            return False

    rest = []

    def app(environ, start_response):
        environ["wsgi.input"].read(read)
        taskqueue.add("/copy", method="POST")
        rest.append(environ["wsgi.input"].read(5 - read))
        return ok(environ, start_response)

    environ = {"REQUEST_METHOD": "POST", "wsgi.input": io.BytesIO(b"hello") if seekable else Once()}
    environ |= {"CONTENT_LENGTH": length} if length else {"wsgi.input_terminated": True}
    site = filtered(TransactionMiddleware(app))
    call(site, environ)
    (record,) = stored(site)
    assert taskqueue.get(record.id).payload == b"hello"
    assert rest == [b"hello"[read:]]


@pytest.mark.parametrize("length", ["9" * 5000, "-1", "1e3", "+5", " 5", "0x5", "5, 5"])
def test_a_length_that_is_none_passes_and_its_body_is_not_taken_for_empty(filtered, length):
    def app(environ, start_response):
        with pytest.raises(PayloadLostError):
            taskqueue.add("/copy", method="POST")
        return ok(environ, start_response)

    environ = {"REQUEST_METHOD": "POST", "wsgi.input": io.BytesIO(b"hello"), "CONTENT_LENGTH": length}
    assert call(filtered(app), environ)[2] == b"fine"


def test_a_response_that_yields_none_does_not_end_there(filtered):
    def app(environ, start_response):
        start_response("200 OK", [])
        yield None

    environ = {}
    setup_testing_defaults(environ)
    assert list(filtered(app)(environ, lambda *_: None)) == [None]


def test_it_keeps_the_rules_of_wsgi(filtered):
    def app(environ, start_response):
        environ["wsgi.input"].read(1)
        return ok(environ, start_response)

    site = filtered(validator(app))
    environ = {"REQUEST_METHOD": "POST", "CONTENT_LENGTH": "3", "wsgi.input": io.BytesIO(b"abc"), "QUERY_STRING": ""}
    assert call(validator(site), environ)[2] == b"fine"


def test_task_only_answers_403_to_a_wsgi_request_from_outside(filtered):
    assert call(filtered(task_only(ok)))[0].startswith("403")


def test_constructing_a_filter_starts_nothing_and_opens_nothing(tmp_path):
    before = set(threading.enumerate())
    TaskQueueFilter(
        ok, queues={"default": {"type": "sqlite", "path": str(tmp_path / "var" / "t.db")}}, servers={"default": {}}
    )
    assert set(threading.enumerate()) == before
    assert list(tmp_path.iterdir()) == []


def test_consumers_start_with_the_first_request_of_the_process_and_run_tasks():
    ran = threading.Event()

    def app(environ, start_response):
        if environ["PATH_INFO"] == "/task":
            assert taskqueue.current_task().url == "/task"
            ran.set()
        else:
            taskqueue.add("/task")
        return ok(environ, start_response)

    site = TaskQueueFilter(TransactionMiddleware(app), program="a-server")
    try:
        assert not site.installation.is_started
        call(site)
        assert site.installation.is_started
        assert ran.wait(10)
    finally:
        site.installation.close()


def test_a_request_in_a_test_run_starts_no_consumers():
    site = TaskQueueFilter(ok)
    call(site)
    assert not site.installation.is_started


PROGRAM = """
import os, sys, threading, time
from wsgiref.util import setup_testing_defaults
from taskqueue.wsgi import TaskQueueFilter
def app(environ, start_response):
    start_response("200 OK", [])
    return [b""]
site = TaskQueueFilter(app)
def request():
    environ = {}
    setup_testing_defaults(environ)
    site(environ, lambda *a: None)
def consumers():
    return sum(t.name.startswith("taskqueue") and "keeper" not in t.name for t in threading.enumerate())
"""


def run_program(text):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM + text], capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode, done.stdout


def test_a_forked_child_that_serves_nothing_consumes_nothing():
    code, printed = run_program(
        "request(); here = consumers() > 0\n"
        "pid = os.fork()\n"
        "if not pid: os._exit(7 if consumers() == 0 and not site.installation.is_started else 8)\n"
        "print(here, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\n"
    )
    assert (code, printed.split()) == (0, ["True", "7"])


def test_a_forked_child_that_serves_consumes():
    code, printed = run_program(
        "request()\n"
        "pid = os.fork()\n"
        "if not pid:\n"
        "    request(); os._exit(7 if consumers() > 0 else 8)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\n"
    )
    assert (code, printed.split()) == (0, ["7"])


def test_sigterm_stops_the_consumers_and_ends_the_process():
    code, printed = run_program(
        "import signal, atexit\n"
        "request()\n"
        "print(consumers() > 0, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGTERM)\n"
        "threading.Event().wait(30); print('survived')\n"
    )
    assert (code, printed.split()) == (128 + signal.SIGTERM, ["True"])


def test_a_handler_of_the_applications_own_is_left_alone():
    code, printed = run_program(
        "import signal\n"
        "signal.signal(signal.SIGTERM, lambda *a: print('mine', flush=True))\n"
        "request()\n"
        "os.kill(os.getpid(), signal.SIGTERM)\n"
    )
    assert (code, printed.split()) == (0, ["mine"])


def test_the_environ_of_a_file_upload_is_not_copied_into_the_snapshot(filtered):
    seen = []

    def app(environ, start_response):
        seen.append(context.active_origin().environ)
        return ok(environ, start_response)

    call(filtered(app), {"wsgi.input": io.BytesIO(), "x.object": object(), "SERVER_NAME": "here"})
    assert seen[0]["SERVER_NAME"] == "here"
    assert all(type(value) is str for value in seen[0].values())
    assert os.environ is not seen[0]
