"""The schema of a PostgreSQL database: raised version by version, also when each attempt is cut short."""

import os
import signal
import threading

import pytest

from taskqueue.backends import postgresql_schema
from taskqueue.backends.postgresql import PostgreSQLQueue
from taskqueue.errors import BackendUnavailableError
from taskqueue.interfaces import Migrating, SchemaStatus

from ..serving import wait_until
from .making import CONSUMER, OWNER, beat, claim_one, publish, record, state_of
from .postgresql_queues import Opener
from .postgresql_server import DURABLE, Server, new_database

NEWER = {
    "to 2": (
        "ALTER TABLE taskqueue_task ADD COLUMN colour text NOT NULL DEFAULT 'grey'",
        "CREATE INDEX taskqueue_task_colour ON taskqueue_task (colour)",
    ),
    "to 3": (
        'CREATE TABLE taskqueue_label (word text COLLATE "C")',
        "INSERT INTO taskqueue_label SELECT id FROM taskqueue_task",
        "UPDATE taskqueue_task SET colour = 'blue'",
    ),
}
GATE = 4242  # the advisory lock at which a migration is made to wait
WAIT_AT_GATE = f"SELECT pg_advisory_xact_lock({GATE})"
PLACES = [(name, place) for name, statements in NEWER.items() for place in range(len(statements) + 1)]


def become_newer(monkeypatch, gate=None):
    """Let this process be of a release whose schema is version 3; ``gate`` is where its migration waits."""
    load = postgresql_schema.load

    def load_newer(name):
        statements = list(NEWER.get(name, ()))
        if gate is not None and name == gate[0]:
            statements.insert(gate[1], WAIT_AT_GATE)
        return ";\n".join(statements) or load(name)

    monkeypatch.setattr(postgresql_schema, "load", load_newer)
    monkeypatch.setattr(postgresql_schema, "MIGRATIONS", (*postgresql_schema.MIGRATIONS, *NEWER))
    monkeypatch.setattr(postgresql_schema, "SCHEMA_VERSION", 3)


@pytest.fixture
def open_queue(postgresql_url):
    opener = Opener(postgresql_url)
    yield opener
    opener.close()


@pytest.fixture
def ask(postgresql, postgresql_url):
    """One statement in this test's database."""
    return lambda statement: postgresql.ask(statement, database=postgresql_url.rpartition("/")[2])


def test_a_queue_in_a_database_can_be_migrated(open_queue):
    assert isinstance(open_queue(), Migrating)


def test_looking_at_the_schema_makes_no_table(open_queue, ask):
    assert open_queue().schema() == SchemaStatus(found=0, known=1)
    assert ask("SELECT relname FROM pg_class WHERE relname LIKE 'taskqueue%'") == []


def test_migrating_makes_what_is_missing_once(open_queue):
    queue = open_queue()
    assert queue.migrate() == [1]
    assert queue.schema() == SchemaStatus(found=1, known=1)
    assert queue.migrate() == open_queue("mail").migrate() == []
    publish(queue, record())
    assert len(queue) == 1


def test_many_that_find_nothing_make_it_together(postgresql):
    for _ in range(5):
        with new_database(postgresql) as url:
            opener = Opener(url)
            queues = [opener() for _ in range(8)]
            gate, raised, failures = threading.Barrier(len(queues)), [], []

            def act(number, queue, gate=gate, raised=raised, failures=failures):
                gate.wait(10)
                try:
                    if number % 2:
                        raised.append(queue.migrate())
                    else:
                        publish(queue, record())
                except Exception as error:  # noqa: BLE001  # looked at by the test
                    failures.append(error)

            threads = [threading.Thread(target=act, args=each, daemon=True) for each in enumerate(queues)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(20)
            assert failures == []
            assert sorted(raised) in ([[], [], [], []], [[], [], [], [1]])
            assert len(queues[0]) == 4
            opener.close()


def test_older_tables_are_refused_until_they_are_migrated(open_queue, monkeypatch):
    queue = open_queue()
    task_id = publish(queue, record())
    queue.close()  # its connections know that the tables were those of its release
    become_newer(monkeypatch)
    later = open_queue()
    for act in (lambda: later.get(task_id), lambda: publish(later, record())):
        with pytest.raises(BackendUnavailableError, match="those of an older release; run taskqueue migrate"):
            act()
    assert later.schema() == SchemaStatus(found=1, known=3)
    assert later.migrate() == [2, 3]
    assert state_of(later, task_id) == "ready"
    publish(later, record())
    assert len(later) == len(queue) == 2


def test_newer_tables_are_not_migrated(open_queue, ask):
    queue = open_queue()
    queue.migrate()
    ask("UPDATE taskqueue_meta SET value = '7'")
    assert queue.schema() == SchemaStatus(found=7, known=1)
    with pytest.raises(BackendUnavailableError, match="those of a newer release; upgrade this instance"):
        queue.migrate()
    assert ask("SELECT value FROM taskqueue_meta") == [("7",)]


def test_a_user_who_may_not_make_tables_is_told(postgresql, postgresql_url, open_queue, ask):
    ask("CREATE ROLE stranger LOGIN")
    try:
        url = postgresql.url(postgresql_url.rpartition("/")[2], user="stranger")
        with pytest.raises(BackendUnavailableError, match=r"lacks a right|may not") as caught:
            open_queue(url=url).migrate()
        assert "\n" not in str(caught.value)
    finally:
        ask("DROP ROLE stranger")


def test_who_works_meanwhile_goes_on_after_the_migration(open_queue, monkeypatch):
    queue = open_queue()
    beat(queue)
    first = publish(queue, record())
    become_newer(monkeypatch)
    assert open_queue().migrate() == [2, 3]
    second = publish(queue, record())
    assert claim_one(queue).id == first
    assert state_of(queue, second) == "ready"


# ---- cut short -----------------------------------------------------------------------------------------------------


def fill(url):
    """Tables of version 1; returns the states of the tasks in them."""
    queue = PostgreSQLQueue(name="default", url=url)
    beat(queue)
    ids = {publish(queue, record()): "ready" for _ in range(3)}
    (claimed,) = queue.exchange(OWNER, CONSUMER, (), 1).claimed
    queue.close()
    return {**ids, claimed.id: "running"}


def migrate_in_child(url, gate):
    """A process whose migration waits at a gate."""
    child = os.fork()
    if child == 0:
        try:
            become_newer(pytest.MonkeyPatch(), gate)
            PostgreSQLQueue(name="default", url=url).migrate()
        finally:
            os._exit(1)
    return child


def wait_for_migration(server):
    """Until somebody waits at the gate."""
    wait_until(lambda: server.ask("SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"))


def check(url, ids, server, monkeypatch):
    """Migrate once more, and see that all is there. Returns the version that had been reached."""
    become_newer(monkeypatch)
    queue = PostgreSQLQueue(name="default", url=url)
    found = queue.schema().found
    assert queue.migrate() == list(range(found + 1, 4))
    database = url.rpartition("/")[2]
    words = server.ask("SELECT word FROM taskqueue_label ORDER BY word", database=database)
    assert words == [(each,) for each in sorted(ids)]
    assert server.ask("SELECT DISTINCT colour FROM taskqueue_task", database=database) == [("blue",)]
    assert {each.id: each.state for each in queue.list(["ready", "running"])} == ids
    queue.close()
    return found


@pytest.mark.parametrize("gate", PLACES, ids=lambda gate: f"{gate[0]} at {gate[1]}")
def test_killed_at_each_statement_it_is_run_again(postgresql, postgresql_url, monkeypatch, gate):
    ids = fill(postgresql_url)
    with postgresql.connect(postgresql_url.rpartition("/")[2]) as gatekeeper:
        gatekeeper.execute(f"SELECT pg_advisory_lock({GATE})")
        child = migrate_in_child(postgresql_url, gate)
        try:
            wait_for_migration(postgresql)
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    assert check(postgresql_url, ids, postgresql, monkeypatch) == (1 if gate[0] == "to 2" else 2)


def test_a_server_that_is_killed_meanwhile_loses_nothing(monkeypatch):
    with Server(**DURABLE) as server:
        for gate in (("to 2", 1), ("to 3", 2)):
            url = server.create_database()
            ids = fill(url)
            gatekeeper = server.connect(url.rpartition("/")[2])
            gatekeeper.execute(f"SELECT pg_advisory_lock({GATE})")
            child = migrate_in_child(url, gate)
            try:
                wait_for_migration(server)
                server.kill()
            finally:
                os.waitpid(child, 0)  # it fails by itself
            gatekeeper.close()
            server.start()
            with monkeypatch.context() as patched:
                assert check(url, ids, server, patched) == (1 if gate[0] == "to 2" else 2)
