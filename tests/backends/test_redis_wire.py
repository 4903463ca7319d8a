"""One connection to a Redis server: how long it waits, and for what."""

import select
import socket

import pytest

from taskqueue.backends.deadlines import Deadline
from taskqueue.backends.redis_address import Address
from taskqueue.backends.redis_wire import Wire, timeval

from .redis_server import DEADLINE, Server


@pytest.fixture
def wire():
    with Server() as server:
        wire = Wire.open(Address(**server.address), Deadline(DEADLINE))
        yield wire
        wire.close()


@pytest.mark.parametrize("seconds", [0.0, 1e-9, 0.9999995, 0.99999999, 1.0, 4.9999999, 5.0, 3600.9999999])
def test_the_kernel_takes_every_number_of_seconds(seconds):
    with socket.socket() as asked:
        asked.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeval(seconds))


def test_an_answer_that_is_there_is_read_though_the_thread_came_late(wire):
    wire.send(["PING"], Deadline(DEADLINE))
    assert select.select([wire._socket], [], [], DEADLINE)[0]
    assert wire._receive(Deadline(0.0)) in (b"PONG", [b"pong", b""])


def test_an_answer_that_is_not_there_in_time_is_not_waited_for(wire):
    with pytest.raises(TimeoutError):
        wire._receive(Deadline(0.0))
