"""The backend ``postgresql`` when several do something with the same tasks at the same time."""

import threading

import psycopg
import pytest

from taskqueue.errors import BackendUnavailableError, QueueFullError

from ..serving import wait_until
from .making import OTHER, OWNER, beat, claim, claim_one, hand_in, publish, record, run, stage, state_of
from .postgresql_queues import Opener, empty
from .postgresql_server import new_database, shared_server

DEADLINE = 30.0


@pytest.fixture(scope="module")
def url():
    with new_database(shared_server()) as url:
        yield url


@pytest.fixture
def open_queue(url):
    empty(url)
    opener = Opener(url)
    yield opener
    opener.close()


@pytest.fixture
def connect(url):
    """Connections of the test's own, each statement a transaction unless something else is said."""
    opened = []

    def connect(autocommit=True):
        opened.append(psycopg.connect(url, autocommit=autocommit))
        return opened[-1]

    yield connect
    for connection in opened:
        connection.close()


def all_at_once(*acts):
    """Do all of it at the same time; returns what each returned, in that order."""
    answers, failures = [None] * len(acts), []
    begin = threading.Barrier(len(acts))

    def do(place, act):
        try:
            begin.wait(DEADLINE)
            answers[place] = act()
        except Exception as error:  # noqa: BLE001  # told by the assertion below
            failures.append(error)

    threads = [threading.Thread(target=do, args=each, daemon=True) for each in enumerate(acts)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE)
    assert failures == []
    assert not any(thread.is_alive() for thread in threads)
    return answers


def test_who_stages_at_once_keeps_the_limit_together(open_queue):
    queues = [open_queue(length_limit=30) for _ in range(4)]

    def fill(queue):
        staged = 0
        for _ in range(15):
            try:
                stage(queue, record(), record())
            except QueueFullError:
                break
            staged += 2
        return staged

    assert sum(all_at_once(*(lambda queue=queue: fill(queue) for queue in queues))) == 30
    assert queues[0].counts().states["staged"] == 30


def test_neighbours_change_tasks_in_any_order_without_an_error(open_queue):
    queues = [open_queue() for _ in range(4)]
    records = [record() for _ in range(50)]
    ids = [each.id for each in records]
    orders = (records, records[::-1], records[::2] + records[1::2], records[::-2] + records[::2])

    def work(queue, some):
        for _ in range(8):
            stage(queue, *some)
            queue.settle([each.id for each in some[::-1]], "hold")
            publish(queue, *some[::-1])
            queue.delete(ids)

    all_at_once(*(lambda q=q, some=some: work(q, some) for q, some in zip(queues, orders, strict=True)))
    assert queues[0].list(["staged", "held", "ready"]) == []


# ---- races for one id ----------------------------------------------------------------------------------------------


def waits_for_lock(connection):
    """Whether somebody in this database waits for a lock."""
    return connection.execute(
        "SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    ).fetchone()[0]


def beside_open(connect, statement, act):
    """Do something while a transaction that ran a statement is open; let that commit once somebody waits for it."""
    holder, watcher = connect(autocommit=False), connect()
    holder.execute(statement)
    answers = []
    thread = threading.Thread(target=lambda: answers.append(act()), daemon=True)
    thread.start()
    wait_until(lambda: waits_for_lock(watcher))
    holder.commit()
    thread.join(DEADLINE)
    assert answers, "it never came to an end"
    return answers[0]


GO = "UPDATE taskqueue_task SET state = 'gone', finished_at = extract(epoch FROM now()), body = ''"


@pytest.mark.parametrize("state", ["done", "staged"])
def test_a_publish_beside_the_end_of_its_task_does_not_raise_it(queue, connect, state):
    task_id = run(queue, "done") if state == "done" else stage(queue, record())
    beside_open(connect, GO, lambda: publish(queue, record(id=task_id)))
    assert state_of(queue, task_id) is None


def test_a_stage_beside_the_end_of_its_task_does_not_raise_it(queue, connect):
    task_id = stage(queue, record())
    beside_open(connect, GO, lambda: stage(queue, record(id=task_id)))
    assert state_of(queue, task_id) is None


def test_a_publish_beside_a_reclaim_is_not_lost(queue, connect):
    task_id = stage(queue, record())
    beside_open(connect, "UPDATE taskqueue_task SET state = 'held'", lambda: publish(queue, record(id=task_id)))
    assert state_of(queue, task_id) == "ready"


def test_a_settlement_beside_a_reclaim_is_refused(queue, connect):
    publish(queue, record())
    claimed = claim_one(queue)
    take_back = "UPDATE taskqueue_task SET state = 'ready', suspect = true, owner = ''"
    answer = beside_open(connect, take_back, lambda: hand_in(queue, claimed, "done"))
    assert answer.refused == (claimed.id,)
    assert state_of(queue, claimed.id) == "ready"


def test_a_reclaim_and_a_publish_at_once_leave_a_task_that_runs(open_queue):
    queue, other = open_queue(), open_queue()
    for _ in range(20):
        beat(queue)
        records = [record() for _ in range(10)]
        stage(queue, *records)
        queue.retire(OWNER)
        all_at_once(lambda: other.reclaim(3), lambda some=records: publish(queue, *some))
        assert {state_of(queue, each.id) for each in records} == {"ready"}
        queue.purge(["ready"])


def test_an_owner_that_beats_while_it_is_reclaimed_keeps_what_it_holds(queue, open_queue, connect, monkeypatch):
    publish(queue, record())
    claimed = claim_one(queue, owner_id=OTHER)
    beat(queue, OTHER)
    queue.retire(OTHER)
    run_all = queue._link.run_all

    def beat_in_between(calls, *arguments, **options):
        if any(statement.verb == "reclaim" for statement, _ in calls):
            beat(open_queue(), OTHER)
        return run_all(calls, *arguments, **options)

    monkeypatch.setattr(queue._link, "run_all", beat_in_between)
    assert queue.reclaim(3).ready == ()
    assert state_of(queue, claimed.id) == "running"


def test_claims_pass_over_what_somebody_else_locks(queue, connect):
    first, second = record(), record()
    publish(queue, first, second)
    holder = connect(autocommit=False)
    holder.execute("SELECT 1 FROM taskqueue_task WHERE id = %s FOR UPDATE", [first.id])
    assert [each.id for each in claim(queue, 5)] == [second.id]
    holder.rollback()
    assert [each.id for each in claim(queue, 5)] == [first.id]


def test_a_lock_that_somebody_keeps_ends_a_call_in_time(queue, connect):
    given = record()
    stage(queue, given)
    holder, watcher = connect(autocommit=False), connect()
    holder.execute("SELECT 1 FROM taskqueue_task FOR UPDATE")
    with pytest.raises(BackendUnavailableError) as caught:
        queue.publish([given], 0.3)
    assert "\n" not in str(caught.value)
    wait_until(lambda: not waits_for_lock(watcher))  # the server knows of the deadline, too
    holder.rollback()
    publish(queue, given)
    assert state_of(queue, given.id) == "ready"
