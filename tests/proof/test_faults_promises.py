"""What each setting of a server keeps: it is killed, loses the end of its file, or another one takes its place.

A loss of power is not to be had here. Of a file that is only appended to it takes the end, so these tests take that.
"""

import contextlib

import pytest

from ..backends.fault_proxy import FaultProxy
from ..backends.making import beat, claim_one, hand_in, publish, record, stage, state_of
from ..backends.postgresql_queues import Opener as PostgreSQLOpener
from ..backends.postgresql_queues import empty
from ..backends.postgresql_server import DURABLE
from ..backends.postgresql_server import Server as PostgreSQLServer
from ..backends.redis_server import Opener, Server
from .faults import wait_until


@pytest.fixture
def opened():
    """Queues that are closed at the end."""
    openers = []

    def open_on(opener):
        openers.append(opener)
        queue = opener()
        beat(queue)
        return queue

    yield open_on
    for opener in openers:
        opener.close()


def add_all_sorts(queue):
    """A task that is done, one that runs, one that is ready and one that is staged."""
    ids = [record().id for _ in range(4)]
    publish(queue, *(record(id=each) for each in ids[:3]))
    assert hand_in(queue, claim_one(queue), "done").refused == ()
    claim_one(queue)
    stage(queue, record(id=ids[3]))
    return ids


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ({"appendonly": "yes", "appendfsync": "always"}, ["done", "running", "ready", "staged"]),
        ({"appendonly": "yes", "appendfsync": "everysec"}, ["done", "running", "ready", "staged"]),
        ({"save": "3600 1"}, [None] * 4),
        ({}, [None] * 4),
    ],
    ids=["always", "everysec", "snapshots", "nothing"],
)
def test_a_redis_that_is_killed_keeps_what_its_settings_say(settings, kept, opened):
    with Server(**settings) as server:
        queue = opened(Opener(**server.address))
        ids = add_all_sorts(queue)
        wait_until(server.has_written)
        server.kill()
        server.start()
        wait_until(lambda: server.ask("PING"))
        queue.close()
        assert [state_of(queue, each) for each in ids] == kept


def test_a_redis_that_took_a_snapshot_keeps_what_was_there_then(opened):
    with Server(save="3600 1") as server:
        queue = opened(Opener(**server.address))
        before = publish(queue, record())
        server.ask("SAVE")
        done = claim_one(queue)
        hand_in(queue, done, "done")
        after = publish(queue, record())
        server.kill()
        server.start()
        queue.close()
        assert done.id == before
        # What was done since runs again; what was added since is gone.
        assert [state_of(queue, each) for each in (before, after)] == ["ready", None]


def test_the_end_of_the_file_that_everysec_may_lose_takes_the_newest_tasks_and_no_others(opened):
    with Server(appendonly="yes", appendfsync="everysec") as server:
        queue = opened(Opener(**server.address))
        older = publish(queue, record())
        [file] = (server.folder / "appendonlydir").glob("*.incr.aof")
        wait_until(lambda: older.encode() in file.read_bytes())
        size = file.stat().st_size
        newer = publish(queue, record())
        wait_until(lambda: newer.encode() in file.read_bytes())
        server.kill()
        with file.open("r+b") as opened_file:
            opened_file.truncate(size + 40)  # in the middle of a command
        server.start()
        queue.close()
        assert [state_of(queue, each) for each in (older, newer)] == ["ready", None]


def test_a_replica_that_takes_over_has_lost_what_it_had_not_received(opened):
    settings = {"appendonly": "yes", "appendfsync": "always", "repl_diskless_sync_delay": 0}
    with contextlib.ExitStack() as stack:
        primary = stack.enter_context(Server(**settings))
        proxy = stack.enter_context(FaultProxy(primary.port))
        with Server(appendonly="yes", replicaof=f"127.0.0.1 {proxy.port}") as replica:
            queue = opened(Opener(**primary.address))
            older = publish(queue, record())
            wait_until(lambda: replica.ask("INFO", "replication")["master_link_status"] == "up")
            there = opened_quietly(replica)
            wait_until(lambda: state_of(there, older) == "ready")
            proxy.stall()
            newer = publish(queue, record())
            primary.kill()
            replica.ask("REPLICAOF", "NO", "ONE")
            assert [state_of(there, each) for each in (older, newer)] == ["ready", None]
            # Who still has it stores it again.
            there.publish([record(id=newer)], 5.0)
            assert state_of(there, newer) == "ready"
            there.close()


def opened_quietly(server):
    """A queue on a replica, which takes no beat."""
    return Opener(**server.address)()


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        (DURABLE, ["done", "running", "ready", "staged"]),
        ({"fsync": "off"}, ["done", "running", "ready", "staged"]),
        ({**DURABLE, "synchronous_commit": "off", "wal_writer_delay": "10s"}, [None] * 4),
    ],
    ids=["durable", "fsync off", "synchronous_commit off"],
)
def test_a_postgresql_that_is_killed_keeps_what_its_settings_say(settings, kept, opened):
    with PostgreSQLServer() as server:
        url = server.create_database()
        empty(url)
        server.restart(**settings)
        server.ask("CHECKPOINT")
        queue = opened(PostgreSQLOpener(url))
        server.ask("SELECT pg_switch_wal()")
        ids = add_all_sorts(queue)
        server.kill()
        server.start()
        queue.close()
        assert [state_of(queue, each) for each in ids] == kept
