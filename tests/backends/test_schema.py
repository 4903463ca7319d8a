"""The schema of a SQLite file: raised version by version, also when each attempt is cut short."""

import os
import signal
import sqlite3

import pytest

from taskqueue.backends import database, schema
from taskqueue.backends.sqlite import SQLiteQueue
from taskqueue.errors import BackendUnavailableError
from taskqueue.interfaces import Migrating, SchemaStatus

from .making import CONSUMER, OWNER, beat, claim_one, publish, record, state_of

NEWER = (
    schema.MIGRATIONS[0],
    ("ALTER TABLE task ADD COLUMN colour TEXT NOT NULL DEFAULT 'grey'", "CREATE INDEX task_colour ON task (colour)"),
    ("CREATE TABLE label (word TEXT)", "INSERT INTO label SELECT id FROM task", "UPDATE task SET colour = 'blue'"),
)


class Dying(sqlite3.Connection):
    """A connection that kills its process before one statement: ``left`` come before it."""

    left = 0

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.set_trace_callback(self._count)

    def _count(self, statement):
        if Dying.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        Dying.left -= 1


@pytest.fixture
def newer_release(monkeypatch):
    """This process is of a release whose schema is version 3."""
    monkeypatch.setattr(schema, "MIGRATIONS", NEWER)
    monkeypatch.setattr(schema, "SCHEMA_VERSION", len(NEWER))
    monkeypatch.setattr(database, "SCHEMA_VERSION", len(NEWER))


def rows(path, statement):
    connection = sqlite3.connect(path)
    found = connection.execute(statement).fetchall()
    connection.close()
    return found


def test_a_queue_in_a_file_can_be_migrated(queue):
    assert isinstance(queue, Migrating)


def test_looking_at_the_schema_makes_no_file(path):
    queue = SQLiteQueue(name="default", path=path)
    assert queue.schema() == SchemaStatus(found=0, known=1)
    assert not path.parent.exists()


def test_migrating_makes_what_is_missing_once(path, open_queue):
    queue = open_queue()
    assert queue.migrate() == [1]
    assert queue.schema() == SchemaStatus(found=1, known=1)
    assert path.stat().st_mode & 0o777 == 0o600
    assert queue.migrate() == []
    assert open_queue("mail").migrate() == []
    assert rows(path, "SELECT name FROM queue ORDER BY name") == [("default",), ("mail",)]
    assert rows(path, "PRAGMA journal_mode") == [("wal",)]


def test_a_file_that_a_migration_made_is_as_one_that_a_queue_made(tmp_path):
    files = tmp_path / "used.db", tmp_path / "migrated.db"
    for path, act in zip(files, (lambda queue: queue.pause(), lambda queue: queue.migrate()), strict=True):
        queue = SQLiteQueue(name="default", path=path)
        act(queue)
        queue.close()
    found = [rows(path, "SELECT type, name, sql FROM sqlite_master ORDER BY name") for path in files]
    assert found[0] == found[1]


@pytest.mark.usefixtures("newer_release")
def test_a_new_file_gets_all_versions_at_once(queue):
    assert queue.schema() == SchemaStatus(found=3, known=3)


def test_an_older_file_is_refused_until_it_is_migrated(queue, open_queue, request):
    task_id = publish(queue, record())
    queue.close()
    request.getfixturevalue("newer_release")
    later = open_queue()
    for act in (lambda: later.get(task_id), lambda: publish(later, record())):
        with pytest.raises(BackendUnavailableError, match=r"its schema is 1, this release needs 3.*taskqueue migrate"):
            act()
    assert later.schema() == SchemaStatus(found=1, known=3)
    assert later.migrate() == [2, 3]
    assert state_of(later, task_id) == "ready"
    publish(later, record())
    assert len(later) == 2


def test_a_newer_file_is_not_migrated(path, open_queue):
    queue = open_queue()
    queue.migrate()
    queue.close()
    connection = sqlite3.connect(path)
    connection.execute("UPDATE meta SET value = '7'")
    connection.commit()
    connection.close()
    assert queue.schema() == SchemaStatus(found=7, known=1)
    with pytest.raises(BackendUnavailableError, match=r"made by a newer release .*upgrade this instance"):
        queue.migrate()
    assert rows(path, "SELECT value FROM meta") == [("7",)]


def test_what_is_something_else_is_not_migrated(tmp_path):
    path = tmp_path / "other.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE visitors (name)")
    connection.close()
    before = path.read_bytes()
    queue = SQLiteQueue(name="default", path=path)
    for act in (queue.schema, queue.migrate):
        with pytest.raises(BackendUnavailableError, match="database of something else; choose another path"):
            act()
    assert path.read_bytes() == before


def test_a_migration_that_fails_leaves_the_last_version_that_was_whole(queue, monkeypatch):
    task_id = publish(queue, record())
    broken = (*NEWER[:2], ("CREATE TABLE label (word TEXT)", "INSERT INTO no_such_table VALUES (1)"))
    for name, value in (("MIGRATIONS", broken), ("SCHEMA_VERSION", 3)):
        monkeypatch.setattr(schema, name, value)
    with pytest.raises(BackendUnavailableError, match="no_such_table"):
        queue.migrate()
    assert queue.schema().found == 2
    monkeypatch.setattr(schema, "MIGRATIONS", NEWER)
    assert queue.migrate() == [3]
    assert state_of(queue, task_id) == "ready"


def test_who_has_the_file_open_goes_on_while_it_is_migrated(queue, open_queue, request):
    beat(queue)
    first = publish(queue, record())
    request.getfixturevalue("newer_release")
    assert open_queue().migrate() == [2, 3]
    second = publish(queue, record())
    assert claim_one(queue).id == first
    assert state_of(queue, second) == "ready"


def test_killed_at_each_statement_it_goes_on_where_it_was(tmp_path, request):
    found_versions, statement = [], 0
    request.getfixturevalue("newer_release")
    while True:
        path = tmp_path / f"{statement}.db"
        ids = _make_old_file(path)
        if _migrate_in_child(path, statement) == 0:
            break
        queue = SQLiteQueue(name="default", path=path)
        found_versions.append(queue.schema().found)
        assert queue.migrate() == list(range(found_versions[-1] + 1, 4))
        assert rows(path, "SELECT word FROM label ORDER BY word") == [(each,) for each in sorted(ids)]
        assert rows(path, "SELECT DISTINCT colour FROM task") == [("blue",)]
        assert {each.id: each.state for each in queue.list(["ready", "running"])} == ids
        queue.close()
        statement += 1
    assert found_versions == sorted(found_versions)
    assert set(found_versions) == {1, 2, 3}, "it was not killed in the middle of everything"
    print(f"killed at {statement} statements of a migration")


def _migrate_in_child(path, statement):
    """Migrate in a process that dies before a statement; 0 when it came to the end, as there are no more."""
    child = os.fork()
    if child == 0:
        try:
            Dying.left = statement
            connect = sqlite3.connect
            sqlite3.connect = lambda *arguments, **options: connect(*arguments, **options, factory=Dying)
            SQLiteQueue(name="default", path=path).migrate()
            os._exit(0)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    exit_status = os.waitstatus_to_exitcode(status)
    assert exit_status in {0, -signal.SIGKILL}, "the migration failed"
    return exit_status


def _make_old_file(path):
    """A file of version 1; returns the states of its tasks."""
    old = pytest.MonkeyPatch()
    for name, value in (("MIGRATIONS", NEWER[:1]), ("SCHEMA_VERSION", 1)):
        old.setattr(schema, name, value)
    queue = SQLiteQueue(name="default", path=path)
    beat(queue)
    ids = {publish(queue, record()): "ready" for _ in range(3)}
    (claimed,) = queue.exchange(OWNER, CONSUMER, (), 1).claimed
    queue.close()
    old.undo()
    return {**ids, claimed.id: "running"}
