"""SQL as a witness, on SQLite and on PostgreSQL: who takes part, and what is said of commits in one phase."""

import threading

import pytest
import sqlalchemy
import zope.sqlalchemy
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import scoped_session, sessionmaker
from zope.interface.verify import verifyObject

from taskqueue import witnesses
from taskqueue.interfaces import IWitness, WitnessMark
from taskqueue.witnesses.sqlalchemy import SQLWitness

from .counting import Counter, Watches, ask, change, commit_marked, mark_in, rows, wait_for_answer
from .killing import kill_at

# ---- who takes part ----------------------------------------------------------------------------------------------


def test_it_provides_the_contract(witness):
    assert verifyObject(IWitness, witness)


def test_sessionmakers_and_scoped_sessions_are_registered_once(make_session):
    made = witnesses.register(make_session)
    try:
        assert witnesses.register(scoped_session(make_session)) == made
        assert witnesses.registered().count(made) == 1
    finally:
        witnesses.unregister(made)


def test_a_session_factory_may_be_bound_later(engine, manager):
    factory = sessionmaker()
    zope.sqlalchemy.register(factory, transaction_manager=manager)
    witness = SQLWitness(scoped_session(factory))
    factory.configure(bind=engine)
    assert ask(witness, {"key": commit_marked(witness, manager, factory, "key")}) == {"key": "yes"}


def test_a_function_that_makes_sessions_will_do(witness, make_session, manager):
    def make():
        return make_session()

    assert SQLWitness(make).database == witness.database
    assert ask(SQLWitness(make), {"key": commit_marked(SQLWitness(make), manager, make, "key")}) == {"key": "yes"}


def test_it_recognises_sessions_of_its_engine_only(engine, url, witness, make_session, manager):
    other = sqlalchemy.create_engine(url)
    manager.begin()
    change(make_session())
    change(make_session(bind=engine.execution_options(logging_token="app")))
    change(make_session(bind=other))
    recognised = [witness.recognises(each) for each in manager.get()._resources]
    assert recognised == [True, True, False]
    assert not witness.recognises(object())
    manager.abort()
    other.dispose()


def test_a_session_that_has_ended_belongs_to_nobody_else(witness, make_session, manager):
    manager.begin()
    make_session().get(Counter, 1)
    (joined,) = manager.get()._resources
    manager.commit()
    assert witness.recognises(joined)
    assert witness.mark("key", manager.begin(), [joined]) is None


@pytest.mark.parametrize(
    "prepare",
    [
        lambda session: session.get(Counter, 1),
        lambda session: session.execute(sqlalchemy.text("UPDATE counter SET value = 7")),
    ],
    ids=["read", "changed behind its back"],
)
def test_a_session_that_will_not_commit_is_no_witness(engine, witness, make_session, manager, prepare):
    manager.begin()
    prepare(make_session())
    assert mark_in(witness, manager, "key") is None
    manager.commit()
    with engine.connect() as connection:
        assert connection.scalar(sqlalchemy.select(Counter.value)) == 0


@pytest.mark.parametrize(
    "prepare",
    [
        lambda session: session.add(Counter(id=2, value=1)),
        change,
        lambda session: session.delete(session.get(Counter, 1)),
        lambda session: (change(session), session.flush()),
        lambda session: session.execute(sqlalchemy.update(Counter).values(value=7)),
        lambda session: (
            session.execute(sqlalchemy.text("UPDATE counter SET value = 7")),
            zope.sqlalchemy.datamanager._SESSION_STATE.__setitem__(session, "changed"),
        ),
    ],
    ids=["new", "dirty", "deleted", "flushed", "bulk", "marked"],
)
def test_a_session_that_will_commit_is_one(witness, make_session, manager, prepare):
    manager.begin()
    prepare(make_session())
    mark = mark_in(witness, manager, "key")
    manager.commit()
    assert (mark.kind, mark.database) == ("sql", witness.database)
    assert ask(witness, {"key": mark}) == {"key": "yes"}


def test_a_session_that_is_read_only_is_none(engine, manager):
    factory = sessionmaker(bind=engine)
    zope.sqlalchemy.register(factory, transaction_manager=manager, initial_state="readonly")
    manager.begin()
    factory().get(Counter, 1)
    assert mark_in(SQLWitness(factory), manager, "key") is None


# ---- what it says ------------------------------------------------------------------------------------------------


def test_of_a_committed_transaction_it_says_yes_and_of_another_no(engine, witness, make_session, manager):
    committed = commit_marked(witness, manager, make_session, "committed")
    manager.begin()
    change(make_session())
    aborted = mark_in(witness, manager, "aborted")
    manager.abort()
    marks = {"aborted": aborted, "committed": committed}
    for _ in range(2):
        assert ask(witness, marks) == {"aborted": "no", "committed": "yes"}
    assert rows(engine) == {"aborted": "settled", "committed": "committed"}


def test_once_it_has_said_no_the_transaction_cannot_commit(engine, witness, make_session, manager):
    """The key is denied while its transaction, which has not written it yet, is still under way."""
    mark = commit_marked(witness, manager, make_session, "first")
    manager.begin()
    change(make_session())
    assert ask(witness, {"key": mark}) == {"key": "no"}
    with pytest.raises(IntegrityError):
        mark_in(witness, manager, "key")
    manager.abort()
    assert ask(witness, {"key": mark}) == {"key": "no"}
    with engine.connect() as connection:
        assert connection.scalar(sqlalchemy.select(Counter.value)) == 1


def test_while_the_transaction_is_under_way_it_says_not_yet(witness, make_session, manager):
    commit_marked(witness, manager, make_session, "first")
    manager.begin()
    change(make_session())
    mark = mark_in(witness, manager, "key")
    told = []
    asking = threading.Thread(target=lambda: told.append(ask(witness, {"key": mark})))
    asking.start()
    asking.join(30)
    assert told == [{"key": "not yet"}]
    manager.commit()
    assert ask(witness, {"key": mark}) == {"key": "yes"}


def test_without_time_it_says_what_is_there_and_not_yet_of_all_else(witness, make_session, manager):
    mark = commit_marked(witness, manager, make_session, "committed")
    assert ask(witness, {"committed": mark, "key": mark}, timeout=0) == {"committed": "yes", "key": "not yet"}


def test_a_second_transaction_with_the_same_key_cannot_commit(engine, witness, make_session, manager):
    commit_marked(witness, manager, make_session, "done:1")
    manager.begin()
    change(make_session())
    with pytest.raises(IntegrityError):
        mark_in(witness, manager, "done:1")
    manager.abort()
    with engine.connect() as connection:
        assert connection.scalar(sqlalchemy.select(Counter.value)) == 1


def test_the_same_key_is_written_once_in_a_transaction(engine, witness, make_session, manager):
    manager.begin()
    change(make_session())
    marks = [mark_in(witness, manager, "key") for _ in range(3)]
    assert marks == [marks[0]] * 3
    mark_in(witness, manager, "another")
    manager.commit()
    assert rows(engine) == {"key": "committed", "another": "committed"}


def test_in_its_own_vote_it_is_not_too_late(witness, make_session, manager):
    marks = []

    class Votes(Watches):
        def tpc_vote(self, current):
            marks.append(witness.mark("key", current, [each for each in current._resources if each != self]))

    manager.begin()
    change(make_session())
    manager.get().join(Votes(manager))
    manager.commit()
    assert ask(witness, {"key": marks[0]}) == {"key": "yes"}


def test_a_commit_that_failed_is_made_again(witness, make_session, manager):
    class Refuses(Watches):
        def tpc_vote(self, _transaction):
            raise ValueError("no")

    manager.begin()
    change(make_session())
    mark = mark_in(witness, manager, "first")
    manager.get().join(Refuses(manager))
    with pytest.raises(ValueError, match="no"):
        manager.commit()
    manager.abort()
    again = commit_marked(witness, manager, make_session, "second")
    assert ask(witness, {"first": mark, "second": again}) == {"first": "no", "second": "yes"}


def test_a_mark_of_another_database_is_unknown(witness):
    assert ask(witness, {"key": WitnessMark(kind="sql", database="another")}) == {"key": "unknown"}


def test_asked_for_nothing_it_says_nothing(witness):
    assert ask(witness, {}) == {}


@pytest.mark.process
@pytest.mark.parametrize(("moment", "expected"), [("marked", "no"), ("voted", "yes"), ("finished", "yes")])
def test_of_a_process_that_was_killed_another_one_knows(engine, url, witness, moment, expected):
    mark = kill_at(moment, "sql", url, "key")
    assert wait_for_answer(witness, mark) == expected
    with engine.connect() as connection:
        assert connection.scalar(sqlalchemy.select(Counter.value)) == (expected == "yes")
