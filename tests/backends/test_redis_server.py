"""What a Redis server says of itself: warnings, told once, and another server in its place."""

import pytest

from taskqueue import notices
from taskqueue.backends import redis_server
from taskqueue.errors import BackendUnavailableError
from taskqueue.notices import Event

from .making import beat, claim_one, publish, record
from .redis_server import Opener, Server


@pytest.fixture(scope="module")
def server():
    with Server() as server:
        yield server


@pytest.fixture
def heard():
    found = []
    notices.listen(found.append)
    yield lambda event: [each.detail for each in found if each.event is event]
    notices.unlisten(found.append)


def test_what_endangers_tasks_is_told_once_at_the_first_beat(heard):
    with Server(maxmemory_policy="allkeys-lru") as server:
        queue = Opener(**server.address)()
        publish(queue, record())
        assert heard(Event.WARNING) == []
        beat(queue)
        beat(queue)
        told = heard(Event.WARNING)
        assert len(told) == 2
        assert told == queue.warnings()
        where = f"Redis at 127.0.0.1:{server.port}: "
        assert told[0].startswith(f"{where}its maxmemory-policy is allkeys-lru, so that it may evict tasks")
        assert told[1].startswith(f"{where}it saves nothing to disk, so that tasks end with it; set appendonly yes")
        queue.close()


@pytest.mark.parametrize("options", [{"appendonly": "yes"}, {"save": "3600 1"}])
def test_a_server_that_saves_and_evicts_nothing_is_fine(options, heard):
    with Server(**options) as server:
        queue = Opener(**server.address)()
        beat(queue)
        assert queue.warnings() == []
        assert heard(Event.WARNING) == []
        queue.close()


def test_another_server_in_its_place_is_told_each_time(heard):
    with Server(appendonly="yes") as server:
        queue = Opener(**server.address)()
        beat(queue)
        for restarts in (1, 2):
            server.kill()
            with pytest.raises(BackendUnavailableError, match="Connection refused"):
                beat(queue)
            server.start()
            beat(queue)
            beat(queue)
            told = heard(Event.WARNING)
            assert len(told) == restarts
            assert "another one took its place" in told[-1]
        queue.close()


def test_a_user_that_may_not_ask_is_told_that_nothing_is_known(server, heard):
    server.ask("ACL", "SETUSER", "ada", "on", ">p", "~*", "&*", "+@all", "-@dangerous")
    queue = Opener(**server.address, user="ada", password="p")()
    server.ask("ACL", "LOG", "RESET")
    for _ in range(3):
        beat(queue)
    assert len(heard(Event.WARNING)) == 1
    assert "is not known: this user may not ask for INFO" in heard(Event.WARNING)[0]
    assert sum(entry[b"count"] for entry in server.ask("ACL", "LOG")) <= 2, "it goes on asking"
    publish(queue, record())
    assert claim_one(queue)
    server.ask("ACL", "DELUSER", "ada")
    queue.close()


@pytest.mark.parametrize(
    ("facts", "save", "expected"),
    [
        ("aof_enabled:1", None, []),
        ("aof_enabled:0", [b"save", b"3600 1"], []),
        ("aof_enabled:0", [b"save", b""], ["saves nothing to disk"]),
        ("aof_enabled:0", None, ["may not ask whether it saves"]),
        ("aof_enabled:1\r\naof_last_write_status:err", None, ["last write to its append-only file failed"]),
        ("aof_enabled:1\r\nrdb_last_bgsave_status:err", None, ["last snapshot failed"]),
        ("aof_enabled:1\r\nmaxmemory_policy:volatile-ttl", None, ["policy is volatile-ttl"]),
        ("aof_enabled:1\r\nmaxmemory_policy:noeviction", None, []),
    ],
)
def test_what_a_server_says_of_itself_is_judged(facts, save, expected):
    found = redis_server.warnings(facts.encode(), save)
    assert len(found) == len(expected)
    assert all(words in warning for words, warning in zip(expected, found, strict=True))


def test_a_run_id_is_read_where_it_is_told():
    assert redis_server.run_id(b"# Server\r\nrun_id:abc\r\n") == "abc"
    assert redis_server.run_id(None) == ""
