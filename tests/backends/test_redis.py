"""The backend ``redis`` on a server of its own: the contract, how tasks are stored, and what is promised beside it."""

import subprocess
import sys
import threading
import time

import pytest

from taskqueue.backends import redis_scripts
from taskqueue.backends.redis import PORTION, RedisQueue
from taskqueue.interfaces import Settlement

from .contract import BackendContract
from .contract_waiting import Connecting
from .making import (
    CONSUMER,
    HOUR,
    OTHER,
    OWNER,
    beat,
    claim,
    claim_one,
    hand_in,
    publish,
    record,
    run,
    stage,
    state_of,
)
from .model import machine_for
from .processes import ROOT
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


class TestRedis(Connecting, BackendContract):
    pass


_of_the_model = []


def _open_redis():
    if not _of_the_model:
        _of_the_model.append(Server().__enter__())
    server = _of_the_model[0]
    server.ask("FLUSHALL")
    clock = clock_of_this_process()
    clock.__enter__()
    queue = RedisQueue(name="default", **server.address)

    def close():
        queue.close()
        clock.__exit__(None, None, None)

    return queue, close


@pytest.fixture(scope="module", autouse=True)
def _server_of_the_model():
    yield
    while _of_the_model:
        _of_the_model.pop().__exit__()


TestRedisIsAsTheModel = machine_for(_open_redis)


# ---- what it is ----------------------------------------------------------------------------------------------------


def test_it_is_durable_and_shared():
    assert RedisQueue.capabilities == {"durable", "shared"}


def test_constructing_opens_nothing_and_starts_nothing():
    before = threading.enumerate()
    queue = RedisQueue(name="default", host="192.0.2.1", port=1)
    assert threading.enumerate() == before
    queue.close()


def test_a_configuration_without_redis_loads_no_redis_client():
    code = "import sys, taskqueue.configure; sys.exit('redis' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


@pytest.mark.parametrize("word", ["", "a}b", "a:b", "{a", "a b", "ä"])
def test_a_name_that_could_leave_its_hash_tag_is_refused(word):
    for options in ({"name": word}, {"name": "default", "prefix": word}):
        with pytest.raises(ValueError, match="letters, digits"):
            RedisQueue(**options)


def test_it_shows_where_it_is_and_no_password():
    queue = RedisQueue(name="mail", url="redis://ada:s3cret@cache.example:7000/2")
    assert repr(queue) == "<RedisQueue 'mail' at cache.example:7000>"
    assert "s3cret" not in repr(queue._link.address)


# ---- many at once --------------------------------------------------------------------------------------------------


def test_more_than_one_call_may_take_is_taken_all_the_same(queue):
    records = [record() for _ in range(1700)]
    ids = [each.id for each in records]
    stage(queue, *records)
    assert queue.counts().states["staged"] == 1700
    assert [each.id for each in queue.staged(limit=300, after=ids[299])] == ids[300:600]
    assert queue.settle(ids, "hold") == 1700
    assert queue.settle(ids, "publish") == 1700
    assert queue.delete(ids[:1100]) == ids[:1100]
    publish(queue, *records)
    assert len(queue) == 600


def test_all_that_a_dead_owner_held_is_taken_back_in_portions(queue, monkeypatch):
    records = [record() for _ in range(1300)]
    publish(queue, *records[:600])
    stage(queue, *records[600:])
    while claim(queue, 100):
        pass
    queue.retire(OWNER)
    portions, run_script = [], queue._overseer._run

    def watch(verb, *arguments, **options):
        answer = run_script(verb, *arguments, **options)
        if verb == "reclaim":
            portions.append(len(answer))
        return answer

    monkeypatch.setattr(queue._overseer, "_run", watch)
    reclaimed = queue.reclaim(3)
    assert max(portions) <= PORTION
    assert reclaimed.ready == tuple(each.id for each in records[:600])
    assert reclaimed.held == tuple(each.id for each in records[600:])


def test_more_is_due_than_one_call_promotes(queue, clock):
    publish(queue, *(record(due=clock() + 10) for _ in range(redis_scripts.PROMOTE_LIMIT + 5)))
    clock.advance(11)
    assert queue.promote() == 0.0
    assert queue.promote() is None
    assert len(claim(queue, 100)) == 100


def test_a_settlement_given_twice_in_one_exchange_counts_once(queue):
    publish(queue, record())
    claimed = claim_one(queue)
    done = Settlement(id=claimed.id, claim_number=1, state="done", attempts=1)
    assert queue.exchange(OWNER, CONSUMER, (done, done), 0).refused == (claimed.id,)
    assert queue.get(claimed.id).attempts == 1


def test_an_id_given_twice_counts_once(queue):
    given = record()
    stage(queue, given, given)
    publish(queue, given, given)
    assert queue.counts().states["ready"] == 1
    assert queue.delete([given.id, given.id]) == [given.id]


def test_a_busy_consumer_needs_one_call_for_a_hundred_tasks(queue, server):
    publish(queue, *(record() for _ in range(1000)))
    server.ask("CONFIG", "RESETSTAT")
    settlements, done = (), 0
    while claimed := queue.exchange(OWNER, CONSUMER, settlements, 100).claimed:
        settlements = [Settlement(id=each.id, claim_number=each.claim_number, state="done") for each in claimed]
        done += len(claimed)
    calls = server.ask("INFO", "commandstats")["cmdstat_evalsha"]["calls"]
    assert done == 1000
    assert calls / done <= 0.02


# ---- who is idle ---------------------------------------------------------------------------------------------------


def changes(server):
    return server.ask("INFO", "persistence")["rdb_changes_since_last_save"]


def test_consumers_that_are_idle_write_nothing(queue, server, clock):
    publish(queue, record(due=clock() + 100))
    run(queue, "done")
    run(queue, "dead")
    queue.exchange(OWNER, CONSUMER, (), 5)
    before = changes(server)
    queue.exchange(OWNER, CONSUMER, (), 5, alone=True)
    queue.exchange(OWNER, CONSUMER, (), 0)
    queue.release(OWNER, CONSUMER, ())
    queue.reclaim(3)
    queue.promote()
    queue.prune(HOUR, 100, None, HOUR)
    queue.owners()
    queue.counts()
    queue.wait(0, 0.0)
    queue.settle(["unknown"], "publish")
    assert changes(server) == before


# ---- leases --------------------------------------------------------------------------------------------------------


def until(look, act, what):
    """Do something again until what it shows is as wanted."""
    deadline = time.monotonic() + DEADLINE
    while not look(found := act()):
        assert time.monotonic() < deadline, f"{what}: in vain"
    return found


def test_a_lease_lapses_when_it_is_not_renewed(queue, open_queue):
    silent, lively = open_queue(), open_queue()
    silent.beat(_owner(OTHER), 0.3, 5.0)
    publish(queue, record(), record())
    lost, kept = claim_one(silent, owner_id=OTHER), claim_one(lively)
    begun = time.monotonic()

    def look():
        lively.beat(_owner(OWNER), 0.3, 5.0)
        queue.wait(-1, 0.0)
        return queue.reclaim(3)

    reclaimed = until(lambda found: found.owners, look, "the lease lapses")
    assert time.monotonic() - begun >= 0.2
    assert (reclaimed.ready, reclaimed.owners) == ((lost.id,), (OTHER,))
    assert state_of(queue, kept.id) == "running"
    assert {each.owner.id: each.alive for each in queue.owners()}[OTHER] is False


def _owner(owner_id):
    from .making import owner

    return owner(owner_id)


def test_an_owner_whose_lease_has_lapsed_for_one_is_dead_to_all(queue, open_queue, monkeypatch):
    beat(queue, OTHER)
    monkeypatch.setattr(queue._overseer.watch, "lapsed", lambda sight, now: [OTHER])
    assert queue.reclaim(3).owners == ()
    assert {each.owner.id: each.alive for each in open_queue().owners()} == {OWNER: True, OTHER: False}
    beat(queue, OTHER)
    assert all(each.alive for each in queue.owners())


def test_each_beat_can_be_seen_even_when_the_clock_stands_still(queue, monkeypatch):
    monkeypatch.setattr(time, "time", lambda: 1_800_000_000.0)
    beat(queue)
    before = queue._overseer.look().rows[OWNER]
    beat(queue)
    assert queue._overseer.look().rows[OWNER] != before


def test_an_owner_that_the_store_does_not_know_is_given_time(queue, server):
    publish(queue, record(), record())
    claimed = claim_one(queue)
    staged = stage(queue, record(), owner_id=OTHER)
    server.ask("DEL", "{taskqueue:default}:owners")
    assert queue.reclaim(3).owners == ()
    beat(queue)
    beat(queue, OTHER)
    assert queue.reclaim(3).owners == ()
    assert (state_of(queue, claimed.id), state_of(queue, staged)) == ("running", "staged")


def test_who_beats_between_the_look_and_the_act_loses_nothing(queue, monkeypatch):
    publish(queue, record())
    claimed = claim_one(queue)
    queue.retire(OWNER)
    look = queue._overseer.look

    def look_too_early():
        seen = look()
        beat(queue)
        return seen

    monkeypatch.setattr(queue._overseer, "look", look_too_early)
    assert queue.reclaim(3).owners == ()
    assert state_of(queue, claimed.id) == "running"


def test_what_was_claimed_anew_between_the_look_and_the_act_stays(queue, monkeypatch):
    publish(queue, record())
    claimed = claim_one(queue)
    queue.retire(OWNER)
    run_script = queue._overseer._run

    def settle_before_reclaim(verb, *arguments, **options):
        if verb == "reclaim":
            hand_in(queue, claimed, "ready")
            claim_one(queue)
        return run_script(verb, *arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(queue._overseer, "_run", settle_before_reclaim)
        assert queue.reclaim(3).ready == ()
    assert (state_of(queue, claimed.id), queue.get(claimed.id).claim_number) == ("running", 2)
    assert queue.reclaim(3).ready == (claimed.id,)


# ---- two objects ---------------------------------------------------------------------------------------------------


def test_two_objects_of_one_queue_share_tasks_pause_and_owners(open_queue):
    one, two = open_queue(), open_queue()
    beat(one)
    publish(one, record())
    one.pause()
    assert two.counts().paused
    assert two.exchange(OWNER, CONSUMER, (), 1).claimed == ()
    two.resume()
    claimed = claim_one(one)
    one.close()
    assert [status.alive for status in two.owners()] == [True]
    assert two.reclaim(3).ready == ()
    two.retire(OWNER)
    assert open_queue().reclaim(3).ready == (claimed.id,)


def test_a_page_is_full_though_some_of_it_are_claimed_before_they_are_read(open_queue, monkeypatch):
    one, two = open_queue(), open_queue()
    beat(two)
    ids = [each.id for each in (record() for _ in range(6))]
    publish(one, *(record(id=each) for each in ids))
    fetch = one._fetch

    def claim_and_fetch(wanted):
        monkeypatch.undo()
        claim(two, 2)
        return fetch(wanted)

    monkeypatch.setattr(one, "_fetch", claim_and_fetch)
    assert [each.id for each in one.list(["ready"], limit=3)] == ids[2:5]
