"""Many settlements at once: those that ended alike share a statement, and each keeps what is its own."""

import sqlite3

import pytest

from taskqueue.backends.sqlite import SQLiteQueue
from taskqueue.interfaces import Settlement

from .making import CONSUMER, OWNER, beat, claim, publish, record


@pytest.fixture
def running(queue):
    """Tasks that run, as many as asked for."""

    def run_so_many(count):
        beat(queue)
        publish(queue, *[record() for _ in range(count)])
        return claim(queue, count)

    return run_so_many


def settled(claimed, state, **fields):
    return Settlement(id=claimed.id, claim_number=claimed.claim_number, state=state, attempts=1, **fields)


def hand_in_all(queue, *settlements):
    return queue.exchange(OWNER, CONSUMER, settlements, 0).refused


def test_each_of_many_keeps_its_own_outcome(queue, running):
    tasks = running(5)
    outcomes = [b"one", b"", b"\0\xff" * 40_000, b"four", None]
    pairs = list(zip(tasks, outcomes, strict=True))
    assert hand_in_all(queue, *[settled(each, "done", outcome=outcome, wipe=True) for each, outcome in pairs]) == ()
    found = [queue.get(each.id) for each in tasks]
    assert [each.outcome for each in found] == [b"one", b"", b"\0\xff" * 40_000, b"four", b""]
    assert {(each.state, each.attempts, each.secrets, each.owner) for each in found} == {("done", 1, None, "")}


def test_those_that_ended_in_different_ways_do_not_touch_each_other(queue, running):
    tasks = running(6)
    settlements = (
        settled(tasks[0], "done", outcome=b"done", wipe=True),
        settled(tasks[1], "scheduled", outcome=b"soon", delay=1000),
        settled(tasks[2], "dead", outcome=b"dead"),
        settled(tasks[3], "scheduled", outcome=b"later", delay=5000),
        Settlement(id=tasks[4].id, claim_number=tasks[4].claim_number, state="ready", started=False),
    )
    assert hand_in_all(queue, *settlements) == ()
    found = [queue.get(each.id) for each in tasks]
    assert [each.state for each in found] == ["done", "scheduled", "dead", "scheduled", "ready", "running"]
    assert [each.outcome for each in found] == [b"done", b"soon", b"dead", b"later", b"", b""]
    assert [each.attempts for each in found] == [1, 1, 1, 1, 0, 0]
    assert [each.secrets is None for each in found] == [True, False, False, False, False, False]
    assert found[3].due - found[1].due == pytest.approx(4000)
    assert [each.first_claimed_at is None for each in found] == [False, False, False, False, True, False]


def test_of_two_settlements_of_one_claim_the_first_counts(queue, running):
    (task, other) = running(2)
    first, second = settled(task, "done", outcome=b"first"), settled(task, "dead", outcome=b"second")
    assert hand_in_all(queue, first, settled(other, "done"), second) == (task.id,)
    assert (queue.get(task.id).state, queue.get(task.id).outcome) == ("done", b"first")


def test_an_old_claim_before_the_new_one_is_refused_alone(queue, running):
    (task,) = running(1)
    old = Settlement(id=task.id, claim_number=task.claim_number - 1, state="dead")
    assert hand_in_all(queue, old, settled(task, "done"), old) == (task.id, task.id)
    assert queue.get(task.id).state == "done"


def test_an_id_that_looks_as_if_it_went_on_is_settled(queue, running):
    (task,) = running(1)
    with queue._database.writing() as session:
        session.run("UPDATE task SET id = id || '\\u0000'")
    odd = Settlement(id=f"{task.id}\\u0000", claim_number=task.claim_number, state="done")
    assert hand_in_all(queue, odd) == ()
    assert queue.get(odd.id).state == "done"


@pytest.mark.parametrize(
    ("task_id", "claim_number"), [("a\0b", 1), ('"\\', 1), ("\ud800", 1), ("a", float("inf")), ("a", 2**63)]
)
def test_a_settlement_that_fits_nothing_keeps_no_other_from_being_settled(queue, running, task_id, claim_number):
    (task,) = running(1)
    odd = Settlement(id=task_id, claim_number=claim_number, state="done")
    assert hand_in_all(queue, odd, settled(task, "done")) == (task_id,)
    assert queue.get(task.id).state == "done"


def test_an_id_that_goes_on_behind_another_settles_nothing(queue, running):
    (task,) = running(1)
    longer = Settlement(id=f"{task.id}\0and more", claim_number=task.claim_number, state="dead")
    assert hand_in_all(queue, longer) == (longer.id,)
    assert queue.get(task.id).state == "running"


def test_an_id_that_goes_on_behind_another_does_not_lend_it_its_claim(queue, running):
    (task,) = running(1)
    old = Settlement(id=task.id, claim_number=task.claim_number - 1, state="dead")
    longer = Settlement(id=f"{task.id}\0and more", claim_number=task.claim_number, state="dead")
    assert hand_in_all(queue, old, longer) == (old.id, longer.id)
    assert queue.get(task.id).state == "running"


def test_an_exchange_of_many_tasks_is_as_many_statements_as_one_of_few(queue, path, monkeypatch):
    told = []

    class Telling(sqlite3.Connection):
        def execute(self, statement, *parameters):
            told.append(statement)
            return super().execute(statement, *parameters)

    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *a, **options: connect(*a, **options, factory=Telling))
    other = SQLiteQueue(name="default", path=path)
    beat(other)
    publish(other, *[record() for _ in range(64)])
    counts = []
    settlements = []
    for wanted in (2, 2, 30, 30):
        told.clear()
        answer = other.exchange(OWNER, CONSUMER, settlements, wanted)
        settlements = [settled(each, "done", outcome=b"well") for each in answer.claimed]
        assert len(settlements) == wanted
        counts.append(len(told))
    other.close()
    assert counts[3] == counts[2] == counts[1] <= 4
