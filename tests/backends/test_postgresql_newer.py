"""The backend ``postgresql`` on a newer server than the one of all other tests.

A part of the contract is tested, and the whole of it with TASKQUEUE_POSTGRESQL=full.
"""

import os

import pytest

from .contract import BackendContract, ContractSmoke
from .contract_waiting import Connecting
from .postgresql_clock import clock_of_this_process
from .postgresql_queues import Opener, empty
from .postgresql_server import WHEEL, new_database, shared_server

FULL = os.environ.get("TASKQUEUE_POSTGRESQL") == "full"


@pytest.fixture(scope="module")
def url():
    with new_database(shared_server(WHEEL)) as url:
        yield url


@pytest.fixture
def open_queue(url):
    empty(url)
    with clock_of_this_process():
        opener = Opener(url)
        yield opener
        opener.close()


class TestNewerPostgreSQL(Connecting, BackendContract if FULL else ContractSmoke):
    pass


def test_it_is_the_newer_server():
    ((version,),) = shared_server(WHEEL).ask("SELECT current_setting('server_version_num')::integer")
    assert version >= 180000
