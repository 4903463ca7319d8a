"""The connections that the queues of a process share: how many there are, who waits for one, and what a child does."""

import gc
import os
import threading

import pytest

from taskqueue.backends import postgresql_pool
from taskqueue.backends.deadlines import Deadline
from taskqueue.backends.postgresql import PostgreSQLQueue
from taskqueue.backends.postgresql_address import address_of
from taskqueue.backends.postgresql_faults import CrowdedError
from taskqueue.backends.postgresql_pool import pool_of
from taskqueue.backends.postgresql_statements import PING
from taskqueue.errors import BackendUnavailableError

from ..serving import wait_until
from .contract_waiting import listening
from .making import beat, claim, publish, record, stage
from .postgresql_queues import Opener, empty
from .postgresql_server import Server

DEADLINE = 20.0


@pytest.fixture
def open_queue(postgresql_url):
    empty(postgresql_url)
    opener = Opener(postgresql_url)
    yield opener
    opener.close()


@pytest.fixture
def connections(postgresql, postgresql_url):
    """How many connections the database has."""
    ask = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s"
    return lambda: postgresql.ask(ask, (postgresql_url.rpartition("/")[2],))[0][0]


def test_one_url_has_one_pool_and_another_another():
    first = pool_of(address_of("postgresql://ada@192.0.2.1/site"))
    assert pool_of(address_of("postgresql://ada@192.0.2.1/site")) is first
    assert pool_of(address_of("postgresql://ada@192.0.2.1/other")) is not first
    assert pool_of(address_of("postgresql://bob@192.0.2.1/site")) is not first


def test_fifty_queues_share_few_connections(open_queue, connections):
    queues = [open_queue(f"queue{number}") for number in range(50)]
    begun = threading.active_count()
    for queue in queues:
        beat(queue)
        queue.wait(0, 0.0)
        publish(queue, record())
    threads = [threading.Thread(target=claim, args=(queue,)) for queue in queues]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE)
    assert [queue.counts().states["running"] for queue in queues] == [1] * 50
    # One more listens.
    wait_until(lambda: connections() <= postgresql_pool.IDLE_CONNECTIONS + 1)
    assert threading.active_count() <= begun + 2


def test_each_of_the_queues_hears_its_own_hints_over_one_connection(open_queue):
    queues = [open_queue(name) for name in ("one", "two", "three")]
    seen = [listening(queue) for queue in queues]
    other = Opener(f"{open_queue.url}?application_name=another")  # a pool of its own
    for name in ("one", "two", "three"):
        beat(open_queue(name))
    there = other("two")
    publish(there, record())
    assert queues[1].wait(seen[1], DEADLINE) != seen[1]
    assert [queues[0].wait(seen[0], 0.2), queues[2].wait(seen[2], 0.0)] == [seen[0], seen[2]]
    other.close()


def test_a_connection_that_was_checked_listens_to_more(open_queue):
    wire = open_queue("one")._link.pool.open(Deadline(DEADLINE))
    for channel in ("one", "two"):
        wire.listen(channel, Deadline(DEADLINE))
        wire.run([(PING, {})], Deadline(DEADLINE))
    wire.unlisten("one", Deadline(DEADLINE))
    wire.close()


def test_who_closes_first_leaves_the_connections_to_the_others(open_queue, connections):
    first, second = open_queue("first"), open_queue("second")
    beat(first)
    beat(second)
    first.close()
    assert connections() == 1
    publish(second, record())
    second.close()
    wait_until(lambda: connections() == 0)


def test_who_wants_more_than_there_are_waits_for_one_that_comes_back(open_queue, monkeypatch):
    monkeypatch.setattr(postgresql_pool, "LENT_CONNECTIONS", 1)
    queue = open_queue()
    beat(queue)
    pool = queue._link.pool
    wire = pool.borrow(queue._link, Deadline(5.0))
    with pytest.raises(CrowdedError):
        pool.borrow(queue._link, Deadline(0.05))
    with pytest.raises(BackendUnavailableError, match="are at work"):
        queue.stage([record()], b"", "owner", 0.05)
    adding = threading.Thread(target=lambda: stage(queue, record()))
    adding.start()
    pool.give_back(wire)
    adding.join(DEADLINE)
    assert queue.counts().states["staged"] == 1


def test_who_adds_waits_while_the_server_has_as_many_clients_as_it_takes():
    with Server(max_connections="6", superuser_reserved_connections="0", max_wal_senders="0") as server:
        opener = Opener(server.create_database())
        opener().migrate()
        held = [server.connect() for _ in range(6)]
        queue = opener()
        adding = threading.Thread(target=lambda: queue.stage([record()], b"", "owner", DEADLINE))
        adding.start()
        held.pop().close()
        adding.join(DEADLINE)
        assert not adding.is_alive()
        assert queue.counts().states["staged"] == 1
        opener.close()
        for connection in held:
            connection.close()


def test_a_queue_that_is_collected_while_somebody_holds_the_locks_waits_for_nobody(postgresql_url, connections):
    empty(postgresql_url)
    queue = PostgreSQLQueue(name="default", url=postgresql_url)
    beat(queue)
    listening(queue)
    publish(queue, record())
    pool = queue._link.pool
    left = [queue]
    del queue
    collected = threading.Event()

    def collect():
        left.clear()
        gc.collect()
        collected.set()

    with pool._returned, pool.listener._lock, pool.crier._changed:
        threading.Thread(target=collect, daemon=True).start()
        assert collected.wait(DEADLINE), "it waits for a lock"
    wait_until(lambda: connections() == 0)


def test_a_forked_child_shares_nothing_with_its_parent(open_queue, connections):
    queues = [open_queue("one"), open_queue("two")]
    for queue in queues:
        beat(queue)
        listening(queue)
    before = connections()
    child = os.fork()
    if child == 0:
        try:
            for queue in queues:
                stage(queue, record())
                queue.close()
        finally:
            os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    wait_until(lambda: connections() == before)
    assert [queue.counts().states["staged"] for queue in queues] == [1, 1]
