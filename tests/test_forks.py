"""Forks wait for those who tell something, and the other way round; neither waits for ever."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator

import pytest

from taskqueue import forks
from taskqueue.forks import held_back

DEADLINE = 20.0
IN_VAIN = 0.3  # what must not happen is waited for so long


@pytest.fixture
def start() -> Iterator[Callable[[Callable[[], object]], threading.Thread]]:
    started: list[threading.Thread] = []

    def start_thread(target: Callable[[], object]) -> threading.Thread:
        started.append(threading.Thread(target=target, daemon=True))
        started[-1].start()
        return started[-1]

    yield start_thread
    for thread in started:
        thread.join(DEADLINE)
        assert not thread.is_alive()


def status_of_child(run: Callable[[], int]) -> int:
    """Fork, and return what ``run`` returns in the child."""
    pid = os.fork()
    if not pid:
        status = 99
        try:
            status = run()
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_a_fork_waits_until_nobody_is_inside(start: Callable[[Callable[[], object]], threading.Thread]) -> None:
    inside, forked, left = threading.Event(), threading.Event(), threading.Event()

    def tell() -> None:
        with held_back:
            inside.set()
            forked.wait(IN_VAIN)
            left.set()

    start(tell)
    assert inside.wait(DEADLINE)
    status = status_of_child(lambda: 0 if left.is_set() else 1)
    forked.set()
    assert status == 0


def test_nobody_comes_in_while_another_thread_forks(
    start: Callable[[Callable[[], object]], threading.Thread],
) -> None:
    inside = threading.Event()

    def tell() -> None:
        with held_back:
            inside.set()

    held_back.close()
    try:
        start(tell)
        assert not inside.wait(IN_VAIN)
        with held_back:  # the thread that forks may: other parts of the process have something to do before a fork
            pass
    finally:
        held_back.open()
    assert inside.wait(DEADLINE)


def test_two_threads_fork_one_after_the_other(start: Callable[[Callable[[], object]], threading.Thread]) -> None:
    closed = threading.Event()

    def fork() -> None:
        held_back.close()
        closed.set()
        held_back.open()

    held_back.close()
    try:
        start(fork)
        assert not closed.wait(IN_VAIN)
    finally:
        held_back.open()
    assert closed.wait(DEADLINE)


def test_blocks_do_not_wait_for_each_other(start: Callable[[Callable[[], object]], threading.Thread]) -> None:
    together = threading.Barrier(2, timeout=DEADLINE)

    def tell() -> None:
        with held_back:
            together.wait()

    start(tell)
    with held_back:
        together.wait()


def test_a_fork_goes_on_without_one_that_stays_inside(
    start: Callable[[Callable[[], object]], threading.Thread], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forks, "PATIENCE_SECONDS", 0.05)
    inside, end = threading.Event(), threading.Event()

    def tell() -> None:
        with held_back:
            inside.set()
            end.wait(DEADLINE)

    def tell_and_fork() -> int:
        with held_back:
            return status_of_child(lambda: 3)

    start(tell)
    assert inside.wait(DEADLINE)
    try:
        assert status_of_child(tell_and_fork) == 3
        assert not end.is_set()
    finally:
        end.set()


def test_telling_goes_on_without_a_fork_that_does_not_end(
    start: Callable[[Callable[[], object]], threading.Thread], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forks, "PATIENCE_SECONDS", 0.05)
    inside = threading.Event()

    def tell() -> None:
        with held_back:
            inside.set()

    held_back.close()
    try:
        start(tell)
        assert inside.wait(DEADLINE)
    finally:
        held_back.open()


def test_who_forks_inside_of_a_block_waits_for_nobody_and_is_still_inside_in_the_child() -> None:
    def fork_again() -> int:
        inside = held_back._inside.copy()
        held_back.__exit__()
        return 4 if inside == {threading.get_ident(): 1} and not held_back._inside else 5

    with held_back:
        assert status_of_child(fork_again) == 4
    assert not held_back._inside


def test_a_block_that_raises_is_left() -> None:
    with pytest.raises(ZeroDivisionError), held_back:
        raise ZeroDivisionError
    assert not held_back._inside
    assert status_of_child(lambda: 6) == 6
