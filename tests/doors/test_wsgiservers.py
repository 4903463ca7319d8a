"""What gunicorn leaves in a process, and what that tells. uWSGI is faked in the tests of the lifecycle."""

import os
import signal
import sys
import types

import pytest

from taskqueue import wsgiservers


class FakeWorker:
    """As much of gunicorn's worker as there is to see."""

    def __init__(self, pid):
        self.pid = pid
        self.booted = False
        self.alive = True

    def handle_exit(self, signal_number, frame):
        pass


@pytest.fixture
def gunicorn(monkeypatch):
    module = types.ModuleType("gunicorn.workers.base")
    module.Worker = FakeWorker
    monkeypatch.setitem(sys.modules, "gunicorn.workers.base", module)
    monkeypatch.setitem(sys.modules, "gunicorn.arbiter", types.ModuleType("gunicorn.arbiter"))


@pytest.fixture
def handle():
    """Have SIGTERM handled by this."""
    before = signal.getsignal(signal.SIGTERM)
    yield lambda handler: signal.signal(signal.SIGTERM, handler)
    signal.signal(signal.SIGTERM, before)


def test_without_such_a_server_there_is_neither_worker_nor_master():
    assert wsgiservers.current_worker() is None
    assert not wsgiservers.is_master()
    assert not wsgiservers.has_signals_of_its_own()
    assert wsgiservers.why_no_threads() == ""


def test_who_handles_sigterm_as_a_worker_is_one(gunicorn, handle):
    found = FakeWorker(os.getpid())
    handle(found.handle_exit)
    worker = wsgiservers.current_worker()
    assert worker.server == "gunicorn"
    assert not wsgiservers.is_master()
    assert (worker.is_ready(), worker.is_ending()) == (False, False)
    found.booted = True
    assert (worker.is_ready(), worker.is_ending()) == (True, False)
    found.alive = False
    assert worker.is_ending()


def test_a_child_of_a_worker_has_inherited_its_handler_and_is_none(gunicorn, handle):
    handle(FakeWorker(os.getppid()).handle_exit)
    assert wsgiservers.current_worker() is None


@pytest.mark.parametrize("handler", [signal.SIG_DFL, signal.SIG_IGN, lambda *arguments: None])
def test_gunicorn_without_a_worker_is_its_master(gunicorn, handle, handler):
    handle(handler)
    assert wsgiservers.current_worker() is None
    assert wsgiservers.is_master()


def test_the_first_to_be_called_at_exit_may_fail(monkeypatch):
    called = []

    def fail():
        called.append("first")
        raise LookupError

    uwsgi = types.ModuleType("uwsgi")
    uwsgi.worker_id = lambda: 1
    uwsgi.atexit = fail
    monkeypatch.setitem(sys.modules, "uwsgi", uwsgi)
    wsgiservers.call_at_exit(lambda: called.append("ours"))
    with pytest.raises(LookupError):
        uwsgi.atexit()
    assert called == ["first", "ours"]


def test_a_module_that_is_only_called_like_uwsgis_is_none(monkeypatch):
    monkeypatch.setitem(sys.modules, "uwsgi", types.ModuleType("uwsgi"))
    assert not wsgiservers.is_master()
    assert not wsgiservers.has_signals_of_its_own()
