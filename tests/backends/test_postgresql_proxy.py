"""The backend ``postgresql`` behind a network that loses, resets, stalls, slows, refuses and forgets.

TASKQUEUE_FAULTS says how often each call is to fail; CI asks for some, a longer run for a thousand.
"""

import pytest

from taskqueue.backends import postgresql_pool

from .contract_waiting import listening
from .fault_proxy import FaultProxy, commits_tasks
from .faulty_network import FaultyNetwork, attempt
from .making import beat, claim, publish, record
from .postgresql_queues import Opener, empty
from .postgresql_server import new_database, shared_server

DEADLINE = 20.0


@pytest.fixture(scope="module")
def database():
    with new_database(shared_server()) as url:
        yield url


@pytest.fixture
def proxy(postgresql, database):
    empty(database)
    with FaultProxy(postgresql.port, commits_tasks) as proxy:
        yield proxy


@pytest.fixture
def queue(postgresql, database, proxy):
    """The queue as it is seen through the proxy."""
    queue = Opener(postgresql.url(database.rpartition("/")[2], port=proxy.port))()
    beat(queue)
    yield queue
    queue.close()


@pytest.fixture
def direct(database, queue):
    """The same queue, past the proxy."""
    queue = Opener(database)()
    yield queue
    queue.close()


class TestPostgreSQLBehindAFaultyNetwork(FaultyNetwork):
    pass


def test_a_connection_that_was_idle_for_long_is_not_used_again(queue, proxy, monkeypatch):
    publish(queue, record())
    proxy.swallow()
    monkeypatch.setattr(postgresql_pool, "IDLE_SECONDS", 0.0)
    queue.publish([record()], 1.0)
    assert len(queue) == 2


def test_a_listener_outlives_a_door_that_is_shut(queue, direct, proxy):
    seen = listening(queue)
    proxy.refuse()
    assert not attempt(lambda: claim(queue))
    proxy.open_again()
    seen = queue.wait(seen, DEADLINE)
    claim(direct)
    publish(direct, record())
    assert queue.wait(seen, DEADLINE) != seen
