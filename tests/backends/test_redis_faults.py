"""The backend ``redis`` when its server refuses: one error of one line says what to do, and it goes on by itself."""

import contextlib
import itertools
import socket
import threading
import time
import types

import pytest

from taskqueue.backends.deadlines import Deadline
from taskqueue.backends.redis_faults import LostError, explain
from taskqueue.errors import BackendUnavailableError

from ..serving import wait_until
from .making import CONSUMER, OTHER, OWNER, beat, claim, claim_one, hand_in, publish, record, stage, state_of
from .redis_server import DEADLINE, Opener, Server, free_port

LATE_SECONDS = 4.0  # less than a call without a timeout would take; a machine may have other things to do
WRITES = {
    "stage": lambda queue: stage(queue, record()),
    "try_adding": lambda queue: queue.try_adding(5.0),
    "publish": lambda queue: publish(queue, record()),
    "discard": lambda queue: queue.discard(["id"], 5.0),
    "settle": lambda queue: queue.settle(["id"], "publish"),
    "beat": beat,
    "requeue": lambda queue: queue.requeue(["id"]),
    "delete": lambda queue: queue.delete(["id"]),
    "purge": lambda queue: queue.purge(["done"]),
    "pause": lambda queue: queue.pause(),
    "retire": lambda queue: queue.retire(OWNER),
    "exchange": lambda queue: queue.exchange(OWNER, CONSUMER, (), 1),
    "release": lambda queue: queue.release(OWNER, CONSUMER, ()),
    "promote": lambda queue: queue.promote(),
    "prune": lambda queue: queue.prune(1, 1, 1, 1),
}
READS = {
    "get": lambda queue: queue.get("id"),
    "list": lambda queue: queue.list(["ready"]),
    "staged": lambda queue: queue.staged(),
    "len": len,
    "counts": lambda queue: queue.counts(),
    "owners": lambda queue: queue.owners(),
    "reclaim": lambda queue: queue.reclaim(3),
    "warnings": lambda queue: queue.warnings(),
}
ALL = {**WRITES, **READS}


def fails(act, queue, match):
    """It raises the one error there is, in one line that names the server."""
    with pytest.raises(BackendUnavailableError, match=match) as caught:
        act(queue)
    assert str(caught.value).startswith(f"Redis at {queue._link.address.where}: ")
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def shared_server():
    with Server(maxmemory_policy="noeviction") as server:
        yield server


@pytest.fixture
def server(shared_server):
    shared_server.ask("FLUSHALL")
    return shared_server


@pytest.fixture
def queue(server):
    queue = Opener(**server.address)()
    beat(queue)
    yield queue
    queue.close()


# ---- full ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def full(server, queue):
    """A queue on a server that is full, with five tasks in it."""
    publish(queue, *(record(body=bytes(1000)) for _ in range(5)))
    server.ask("CONFIG", "SET", "maxmemory", "1mb")
    yield queue
    server.ask("CONFIG", "SET", "maxmemory", 0)


def test_a_full_redis_refuses_what_is_added_and_says_so(full):
    staged = record()
    fails(lambda queue: stage(queue, staged), full, r"it is full \(maxmemory\).*raise its maxmemory")
    assert full.get(staged.id) is None
    fails(WRITES["try_adding"], full, "it is full")
    fails(WRITES["requeue"], full, "it is full")


def test_a_full_redis_drains(full, server):
    server.ask("SCRIPT", "FLUSH")
    beat(full)
    publish(full, record())
    while claimed := claim(full, 2):
        for each in claimed:
            assert hand_in(full, each, "done", outcome=b"outcome", wipe=True).refused == ()
    assert full.counts().states["done"] == 6
    assert full.prune(0, 0, None, 0)["done"] == 6


@pytest.mark.parametrize("verb", [verb for verb in ALL if verb not in {"stage", "try_adding", "requeue"}])
def test_all_but_adding_goes_on_when_redis_is_full(full, verb):
    ALL[verb](full)


def test_a_redis_that_has_room_again_takes_tasks_again(full, server):
    fails(WRITES["stage"], full, "it is full")
    server.ask("CONFIG", "SET", "maxmemory", 0)
    full.try_adding(5.0)
    assert state_of(full, stage(full, record())) == "staged"


# ---- a replica, a sick disk, too few replicas ----------------------------------------------------------------------


def test_a_replica_is_told_and_serves_when_it_is_the_primary(server, queue):
    task_id = publish(queue, record())
    server.ask("REPLICAOF", "127.0.0.1", free_port())
    for act in WRITES.values():
        fails(act, queue, "it is a read-only replica; name the primary")
    assert state_of(queue, task_id) == "ready"
    server.ask("REPLICAOF", "NO", "ONE")
    assert claim_one(queue).id == task_id


def test_too_few_replicas_are_told(server, queue):
    server.ask("CONFIG", "SET", "min-replicas-to-write", 1)
    fails(WRITES["publish"], queue, "too few replicas")
    server.ask("CONFIG", "SET", "min-replicas-to-write", 0)
    publish(queue, record())


def test_a_disk_that_cannot_be_written_is_told():
    with Server(save="3600 1", dbfilename="blocked") as server:
        queue = Opener(**server.address)()
        publish(queue, record())
        (server.folder / "blocked").mkdir()
        server.ask("BGSAVE")
        server.expect("Background saving error")
        fails(WRITES["publish"], queue, "it cannot save to its disk")
        assert any("last snapshot failed" in each for each in queue.warnings())
        (server.folder / "blocked").rmdir()
        server.ask("SAVE")
        publish(queue, record())
        queue.close()


# ---- no server, or another one -------------------------------------------------------------------------------------


class Impostor:
    """Answers each line that arrives with the same bytes."""

    def __init__(self, answer):
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = {"host": "127.0.0.1", "port": self._listener.getsockname()[1]}
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._talk, args=(client,), daemon=True).start()

    def _talk(self, client):
        with contextlib.suppress(OSError), client:
            while client.recv(65536):
                client.sendall(self._answer)

    def close(self):
        self._listener.close()


HELLO = b"*14\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$%d\r\n%s\r\n" + b"$1\r\nx\r\n:1\r\n" * 5


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (HELLO % (6, b"6.2.14"), "it is too old; Redis 7.0 or newer is needed"),
        (HELLO % (4, b"what"), "it is too old"),
        (b"-ERR unknown command `HELLO`, with args beginning with: \r\n", "it is too old"),
        (b"-LOADING Redis is loading the dataset in memory\r\n", "it is still loading its data"),
        (b"-MASTERDOWN Link with MASTER is down\r\n", "lost its primary"),
        (b"-ERR max number of clients reached\r\n", "as many clients as it takes"),
        (b"-BUSY Redis is busy running a script.\r\n", "busy with somebody else's script"),
        (b"-CLUSTERDOWN The cluster is down\r\n", "the cluster that it belongs to is down"),
        (b"-MOVED 1 127.0.0.1:1\r\n", "the nodes of its cluster do not agree|Connection refused"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "no Redis server; see host and port"),
        (b"-ODD s3cret 'argument'\r\n", "it refuses: ODD s3cret …; see its log"),
        (b"+OK\r\n", "it is too old"),
        (b":1\r\n", "it is too old"),
    ],
)
def test_what_else_may_answer_is_told(answer, message):
    impostor = Impostor(answer)
    queue = Opener(**impostor.address)()
    fails(WRITES["publish"], queue, message)
    fails(READS["get"], queue, message)
    impostor.close()


@pytest.mark.parametrize("verb", ALL)
def test_a_server_that_is_not_there_is_told(verb):
    fails(ALL[verb], Opener(host="127.0.0.1", port=free_port())(), "Connection refused; see that it runs")


def test_a_socket_that_is_not_there_is_told(tmp_path):
    fails(len, Opener(unix_socket_path=tmp_path / "redis.sock")(), "No such file or directory; see that it runs")


def test_a_host_that_nobody_knows_is_told_in_time():
    queue = Opener(host="no-such-host.invalid")()
    begun = time.monotonic()
    fails(lambda queue: queue.publish([record()], 1.0), queue, "in time|not known|name resolution|No address")
    assert time.monotonic() - begun < LATE_SECONDS


def test_an_error_repeats_nothing_that_was_sent():
    for text in ("unknown command, with args beginning with: 's3cret'", 'wrong "s3cret"', "x: `y', with args s3cret"):
        assert "s3cret" not in explain("ERR", text)
    assert len(explain("ODD", "long " * 100)) < 200


# ---- a server that stands still ------------------------------------------------------------------------------------

TIMED = {
    "stage": lambda queue, timeout: queue.stage([record()], b"", OWNER, timeout),
    "try_adding": lambda queue, timeout: queue.try_adding(timeout),
    "publish": lambda queue, timeout: queue.publish([record()], timeout),
    "discard": lambda queue, timeout: queue.discard(["id"], timeout),
    "settle": lambda queue, timeout: queue.settle(["id"], "publish", timeout),
    "settle by discarding": lambda queue, timeout: queue.settle(["id"], "discard", timeout),
    "beat": lambda queue, timeout: queue.beat(_owner(), 60.0, timeout),
    "retire": lambda queue, timeout: queue.retire(OWNER, timeout),
}


def _owner():
    from .making import owner

    return owner(OWNER)


@pytest.mark.parametrize("connected", [True, False], ids=["connected", "new"])
@pytest.mark.parametrize("verb", TIMED)
def test_no_call_takes_longer_than_its_time(server, queue, verb, connected):
    if not connected:
        queue.close()
    server.stop_still()
    try:
        begun = time.monotonic()
        fails(lambda queue: TIMED[verb](queue, 0.2), queue, "in time")
        assert 0.15 <= time.monotonic() - begun < LATE_SECONDS
    finally:
        server.go_on()
    publish(queue, record())
    assert claim_one(queue)


def test_many_records_share_the_time_of_one_call(server, queue):
    server.stop_still()
    try:
        begun = time.monotonic()
        fails(lambda queue: queue.publish([record() for _ in range(2000)], 0.2), queue, "in time")
        assert time.monotonic() - begun < LATE_SECONDS
    finally:
        server.go_on()


# ---- connections ---------------------------------------------------------------------------------------------------


def test_what_a_connection_left_behind_is_not_read_by_the_next_call(queue, server):
    """A connection that has ended, or on which something came unasked, is not used: a claim is never sent twice."""
    task_id = publish(queue, record())
    server.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    assert claim_one(queue).id == task_id


@pytest.mark.parametrize("read_before", [False, True], ids=["in the socket", "in the buffer"])
def test_a_reply_that_nobody_asked_for_is_not_taken_for_another(queue, server, read_before):
    task_id = publish(queue, record())
    deadline = Deadline(DEADLINE)
    wire = queue._link._pool.borrow(deadline)
    wire.send(["ECHO", "one"], deadline)
    wire.send(["ECHO", "two"], deadline)
    if read_before:
        wire._has_come(deadline, None)
        wire._replies.feed(b"$3\r\none\r\n")
    wait_until(lambda: wire.is_stale)
    queue._link._pool.give_back(wire)
    assert claim_one(queue).id == task_id


@pytest.mark.parametrize(("act", "times"), [(WRITES["publish"], 2), (READS["get"], 2), (WRITES["exchange"], 1)])
def test_what_may_be_repeated_is_repeated_once(queue, monkeypatch, act, times):
    sent = []

    def lose(wire, *_):
        sent.append(wire)
        raise LostError("it is lost")

    monkeypatch.setattr(queue._link, "_exchange", lose)
    fails(act, queue, "it is lost")
    assert len(sent) == times


def test_no_more_connections_are_kept_than_are_used(queue, server):
    begin = threading.Barrier(24)

    def use():
        begin.wait(DEADLINE)
        for _ in range(20):
            len(queue)

    threads = [threading.Thread(target=use) for _ in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE)
    assert len(queue._link._pool._idle) <= 16
    wait_until(lambda: 1 <= len(server.clients()) <= 16)  # the server sees the others go a moment later
    queue.close()
    assert queue._link._pool._idle == []


# ---- exchanges that are under way ------------------------------------------------------------------------------------


def test_an_exchange_under_way_when_its_server_dies_is_told(tmp_path):
    with Server() as server:
        queue = Opener(**server.address)()
        beat(queue)
        server.stop_still()
        begun = queue.begin_exchange(OWNER, CONSUMER, (), 1)
        assert not begun.is_here()
        server._process.kill()  # as it stands: it has no time to answer
        server.kill()
        fails(lambda _: begun.end(), queue, "Redis at ")
        server.start()
        beat(queue)
        task_id = publish(queue, record())
        assert claim_one(queue).id == task_id


def test_an_exchange_that_cannot_be_sent_is_told_at_its_beginning(queue, server):
    wire = queue._link._pool.borrow(Deadline(DEADLINE))
    wire.interrupt()
    queue._link._pool._idle.append(wire)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(type(wire), "is_stale", False)
        fails(lambda queue: queue.begin_exchange(OWNER, CONSUMER, (), 1), queue, "Broken pipe")
    task_id = publish(queue, record())
    assert claim_one(queue).id == task_id


def test_an_exchange_of_a_server_that_forgot_its_scripts_is_run_all_the_same(queue, server):
    task_id = publish(queue, record())
    server.ask("SCRIPT", "FLUSH")
    begun = queue.begin_exchange(OWNER, CONSUMER, (), 1)
    wait_until(begun.is_here)
    assert [each.id for each in begun.end().claimed] == [task_id]


def test_an_answer_that_lay_in_the_socket_when_its_time_was_over_is_read(queue, server, monkeypatch):
    from taskqueue.backends import redis_link

    monkeypatch.setattr(redis_link, "DEFAULT_TIMEOUT", 0.2)
    task_id = publish(queue, record())
    begun = queue.begin_exchange(OWNER, CONSUMER, (), 1)
    wait_until(begun.is_here)
    late = time.monotonic() + 0.3
    wait_until(lambda: time.monotonic() > late)
    assert [each.id for each in begun.end().claimed] == [task_id]


def test_no_lease_lapses_while_nobody_can_renew_any(server, queue, monkeypatch):
    clock = itertools.count(1000.0, 5.0)
    monkeypatch.setattr("taskqueue.backends.owners.time", types.SimpleNamespace(monotonic=lambda: next(clock)))
    beat(queue, OTHER)
    publish(queue, record(), record())
    running = claim_one(queue, owner_id=OTHER), claim_one(queue)
    server.ask("CONFIG", "SET", "min-replicas-to-write", 1)
    fails(beat, queue, "too few replicas")
    assert {queue.reclaim(3).owners for _ in range(30)} == {()}
    server.ask("CONFIG", "SET", "min-replicas-to-write", 0)
    beat(queue)
    assert {queue.reclaim(3).owners for _ in range(4)} == {()}
    beat(queue, OTHER)
    assert {state_of(queue, task.id) for task in running} == {"running"}
