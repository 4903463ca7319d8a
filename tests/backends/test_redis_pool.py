"""All queues of a process share their connections to one server, and one listener there."""

import select
import threading

import pytest

from taskqueue.backends import redis_listener, redis_pool
from taskqueue.backends.redis_address import Address
from taskqueue.backends.redis_pool import pool_of
from tests.serving import wait_until

from .contract_waiting import quiet
from .making import CONSUMER, OWNER, beat, claim_one, publish, record
from .redis_server import DEADLINE, Opener, Server

NAMES = [f"queue{number}" for number in range(16)]


@pytest.fixture(scope="module")
def server():
    with Server() as server:
        yield server


@pytest.fixture
def open_queue(server):
    server.ask("FLUSHALL")
    opener = Opener(**server.address)
    yield opener
    opener.close()
    wait_until(lambda: not server.clients("pubsub"))


def listen(queue):
    seen = queue.wait(0, 0.0)
    while seen == 0:
        seen = queue.wait(seen, DEADLINE)


def test_sixteen_queues_need_one_connection_and_one_listener(open_queue, server):
    queues = [open_queue(name) for name in NAMES]
    for queue in queues:
        beat(queue)
        publish(queue, record())
        assert claim_one(queue)
    for queue in queues:
        queue.wait(0, 0.0)
    channels = [f"{{taskqueue:{name}}}:meta" for name in NAMES]
    wait_until(lambda: server.ask("PUBSUB", "NUMSUB", *channels)[1::2] == [1] * len(NAMES))
    assert len(server.clients()) == 1
    assert len(server.clients("pubsub")) == 1


def test_closing_a_queue_leaves_the_others_their_connections(open_queue, server):
    one, other = open_queue("one"), open_queue("other")
    beat(one)
    beat(other)
    kept = server.clients()
    one.close()
    one.close()
    beat(other)
    assert server.clients() == kept
    other.close()
    wait_until(lambda: not server.clients())
    beat(one)
    assert len(server.clients()) == 1


def test_a_queue_that_nobody_closed_keeps_no_connections_open(server):
    def use():
        beat(Opener(**server.address)("forgotten"))

    use()
    other = Opener(**server.address)("other")
    beat(other)
    other.close()
    wait_until(lambda: not server.clients())


def test_a_hint_wakes_only_those_of_its_queue(open_queue, server):
    one, other = open_queue("one"), open_queue("other")
    twin = open_queue("one")
    for each in (one, other, twin):
        listen(each)
    one.exchange(OWNER, CONSUMER, (), 5)
    seen = {each: quiet(each) for each in (one, other, twin)}
    server.ask("PUBLISH", "{taskqueue:one}:meta", "hint")
    for each in (one, twin):
        assert each.wait(seen[each], DEADLINE) != seen[each]
    assert other.wait(seen[other], 0.05) == seen[other]


def test_a_queue_that_listens_no_more_takes_no_other_along(open_queue, server):
    one, other = open_queue("one"), open_queue("other")
    listen(one)
    listen(other)
    one.close()
    wait_until(lambda: server.ask("PUBSUB", "NUMSUB", "{taskqueue:one}:meta")[1] == 0)
    seen = quiet(other)
    server.ask("PUBLISH", "{taskqueue:other}:meta", "hint")
    assert other.wait(seen, DEADLINE) != seen
    listen(one)
    assert len(server.clients("pubsub")) == 1


def test_hints_that_came_while_nobody_waited_are_one(open_queue, server):
    queue = open_queue("one")
    listen(queue)
    seen = quiet(queue)
    for _ in range(5):
        server.ask("PUBLISH", "{taskqueue:one}:meta", "hint")
    server.ask("PING")  # by now all are sent
    heard = queue.wait(seen, 0.0)
    assert heard != seen
    assert queue.wait(heard, 0.0) == heard


def test_a_queue_that_may_not_be_listened_to_deafens_no_other(open_queue, server, monkeypatch):
    monkeypatch.setattr(redis_listener, "CHECK_SECONDS", 0.05)
    server.ask("ACL", "SETUSER", "half", "on", ">p", "~*", "+@all", "resetchannels", "&{taskqueue:one}*")
    deaf, one = (open_queue(name, user="half", password="p") for name in ("deaf", "one"))
    deaf.wait(0, 0.0)
    listen(one)
    seen = quiet(one)
    server.ask("PUBLISH", "{taskqueue:one}:meta", "hint")
    assert one.wait(seen, DEADLINE) != seen
    server.ask("ACL", "SETUSER", "half", "allchannels")
    listen(deaf)  # it was asked for again
    assert len(server.clients("pubsub")) == 1
    one.close()
    deaf.close()
    server.ask("ACL", "DELUSER", "half")


def test_who_is_woken_for_an_order_that_it_has_taken_already_is_not_woken_for_ever(open_queue, server):
    queues = [open_queue(name) for name in NAMES[:2]]  # for one alone the thread does not listen itself
    for queue in queues:
        listen(queue)
    station = redis_listener._station_of(queues[0]._link.address)
    station._wake()
    wait_until(lambda: not select.select([station._woken], [], [], 0.0)[0])


def test_who_comes_while_a_connection_is_closed_is_not_taken_for_heard(open_queue, monkeypatch):
    one, other = open_queue(), open_queue()
    listen(one)
    station = redis_listener._station_of(one._link.address)
    may_open = threading.Event()
    open_wire, close_wire = station._pool.open, station._wire.close

    def close():
        monkeypatch.setattr(station._pool, "open", lambda deadline: may_open.wait(DEADLINE) and open_wire(deadline))
        close_wire()
        assert other.wait(0, 0.0) == 0

    monkeypatch.setattr(station._wire, "close", close)
    one.close()
    wait_until(lambda: station._listening and not station._orders)
    assert other.wait(0, 0.0) == 0
    may_open.set()
    listen(other)


def test_each_server_and_each_user_has_connections_of_its_own():
    pool = pool_of(Address(port=1))
    assert pool_of(Address(port=1)) is pool
    assert pool_of(Address(port=2)) is not pool
    assert pool_of(Address(port=1, user="u", password="p")) is not pool


def test_what_was_idle_for_long_is_closed_when_others_are_given_back(open_queue, server, monkeypatch):
    queue = open_queue()
    beat(queue)
    pool = queue._link._pool
    old = pool.open(redis_pool.Deadline(DEADLINE))
    pool.give_back(old)
    pool._idle.sort(key=lambda wire: wire is not old)  # as if it had come first
    assert len(server.clients()) == 2
    old.used_at -= redis_pool.IDLE_SECONDS + 1
    beat(queue)
    wait_until(lambda: len(server.clients()) == 1)
    assert not old.is_open
