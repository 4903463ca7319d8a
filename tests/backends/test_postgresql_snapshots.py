"""The backend ``postgresql`` beside a transaction that stays open: it works, and says what is wrong."""

import time

import pytest

from taskqueue import notices
from taskqueue.backends import postgresql_server
from taskqueue.notices import Event

from ..serving import wait_until
from .making import beat, claim, hand_in, publish, record
from .postgresql_queues import Opener

OLD_SECONDS = 0.5  # in place of five minutes, which no test waits


@pytest.fixture
def queue(postgresql_url):
    opener = Opener(postgresql_url)
    queue = opener()
    beat(queue)
    yield queue
    opener.close()


@pytest.fixture
def snapshot(postgresql, postgresql_url):
    """A transaction that keeps an old snapshot until it is closed."""
    with postgresql.connect(postgresql_url.rpartition("/")[2]) as connection:
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        connection.execute("SELECT count(*) FROM taskqueue_task")
        yield connection


@pytest.fixture
def told():
    """The warnings that are told to whoever listens."""
    heard = []

    def listen(notice):
        if notice.event is Event.WARNING:
            heard.append(notice.detail)

    notices.listen(listen)
    yield heard
    notices.unlisten(listen)


def about_transactions(warnings):
    return [each for each in warnings if "a transaction is open in it" in each]


def work(queue, rounds):
    """Publish, claim and hand in; returns the seconds that the slowest claim took."""
    slowest = 0.0
    for _ in range(rounds):
        publish(queue, *(record() for _ in range(20)))
        begun = time.monotonic()
        claimed = claim(queue, 20)
        slowest = max(slowest, time.monotonic() - begun)
        assert len(claimed) == 20
        for each in claimed:
            assert hand_in(queue, each, "done").refused == ()
    return slowest


def test_who_beats_beside_an_old_snapshot_is_warned_once(queue, snapshot, told, monkeypatch):
    assert postgresql_server.OLD_SECONDS == 300
    monkeypatch.setattr(postgresql_server, "OLD_SECONDS", OLD_SECONDS)

    def is_told():
        beat(queue)
        return about_transactions(told)

    wait_until(is_told)
    beat(queue)
    assert len(about_transactions(told)) == 1
    assert about_transactions(queue.warnings()) == about_transactions(told)
    assert "pg_stat_activity" in about_transactions(told)[0]


def test_the_warning_goes_with_the_snapshot_and_comes_with_another(queue, snapshot, monkeypatch):
    monkeypatch.setattr(postgresql_server, "OLD_SECONDS", OLD_SECONDS)
    wait_until(lambda: about_transactions(queue.warnings()))
    snapshot.execute("COMMIT")
    wait_until(lambda: not about_transactions(queue.warnings()))
    snapshot.execute("BEGIN")
    snapshot.execute("SELECT pg_current_xact_id()")
    wait_until(lambda: about_transactions(queue.warnings()))


def test_tasks_are_worked_off_beside_an_old_snapshot(queue, snapshot):
    first, later = work(queue, 5), work(queue, 50)
    assert queue.counts().states["done"] == 1100
    assert later < 5.0
    print(f"\nbeside an open snapshot: the slowest claim of 20 took {first * 1e3:.1f} ms, later {later * 1e3:.1f} ms")
