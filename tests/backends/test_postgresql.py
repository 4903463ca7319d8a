"""The backend ``postgresql`` on a server of its own: the contract, and what is promised beside it."""

import contextlib
import os
import subprocess
import sys
import threading

import pytest
from hypothesis import settings

from taskqueue import configure
from taskqueue.backends import postgresql_exchange
from taskqueue.backends.deadlines import Deadline
from taskqueue.backends.postgresql import PORTION, PostgreSQLQueue
from taskqueue.backends.postgresql_statements import Statement
from taskqueue.backends.postgresql_wire import Wire
from taskqueue.errors import ConfigurationError
from taskqueue.interfaces import Settlement

from .contract import BackendContract
from .contract_waiting import Connecting
from .making import CONSUMER, OWNER, claim, claim_one, hand_in, publish, record, stage, state_of
from .model import machine_for
from .postgresql_clock import clock_of_this_process
from .postgresql_queues import Opener, empty
from .postgresql_server import new_database, shared_server
from .postgresql_wires import each_transaction
from .processes import ROOT

DEADLINE = 30.0


@pytest.fixture(scope="module")
def url():
    with new_database(shared_server()) as url:
        yield url


@pytest.fixture
def open_queue(url):
    empty(url)
    with clock_of_this_process():
        opener = Opener(url)
        yield opener
        opener.close()


class TestPostgreSQL(Connecting, BackendContract):
    pass


_of_the_model = []


def _open_for_model():
    if not _of_the_model:
        _of_the_model.append(shared_server().create_database())
    empty(_of_the_model[0])
    clock = clock_of_this_process()
    clock.__enter__()
    queue = PostgreSQLQueue(name="default", url=_of_the_model[0])

    def close():
        queue.close()
        clock.__exit__(None, None, None)

    return queue, close


@pytest.fixture(scope="module", autouse=True)
def _database_of_the_model():
    yield
    while _of_the_model:
        shared_server().drop_database(_of_the_model.pop())


TestPostgreSQLIsAsTheModel = machine_for(_open_for_model)
# Each step asks the server for every task: TASKQUEUE_MODEL_RUNS says how many runs it shall be.
TestPostgreSQLIsAsTheModel.settings = settings(
    TestPostgreSQLIsAsTheModel.settings, max_examples=int(os.environ.get("TASKQUEUE_MODEL_RUNS", "12"))
)


# ---- what it is ----------------------------------------------------------------------------------------------------


def test_it_joins_transactions_only_when_it_is_shared():
    url = "postgresql://192.0.2.1/site"
    assert PostgreSQLQueue(name="default", url=url).capabilities == {"durable", "shared"}
    assert PostgreSQLQueue(name="default", url=url, shared=True).capabilities == {"durable", "shared", "joins"}


def test_constructing_opens_nothing_and_starts_nothing():
    before = threading.enumerate()
    queue = PostgreSQLQueue(name="default", url="postgresql://192.0.2.1:1/site")
    assert threading.enumerate() == before
    queue.close()


def test_a_configuration_without_postgresql_loads_no_psycopg():
    code = "import sys, taskqueue.configure; sys.exit('psycopg' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_without_psycopg_the_configuration_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    given = {"default": {"type": "postgresql", "url": "postgresql://ada:s3cret@db.example/site"}}
    with pytest.raises(ConfigurationError, match=r"install wsgi-taskqueue\[postgresql\]$") as caught:
        configure.install(configure.read_keywords(given, {}))
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgres://ada:s3cret@db.example:port/site",
        "postgresql+psycopg://ada:s3cret@db.example/site",
        "postgresql://ada:s3cret@db.example/site?colour=blue",
        "postgresql://ada:s3cret%zz@db.example/site",
        "host=db.example password=s3cret",
    ],
)
def test_a_misspelt_url_is_told_in_one_line_without_the_password(url):
    given = {"default": {"type": "postgresql", "url": url}}
    with pytest.raises(ConfigurationError, match="url takes") as caught:
        configure.install(configure.read_keywords(given, {}))
    assert "s3cret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_it_shows_where_it_is_and_no_password():
    queue = PostgreSQLQueue(name="mail", url="postgresql://ada:s3cret@db.example:7000/site")
    assert repr(queue) == "<PostgreSQLQueue 'mail' at db.example:7000/site>"
    assert "s3cret" not in repr(queue._link.address)


# ---- many at once --------------------------------------------------------------------------------------------------


def test_more_than_one_transaction_may_change_is_changed_all_the_same(queue):
    records = [record() for _ in range(PORTION + 300)]
    ids = [each.id for each in records]
    stage(queue, *records)
    assert queue.counts().states["staged"] == len(ids)
    assert queue.settle(ids, "hold") == len(ids)
    assert queue.settle(ids, "publish") == len(ids)
    assert queue.delete(ids[: PORTION + 100]) == ids[: PORTION + 100]
    publish(queue, *records)
    assert len(queue) == 200


def test_a_settlement_given_twice_in_one_exchange_counts_once(queue):
    publish(queue, record())
    claimed = claim_one(queue)
    first = Settlement(id=claimed.id, claim_number=1, state="ready", attempts=1)
    second = Settlement(id=claimed.id, claim_number=1, state="dead", attempts=1)
    assert queue.exchange(OWNER, CONSUMER, (first, second), 0).refused == (claimed.id,)
    found = queue.get(claimed.id)
    assert (found.state, found.attempts) == ("ready", 1)


def test_processes_that_claim_at_once_run_each_task_once(queue, url):
    expected = [record() for _ in range(2000)]
    publish(queue, *expected)
    code = f"""
import sys
from taskqueue.backends.postgresql import PostgreSQLQueue
from taskqueue.interfaces import Settlement
queue = PostgreSQLQueue(name="default", url={url!r})
settlements = ()
while True:
    answer = queue.exchange(sys.argv[1], "c", settlements, 7)
    assert not answer.refused
    settlements = tuple(Settlement(id=each.id, claim_number=each.claim_number, state="done") for each in answer.claimed)
    print(*(each.id for each in answer.claimed), sep="\\n")
    if not settlements:
        break
"""
    children = [
        subprocess.Popen([sys.executable, "-c", code, f"owner{number}"], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        for number in range(4)
    ]
    claimed = [word for child in children for word in child.communicate(timeout=60)[0].split()]
    assert [child.returncode for child in children] == [0] * 4
    assert len(claimed) == len(expected)
    assert set(claimed) == {each.id for each in expected}
    assert queue.counts().states["done"] == len(expected)


# ---- round trips ---------------------------------------------------------------------------------------------------


def test_an_idle_consumer_writes_nothing(queue):
    numbers = []
    ask = Statement("ask", "SELECT pg_current_xact_id_if_assigned()::text", ())

    def note(_, answers):
        numbers.append(answers[-1][0][0])
        return answers[:-1]

    with each_transaction(lambda calls: [*calls, (ask, {})], note):
        claim(queue, 5, alone=True)
        queue.reclaim(3)
        queue.promote()
        queue.release(OWNER, CONSUMER, ())
        queue.prune(1.0, 5, 1.0, 1.0)
        assert numbers == [None] * 5
        publish(queue, record())
        assert numbers[-1] is not None


@contextlib.contextmanager
def round_trips(monkeypatch):
    """The verbs of those that this thread makes."""
    trips, begin_in_wire = [], Wire.begin

    def watch(wire, statements, deadline, afterwards=()):
        if threading.current_thread() is threading.main_thread():  # another one gives hints
            trips.append([statement.verb for statement, _ in statements])
        return begin_in_wire(wire, statements, deadline, afterwards)

    with monkeypatch.context() as patched:
        patched.setattr(Wire, "begin", watch)
        yield trips
    trips[:] = [trip for trip in trips if trip != ["find_queue"]]


@pytest.mark.parametrize("settled", [0, 30])
def test_an_exchange_is_one_round_trip(queue, monkeypatch, settled):
    publish(queue, *(record() for _ in range(60)))
    claimed = claim(queue, settled)
    settlements = [Settlement(id=each.id, claim_number=1, state="done") for each in claimed]
    with round_trips(monkeypatch) as trips:
        assert len(queue.exchange(OWNER, CONSUMER, settlements, 30).claimed) == 30
    assert trips == [["settle_claims", "claim"] if settled else ["claim"]]


def test_what_is_due_comes_before_a_claim_that_did_not_look_for_it(queue, clock, monkeypatch):
    publish(queue, record(), due := record(due=clock() + 10, priority=1))
    clock.advance(11)
    with round_trips(monkeypatch) as trips:
        answer = queue.exchange(OWNER, CONSUMER, (), 1)
    assert trips == [["claim"], ["promote", "claim"]]
    assert [each.id for each in answer.claimed] == [due.id]


def test_more_than_is_promoted_at_a_time_holds_up_no_claim(queue, clock, monkeypatch):
    monkeypatch.setattr(postgresql_exchange, "PROMOTE_LIMIT", 2)
    publish(queue, *(record(due=clock() + 10) for _ in range(5)))
    clock.advance(11)
    assert len(claim(queue, 1)) == 1
    assert len(claim(queue, 5)) == 3


def settings_of(queue):
    """What a session has set, and how many statements it has prepared."""
    ask = (
        "SELECT count(*), current_setting('statement_timeout'), current_setting('lock_timeout'),"
        " current_setting('default_transaction_isolation'), current_setting('enable_seqscan')"
        " FROM pg_prepared_statements"
    )
    wire = queue._link.pool.borrow(queue._link, Deadline(5.0))
    pgconn = wire._connection.pgconn
    pgconn.exit_pipeline_mode()
    result = pgconn.exec_(ask.encode())
    found = [result.get_value(0, column).decode() for column in range(5)]
    wire.close()
    queue._link.pool.give_back(wire)
    return found


def test_what_runs_often_is_planned_once_on_a_connection_that_is_ours_alone(queue):
    for _ in range(3):
        publish(queue, record())
        hand_in(queue, claim_one(queue), "done")
    prepared, patience, lock_patience, isolation, scans = settings_of(queue)
    assert 4 <= int(prepared) <= 12
    assert patience != "0"
    assert lock_patience != "0"
    assert (isolation, scans) == ("read committed", "off")


def test_plans_that_were_made_for_an_empty_table_read_no_whole_queue(queue, open_queue):
    def work():
        stage(queue, given := record())
        publish(queue, given)
        hand_in(queue, claim_one(queue), "done")

    for _ in range(3):
        work()
    other = open_queue("other")  # the same connections
    others = [record() for _ in range(3000)]
    stage(other, *others)
    publish(other, *others)
    claimed = claim(other, 100)
    publish(queue, *(record() for _ in range(1000)))
    given = [Settlement(id=each.id, claim_number=1, state="done") for each in claimed]
    taken_in = ["settle_claims", "claim"]
    read = []

    fetched = Statement("ask", "SELECT sum(idx_tup_fetch + seq_tup_read)::bigint FROM pg_stat_xact_user_tables", ())

    def compare(calls, answers):
        before, *told, after = answers
        if [statement.verb for statement, _ in calls] == taken_in:
            read.append(after[0][0] - before[0][0])
        return told

    with each_transaction(lambda calls: [(fetched, {}), *calls, (fetched, {})], compare):
        assert other.exchange(OWNER, CONSUMER, given, 100).refused == ()
    assert len(read) == 1
    assert read[0] < 1000, "a hundred settled, a hundred claimed, and not much beside"


def test_a_statement_that_the_server_has_lost_is_planned_again(queue):
    publish(queue, record())
    claim_one(queue)
    queue._link.run(Statement("forget", "DEALLOCATE ALL", ()), 5.0)
    publish(queue, record())
    claimed = claim_one(queue)
    queue._link.run(Statement("forget", "DEALLOCATE ALL", ()), 5.0)
    assert hand_in(queue, claimed, "done").refused == ()


# ---- forks ---------------------------------------------------------------------------------------------------------


def test_a_forked_child_opens_connections_of_its_own(queue):
    task_id = publish(queue, record())
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(write, (state_of(queue, task_id) or "nothing").encode())
            queue.close()
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as told:
        assert told.read() == "ready"
    os.waitpid(child, 0)
    assert claim_one(queue).id == task_id
