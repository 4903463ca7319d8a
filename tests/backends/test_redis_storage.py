"""How the backend ``redis`` stores tasks: its keys, its scripts, what cannot be read, and what was lost."""

import re

import msgspec
import pytest

from taskqueue.backends import redis_scripts
from taskqueue.backends.redis_scripts import SCRIPTS
from taskqueue.errors import BackendUnavailableError

from .making import (
    ALL_STATES,
    CONSUMER,
    HOUR,
    OWNER,
    beat,
    claim,
    claim_one,
    hand_in,
    make_suspect,
    publish,
    record,
    run,
    stage,
)
from .redis_clock import clock_of_this_process
from .redis_server import Opener, Server


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


# ---- how tasks are stored ------------------------------------------------------------------------------------------


def visit_all_states(queue, clock):
    """Leave something in every state, and use every verb."""
    run(queue, "done", outcome=b"outcome")
    run(queue, "dead")
    publish(queue, record(priority=3))
    make_suspect(queue)
    stage(queue, record())
    queue.settle([stage(queue, record())], "hold")
    queue.discard([stage(queue, record())], 5.0)
    publish(queue, record(), record(), record(due=clock() + 100))
    claim_one(queue)
    queue.pause()


def documented_types():
    """What the module's docstring says of each key."""
    found = {}
    for names, kind in re.findall(r"^    (\w+(?:, \w+)*)\s+(hash|zset) ", redis_scripts.__doc__, re.MULTILINE):
        found.update(dict.fromkeys(names.split(", "), kind))
    return found


def test_every_key_is_as_documented(queue, server, clock):
    visit_all_states(queue, clock)
    found = {key.decode(): server.ask("TYPE", key).decode() for key in server.ask("KEYS", "*")}
    assert found == {f"{{taskqueue:default}}:{name}": kind for name, kind in documented_types().items()}


def test_every_script_declares_its_keys_among_the_documented():
    for script in SCRIPTS.values():
        assert set(script.keys) <= set(documented_types()), script.verb
        used = set(re.findall(r"\bKEY\.(\w+)", script.text.decode().partition("-- keys:")[2]))
        assert used <= set(script.keys), script.verb


def test_all_scripts_go_on_when_redis_is_full_but_those_that_add():
    refused = {verb for verb, script in SCRIPTS.items() if b"allow-oom" not in script.text.split(b"\n")[0]}
    assert refused == {"stage", "try_adding", "requeue"}


def test_redis_keeps_no_more_scripts_than_there_are(queue, server, clock):
    server.ask("SCRIPT", "FLUSH")
    for _ in range(2):
        visit_all_states(queue, clock)
        queue.resume()
        queue.purge(ALL_STATES)
        queue.counts()
        queue.release(OWNER, CONSUMER, ())
    assert 0 < server.ask("INFO", "memory")["number_of_cached_scripts"] <= len(SCRIPTS)


def test_nothing_is_left_of_a_queue_that_is_erased(queue, server, clock):
    visit_all_states(queue, clock)
    server.ask("SET", "{taskqueue:other}:meta", "of another queue")
    queue.erase()
    assert server.ask("KEYS", "*") == [b"{taskqueue:other}:meta"]


def test_nothing_is_left_of_tasks_that_are_gone(queue, server, clock):
    visit_all_states(queue, clock)
    queue.settle([each.id for each in queue.staged()], "discard")
    queue.release(OWNER, CONSUMER, ())
    queue.purge(ALL_STATES)
    clock.advance(HOUR + 1)
    queue.retire(OWNER)
    queue.prune(0, 0, 0, 0)
    assert server.ask("KEYS", "*") == [b"{taskqueue:default}:meta"]


def test_numbers_are_kept_to_the_last_digit(queue):
    given = record(priority=2**63 - 1, due=1234567890.1234567)
    publish(queue, given, record(priority=-(2**63)))
    found = queue.get(given.id)
    assert (found.priority, found.due) == (2**63 - 1, 1234567890.1234567)
    assert claim_one(queue).id == given.id


def test_ids_of_any_text_are_kept(queue):
    ids = ["ünïcode", "a b\nc", "\0", "a\0b", "0" * 3000]
    publish(queue, *(record(id=each) for each in ids))
    assert {each.id for each in queue.list(["ready"])} == set(ids)
    claimed = claim(queue, 10)
    assert {each.id for each in claimed} == set(ids)
    assert {each.id for each in queue.list(["running"])} == set(ids)
    assert queue.release(OWNER, CONSUMER, [ids[3]]) == 4
    queue.retire(OWNER)
    assert queue.reclaim(3).ready == (ids[3],)
    staged = stage(queue, record(id="s\0t"))
    assert [each.id for each in queue.staged()] == [staged]


def test_a_queue_of_a_newer_release_is_refused(queue, server):
    publish(queue, record())
    server.ask("HSET", "{taskqueue:default}:meta", "schema", "2")
    for act in (lambda: publish(queue, record()), lambda: queue.get("id"), lambda: claim(queue)):
        with pytest.raises(BackendUnavailableError, match="newer release; upgrade this instance"):
            act()
    server.ask("HSET", "{taskqueue:default}:meta", "schema", "1")
    assert len(claim(queue, 5)) == 1


def test_keys_of_something_else_are_refused_and_left_alone(queue, server):
    server.ask("SET", "{taskqueue:default}:meta", "mine")
    with pytest.raises(BackendUnavailableError, match="something else under the names of this queue") as caught:
        publish(queue, record())
    assert str(caught.value).startswith(f"Redis at 127.0.0.1:{server.port}: ")
    assert server.ask("GET", "{taskqueue:default}:meta") == b"mine"


RUBBISH = [
    b"",
    b"rubbish",
    b"\x93\x01\x02\x03",
    b"\xc1",
    b"\x80",
    *(b"\x9f" + each * 15 for each in (b"\xc0", b"\x90")),
]


@pytest.mark.parametrize("rubbish", RUBBISH)
def test_what_cannot_be_read_keeps_nobody_from_running(queue, server, clock, rubbish):
    damaged = [record(priority=9), record(priority=9, due=clock() + 10), record(priority=9)]
    stage(queue, damaged[2])
    publish(queue, damaged[0], damaged[1])
    for each in damaged:
        server.ask("HSET", "{taskqueue:default}:progress", each.id, rubbish)
    kept = publish(queue, record())
    clock.advance(11)
    queue.promote()
    assert [each.id for each in claim(queue, 5)] == [kept]
    assert [queue.get(each.id) for each in damaged] == [None] * 3
    assert queue.settle([damaged[2].id], "hold") == 0
    assert [each.id for each in queue.list(ALL_STATES)] == [kept]
    queue.retire(OWNER)
    assert queue.reclaim(3).ready == (kept,)


@pytest.mark.parametrize(("place", "wrong"), [(3, 1.5), (3, "1"), (2, "0"), (7, 1), (1, "0x9")])
def test_what_is_of_a_wrong_kind_is_handed_out_without_a_body(queue, server, place, wrong):
    damaged, kept = publish(queue, record(priority=9)), publish(queue, record())
    packed = msgspec.msgpack.decode(server.ask("HGET", "{taskqueue:default}:progress", damaged))
    packed[place] = wrong
    server.ask("HSET", "{taskqueue:default}:progress", damaged, msgspec.msgpack.encode(packed))
    assert (queue.get(damaged).id, queue.get(damaged).body) == (damaged, b"")
    assert kept in [each.id for each in claim(queue, 5)]
    assert queue.get(kept).body == b"body"


@pytest.mark.parametrize("rubbish", [b"rubbish", b"\x80", msgspec.msgpack.encode((1, 2.0, 3.0, 0, "no JSON"))])
def test_an_owner_that_cannot_be_read_is_told_in_one_line(queue, server, rubbish):
    server.ask("HSET", "{taskqueue:default}:owners", OWNER, rubbish)
    with pytest.raises(BackendUnavailableError) as caught:
        queue.owners()
    assert "\n" not in str(caught.value)


def test_a_store_that_lost_a_part_goes_on_with_the_rest(queue, server, clock):
    """As after an eviction, which takes whole keys."""
    visit_all_states(queue, clock)
    queue.resume()
    server.ask("DEL", "{taskqueue:default}:progress")
    kept = publish(queue, record())
    assert [each.id for each in claim(queue, 10)] == [kept]
    clock.advance(101)
    queue.promote()
    queue.purge(ALL_STATES)
    queue.retire(OWNER)
    queue.reclaim(3)
    queue.prune(0, 0, 0, 0)
    states = queue.counts().states
    assert (states["ready"], states["scheduled"], states["done"], states["dead"]) == (1, 0, 0, 0)


def test_a_task_whose_body_is_lost_is_handed_out_as_it_is(queue, server):
    task_id = publish(queue, record())
    server.ask("DEL", "{taskqueue:default}:body")
    assert (claim_one(queue).id, queue.get(task_id).body) == (task_id, b"")


# ---- what a flush or a failover loses ------------------------------------------------------------------------------


def test_scripts_that_were_flushed_are_sent_again(queue, server, clock):
    for act in (
        lambda: stage(queue, record()),
        lambda: publish(queue, record()),
        lambda: claim(queue),
        queue.counts,
        lambda: beat(queue),
    ):
        server.ask("SCRIPT", "FLUSH")
        act()
    assert queue.counts().states["running"] == 1


def test_publish_brings_back_what_a_flush_took(queue, server):
    given = record(body=b"carried")
    stage(queue, given)
    server.ask("FLUSHALL")
    publish(queue, given)
    assert claim_one(queue).body == b"carried"
    assert hand_in(queue, queue.get(given.id), "done").refused == ()


def test_what_ran_when_all_was_flushed_is_refused(queue, server):
    publish(queue, record())
    claimed = claim_one(queue)
    server.ask("FLUSHALL")
    assert hand_in(queue, claimed, "done").refused == (claimed.id,)
