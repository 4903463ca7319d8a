"""The backend ``postgresql`` as a user who may do no more than the documents say."""

import itertools
import types

import pytest

from taskqueue.backends import postgresql_server
from taskqueue.errors import BackendUnavailableError

from ..serving import wait_until
from .making import HOUR, OTHER, beat, claim_one, hand_in, publish, record, run, stage, state_of
from .postgresql_queues import Opener
from .postgresql_server import new_database

# What the user of a site needs when another one has made the tables; the documents print it.
RIGHTS = (
    "GRANT USAGE ON SCHEMA public TO shop",
    "GRANT SELECT ON taskqueue_meta TO shop",
    "GRANT SELECT, INSERT, UPDATE, DELETE ON taskqueue_queue, taskqueue_task, taskqueue_owner TO shop",
)


@pytest.fixture
def role(postgresql):
    postgresql.ask("CREATE ROLE shop LOGIN")
    yield "shop"
    postgresql.ask("DROP ROLE shop")


@pytest.fixture
def database(postgresql, role):
    """The name of a database whose tables belong to another user; dropped before the role is."""
    with new_database(postgresql) as url:
        name = url.rpartition("/")[2]
        postgresql.ask("REVOKE ALL ON SCHEMA public FROM PUBLIC", database=name)
        yield name


@pytest.fixture
def queue(postgresql, database, role):
    """A queue as the user sees it, who has the rights."""
    owner = Opener(postgresql.url(database))
    assert owner().migrate() == [1]
    owner.close()
    for right in RIGHTS:
        postgresql.ask(right, database=database)
    opener = Opener(postgresql.url(database, user=role))
    queue = opener()
    beat(queue)
    yield queue
    opener.close()


def test_these_rights_are_enough_for_all_verbs(queue):
    beat(queue, OTHER)
    done, dead = run(queue, "done"), run(queue, "dead")
    staged, held = stage(queue, record(), owner_id=OTHER), stage(queue, record(), owner_id=OTHER)
    assert queue.settle([held], "hold") == 1
    queue.retire(OTHER)
    assert queue.reclaim(3).held == (staged,)
    queue.discard([held], 5.0)
    assert queue.requeue([dead]) == [dead]
    assert hand_in(queue, claim_one(queue), "scheduled", delay=HOUR).refused == ()
    assert queue.promote() > 0
    ready = publish(queue, record())
    queue.pause()
    queue.resume()
    claim_one(queue)
    assert queue.release("0123456789abcdef", "default", ()) == 1
    assert queue.delete([ready]) == [ready]
    assert queue.purge(["scheduled"]) == 1
    assert queue.prune(0, 0, None, 0)["done"] == 1
    assert state_of(queue, done) is None
    assert queue.schema().found == 1
    queue.wait(0, 0.0)
    queue.warnings()
    queue.try_adding(5.0)


@pytest.mark.parametrize("right", ["INSERT", "INSERT, UPDATE, DELETE", "SELECT"])
def test_trying_to_add_tells_that_a_right_was_taken_away(queue, postgresql, database, right):
    queue.try_adding(5.0)
    postgresql.ask(f"REVOKE {right} ON taskqueue_task FROM shop", database=database)
    for act in (lambda: queue.try_adding(5.0), lambda: stage(queue, record())):
        with pytest.raises(BackendUnavailableError, match="this user lacks a right in it"):
            act()
    postgresql.ask(f"GRANT {right} ON taskqueue_task TO shop", database=database)
    queue.try_adding(5.0)
    assert set(queue.counts().states.values()) == {0}


def test_migrating_is_refused_where_the_tables_are_missing(postgresql, database, role):
    opener = Opener(postgresql.url(database, user=role))
    for act in (opener().migrate, lambda: publish(opener("other"), record())):
        with pytest.raises(BackendUnavailableError, match="grant it USAGE on") as caught:
            act()
        assert "\n" not in str(caught.value)
    opener.close()


def test_a_snapshot_that_another_user_keeps_is_told_of(queue, postgresql, database, monkeypatch):
    monkeypatch.setattr(postgresql_server, "OLD_SECONDS", 0.5)
    with postgresql.connect(database) as connection:
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        connection.execute("SELECT 1 FROM taskqueue_task")

        def is_told():
            beat(queue)
            return any("a transaction is open in it" in each for each in queue.warnings())

        wait_until(is_told)


def test_no_lease_lapses_while_nobody_may_renew_any(queue, postgresql, database, role, monkeypatch):
    clock = itertools.count(1000.0, 5.0)
    monkeypatch.setattr("taskqueue.backends.owners.time", types.SimpleNamespace(monotonic=lambda: next(clock)))
    beat(queue, OTHER)
    publish(queue, record())
    running = claim_one(queue, owner_id=OTHER)
    postgresql.ask(f"REVOKE INSERT, UPDATE ON taskqueue_owner FROM {role}", database=database)
    with pytest.raises(BackendUnavailableError, match="lacks a right"):
        beat(queue)
    assert {queue.reclaim(3).owners for _ in range(30)} == {()}
    postgresql.ask(f"GRANT INSERT, UPDATE ON taskqueue_owner TO {role}", database=database)
    beat(queue)
    assert {queue.reclaim(3).owners for _ in range(4)} == {()}
    assert state_of(queue, running.id) == "running"
