import time

import pytest

from taskqueue.backends.sqlite import SQLiteQueue

from .making import Clock, beat
from .postgresql_server import new_database, shared_server


@pytest.fixture
def clock(monkeypatch):
    """The clock by which backends of this process judge what is due, and what is old."""
    turned = Clock()
    monkeypatch.setattr(time, "time", turned)
    return turned


@pytest.fixture
def path(tmp_path):
    return tmp_path / "var" / "tasks.db"


@pytest.fixture
def open_queue(path):
    opened = []

    def open_queue(name="default", **options):
        opened.append(SQLiteQueue(name=name, path=path, **options))
        return opened[-1]

    yield open_queue
    for queue in opened:
        queue.close()


@pytest.fixture
def queue(open_queue):
    queue = open_queue()
    beat(queue)
    return queue


@pytest.fixture
def postgresql():
    """A running PostgreSQL server, the same for all tests."""
    return shared_server()


@pytest.fixture
def postgresql_url(postgresql):
    """A database of this test's own."""
    with new_database(postgresql) as url:
        yield url
