"""Our own threads: daemons, and nothing blocked but where a server handles signals itself."""

import os
import signal
import sys
import threading
import types

import pytest

from taskqueue.threads import KEPT_OUT, BackgroundThread


@pytest.fixture
def in_uwsgi(monkeypatch):
    monkeypatch.setitem(sys.modules, "uwsgi", types.SimpleNamespace(worker_id=lambda: 1))


def blocked():
    return set(signal.pthread_sigmask(signal.SIG_BLOCK, ()))


def seen_by(look):
    """What a background thread sees."""
    found = []
    thread = BackgroundThread(target=lambda: found.append(look()), name="of this test")
    thread.start()
    thread.join()
    return found[0]


def test_it_is_a_daemon_with_the_name_that_it_is_given():
    assert seen_by(lambda: (threading.current_thread().name, threading.current_thread().daemon)) == (
        "of this test",
        True,
    )


def test_it_blocks_nothing_where_python_handles_signals():
    assert seen_by(blocked) == blocked() == set()


def test_in_uwsgi_it_blocks_what_ends_or_disturbs_a_worker_and_whoever_starts_it_does_not(in_uwsgi):
    assert seen_by(blocked) == KEPT_OUT
    assert blocked() == set()


def test_what_whoever_starts_it_has_blocked_stays_so(in_uwsgi):
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP, signal.SIGWINCH})
    try:
        assert seen_by(blocked) == {*KEPT_OUT, signal.SIGWINCH}
        assert blocked() == {signal.SIGHUP, signal.SIGWINCH}
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def test_nothing_is_blocked_any_more_when_it_cannot_be_started(in_uwsgi):
    thread = BackgroundThread(target=lambda: None)
    thread.start()
    with pytest.raises(RuntimeError):
        thread.start()
    assert blocked() == set()


def blocked_in_child():
    child = os.fork()
    if not child:
        os._exit(max(blocked(), default=0))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_child_that_it_forks_blocks_nothing(in_uwsgi):
    assert seen_by(blocked_in_child) == 0


def test_a_child_of_one_that_another_one_has_started_blocks_nothing(in_uwsgi):
    assert seen_by(lambda: seen_by(blocked_in_child)) == 0


def test_a_child_that_it_forks_goes_on_blocking_what_others_have_blocked(in_uwsgi):
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    try:
        assert seen_by(blocked_in_child) == signal.SIGUSR1
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
