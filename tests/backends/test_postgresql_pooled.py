"""The backend ``postgresql`` behind PgBouncer in transaction mode: each transaction may be on another connection."""

import textwrap

import psycopg
import pytest

from taskqueue.consumer import Consumer
from taskqueue.keeper import Keeper
from taskqueue.queues import Queue
from taskqueue.record import Keyring, encode
from taskqueue.settings import ServerSettings

from ..making_records import make_task
from ..serving import wait_until
from .contract import ContractSmoke
from .crowds import Crowds
from .making import beat, claim_one, hand_in, publish, record
from .pgbouncer_server import Pooler
from .postgresql_clock import clock_of_this_process
from .postgresql_queues import Opener, empty
from .postgresql_server import new_database, shared_server
from .processes import Child

POOL_SIZE = 2  # fewer than there are clients
_OPEN = """
from taskqueue.backends.postgresql import PostgreSQLQueue
queue = PostgreSQLQueue(name="default", url=path)
"""


@pytest.fixture(scope="module")
def url():
    """The URL of a database by way of the pooler."""
    with new_database(shared_server()) as direct, Pooler(shared_server(), POOL_SIZE) as pooler:
        yield pooler.url(direct)


@pytest.fixture
def opener(url):
    empty(url)
    opener = Opener(url)
    yield opener
    opener.close()


class TestPooledPostgreSQL(ContractSmoke):
    @pytest.fixture
    def open_queue(self, opener):
        with clock_of_this_process():
            yield opener


def test_nothing_is_set_and_nothing_prepared_for_longer_than_a_transaction(opener, postgresql, url):
    queue = opener()
    for _ in range(5):
        publish(queue, record())
        hand_in(queue, claim_one(queue), "done")
    ask = (
        "SELECT (SELECT count(*) FROM pg_prepared_statements), current_setting('statement_timeout'),"
        " current_setting('enable_seqscan')"
    )
    with psycopg.connect(url, autocommit=True, prepare_threshold=None) as connection:  # the pooler has two to give
        assert {connection.execute(ask).fetchone() for _ in range(4)} == {(0, "0", "on")}


def test_a_task_that_another_process_adds_is_found_by_polling(opener, postgresql):
    """Whether a hint comes is a matter of luck here; the task runs all the same."""
    consuming, adding = opener(), opener()
    ran, keeper = [], Keeper()

    def application(environ, start_response):
        start_response("200 OK", [])
        ran.append(environ["HTTP_X_TASK_ID"])
        return []

    consumer = Consumer(ServerSettings(renew=0.5, lease=5.0), Queue("default", consuming), application, keeper)
    consumer.start()
    try:
        beat(adding)
        ids = []
        for _ in range(5):
            encoded = encode(make_task(queue="default", method="GET", payload=None), Keyring())
            ids.append(publish(adding, encoded))
            wait_until(lambda: len(ran) == len(ids))
        assert ran == ids
    finally:
        consumer.stop(5.0)
        keeper.stop()


class TestPooledPostgreSQLInACrowd:
    @pytest.fixture
    def queue(self, opener):
        queue = opener()
        beat(queue)
        return queue

    @pytest.fixture
    def start_child(self, url):
        def start(code, *arguments):
            return Child(_OPEN + textwrap.dedent(code), url, *arguments)

        return start

    test_many_consumers_run_each_task_exactly_once = Crowds.test_many_consumers_run_each_task_exactly_once

    def test_clients_share_the_connections(self, url, opener, postgresql):
        queues = [opener(name) for name in ("one", "two", "three", "four")]
        for queue in queues:
            beat(queue)
            queue.wait(0, 0.0)
        database = url.rpartition("/")[2]
        ((connections,),) = postgresql.ask(f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{database}'")
        assert 1 <= connections <= POOL_SIZE
