"""The backend ``postgresql`` shared by real processes: their deaths, their crowding, and a server that dies."""

import textwrap

import pytest

from .crowds import Crowds
from .making import beat
from .postgresql_queues import Opener
from .postgresql_server import DURABLE, Server
from .processes import Child

_OPEN = """
from taskqueue.backends.postgresql import PostgreSQLQueue
queue = PostgreSQLQueue(name="default", url=path)
"""


@pytest.fixture
def queue(postgresql_url):
    opener = Opener(postgresql_url)
    queue = opener()
    beat(queue)
    yield queue
    opener.close()


@pytest.fixture
def start_child(postgresql_url):
    def start(code, *arguments):
        return Child(_OPEN + textwrap.dedent(code), postgresql_url, *arguments)

    return start


@pytest.fixture
def mortal():
    with Server(**DURABLE) as server:
        opener = Opener(server.create_database())
        yield server, opener
        opener.close()


class TestPostgreSQLInACrowd(Crowds):
    pass
