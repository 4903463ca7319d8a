"""The backend ``redis`` shared by real processes: their forks, their deaths, their crowding, and a server that dies."""

import textwrap

import pytest

from taskqueue.backends import redis_listener, redis_pool

from .crowds import Crowds
from .making import beat, claim_one, publish, record
from .processes import Child, Fork, held_by_another_thread
from .redis_server import DEADLINE, Opener, Server

_OPEN = """
from taskqueue.backends.redis import RedisQueue
queue = RedisQueue(name="default", unix_socket_path=path)
"""


@pytest.fixture(scope="module")
def shared_server():
    with Server() as server:
        yield server


@pytest.fixture
def server(shared_server):
    shared_server.ask("FLUSHALL")
    return shared_server


@pytest.fixture
def queue(server):
    queue = Opener(unix_socket_path=server.socket_path)()
    beat(queue)
    yield queue
    queue.close()


@pytest.fixture
def start_child(server):
    def start(code, *arguments):
        return Child(_OPEN + textwrap.dedent(code), server.socket_path, *arguments)

    return start


@pytest.fixture
def mortal():
    with Server(appendonly="yes", appendfsync="always") as server:
        opener = Opener(**server.address)
        yield server, opener
        opener.close()


class TestRedisInACrowd(Crowds):
    back_seconds = 2.0


# ---- forks ---------------------------------------------------------------------------------------------------------


def test_a_forked_child_leaves_its_parents_connections_alone(queue, server):
    seen = queue.wait(0, 0.0)
    while seen == 0:
        seen = queue.wait(seen, DEADLINE)
    before = server.clients() | server.clients("pubsub")

    def use_and_close():
        publish(queue, record())
        queue.wait(0, 0.0)
        queue.close()

    Fork(use_and_close).end()
    publish(queue, record())
    assert len(before) == 2
    assert before <= server.clients() | server.clients("pubsub"), "the parent's connections were closed"


def test_a_child_that_forgets_its_queue_does_not_end_its_parents_listener(server):
    queue = Opener(unix_socket_path=server.socket_path)()
    seen = queue.wait(0, 0.0)
    while seen == 0:
        seen = queue.wait(seen, DEADLINE)
    listening = server.clients("pubsub")
    assert listening

    def forget():
        import gc

        nonlocal queue
        queue = None
        gc.collect()

    Fork(forget).end()
    assert listening <= server.clients("pubsub")
    queue.close()


@pytest.mark.parametrize("lock", ["_hints._given", "_link._pool._lock", "_overseer.watch._lock", "_herald._lock"])
def test_a_child_does_not_inherit_a_held_lock(queue, lock):
    publish(queue, record())
    held = queue
    for name in lock.split("."):
        held = getattr(held, name)

    def use():
        queue.wait(0, 0.0)
        beat(queue)
        queue.reclaim(3)
        assert claim_one(queue)
        queue.close()

    with held_by_another_thread(held):
        child = Fork(use)
    child.end()


@pytest.mark.parametrize("module", [redis_pool, redis_listener])
def test_a_child_does_not_inherit_a_held_lock_of_what_queues_share(server, module):
    def use():
        queue = Opener(unix_socket_path=server.socket_path)("another")
        beat(queue)
        queue.wait(0, 0.0)
        queue.close()

    with held_by_another_thread(module._lock):
        child = Fork(use)
    child.end()
