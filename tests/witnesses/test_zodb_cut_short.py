"""A FileStorage after a crash in the middle of a commit: its last transaction is one that it has cut off."""

import contextlib

import pytest
import ZODB
from ZODB.FileStorage import FileStorage

from .zodb_marks import ask, change, commit_marked, mark_in


class CutShortError(Exception):
    """In place of the end of a process."""


def cut_short(path, manager):
    """Leave a commit behind that has voted, and did not finish; nothing else of its process is left."""
    db = ZODB.DB(FileStorage(str(path)))
    commit_marked(db, manager, "before")
    db.storage._finish = lambda *_arguments: _raise()
    manager.begin()
    change(db.open(manager))
    with contextlib.suppress(CutShortError):
        manager.commit()
    left = path.read_bytes()
    manager.abort()
    db.close()
    path.write_bytes(left)
    path.with_name(path.name + ".index").unlink()


def _raise():
    raise CutShortError


@pytest.fixture
def db_after_crash(tmp_path, manager):
    path = tmp_path / "Data.fs"
    cut_short(path, manager)
    db = ZODB.DB(FileStorage(str(path)))
    yield db
    db.close()


def test_the_first_transaction_after_a_crash_can_be_told_of(db_after_crash, manager):
    marks = {"aborted": mark_in(db_after_crash, manager, "aborted")}
    history = [each.tid for each in db_after_crash.storage.iterator()]
    assert db_after_crash.storage.lastTransaction() not in history  # else there is nothing to try here
    manager.abort()
    assert ask(db_after_crash, marks) == {"aborted": "no"}
    marks["committed"] = commit_marked(db_after_crash, manager, "committed")
    assert ask(db_after_crash, marks) == {"aborted": "no", "committed": "yes"}


def test_what_a_pack_may_have_taken_away_stays_unknown(db_after_crash, manager):
    marks = {"aborted": mark_in(db_after_crash, manager, "aborted")}
    manager.abort()
    commit_marked(db_after_crash, manager, "later")
    db_after_crash.pack()
    assert ask(db_after_crash, marks) == {"aborted": "unknown"}
