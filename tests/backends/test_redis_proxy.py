"""The backend ``redis`` behind a network that loses, resets, stalls, slows, refuses and forgets.

TASKQUEUE_FAULTS says how often each call is to fail; CI asks for some, a longer run for a thousand.
"""

import pytest

from taskqueue.backends import redis_listener, redis_pool

from .contract_waiting import listening
from .fault_proxy import FaultProxy
from .faulty_network import FaultyNetwork, attempt
from .making import beat, claim, publish, record
from .redis_server import DEADLINE, Opener, Server


@pytest.fixture(scope="module")
def server():
    with Server() as server:
        yield server


@pytest.fixture
def proxy(server):
    server.ask("FLUSHALL")
    with FaultProxy(server.port) as proxy:
        yield proxy


@pytest.fixture
def queue(proxy):
    """The queue as it is seen through the proxy."""
    queue = Opener(**proxy.address)()
    beat(queue)
    for verb in ("counts", "promote"):  # scripts are known, so that what is lost was executed
        getattr(queue, verb)()
    yield queue
    queue.close()


@pytest.fixture
def direct(server, proxy):
    """The same queue, past the proxy."""
    queue = Opener(**server.address)()
    yield queue
    queue.close()


class TestRedisBehindAFaultyNetwork(FaultyNetwork):
    pass


def test_a_connection_that_was_idle_for_long_is_not_used_again(queue, proxy, monkeypatch):
    publish(queue, record())
    proxy.swallow()
    monkeypatch.setattr(redis_pool, "IDLE_SECONDS", 0.0)
    queue.publish([record()], 1.0)
    assert len(queue) == 2


def test_a_listener_that_was_dropped_silently_comes_back(queue, direct, proxy, monkeypatch):
    assert redis_listener.CHECK_SECONDS + redis_listener.CHECK_TIMEOUT <= 30
    monkeypatch.setattr(redis_listener, "CHECK_SECONDS", 0.1)
    monkeypatch.setattr(redis_listener, "CHECK_TIMEOUT", 0.1)
    seen = listening(queue)
    proxy.swallow()
    seen = queue.wait(seen, DEADLINE)  # it has connected again
    claim(direct)
    publish(direct, record())
    assert queue.wait(seen, DEADLINE) != seen


def test_a_listener_outlives_a_door_that_is_shut(queue, direct, proxy):
    seen = listening(queue)
    proxy.refuse()
    assert not attempt(lambda: claim(queue))
    proxy.open_again()
    seen = queue.wait(seen, DEADLINE)
    claim(direct)
    publish(direct, record())
    assert queue.wait(seen, DEADLINE) != seen
