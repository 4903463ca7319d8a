"""SQL as a witness: its table, what is old in it, databases in memory, and statements of a queue."""

import contextlib
import threading
import time

import pytest
import sqlalchemy
import zope.sqlalchemy
from sqlalchemy.orm import sessionmaker
from sqlalchemy.pool import StaticPool

from taskqueue.errors import ConfigurationError
from taskqueue.interfaces import WitnessMark
from taskqueue.witnesses.sqlalchemy import KEEP_SECONDS, SQLWitness

from .counting import Base, Counter, ask, change, commit_marked, mark_in, rows, value

# ---- the table ---------------------------------------------------------------------------------------------------


def test_all_who_use_a_database_know_it_by_the_same_name(engine, url, witness, make_session, manager, tmp_path):
    other_way = sqlalchemy.create_engine(url.replace("127.0.0.1", "localhost"))
    same = SQLWitness(sessionmaker(bind=other_way))
    assert same.database == witness.database
    elsewhere = sqlalchemy.create_engine(f"sqlite:///{tmp_path}/elsewhere.db")
    assert SQLWitness(sessionmaker(bind=elsewhere)).database != witness.database
    mark = commit_marked(witness, manager, make_session, "key")
    assert ask(same, {"key": mark}) == {"key": "yes"}
    other_way.dispose()
    elsewhere.dispose()


def test_those_who_make_the_table_at_the_same_time_agree(url):
    engines = [sqlalchemy.create_engine(url) for _ in range(4)]
    named, together = [], threading.Barrier(len(engines))

    def name(engine):
        together.wait(30)
        named.append(SQLWitness(sessionmaker(bind=engine)).database)

    threads = [threading.Thread(target=name, args=(engine,)) for engine in engines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(named) == len(engines)
    assert len(set(named)) == 1
    for engine in engines:
        engine.dispose()


def test_the_first_session_makes_the_table_and_does_not_take_it_back(engine, witness, make_session, manager):
    manager.begin()
    change(make_session())
    assert sqlalchemy.inspect(engine).has_table("taskqueue_commit")
    mark = mark_in(witness, manager, "key")
    manager.abort()
    assert mark.database == SQLWitness(make_session).database
    assert ask(witness, {"key": mark}) == {"key": "no"}


def test_a_transaction_that_has_written_already_makes_the_table_itself(make_session, manager):
    manager.begin()
    session = make_session()
    change(session)
    session.flush()
    witness = SQLWitness(make_session)
    mark = mark_in(witness, manager, "key")
    manager.commit()
    assert ask(witness, {"key": mark}) == {"key": "yes"}
    assert mark.database == SQLWitness(make_session).database


def test_a_table_that_is_rolled_back_is_made_again(make_session, manager):
    manager.begin()
    session = make_session()
    change(session)
    session.flush()
    witness = SQLWitness(make_session)
    mark_in(witness, manager, "first")
    manager.abort()
    mark = commit_marked(witness, manager, make_session, "second")
    assert mark.database == SQLWitness(make_session).database
    assert ask(witness, {"second": mark}) == {"second": "yes"}


def test_with_a_single_connection_for_all_it_still_works(url, engine, manager):
    small = sqlalchemy.create_engine(url, pool_size=1, max_overflow=0, pool_timeout=1)
    factory = sessionmaker(bind=small)
    zope.sqlalchemy.register(factory, transaction_manager=manager)
    witness = SQLWitness(factory)
    mark = commit_marked(witness, manager, factory, "key")
    assert ask(witness, {"key": mark}) == {"key": "yes"}
    small.dispose()


def test_the_table_can_be_made_by_hand(engine, witness, make_session, manager):
    with engine.begin() as connection:
        for statement in filter(str.strip, witness.ddl().split(";")):
            connection.execute(sqlalchemy.text(statement))
    assert ask(witness, {"key": commit_marked(witness, manager, make_session, "key")}) == {"key": "yes"}


# ---- what is old -------------------------------------------------------------------------------------------------


def grow_old(engine, key, seconds):
    with engine.begin() as connection:
        statement = sqlalchemy.text("UPDATE taskqueue_commit SET noted_at = noted_at - :s WHERE mark = :m")
        connection.execute(statement, {"s": seconds, "m": key})


def test_what_is_older_than_two_days_is_thrown_away_and_then_unknown(engine, witness, make_session, manager):
    old = commit_marked(witness, manager, make_session, "old")
    new = commit_marked(witness, manager, make_session, "new")
    grow_old(engine, "old", KEEP_SECONDS + 10)
    name = witness.database
    witness.tidy()
    witness.tidy()
    assert rows(engine) == {"new": "committed"}
    old = WitnessMark(kind="sql", database=old.database, marked_at=old.marked_at - KEEP_SECONDS - 10)
    assert ask(witness, {"old": old, "new": new}) == {"old": "unknown", "new": "yes"}
    assert rows(engine) == {"new": "committed"}
    assert SQLWitness(make_session).database == name


def test_all_that_is_old_is_thrown_away_in_small_pieces(engine, witness, monkeypatch):
    monkeypatch.setattr("taskqueue.witnesses.commit_table._BATCH", 2)
    marks = {str(n): WitnessMark(kind="sql", database=witness.database, marked_at=time.time()) for n in range(5)}
    ask(witness, marks)
    for key in marks:
        grow_old(engine, key, KEEP_SECONDS + 10)
    witness.tidy()
    assert rows(engine) == {}


def test_tidying_makes_no_table(engine, witness):
    witness.tidy()
    assert not sqlalchemy.inspect(engine).has_table("taskqueue_commit")


def test_tidying_gives_up_where_somebody_else_writes(engine, witness, make_session, manager):
    commit_marked(witness, manager, make_session, "old")
    grow_old(engine, "old", KEEP_SECONDS + 10)
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("UPDATE taskqueue_commit SET says = says"))
        witness.tidy()
    assert rows(engine) == {"old": "committed"}


# ---- the application's transaction, for queues -------------------------------------------------------------------


STATEMENT = "UPDATE counter SET value = value + :n WHERE id = 1 RETURNING value"


def test_statements_run_in_the_session_that_takes_part_and_make_it_commit(engine, witness, make_session, manager):
    manager.begin()
    make_session().get(Counter, 1)
    execute = witness.executor(manager.get(), manager)
    assert execute(STATEMENT, {"n": 5}).fetchall() == [(5,)]
    assert len(manager.get()._resources) == 1
    manager.commit()
    assert value(engine) == 5


def test_where_no_session_takes_part_one_is_made(engine, witness, manager):
    manager.begin()
    witness.executor(manager.get(), manager)(STATEMENT, {"n": 5})
    assert value(engine) == 0
    manager.commit()
    assert value(engine) == 5
    manager.begin()
    witness.executor(manager.get(), manager)(STATEMENT, {"n": 5})
    manager.abort()
    assert value(engine) == 5


# ---- in memory ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["sqlite://", "sqlite:///:memory:", "sqlite:///file:x?mode=memory&uri=true"])
def test_what_is_in_memory_takes_part_and_leaves_no_mark(address, manager):
    engine = sqlalchemy.create_engine(address, poolclass=StaticPool)
    Base.metadata.create_all(engine)
    factory = sessionmaker(bind=engine)
    zope.sqlalchemy.register(factory, transaction_manager=manager)
    witness = SQLWitness(factory)
    manager.begin()
    factory().add(Counter(value=1))
    assert all(witness.recognises(each) for each in manager.get()._resources)
    assert mark_in(witness, manager, "key") is None
    assert ask(witness, {"key": WitnessMark(kind="sql", database=witness.database)}) == {"key": "unknown"}
    witness.tidy()
    manager.commit()
    with contextlib.closing(engine.raw_connection()) as connection:
        assert connection.cursor().execute("SELECT value FROM counter").fetchall() == [(1,)]
    engine.dispose()


def test_an_engine_with_a_single_connection_is_refused(tmp_path, manager):
    engine = sqlalchemy.create_engine(f"sqlite:///{tmp_path}/app.db", poolclass=StaticPool)
    with pytest.raises(ConfigurationError, match="leave out its poolclass"):
        SQLWitness(sessionmaker(bind=engine)).database  # noqa: B018  # it is what fails
    engine.dispose()
