"""The ZODB as a witness: storages that are reached over a network, that keep no history, or that are not durable."""

import contextlib
import time

import pytest
import transaction
import ZEO
import ZODB
from ZODB.blob import BlobStorage
from ZODB.DemoStorage import DemoStorage
from ZODB.FileStorage import FileStorage
from ZODB.MappingStorage import MappingStorage

from taskqueue.interfaces import WitnessMark

from .killing import kill_at
from .zodb_marks import ask, commit_marked, mark_in


@contextlib.contextmanager
def serving(storage="<filestorage>\n path {path}\n</filestorage>", path=None):
    """A ZEO server in a process of its own; its address."""
    address, stop = ZEO.server(str(path), storage_conf=storage.format(path=path), threaded=False)
    try:
        yield address
    finally:
        stop()


@contextlib.contextmanager
def opened(storage):
    database = ZODB.DB(storage)
    try:
        yield database
    finally:
        transaction.abort()
        database.close()


# ---- ZEO ---------------------------------------------------------------------------------------------------------


@pytest.mark.process
def test_a_client_tells_what_committed_and_waits_a_day_for_what_did_not(tmp_path, manager):
    with serving(path=tmp_path / "Data.fs") as address:
        first, second = ZEO.DB(address), ZEO.DB(address)
        aborted = mark_in(first, manager, "aborted")
        manager.abort()
        committed = commit_marked(first, manager, "committed")
        yesterday = WitnessMark(kind="zodb", database="unnamed", position=aborted.position, marked_at=1)
        expected = {"aborted": "not yet", "committed": "yes", "yesterday": "no"}
        for database in (first, second):
            marks = {"aborted": aborted, "committed": committed, "yesterday": yesterday}
            assert ask(database, marks) == expected
        first.pack()
        assert ask(second, {"aborted": aborted})["aborted"] == "unknown"
        first.close()
        second.close()


@pytest.mark.process
@pytest.mark.parametrize(("moment", "expected"), [("marked", "not yet"), ("voted", "not yet"), ("finished", "yes")])
def test_of_a_client_that_was_killed_another_one_knows(tmp_path, moment, expected):
    with serving(path=tmp_path / "Data.fs") as address:
        ZEO.DB(address).close()
        mark = kill_at(moment, "zeo", f"{address[0]}:{address[1]}", "key")
        database = ZEO.DB(address)
        assert ask(database, {"key": mark}) == {"key": expected}
        a_day_later = WitnessMark(kind="zodb", database="unnamed", position=mark.position, marked_at=1)
        assert ask(database, {"key": a_day_later}) == {"key": "yes" if expected == "yes" else "no"}
        database.close()


@pytest.mark.process
def test_a_server_that_keeps_no_history_is_unknown(tmp_path, manager):
    with serving("<mappingstorage>\n</mappingstorage>", tmp_path / "unused") as address:
        database = ZEO.DB(address)
        assert ask(database, {"key": commit_marked(database, manager, "key")}) == {"key": "unknown"}
        database.close()


# ---- in memory ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [MappingStorage, DemoStorage], ids=["mapping", "demo"])
def test_what_ends_with_the_process_takes_part_and_leaves_no_mark(make, manager):
    with opened(make()) as database:
        assert commit_marked(database, manager, "key") is None
        mark = WitnessMark(kind="zodb", database="unnamed", marked_at=time.time())
        assert ask(database, {"key": mark}) == {"key": "unknown"}


def test_a_demo_that_writes_to_a_file_is_as_good_as_the_file(tmp_path, manager):
    base, changes = tmp_path / "Base.fs", tmp_path / "Changes.fs"
    with opened(FileStorage(str(base))) as database:
        commit_marked(database, manager, "in the base")
    demo = DemoStorage(base=FileStorage(str(base), read_only=True), changes=FileStorage(str(changes)))
    with opened(demo) as database:
        nothing_before = mark_in(database, manager, "first")
        manager.abort()
        commit_marked(database, manager, "second")
        aborted = mark_in(database, manager, "aborted")
        manager.abort()
        committed = commit_marked(database, manager, "committed")
        answers = ask(database, {"first": nothing_before, "aborted": aborted, "committed": committed})
        assert answers == {"first": "unknown", "aborted": "no", "committed": "yes"}


# ---- other storages ----------------------------------------------------------------------------------------------


class Wrapping:
    """As storages do that compress: it passes on what it does not change."""

    def __init__(self, base):
        self.base = base

    def __getattr__(self, name):
        return getattr(self.base, name)


def test_a_wrapper_is_as_good_as_what_it_wraps(tmp_path, manager):
    with opened(Wrapping(FileStorage(str(tmp_path / "Data.fs")))) as database:
        aborted = mark_in(database, manager, "aborted")
        manager.abort()
        committed = commit_marked(database, manager, "committed")
        assert ask(database, {"aborted": aborted, "committed": committed}) == {"aborted": "no", "committed": "yes"}


def test_blobs_change_nothing(tmp_path, manager):
    with opened(FileStorage(str(tmp_path / "Data.fs"), blob_dir=str(tmp_path / "blobs"))) as database:
        assert ask(database, {"key": commit_marked(database, manager, "key")}) == {"key": "yes"}


def test_what_buildout_puts_around_a_file_for_blobs_is_a_wrapper_too(tmp_path, manager):
    wrapped = BlobStorage(str(tmp_path / "blobs"), FileStorage(str(tmp_path / "Data.fs")))
    with opened(wrapped) as database:
        aborted = mark_in(database, manager, "aborted")
        manager.abort()
        committed = commit_marked(database, manager, "committed")
        assert ask(database, {"aborted": aborted, "committed": committed}) == {"aborted": "no", "committed": "yes"}


class WithoutHistory(MappingStorage):
    """As a storage that keeps the last state of each object, and iterates over those: nothing is noted with them."""

    def supportsUndo(self):  # noqa: N802  # the name is IStorageUndoable's
        return False


def test_a_storage_that_keeps_no_history_is_unknown(manager, monkeypatch):
    monkeypatch.setattr("taskqueue.witnesses.zodb._IN_MEMORY", frozenset())
    with opened(WithoutHistory()) as database:
        mark = commit_marked(database, manager, "key")
        assert mark is not None
        assert ask(database, {"key": mark}) == {"key": "unknown"}
