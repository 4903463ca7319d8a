"""The ZODB as a witness: a FileStorage of this process, and what does not depend on the storage."""

import time

import pytest
import ZODB
from ZODB.FileStorage import FileStorage
from zope.interface.verify import verifyObject

from taskqueue import witnesses
from taskqueue.interfaces import IWitness, WitnessMark
from taskqueue.witnesses.zodb import ZODBWitness

from .zodb_marks import ask, change, commit_marked, mark_in


@pytest.fixture(autouse=True)
def nobody_else():
    before = witnesses.registered()
    yield
    for each in witnesses.registered():
        if each not in before:
            witnesses.unregister(each)


# ---- who takes part ----------------------------------------------------------------------------------------------


def test_it_provides_the_contract(db):
    assert verifyObject(IWitness, ZODBWitness(db))


def test_it_names_the_database_as_the_configuration_does(path):
    database = ZODB.DB(path, database_name="main")
    assert (ZODBWitness(database).kind, ZODBWitness(database).database) == ("zodb", "main")
    database.close()


def test_it_recognises_connections_of_its_database_only(db, tmp_path, manager):
    other = ZODB.DB(str(tmp_path / "Other.fs"))
    manager.begin()
    mine, foreign = db.open(manager), other.open(manager)
    assert ZODBWitness(db).recognises(mine)
    assert not ZODBWitness(db).recognises(foreign)
    manager.abort()
    foreign.close()
    other.close()


def test_it_recognises_what_undoes_a_transaction(db, manager):
    mark = commit_marked(db, manager, "first")
    current = manager.begin()
    db.undo(db.undoLog(0, 1)[0]["id"], current)
    assert all(ZODBWitness(db).recognises(each) for each in current._resources)
    undone = ZODBWitness(db).mark("second", current, current._resources)
    manager.commit()
    assert ask(db, {"first": mark, "second": undone}) == {"first": "yes", "second": "yes"}


def test_an_attribute_that_raises_belongs_to_a_stranger(db):
    class Stranger:
        @property
        def _db(self):
            raise RuntimeError

    assert not ZODBWitness(db).recognises(Stranger())


def test_without_a_connection_there_is_no_mark(db, manager):
    current = manager.begin()
    assert ZODBWitness(db).mark("key", current, []) is None
    assert current.extension == {}


# ---- databases that are opened together --------------------------------------------------------------------------


def test_databases_that_are_opened_together_answer_each_for_itself(tmp_path, manager):
    databases = {}
    main = ZODB.DB(str(tmp_path / "Main.fs"), database_name="main", databases=databases)
    witnesses.register(main)
    catalog = ZODB.DB(str(tmp_path / "Catalog.fs"), database_name="catalog", databases=databases)  # later
    current = manager.begin()
    connection = main.open(manager)
    change(connection)
    change(connection.get_connection("catalog"))
    marks, strangers = witnesses.leave_marks("key", current, current._resources)
    manager.commit()
    assert sorted(mark.database for mark in marks) == ["catalog", "main"]
    assert strangers == ()
    answers, errors = witnesses.testify([("key", marks), ("other", marks)], 30)
    assert (answers, errors) == ([["yes", "yes"], ["no", "no"]], [])
    connection.close()
    main.close()
    catalog.close()


def test_a_mount_in_memory_is_known_and_leaves_no_mark(db, tmp_path, manager):
    databases = {}
    main = ZODB.DB(str(tmp_path / "Main.fs"), database_name="main", databases=databases)
    ZODB.DB(None, database_name="temporary", databases=databases)
    witnesses.register(main)
    current = manager.begin()
    connection = main.open(manager)
    change(connection.get_connection("temporary"))
    assert witnesses.leave_marks("key", current, current._resources) == ((), ())
    change(connection)
    marks, strangers = witnesses.leave_marks("key", current, current._resources)
    assert ([mark.database for mark in marks], strangers) == (["main"], ())
    manager.abort()
    connection.close()
    main.close()


def test_a_database_is_registered_once(db):
    first = witnesses.register(db)
    assert witnesses.register(db) == first
    assert witnesses.registered().count(first) == 1


def test_a_database_that_was_closed_makes_room_for_the_next_one_of_its_name(path, manager):
    first = ZODB.DB(path)
    witnesses.register(first)
    mark = mark_in(first, manager, "key")
    manager.abort()
    first.close()
    assert witnesses.find(mark) is None
    second = ZODB.DB(path)
    witnesses.register(second)
    assert witnesses.testify([("key", [mark])], 30) == ([["no"]], [])
    second.close()


# ---- what it says ------------------------------------------------------------------------------------------------


def test_of_a_committed_transaction_it_says_yes_and_of_another_no(db, manager):
    aborted = mark_in(db, manager, "aborted")
    manager.abort()
    committed = commit_marked(db, manager, "committed")
    commit_marked(db, manager, "later")
    assert ask(db, {"aborted": aborted, "committed": committed}) == {"aborted": "no", "committed": "yes"}


def test_several_keys_in_one_transaction_are_all_kept_and_none_twice(db, manager):
    current = manager.begin()
    change(db.open(manager))
    witness = ZODBWitness(db)
    marks = {key: witness.mark(key, current, current._resources) for key in ("one", "two", "one")}
    assert current.extension["taskqueue"] == ["one", "two"]
    manager.commit()
    assert ask(db, marks) == {"one": "yes", "two": "yes"}


def test_extension_data_of_the_application_stays_as_it_is(db, manager):
    current = manager.begin()
    current.setExtendedInfo("taskqueue", "mine")
    current.setExtendedInfo("other", 1)
    change(db.open(manager))
    mark = ZODBWitness(db).mark("key", current, current._resources)
    assert current.extension == {"taskqueue": ["key"], "other": 1}
    manager.commit()
    assert ask(db, {"key": mark}) == {"key": "yes"}


def test_a_connection_that_joined_and_changed_nothing_is_recorded_all_the_same(db, manager):
    def touch(connection):
        connection.root()._p_changed = True
        connection.root()._p_changed = False

    assert ask(db, {"key": commit_marked(db, manager, "key", touch)}) == {"key": "yes"}


def test_a_transaction_that_only_insists_on_what_it_read_is_recorded(db, manager):
    def insist(connection):
        connection.readCurrent(connection.root())
        connection._register()

    assert ask(db, {"key": commit_marked(db, manager, "key", insist)}) == {"key": "yes"}


def test_savepoints_change_nothing(db, manager):
    current = manager.begin()
    connection = db.open(manager)
    change(connection)
    savepoint = current.savepoint()
    mark = ZODBWitness(db).mark("key", current, current._resources)
    savepoint.rollback()
    manager.commit()
    assert ask(db, {"key": mark}) == {"key": "yes"}


def test_a_commit_that_failed_and_is_made_again_under_the_same_key_counts(db, manager):
    class Refuses:
        transaction_manager = manager

        def sortKey(self):  # noqa: N802  # the name is IDataManager's
            return "~"

        def tpc_vote(self, _transaction):
            raise ValueError("no")

        def _pass(self, _transaction):
            pass

        tpc_begin = commit = abort = tpc_abort = tpc_finish = _pass

    mark = mark_in(db, manager, "key")
    manager.get().join(Refuses())
    with pytest.raises(ValueError, match="no"):
        manager.commit()
    assert ask(db, {"key": mark}) == {"key": "no"}
    manager.abort()
    again = commit_marked(db, manager, "key")
    assert ask(db, {"key": again}) == {"key": "yes"}


def test_a_key_that_comes_after_the_storage_was_told_is_never_denied(db, manager):
    marks = []

    class Late:
        transaction_manager = manager

        def sortKey(self):  # noqa: N802  # the name is IDataManager's
            return "~"

        def tpc_vote(self, current):
            marks.append(ZODBWitness(db).mark("key", current, [each for each in current._resources if each != self]))

        def _pass(self, _transaction):
            pass

        tpc_begin = commit = abort = tpc_abort = tpc_finish = _pass

    current = manager.begin()
    change(db.open(manager))
    current.join(Late())
    manager.commit()
    assert ask(db, {"key": marks[0]}) == {"key": "unknown"}


def test_while_others_commit_it_still_tells(db, manager):
    """The last transaction of the file is being written: it is not there yet, and no obstacle."""
    told = []

    class Asks:
        transaction_manager = manager

        def sortKey(self):  # noqa: N802  # the name is IDataManager's
            return "~"

        def tpc_vote(self, _transaction):
            told.append(ask(db, {"before": before, "now": now}))

        def _pass(self, _transaction):
            pass

        tpc_begin = commit = abort = tpc_abort = tpc_finish = _pass

    before = commit_marked(db, manager, "before")
    now = mark_in(db, manager, "now")
    manager.get().join(Asks())
    manager.commit()
    assert told[0]["before"] == "yes"
    assert ask(db, {"now": now}) == {"now": "yes"}


def test_without_a_position_it_looks_from_about_the_time_of_the_mark_on(db, manager):
    commit_marked(db, manager, "key")
    kind = {"kind": "zodb", "database": "unnamed"}
    assert ask(db, {"key": WitnessMark(**kind, marked_at=time.time())}) == {"key": "yes"}
    assert ask(db, {"key": WitnessMark(**kind)}) == {"key": "yes"}
    assert ask(db, {"key": WitnessMark(**kind, marked_at=time.time() + 3600)}) == {"key": "unknown"}
    assert ask(db, {"other": WitnessMark(**kind, marked_at=time.time())}) == {"other": "unknown"}


@pytest.mark.parametrize("position", ["", "x", "00", "0000000000000000", "ffffffffffffffff", "0f" * 9])
def test_a_position_that_is_none_is_no_reason_to_say_no(db, manager, position):
    mark = commit_marked(db, manager, "key")
    strange = WitnessMark(kind="zodb", database="unnamed", position=position, marked_at=mark.marked_at)
    assert ask(db, {"other": strange}) == {"other": "unknown"}


def test_a_mark_of_another_database_of_that_name_is_unknown(db, tmp_path, manager):
    other = ZODB.DB(str(tmp_path / "Other.fs"))
    commit_marked(other, manager, "before")
    mark = commit_marked(db, manager, "key")
    commit_marked(other, manager, "after")
    assert ask(other, {"key": mark}) == {"key": "unknown"}
    manager.begin()
    other.close()


def test_asked_for_nothing_it_says_nothing(db):
    assert ask(db, {}) == {}


# ---- who else may commit -----------------------------------------------------------------------------------------


def test_who_only_reads_a_storage_says_not_yet_for_a_day(db, path, manager):
    aborted = mark_in(db, manager, "aborted")
    manager.abort()
    committed = commit_marked(db, manager, "committed")
    reader = ZODB.DB(FileStorage(path, read_only=True))
    yesterday = WitnessMark(kind="zodb", database="unnamed", position=aborted.position, marked_at=time.time() - 86500)
    answers = ask(reader, {"aborted": aborted, "committed": committed, "yesterday": yesterday})
    assert answers == {"aborted": "not yet", "committed": "yes", "yesterday": "no"}
    reader.close()


def test_a_storage_that_was_closed_can_be_written_by_others(path, manager):
    storage = FileStorage(path)
    database = ZODB.DB(storage)
    mark = mark_in(database, manager, "key")
    manager.abort()
    storage.close()
    assert ask(database, {"key": mark}) == {"key": "not yet"}
