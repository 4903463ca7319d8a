"""Who waits on Redis is woken by other processes at once, and by nothing else."""

import gc
import threading
import time

import pytest

from taskqueue.backends import redis_listener

from .contract_waiting import quiet
from .making import (
    CONSUMER,
    OTHER,
    OWNER,
    beat,
    claim,
    claim_one,
    hand_in,
    publish,
    publish_in_time,
    record,
    run,
    stage,
)
from .redis_clock import clock_of_this_process
from .redis_server import DEADLINE, Opener, Server


@pytest.fixture(scope="module")
def server():
    with Server() as server:
        yield server


@pytest.fixture
def open_queue(server):
    server.ask("FLUSHALL")
    with clock_of_this_process():
        opener = Opener(**server.address)
        yield opener
        opener.close()


@pytest.fixture
def waiter(open_queue):
    """A queue as another process sees it, which listens."""
    waiter = open_queue()
    seen = waiter.wait(0, 0.0)
    while seen == 0:
        seen = waiter.wait(seen, DEADLINE)
    return waiter


ACTS = {
    "publish": lambda queue, clock: lambda: publish(queue, record()),
    "publish for later": lambda queue, clock: lambda: publish(queue, record(due=clock() + 9)),
    "in time": lambda queue, clock: _with(stage(queue, record()), lambda found: publish_in_time(queue, found)),
    "settle": lambda queue, clock: _with(stage(queue, record()), lambda found: queue.settle([found], "publish")),
    "resume": lambda queue, clock: _with(queue.pause(), lambda found: queue.resume()),
    "requeue": lambda queue, clock: _with(run(queue, "dead"), lambda found: queue.requeue([found])),
    "retry": lambda queue, clock: _with(_claimed(queue), lambda found: hand_in(queue, found, "scheduled", delay=9)),
    "give back": lambda queue, clock: _with(_claimed(queue), lambda found: hand_in(queue, found, "ready")),
    "release": lambda queue, clock: _with(_claimed(queue), lambda found: queue.release(OWNER, CONSUMER, ())),
    "reclaim": lambda queue, clock: _with(_claimed(queue, OTHER), lambda found: _die(queue)),
    "promote": lambda queue, clock: _with(publish(queue, record(due=clock() + 9)), lambda found: _due(queue, clock)),
}


def _with(found, act):
    return lambda: act(found)


def _claimed(queue, owner_id=OWNER):
    beat(queue, owner_id)
    publish(queue, record())
    return claim_one(queue, owner_id=owner_id)


def _die(queue):
    queue.retire(OTHER)
    queue.reclaim(3)


def _due(queue, clock):
    clock.advance(10)
    queue.promote()


@pytest.mark.parametrize("what", ACTS)
def test_who_found_nothing_is_woken_by_another_process(waiter, open_queue, clock, what):
    act = ACTS[what](open_queue(), clock)
    waiter.exchange("waiter", CONSUMER, (), 5)
    seen = quiet(waiter)
    act()
    assert waiter.wait(seen, DEADLINE) != seen, f"nobody was woken by {what}"


def test_who_waits_for_nothing_is_not_disturbed(waiter, open_queue):
    """Hints cost every process that gets one: while nobody is idle there are none."""
    other = open_queue()
    publish(other, record(), record())
    claim(waiter, 1)
    seen = quiet(waiter)
    for _ in range(5):
        publish(other, record())
    assert waiter.wait(seen, 0.1) == seen


def test_all_who_found_nothing_are_woken_by_one_hint(open_queue, waiter, server):
    others = [open_queue() for _ in range(3)]
    for each in others:
        seen = each.wait(0, 0.0)
        while seen == 0:
            seen = each.wait(seen, DEADLINE)
    for each in (waiter, *others):
        each.exchange("waiter", CONSUMER, (), 5)
    seen = [quiet(each) for each in (waiter, *others)]
    server.ask("CONFIG", "RESETSTAT")
    publisher = open_queue()
    for _ in range(10):
        publish(publisher, record())
    for each, number in zip((waiter, *others), seen, strict=True):
        assert each.wait(number, DEADLINE) != number
    assert server.ask("INFO", "commandstats")["cmdstat_publish"]["calls"] == 1


def test_a_new_task_is_noticed_within_milliseconds(waiter, open_queue):
    other = open_queue()
    delays = []
    for _ in range(20):
        claim(waiter, 5)
        seen = quiet_at_once(waiter)
        begun = time.perf_counter()
        publish(other, record())
        assert waiter.wait(seen, DEADLINE) != seen
        delays.append(time.perf_counter() - begun)
    assert sorted(delays)[10] < 0.1


def quiet_at_once(queue):
    """The number of the last hint, when none is under way."""
    seen = queue.wait(-1, 0.0)
    while (number := queue.wait(seen, 0.01)) != seen:
        seen = number
    return seen


def test_a_listener_comes_back_when_its_connection_is_killed(waiter, open_queue, server):
    seen = quiet(waiter)
    server.ask("CLIENT", "KILL", "TYPE", "pubsub")
    assert waiter.wait(seen, DEADLINE) != seen, "coming back is a hint: there may have been others before"
    claim(waiter)
    seen = quiet(waiter)
    publish(open_queue(), record())
    assert waiter.wait(seen, DEADLINE) != seen


def test_a_listener_that_nothing_comes_to_asks_whether_the_server_is_there(waiter, open_queue, monkeypatch, server):
    monkeypatch.setattr(redis_listener, "CHECK_SECONDS", 0.01)
    waiter.close()
    seen = quiet(waiter)
    waiter.wait(seen, 0.2)
    assert server.ask("INFO", "commandstats")["cmdstat_ping"]["calls"] > 3
    claim(waiter)
    publish(open_queue(), record())
    assert waiter.wait(seen, DEADLINE) != seen


def test_who_may_not_listen_still_waits_and_works(server, open_queue):
    server.ask("ACL", "SETUSER", "deaf", "on", ">p", "~*", "+@all", "resetchannels")
    queue = open_queue(user="deaf", password="p")
    assert queue.wait(0, 0.05) == 0
    queue.exchange(OWNER, CONSUMER, (), 5)
    publish(queue, record())
    assert claim_one(queue)
    server.ask("ACL", "DELUSER", "deaf")


def listeners():
    return [thread for thread in threading.enumerate() if thread.name == "taskqueue-redis-listener"]


def ended(threads):
    for thread in threads:
        thread.join(DEADLINE)
    return not any(thread.is_alive() for thread in threads)


def test_a_listener_ends_when_its_queue_is_closed(open_queue):
    assert ended(listeners())
    before = listeners()
    queue = open_queue()
    queue.wait(0, 0.0)
    (mine,) = [thread for thread in listeners() if thread not in before]
    queue.close()
    queue.close()
    assert ended([mine])
    queue.wait(0, 0.0)
    assert len([thread for thread in listeners() if thread not in before]) == 1


def test_a_listener_ends_with_a_queue_that_nobody_closed(server):
    assert ended(listeners())
    queue = Opener(**server.address)()
    before = listeners()
    queue.wait(0, 0.0)
    mine = [thread for thread in listeners() if thread not in before]
    assert len(mine) == 1
    del queue
    gc.collect()
    assert ended(mine)


def test_nobody_listens_before_somebody_waits(open_queue):
    before = listeners()
    queue = open_queue()
    beat(queue)
    publish(queue, record())
    claim(queue)
    assert listeners() == before
