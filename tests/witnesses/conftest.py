"""A ZODB; a counter in SQLite and in PostgreSQL, and sessions that are joined to transactions."""

import pytest
import sqlalchemy
import transaction
import ZODB
import zope.sqlalchemy
from sqlalchemy.orm import sessionmaker

from taskqueue.witnesses.sqlalchemy import SQLWitness

from ..backends.postgresql_server import new_database, shared_server
from .counting import Base, Counter


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "Data.fs")


@pytest.fixture
def db(path):
    database = ZODB.DB(path)
    yield database
    database.close()


@pytest.fixture
def postgresql_url():
    with new_database(shared_server()) as address:
        yield address.replace("postgresql://", "postgresql+psycopg://")


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/app.db"
    return request.getfixturevalue("postgresql_url")


@pytest.fixture
def engine(url):
    made = sqlalchemy.create_engine(url)
    Base.metadata.create_all(made)
    with made.begin() as connection:
        connection.execute(sqlalchemy.insert(Counter).values(id=1, value=0))
    yield made
    made.dispose()


@pytest.fixture
def manager():
    made = transaction.TransactionManager()
    yield made
    made.abort()


@pytest.fixture
def make_session(engine, manager):
    factory = sessionmaker(bind=engine)
    zope.sqlalchemy.register(factory, transaction_manager=manager)
    return factory


@pytest.fixture
def witness(make_session):
    return SQLWitness(make_session)
