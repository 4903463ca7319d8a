"""SQL as a witness on PostgreSQL: savepoints, schemas, roles, and commits in two phases."""

import pytest
import sqlalchemy
import zope.sqlalchemy
from sqlalchemy.orm import sessionmaker

from taskqueue.errors import ConfigurationError
from taskqueue.witnesses.sqlalchemy import SQLWitness

from .counting import Counter, Watches, ask, change, commit_marked, mark_in, rows, value, wait_for_answer
from .killing import kill_at


@pytest.fixture
def url(postgresql_url):
    return postgresql_url


def test_a_second_session_of_the_same_transaction_does_not_wait_for_the_first(engine, witness, make_session, manager):
    manager.begin()
    first, second = make_session(), make_session()
    change(first)
    second.add(Counter(id=2, value=5))
    mark = mark_in(witness, manager, "key")
    manager.commit()
    assert ask(witness, {"key": mark}) == {"key": "yes"}
    assert rows(engine) == {"key": "committed"}


def test_what_a_rollback_to_a_savepoint_took_away_is_written_again(engine, witness, make_session, manager):
    witness.database  # noqa: B018  # makes the table
    manager.begin()
    session = make_session()
    change(session)
    savepoint = manager.savepoint()
    mark_in(witness, manager, "key")
    savepoint.rollback()
    change(session)
    mark = mark_in(witness, manager, "key")
    manager.commit()
    assert ask(witness, {"key": mark}) == {"key": "yes"}


def test_a_savepoint_that_is_not_rolled_back_changes_nothing(engine, witness, make_session, manager):
    manager.begin()
    change(make_session())
    manager.savepoint()
    mark_in(witness, manager, "key")
    manager.savepoint()
    mark = mark_in(witness, manager, "key")
    manager.commit()
    assert ask(witness, {"key": mark}) == {"key": "yes"}


def test_a_table_of_another_name_and_schema(url, make_session, engine, manager):
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("CREATE SCHEMA shelf"))
    witness = SQLWitness(make_session, table="shelf.marks")
    assert "CREATE TABLE shelf.marks" in witness.ddl()
    assert ask(witness, {"key": commit_marked(witness, manager, make_session, "key")}) == {"key": "yes"}


def test_an_error_says_how_to_make_the_table_by_hand(engine):
    role = f"poor_{engine.url.database}"
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text(f"CREATE ROLE {role} LOGIN"))
    poor = sqlalchemy.create_engine(engine.url.set(username=role))
    try:
        with pytest.raises(ConfigurationError, match=r"InsufficientPrivilege.*CREATE TABLE taskqueue_commit"):
            SQLWitness(sessionmaker(bind=poor)).database  # noqa: B018  # it is what fails
    finally:
        poor.dispose()
        with engine.begin() as connection:
            connection.execute(sqlalchemy.text(f"DROP ROLE {role}"))


def test_a_session_that_joins_later_does_not_wait_for_the_one_that_has_the_row(
    engine, witness, make_session, manager, monkeypatch
):
    monkeypatch.setattr("zope.sqlalchemy.datamanager.SessionDataManager.sortKey", lambda self: self.session.info["key"])
    manager.begin()
    change(make_session(info={"key": "~2"}))
    first = mark_in(witness, manager, "key")
    make_session(info={"key": "~1"}).add(Counter(id=2, value=5))
    assert mark_in(witness, manager, "key") == first
    monkeypatch.undo()
    manager.commit()
    assert rows(engine) == {"key": "committed"}


# ---- two phases --------------------------------------------------------------------------------------------------


@pytest.fixture
def make_two_phase_session(engine, manager):
    factory = sessionmaker(bind=engine, twophase=True)
    zope.sqlalchemy.register(factory, transaction_manager=manager)
    yield factory
    manager.abort()
    end_prepared(engine, "ROLLBACK")


@pytest.fixture
def two_phase_witness(make_two_phase_session):
    return SQLWitness(make_two_phase_session)


def end_prepared(engine, verb):
    """What an operator does with transactions that were prepared and left; how many there were."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        prepared = sqlalchemy.text("SELECT gid FROM pg_prepared_xacts WHERE database = current_database()")
        gids = connection.scalars(prepared).all()
        for gid in gids:
            connection.exec_driver_sql(f"{verb} PREPARED '{gid}'")
    return len(gids)


def test_a_commit_in_two_phases_is_witnessed(engine, two_phase_witness, make_two_phase_session, manager):
    marks = {"committed": commit_marked(two_phase_witness, manager, make_two_phase_session, "committed")}
    manager.begin()
    change(make_two_phase_session())
    marks["aborted"] = two_phase_witness.mark("aborted", manager.get(), list(manager.get()._resources))
    manager.abort()
    assert ask(two_phase_witness, marks) == {"committed": "yes", "aborted": "no"}
    assert value(engine) == 1


def test_what_was_marked_before_it_was_prepared_stays_marked(two_phase_witness, make_two_phase_session, manager):
    class Votes(Watches):
        def tpc_vote(self, current):
            marks.append(two_phase_witness.mark("key", current, [each for each in current._resources if each != self]))

    manager.begin()
    change(make_two_phase_session())
    current = manager.get()
    marks = [two_phase_witness.mark("key", current, list(current._resources))]
    current.join(Votes(manager))
    manager.commit()
    assert marks == [marks[0]] * 2
    assert ask(two_phase_witness, {"key": marks[0]}) == {"key": "yes"}


def test_a_key_that_comes_after_it_was_prepared_is_never_denied(two_phase_witness, make_two_phase_session, manager):
    class Votes(Watches):
        def tpc_vote(self, current):
            marks.append(two_phase_witness.mark("key", current, [each for each in current._resources if each != self]))

    marks = []
    manager.begin()
    change(make_two_phase_session())
    manager.get().join(Votes(manager))
    manager.commit()
    assert ask(two_phase_witness, {"key": marks[0]}) == {"key": "unknown"}


@pytest.mark.process
@pytest.mark.parametrize(("moment", "expected"), [("marked", "no"), ("finished", "yes")])
def test_of_a_process_that_was_killed_another_one_knows(engine, url, two_phase_witness, moment, expected):
    mark = kill_at(moment, "twophase", url, "key")
    assert wait_for_answer(two_phase_witness, mark) == expected
    assert value(engine) == (expected == "yes")


@pytest.mark.process
@pytest.mark.parametrize(("verb", "expected"), [("COMMIT", "yes"), ("ROLLBACK", "no")])
def test_a_prepared_transaction_without_its_process_is_waited_for(engine, url, two_phase_witness, verb, expected):
    mark = kill_at("voted", "twophase", url, "key")
    for _ in range(3):
        assert ask(two_phase_witness, {"key": mark}) == {"key": "not yet"}
    assert end_prepared(engine, verb) == 1
    assert ask(two_phase_witness, {"key": mark}) == {"key": expected}
    assert value(engine) == (expected == "yes")
