"""A Redis that is full refuses who adds, once with a word; what is committed is published at once, and it drains."""

import threading

import pytest

from taskqueue import keeper as keeper_module
from taskqueue import kept, queues
from taskqueue.backends.redis import RedisQueue
from taskqueue.errors import BackendUnavailableError
from taskqueue.keeper import process_keeper
from taskqueue.notices import Event
from taskqueue.producer import add
from taskqueue.queues import Queue, Queues

from ..backends.making import OWNER, beat, claim, hand_in, state_of
from ..backends.redis_server import Server
from .fakes import DEADLINE_SECONDS, Neighbour


class CountingQueue(RedisQueue):
    """Lets a test wait until the keeper has tried so often whether tasks can be added."""

    tries = 0

    def try_adding(self, timeout):
        with _tried:
            self.tries += 1
            _tried.notify_all()
        super().try_adding(timeout)

    def wait_for_tries(self, count):
        """So many more."""
        with _tried:
            wanted = self.tries + count
            assert _tried.wait_for(lambda: self.tries >= wanted, DEADLINE_SECONDS)


_tried = threading.Condition()


@pytest.fixture
def server():
    with Server(maxmemory_policy="noeviction") as server:
        yield server


@pytest.fixture
def backend(server, monkeypatch):
    """The queue of a site that has been used before its server became full."""
    monkeypatch.setattr(kept, "PROBE_SECONDS", 0.01)
    monkeypatch.setattr(keeper_module, "PROBE_SECONDS", 0.01)
    backend = CountingQueue(name="default", host="127.0.0.1", port=server.port)
    beat(backend)
    yield backend
    backend.close()


@pytest.fixture
def site(backend, server):
    configured = Queues({"default": Queue("default", backend)})
    queues.install(configured)
    yield configured
    queues.install(None)
    server.ask("CONFIG", "SET", "maxmemory", 0)
    process_keeper().forget(configured["default"])


def fill(server):
    server.ask("CONFIG", "SET", "maxmemory", "1mb")


def test_who_adds_is_refused_with_one_word_at_its_beginning_and_one_at_its_end(manager, backend, server, told):
    fill(server)
    add("/x", transaction_manager=manager)
    with pytest.raises(BackendUnavailableError, match="it is full"):
        manager.commit()
    manager.abort()
    for _ in range(5):
        backend.wait_for_tries(2)
        manager.begin()
        with pytest.raises(BackendUnavailableError, match="is unavailable"):
            add("/x", transaction_manager=manager)
        manager.abort()
    assert (len(told.of(Event.BACKEND_DOWN)), told.of(Event.BACKEND_UP)) == (1, [])
    server.ask("CONFIG", "SET", "maxmemory", 0)
    told.wait_for(Event.BACKEND_UP)
    manager.begin()
    task_id = add("/x", transaction_manager=manager)
    manager.commit()
    assert state_of(backend, task_id) == "ready"
    assert (len(told.of(Event.BACKEND_DOWN)), len(told.of(Event.BACKEND_UP))) == (1, 1)


@pytest.mark.parametrize("is_alone", [True, False])
def test_what_was_staged_before_is_published_by_its_request(manager, backend, server, told, is_alone):
    other = type(manager)(explicit=True)

    def have_another_fail():
        fill(server)
        other.begin()
        add("/refused", transaction_manager=other)
        with pytest.raises(BackendUnavailableError, match="it is full"):
            other.commit()
        other.abort()

    task_id = add("/x", transaction_manager=manager)
    Neighbour(manager, "~sqlalchemy:1", volatile=is_alone, tpc_vote=have_another_fail)
    manager.commit()

    assert state_of(backend, task_id) == "ready"
    assert told.of(Event.UNPUBLISHED) == []
    assert told.ids(Event.ADDED) == [task_id]


def test_it_drains_meanwhile(manager, backend, server, told):
    ids = [add("/x", transaction_manager=manager) for _ in range(5)]
    manager.commit()
    fill(server)
    manager.begin()
    add("/refused", transaction_manager=manager)
    with pytest.raises(BackendUnavailableError):
        manager.commit()
    manager.abort()
    backend.wait_for_tries(2)
    for claimed in claim(backend, 5, owner_id=OWNER):
        assert hand_in(backend, claimed, "done").refused == ()
    assert [state_of(backend, task_id) for task_id in ids] == ["done"] * 5
