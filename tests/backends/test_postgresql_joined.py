"""Tasks of the backend ``postgresql`` that the application's own transaction carries."""

import psycopg
import pytest
import sqlalchemy

from taskqueue.backends.postgresql import PostgreSQLQueue
from taskqueue.errors import BackendUnavailableError, QueueFullError
from taskqueue.interfaces import Settlement

from .making import OTHER, OWNER, beat, claim, claim_one, publish, record, state_of
from .postgresql_queues import Opener, empty
from .postgresql_server import new_database, shared_server


@pytest.fixture(scope="module")
def url():
    with new_database(shared_server()) as url:
        yield url


@pytest.fixture
def open_queue(url):
    empty(url)
    opener = Opener(url)
    yield lambda **options: opener(**{"shared": True, **options})
    opener.close()


@pytest.fixture
def engine(url):
    engine = sqlalchemy.create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    yield engine
    engine.dispose()


def through(connection):
    """How statements are run in the application's transaction."""
    return lambda statement, parameters: connection.execute(sqlalchemy.text(statement), parameters)


def test_what_is_enlisted_is_there_once_the_transaction_commits(queue, engine):
    given = record(body=b"\0body\xff", secrets=None, priority=4)
    with engine.begin() as connection:
        queue.enlist([given], through(connection))
        assert state_of(queue, given.id) is None
    found = queue.get(given.id)
    assert (found.state, found.body, found.secrets, found.priority) == ("ready", b"\0body\xff", None, 4)
    assert found.published_at is not None
    assert claim_one(queue).id == given.id


def test_what_is_enlisted_never_was_when_the_transaction_aborts(queue, engine):
    given = record()
    with engine.connect() as connection:
        queue.enlist([given], through(connection))
        connection.rollback()
    assert state_of(queue, given.id) is None
    publish(queue, given)
    assert state_of(queue, given.id) == "ready"


def test_what_is_due_later_is_scheduled(queue, engine):
    given = record(due=4e9)
    with engine.begin() as connection:
        queue.enlist([given, record()], through(connection))
    assert state_of(queue, given.id) == "scheduled"
    assert len(queue) == 2


def test_a_known_id_stays_as_it_is(queue, engine):
    given = record(body=b"first")
    publish(queue, given)
    with engine.begin() as connection:
        queue.enlist([record(id=given.id, body=b"second"), record()], through(connection))
    assert queue.get(given.id).body == b"first"
    assert len(queue) == 2


def test_a_full_queue_refuses_all_and_leaves_the_transaction_usable(open_queue, engine):
    queue = open_queue(length_limit=2)
    beat(queue)
    publish(queue, record())
    with engine.begin() as connection:
        with pytest.raises(QueueFullError, match="length_limit is 2"):
            queue.enlist([record(), record()], through(connection))
        queue.enlist([record()], through(connection))
    assert len(queue) == 2


def test_who_enlists_at_once_does_not_wait_for_the_other(queue, engine):
    with engine.begin() as first, engine.begin() as second:
        queue.enlist([record()], through(first))
        queue.enlist([record()], through(second))
    assert len(queue) == 2


def test_another_database_than_the_queues_is_told_though_it_has_a_queue_of_that_name(open_queue, engine):
    here = open_queue()
    beat(here)
    with new_database(shared_server()) as url:
        elsewhere = PostgreSQLQueue(name=here.name, url=url, shared=True)
        beat(elsewhere)
        with engine.begin() as connection, pytest.raises(BackendUnavailableError, match="needs the url of its own"):
            elsewhere.enlist([record()], through(connection))
        elsewhere.close()
    assert len(here) == 0


def test_a_database_without_the_tables_is_told_without_what_was_to_be_stored(queue):
    with new_database(shared_server()) as url:
        engine = sqlalchemy.create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
        with engine.connect() as connection, pytest.raises(BackendUnavailableError) as told:
            queue.enlist([record(body=b"s3cret")], through(connection))
        engine.dispose()
    assert "needs the url of its own database and schema" in str(told.value)
    assert told.value.__cause__ is None
    assert told.value.__suppress_context__


def test_statements_suit_a_driver_that_writes_parameters_into_the_text(queue, url):
    def through_text(connection):
        dialect = sqlalchemy.dialects.postgresql.psycopg2.dialect()
        return lambda statement, parameters: connection.execute(
            str(sqlalchemy.text(statement).compile(dialect=dialect)), parameters
        )

    given = record(secrets=b"it's \\ %s :name")
    with psycopg.connect(url, cursor_factory=psycopg.ClientCursor) as connection:
        queue.enlist([given], through_text(connection))
    claimed = claim_one(queue)
    assert claimed.secrets == given.secrets
    done = Settlement(id=claimed.id, claim_number=1, state="done", outcome=b"\xff")
    with psycopg.connect(url, cursor_factory=psycopg.ClientCursor) as connection:
        assert queue.finish_within(done, through_text(connection))
    assert queue.get(given.id).outcome == b"\xff"


def test_a_task_is_done_with_the_transaction(queue, engine):
    publish(queue, record())
    claimed = claim_one(queue)
    done = Settlement(id=claimed.id, claim_number=1, state="done", attempts=1, outcome=b"outcome", wipe=True)
    with engine.begin() as connection:
        assert queue.finish_within(done, through(connection))
        assert state_of(queue, claimed.id) == "running"
    found = queue.get(claimed.id)
    assert (found.state, found.attempts, found.outcome, found.secrets) == ("done", 1, b"outcome", None)
    assert (found.owner, found.consumer) == ("", "")
    assert found.finished_at is not None


def test_a_task_runs_on_when_the_transaction_aborts(queue, engine):
    publish(queue, record())
    claimed = claim_one(queue)
    with engine.connect() as connection:
        done = Settlement(id=claimed.id, claim_number=1, state="done")
        assert queue.finish_within(done, through(connection))
        connection.rollback()
    assert state_of(queue, claimed.id) == "running"


@pytest.mark.parametrize("since", ["reclaimed", "claimed again", "deleted"])
def test_an_old_claim_cannot_finish(queue, engine, since):
    publish(queue, record())
    claimed = claim_one(queue, owner_id=OTHER)
    queue.release(OTHER, claimed.consumer, ())
    if since == "claimed again":
        claim_one(queue, owner_id=OWNER)
    elif since == "deleted":
        queue.delete([claimed.id])
    with engine.begin() as connection:
        done = Settlement(id=claimed.id, claim_number=claimed.claim_number, state="done")
        assert not queue.finish_within(done, through(connection))
    assert queue.counts().states["done"] == 0


def test_a_reclaim_passes_over_a_task_that_is_just_being_finished(queue, engine):
    publish(queue, record())
    beat(queue, OTHER)
    claimed = claim_one(queue, owner_id=OTHER)
    with engine.begin() as connection:
        assert queue.finish_within(Settlement(id=claimed.id, claim_number=1, state="done"), through(connection))
        queue.retire(OTHER)
        assert queue.reclaim(3).ready == ()
    assert state_of(queue, claimed.id) == "done"
    assert claim(queue) == ()
