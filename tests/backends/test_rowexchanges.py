"""Exchanges with a file: one statement where that is enough, several where something has to be known in between."""

import fcntl
import sqlite3

import pytest

from taskqueue.backends import database, rowexchanges, sqlite
from taskqueue.backends.deadlines import Deadline
from taskqueue.backends.rowsettlements import settle
from taskqueue.backends.sqlite import SQLiteQueue
from taskqueue.interfaces import Settlement

from .making import CONSUMER, OTHER, OWNER, beat, claim, publish, record, state_of


@pytest.fixture
def connected(monkeypatch):
    """Has connections be of this type."""

    def be(kind):
        connect = sqlite3.connect
        monkeypatch.setattr(sqlite3, "connect", lambda *a, **options: connect(*a, **options, factory=kind))

    return be


def settled(claimed, state="done", **fields):
    return Settlement(id=claimed.id, claim_number=claimed.claim_number, state=state, attempts=1, **fields)


def exchange(queue, settlements, wanted, alone=False):
    return queue.exchange(OWNER, CONSUMER, settlements, wanted, alone)


def test_what_an_exchange_changes_is_one_statement(path, connected):
    told = []

    class Telling(sqlite3.Connection):
        def execute(self, statement, *parameters):
            told.append(statement)
            return super().execute(statement, *parameters)

    connected(Telling)
    queue = SQLiteQueue(name="default", path=path)
    beat(queue)
    publish(queue, *[record() for _ in range(30)])
    claimed = claim(queue, 10)
    told.clear()
    ends = [settled(each, outcome=b"well") for each in claimed[:6]]
    ends += [settled(each, "scheduled", delay=100.0) for each in claimed[6:8]]
    ends += [settled(each, "dead") for each in claimed[8:]]
    assert len(exchange(queue, ends, 10).claimed) == 10
    assert [statement.split()[0] for statement in told] == ["SELECT", "INSERT", "SELECT"]
    queue.close()


def test_one_that_came_too_late_keeps_none_from_being_settled_and_claimed(queue):
    publish(queue, *[record() for _ in range(6)])
    claimed = claim(queue, 3)
    exchange(queue, [settled(claimed[1])], 0)
    answer = exchange(queue, [settled(each, outcome=b"well") for each in claimed], 2)
    assert answer.refused == (claimed[1].id,)
    assert len(answer.claimed) == 2
    assert queue.counts().states["done"] == 3
    assert [queue.get(each.id).outcome for each in claimed] == [b"well", b"", b"well"]


def test_an_exchange_tells_when_its_own_retries_are_due(queue):
    publish(queue, *[record() for _ in range(3)])
    claimed = claim(queue, 3)
    answer = exchange(queue, [settled(claimed[0], "scheduled", delay=70.0)], 0)
    assert answer.next_due == pytest.approx(70.0)
    ends = [settled(claimed[1], "scheduled", delay=50.0), settled(claimed[2], "scheduled", delay=90.0)]
    assert exchange(queue, ends, 0).next_due == pytest.approx(50.0, abs=1.0)


@pytest.mark.parametrize(("state", "delay"), [("ready", 0.0), ("scheduled", 0.0), ("scheduled", -5.0)])
def test_what_is_given_back_is_claimed_in_the_same_exchange(queue, state, delay):
    publish(queue, record())
    (claimed,) = claim(queue, 1)
    answer = exchange(queue, [settled(claimed, state, delay=delay)], 1)
    assert [(each.id, each.claim_number) for each in answer.claimed] == [(claimed.id, claimed.claim_number + 1)]


def test_retries_that_wait_for_different_times_are_one_change(queue):
    publish(queue, *[record() for _ in range(40)])
    claimed = claim(queue, 40)
    exchange(queue, [settled(each, "scheduled", delay=10.0 + place) for place, each in enumerate(claimed)], 0)
    due = [queue.get(each.id).due - claimed[0].claimed_at for each in claimed]
    assert due == pytest.approx([10.0 + place for place in range(40)], abs=5.0)
    assert due == sorted(due)
    with queue._database.writing() as session:
        changes = settle(session, [settled(each, "scheduled", delay=place) for place, each in enumerate(claimed)], 0.0)
    assert len(changes) == 1


def test_what_was_taken_back_before_the_answer_was_read_is_not_in_it(queue, path, monkeypatch):
    large = record(body=bytes(2 * 1024 * 1024))
    publish(queue, large)
    other = SQLiteQueue(name="default", path=path)
    beat(other, OTHER)
    read = rowexchanges.read_claimed
    taken = []

    def read_late(*arguments):
        monkeypatch.setattr(rowexchanges, "read_claimed", read)
        other.retire(OWNER)
        assert other.reclaim(3).ready == (large.id,)
        taken.extend(other.exchange(OTHER, CONSUMER, (), 1, alone=True).claimed)
        return read(*arguments)

    monkeypatch.setattr(rowexchanges, "read_claimed", read_late)
    assert exchange(queue, (), 1).claimed == ()
    assert [(each.id, each.claim_number) for each in taken] == [(large.id, 2)]
    other.close()


def test_empty_outcomes_are_outcomes(queue):
    publish(queue, *[record() for _ in range(2)])
    assert exchange(queue, [settled(each, outcome=b"") for each in claim(queue, 2)], 0).refused == ()
    assert queue.counts().states["done"] == 2


def test_the_time_of_those_who_begin_behind_others_runs_from_their_beginning(queue, path, monkeypatch):
    deadlines = []

    class Noted(Deadline):
        def __init__(self, seconds):
            super().__init__(seconds)
            deadlines.append(self)

    monkeypatch.setattr(sqlite, "Deadline", Noted)
    late = Settlement(id="x", claim_number=1, state="done")
    with open(f"{path}.lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        begun = [queue.begin_exchange(OWNER, CONSUMER, (late,), 0) for _ in range(3)]
        assert len(deadlines) == 3
    assert [each.end().refused for each in begun] == [("x",)] * 3
    assert len(deadlines) == 3


def test_a_suspect_that_is_given_back_is_told_of(queue):
    publish(queue, record())
    claim(queue, 1)
    queue.retire(OWNER)
    queue.reclaim(3)
    beat(queue)
    (suspect,) = exchange(queue, (), 1, alone=True).claimed
    back = Settlement(id=suspect.id, claim_number=suspect.claim_number, state="ready", started=False)
    answer = exchange(queue, [back], 1)
    assert (answer.claimed, answer.suspects_wait) == ((), True)


def test_a_paused_queue_takes_settlements_and_hands_out_nothing(queue):
    publish(queue, *[record() for _ in range(4)])
    claimed = claim(queue, 2)
    queue.pause()
    answer = exchange(queue, [settled(claimed[0])], 2)
    assert (answer.claimed, answer.paused) == ((), True)
    answer = exchange(queue, [settled(claimed[1], "ready")], 2)
    assert (answer.claimed, answer.paused) == ((), True)
    assert state_of(queue, claimed[0].id) == "done"


def test_a_log_that_cannot_be_emptied_keeps_no_answer_back(path, connected, monkeypatch):
    monkeypatch.setattr(database, "EMPTY_LOG_SECONDS", 0.0)
    monkeypatch.setattr(database, "EMPTY_LOG_AGAIN_SECONDS", 0.0)
    failed = []

    class Failing(sqlite3.Connection):
        def execute(self, statement, *parameters):
            if "wal_checkpoint" in statement:
                failed.append(statement)
                raise sqlite3.OperationalError("disk I/O error")
            return super().execute(statement, *parameters)

    connected(Failing)
    queue = SQLiteQueue(name="default", path=path)
    beat(queue)
    publish(queue, *[record() for _ in range(4)])
    claimed = claim(queue, 2)
    failed.clear()
    answer = exchange(queue, [settled(each) for each in claimed], 2)
    assert failed
    assert len(answer.claimed) == 2
    assert queue.counts().states["done"] == 2
    queue.close()
