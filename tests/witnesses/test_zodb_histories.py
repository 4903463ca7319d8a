"""The ZODB as a witness: histories that are long, packed, cut off by a crash, or hold what others wrote."""

import time

import pytest
import ZODB

from taskqueue.witnesses.zodb import ZODBWitness

from .killing import kill_at
from .zodb_marks import ask, change, commit_marked, mark_in

# ---- extension data that others wrote ----------------------------------------------------------------------------


class Unreadable:
    """What cannot be unpickled: its class is said to be where it is not."""

    def __reduce__(self):
        return (_find_missing, ())


def _find_missing():
    raise ImportError("gone")


@pytest.mark.parametrize("value", [None, 1, "key", {"key": 1}, [["key"], None, b"key"], b"key"])
def test_extension_data_that_is_not_ours_says_nothing(db, manager, value):
    mark = mark_in(db, manager, "other")
    manager.get().setExtendedInfo("taskqueue", value)
    manager.commit()
    assert ask(db, {"key": mark}) == {"key": "no"}


def test_extension_data_that_cannot_be_read_leaves_it_open(db, manager):
    mark = mark_in(db, manager, "key")
    manager.get().setExtendedInfo("user", Unreadable())
    manager.commit()
    assert ask(db, {"key": mark, "other": mark}) == {"key": "unknown", "other": "unknown"}


def test_extension_data_of_others_is_not_even_read(db, manager):
    mark = mark_in(db, manager, "key")
    manager.abort()
    current = manager.begin()
    current.setExtendedInfo("user", Unreadable())
    change(db.open(manager))
    manager.commit()
    assert ask(db, {"key": mark}) == {"key": "no"}


# ---- long histories ----------------------------------------------------------------------------------------------


def test_when_time_is_up_it_says_not_yet_and_goes_on_there_the_next_time(db, manager):
    witness = ZODBWitness(db)
    mark = mark_in(db, manager, "key")
    manager.abort()
    for _ in range(5):
        commit_marked(db, manager, "another")
    commit_marked(db, manager, "last")
    marks, told = {"key": mark, "last": mark}, []
    while marks:
        answers = witness.testify(marks, 0)
        marks = {key: mark for key, mark in marks.items() if answers[key] == "not yet"}
        told.append(dict(answers))
        assert len(told) < 20, "it never gets to the end"
    assert len(told) > 4
    assert told[0] == {"key": "not yet", "last": "not yet"}
    assert told[-2:] == [{"key": "not yet", "last": "yes"}, {"key": "no"}]


def test_it_remembers_only_so_many_searches(db, manager, monkeypatch):
    monkeypatch.setattr("taskqueue.witnesses.zodb.REMEMBERED_KEYS", 2)
    witness = ZODBWitness(db)
    mark = mark_in(db, manager, "key")
    manager.abort()
    commit_marked(db, manager, "another")
    for key in "abc":
        assert witness.testify({key: mark}, 0) == {key: "not yet"}
    assert list(witness._progress) == ["b", "c"]


# ---- packed histories --------------------------------------------------------------------------------------------


def test_what_was_packed_behind_the_position_changes_nothing(db, manager):
    for _ in range(3):
        commit_marked(db, manager, "old")
    packed_at = time.time()
    commit_marked(db, manager, "after the pack")
    aborted = mark_in(db, manager, "aborted")
    manager.abort()
    committed = commit_marked(db, manager, "committed")
    db.pack(packed_at)
    assert ask(db, {"aborted": aborted, "committed": committed}) == {"aborted": "no", "committed": "yes"}


def test_a_history_that_is_packed_past_the_position_does_not_say_no(db, manager):
    aborted = mark_in(db, manager, "aborted")
    manager.abort()
    overwritten = commit_marked(db, manager, "overwritten")
    kept = commit_marked(db, manager, "kept")
    db.pack()
    answers = ask(db, {"aborted": aborted, "overwritten": overwritten, "kept": kept})
    assert answers == {"aborted": "unknown", "overwritten": "unknown", "kept": "yes"}


def test_what_was_read_before_a_pack_does_not_help_after_it(db, manager):
    witness = ZODBWitness(db)
    mark = mark_in(db, manager, "key")
    manager.abort()
    commit_marked(db, manager, "another")
    assert witness.testify({"key": mark}, 0) == {"key": "not yet"}
    commit_marked(db, manager, "key")
    commit_marked(db, manager, "another")
    db.pack()
    assert witness.testify({"key": mark}, 30) == {"key": "unknown"}


# ---- killed ------------------------------------------------------------------------------------------------------


@pytest.mark.process
@pytest.mark.parametrize(("moment", "expected"), [("marked", "no"), ("voted", "no"), ("finished", "yes")])
def test_of_a_process_that_was_killed_the_next_one_knows(path, moment, expected):
    ZODB.DB(path).close()
    mark = kill_at(moment, "zodb", path, "key")
    database = ZODB.DB(path)
    assert ask(database, {"key": mark}) == {"key": expected}
    assert database.open().root().get("counter", 0) == (expected == "yes")
    database.close()


@pytest.mark.process
def test_after_a_crash_in_the_middle_of_a_commit_the_first_transaction_is_known_as_well(path, manager):
    """The storage names as its last transaction one that it has cut off."""
    ZODB.DB(path).close()
    kill_at("voted", "zodb", path, "key")
    database = ZODB.DB(path)
    first = mark_in(database, manager, "first")
    manager.abort()
    answers = ask(database, {"first": first})
    second = commit_marked(database, manager, "second")
    assert (answers, ask(database, {"second": second})) == ({"first": "no"}, {"second": "yes"})
    database.close()
