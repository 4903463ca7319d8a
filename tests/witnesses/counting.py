"""An application's table, and how a test marks and commits changes of it."""

import time

import sqlalchemy
from sqlalchemy.orm import declarative_base

Base = declarative_base()


class Counter(Base):
    __tablename__ = "counter"
    id = sqlalchemy.Column(sqlalchemy.Integer, primary_key=True)
    value = sqlalchemy.Column(sqlalchemy.Integer)


class Watches:
    """A data manager that votes before one-phase sessions do."""

    def __init__(self, manager):
        self.transaction_manager = manager

    def sortKey(self):  # noqa: N802  # the name is IDataManager's
        return "~!"

    def _pass(self, _transaction):
        pass

    tpc_begin = commit = abort = tpc_abort = tpc_finish = tpc_vote = _pass


def change(session):
    session.get(Counter, 1).value += 1


def mark_in(witness, manager, key):
    current = manager.get()
    return witness.mark(key, current, [each for each in current._resources if witness.recognises(each)])


def commit_marked(witness, manager, make_session, key):
    manager.begin()
    change(make_session())
    mark = mark_in(witness, manager, key)
    manager.commit()
    return mark


def ask(witness, marks, timeout=30):
    return dict(witness.testify(marks, timeout))


def wait_for_answer(witness, mark):
    """What it says in the end: a server may need a moment to see that its client is gone."""
    deadline = time.monotonic() + 30
    while (answer := ask(witness, {"key": mark})["key"]) == "not yet":
        assert time.monotonic() < deadline, "it is still not yet"
    return answer


def rows(engine):
    with engine.connect() as connection:
        statement = sqlalchemy.text("SELECT mark, says FROM taskqueue_commit WHERE mark NOT LIKE 'taskqueue:%'")
        return dict(connection.execute(statement).all())


def value(engine):
    with engine.connect() as connection:
        return connection.scalar(sqlalchemy.select(Counter.value).where(Counter.id == 1))
