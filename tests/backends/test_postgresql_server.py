"""What a PostgreSQL server endangers tasks by, and what is told of it."""

import pytest

from taskqueue import notices
from taskqueue.backends import postgresql_server as herald
from taskqueue.backends.postgresql import PostgreSQLQueue
from taskqueue.backends.postgresql_server import Facts, warnings

from ..serving import wait_until
from .making import beat
from .postgresql_server import Server

SOUND = Facts(
    started_at=1.0,
    fsync="on",
    synchronous_commit="on",
    full_page_writes="on",
    is_standby=False,
    transaction_seconds=None,
    prepared_seconds=None,
    snapshot=None,
)


@pytest.mark.parametrize(
    ("facts", "seconds", "words"),
    [
        ({"fsync": "off"}, 0, "set fsync = on"),
        ({"full_page_writes": "off"}, 0, "set full_page_writes = on"),
        ({"synchronous_commit": "off"}, 0, "set synchronous_commit = on"),
        ({"is_standby": True}, 0, "name the primary"),
        ({"transaction_seconds": 301.0}, 0, "see pg_stat_activity"),
        ({"snapshot": "700"}, 301, "see pg_stat_activity"),
        ({"prepared_seconds": 301.0}, 0, "see pg_prepared_xacts"),
    ],
)
def test_each_danger_is_told_with_what_to_do(facts, seconds, words):
    (text,) = warnings(SOUND._replace(**facts), seconds).values()
    assert words in text
    assert "\n" not in text


def test_a_sound_server_gives_no_warning():
    assert warnings(SOUND._replace(transaction_seconds=299.0, prepared_seconds=299.0, snapshot="7"), 299) == {}
    assert warnings(SOUND._replace(synchronous_commit="remote_apply"), 0) == {}


@pytest.fixture
def server():
    with Server(fsync="on", full_page_writes="on") as server:
        yield server


@pytest.fixture
def told():
    found = []

    def hear(notice):
        found.append(notice.detail)

    notices.listen(hear)
    yield found
    notices.unlisten(hear)


def test_an_old_snapshot_is_told_once_for_as_long_as_it_is_held(server, monkeypatch, told):
    monkeypatch.setattr(herald, "OLD_SECONDS", 0.05)
    queue = PostgreSQLQueue(name="default", url=server.create_database())
    beat(queue)
    with server.connect(queue._link.address.attempts[0]["dbname"]) as holder:
        for time in (1, 2):
            wait_until(lambda: not queue.warnings())
            beat(queue)
            holder.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
            holder.execute("SELECT 1")
            wait_until(queue.warnings)
            for _ in range(3):
                beat(queue)
            assert ["a transaction is open" in each for each in told] == [True] * time
            holder.execute("COMMIT")
    queue.close()


def test_a_prepared_transaction_that_is_left_behind_is_told(server, monkeypatch):
    monkeypatch.setattr(herald, "OLD_SECONDS", 0.05)
    queue = PostgreSQLQueue(name="default", url=server.create_database())
    with server.connect(queue._link.address.attempts[0]["dbname"]) as holder:
        holder.execute("CREATE TABLE mine ()")
        holder.execute("BEGIN")
        holder.execute("INSERT INTO mine DEFAULT VALUES")
        holder.execute("PREPARE TRANSACTION 'left behind'")
        wait_until(lambda: any("see pg_prepared_xacts" in each for each in queue.warnings()))
        holder.execute("ROLLBACK PREPARED 'left behind'")
    queue.close()


def test_a_server_that_may_lose_what_it_confirmed_is_told():
    with Server(synchronous_commit="off") as server:
        queue = PostgreSQLQueue(name="default", url=server.create_database())
        found = " ".join(queue.warnings())
        for words in ("fsync", "full_page_writes", "synchronous_commit"):
            assert f"set {words} = on" in found
        queue.close()
