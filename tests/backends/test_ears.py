import select
import socket
import threading

import pytest

from taskqueue.backends.ears import LentEar
from taskqueue.backends.hints import Hints

from ..serving import wait_until

DEADLINE = 10.0


class Connection:
    """One that hints come over, and that others may have closed."""

    def __init__(self):
        self.theirs, self._ours = socket.socketpair()
        self.listening = 0
        self.lost = threading.Event()

    def hear(self, seconds, rung):
        self.listening += 1
        try:
            ready, _, _ = select.select([self._ours, rung], [], [], seconds)
            if self._ours not in ready:
                return False
            if not self._ours.recv(1):
                raise ConnectionResetError
            return True
        finally:
            self.listening -= 1

    def close(self):
        self.theirs.close()
        self._ours.close()


@pytest.fixture
def connection():
    connection = Connection()
    yield connection
    connection.close()


@pytest.fixture
def hints():
    return Hints()


@pytest.fixture
def ear(hints, connection):
    ear = LentEar(hints, connection.hear, connection.lost.set)
    ear.lend()
    yield ear
    ear.close()


class Waiting:
    """A thread that waits for a hint."""

    def __init__(self, hints, seen=0):
        self.saw = None
        self._thread = threading.Thread(target=self._wait, args=(hints, seen), daemon=True)
        self._thread.start()

    def _wait(self, hints, seen):
        self.saw = hints.wait(seen, 2 * DEADLINE)

    def woken(self):
        """What it saw when it was woken."""
        self._thread.join(DEADLINE)
        assert not self._thread.is_alive(), "it was not woken"
        return self.saw


def test_who_waits_hears_for_himself(hints, connection, ear):
    waiting = Waiting(hints)
    connection.theirs.send(b"!")
    assert waiting.woken() == 1


def test_who_does_not_wait_hears_what_is_there_already(hints, connection, ear):
    assert hints.wait(0, 0.0) == 0
    connection.theirs.send(b"!")
    assert hints.wait(0, 0.0) == 1
    assert hints.wait(1, 0.0) == 1


def test_a_hint_of_this_process_wakes_the_one_who_listens(hints, connection, ear):
    waiting = Waiting(hints)
    wait_until(lambda: connection.listening)
    hints.give()
    assert waiting.woken() == 1


def test_what_one_hears_wakes_all_who_wait(hints, connection, ear):
    waiting = [Waiting(hints) for _ in range(3)]
    wait_until(lambda: connection.listening)
    connection.theirs.send(b"!")
    assert [each.woken() for each in waiting] == [1, 1, 1]


def test_only_one_listens(hints, connection, ear):
    waiting = [Waiting(hints) for _ in range(3)]
    wait_until(lambda: connection.listening)
    assert connection.listening == 1
    hints.give()
    assert [each.woken() for each in waiting] == [1, 1, 1]


def test_another_takes_over_when_the_one_who_listens_has_no_more_time(hints, connection, ear):
    other = threading.Thread(target=hints.wait, args=(0, 0.3), daemon=True)
    other.start()
    wait_until(lambda: connection.listening)
    waiting = Waiting(hints)
    other.join(DEADLINE)
    connection.theirs.send(b"!")
    assert waiting.woken() == 1


def test_nobody_uses_the_connection_when_it_was_taken_back(hints, connection, ear):
    waiting = Waiting(hints)
    wait_until(lambda: connection.listening)
    ear.take_back()
    assert connection.listening == 0
    hints.give()
    assert waiting.woken() == 1


def test_who_waits_listens_again_when_it_is_lent_again(hints, connection, ear):
    waiting = Waiting(hints)
    wait_until(lambda: connection.listening)
    ear.take_back()
    connection.theirs.send(b"!")
    ear.lend()
    assert waiting.woken() == 1


def test_who_waits_already_listens_when_it_is_lent(hints, connection, ear):
    ear.take_back()
    waiting = Waiting(hints)
    ear.lend()
    connection.theirs.send(b"!")
    assert waiting.woken() == 1


def test_a_connection_that_is_lost_is_told_of_once_and_wakes_nobody(hints, connection, ear):
    connection.theirs.shutdown(socket.SHUT_RDWR)
    assert hints.wait(0, 0.2) == 0
    assert connection.lost.is_set()
    connection.lost.clear()
    assert hints.wait(0, 0.2) == 0
    assert not connection.lost.is_set()


def test_a_ring_after_the_end_writes_nowhere(hints, ear):
    ear.close()
    ear.close()
    ear.ring()
    assert ear.listen(DEADLINE) is False


def test_an_ear_that_is_closed_late_takes_no_other_away(hints, ear, connection):
    late = LentEar(hints, connection.hear, connection.lost.set)
    late.lend()
    ear.lend()
    late.close()
    waiting = Waiting(hints)
    wait_until(lambda: connection.listening)
    connection.theirs.send(b"!")
    assert waiting.woken() == 1
