"""The ZODB as a witness while others commit: nothing that committed is missed, and no file is called damaged."""

import logging
import queue
import threading

import persistent
import pytest
import transaction
import ZODB
from ZODB.FileStorage import FileStorage

from taskqueue.witnesses.zodb import ZODBWitness

from .zodb_marks import ask, change, commit_marked, mark_in

COMMITTERS = 3
COMMITS = 60


class Place(persistent.Persistent):
    """Where one of several commits its changes: there are no conflicts."""


class Meanwhile(FileStorage):
    """Something happens when somebody has begun to read its history, and before the first transaction is read."""

    happens = staticmethod(lambda: None)

    def iterator(self, *arguments):
        history = super().iterator(*arguments)
        self.happens()
        return history


@pytest.fixture
def storage(path):
    return Meanwhile(path)


@pytest.fixture
def db(storage):
    database = ZODB.DB(storage)
    yield database
    database.close()


@pytest.fixture
def complaints(caplog):
    """What the ZODB has said of the file."""
    caplog.set_level(logging.WARNING, logger="ZODB.FileStorage")
    return lambda: [each.getMessage() for each in caplog.records if each.name.startswith("ZODB")]


def commit_elsewhere(database, prepare=change):
    """In a thread of its own, as another request does."""

    def run():
        manager = transaction.TransactionManager()
        with manager:
            prepare(database.open(manager))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()


def test_a_commit_while_the_history_is_read_does_not_look_like_damage(storage, db, manager, complaints):
    aborted = mark_in(db, manager, "aborted")
    manager.abort()
    committed = commit_marked(db, manager, "committed")
    storage.happens = lambda: commit_elsewhere(db)
    assert ask(db, {"aborted": aborted, "committed": committed}) == {"aborted": "no", "committed": "yes"}
    assert complaints() == []


def test_what_was_committed_meanwhile_is_told_when_it_is_asked_for_the_next_time(storage, db, manager):
    marks = {"key": mark_in(db, manager, "key")}
    committed = threading.Event()

    def commit_once():
        if not committed.is_set():
            committed.set()
            manager.commit()

    storage.happens = commit_once
    ask(db, marks)
    assert committed.is_set()
    assert ask(db, marks) == {"key": "yes"}


def test_who_only_reads_sees_what_was_committed_since_its_storage_was_opened(db, path, manager):
    reader = ZODB.DB(FileStorage(path, read_only=True))
    marks = {"key": commit_marked(db, manager, "key")}
    assert reader.storage.lastTransaction() < db.storage.lastTransaction()  # else there is nothing to try here
    assert ask(reader, marks) == {"key": "yes"}
    reader.close()


class HalfWritten(FileStorage):
    """Its history cannot be opened while somebody writes: until whoever asks has waited for that."""

    error = None
    waited = 0

    def lastTransaction(self):  # noqa: N802  # the name is IStorage's
        self.waited += 1
        if self.waited > 2:
            self.error = None
        return super().lastTransaction()

    def iterator(self, *arguments):
        if self.error is not None:
            raise self.error
        return super().iterator(*arguments)


@pytest.mark.parametrize("error", [ValueError("Can't find last transaction in large file"), AttributeError("_scan")])
def test_a_file_of_which_the_end_is_half_written_is_waited_for(path, manager, error):
    database = ZODB.DB(HalfWritten(path))
    marks = {"key": commit_marked(database, manager, "key")}
    database.storage.error, database.storage.waited = error, 0
    assert ask(database, marks) == {"key": "yes"}
    database.close()


def test_among_many_commits_each_one_is_found_as_soon_as_it_has_committed(db, complaints):
    committed = queue.SimpleQueue()

    def commit_many(number):
        manager = transaction.TransactionManager()
        connection = db.open(manager)
        for each in range(COMMITS):
            key = f"{number}-{each}"
            current = manager.begin()
            connection.root()[f"place {number}"].content = b"x" * 997 * each
            mark = ZODBWitness(db).mark(key, current, current._resources)
            manager.commit()
            committed.put((key, mark))
        connection.close()
        committed.put(None)

    with db.transaction() as connection:
        connection.root().update({f"place {number}": Place() for number in range(COMMITTERS)})
    threads = [threading.Thread(target=commit_many, args=(number,)) for number in range(COMMITTERS)]
    for thread in threads:
        thread.start()
    at_work, found = COMMITTERS, 0
    while at_work:
        told = committed.get(timeout=60)
        if told is None:
            at_work -= 1
            continue
        key, mark = told
        assert ask(db, {key: mark}) == {key: "yes"}
        found += 1
    for thread in threads:
        thread.join()
    assert found == COMMITTERS * COMMITS
    assert complaints() == []
