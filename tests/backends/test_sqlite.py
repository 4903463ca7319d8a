import fcntl
import os
import shutil
import sqlite3
import tempfile
from pathlib import Path

import pytest

from taskqueue.backends import database, rowexchanges, rows
from taskqueue.backends.database import Database
from taskqueue.backends.sqlite import SQLiteQueue
from taskqueue.errors import BackendUnavailableError
from taskqueue.interfaces import Settlement

from .contract import BackendContract
from .contract_waiting import Waiting
from .making import CONSUMER, HOUR, OTHER, OWNER, beat, claim, claim_one, hand_in, publish, record, run, stage
from .model import machine_for


class TestSQLite(BackendContract):
    pass


class TestSQLiteWithoutPolling(Waiting):
    """Who waits in the same process is woken at once, not only by looking at the file."""

    @pytest.fixture(autouse=True)
    def _nothing_is_seen_by_looking(self, monkeypatch):
        monkeypatch.setattr(Database, "has_changed", lambda database: False)


class TestSQLiteWithoutPipes(Waiting):
    """Where no pipe can be made, who waits looks at the file."""

    @pytest.fixture(autouse=True)
    def _nobody_can_make_a_pipe(self, monkeypatch):
        def refuse(*arguments, **options):
            raise PermissionError("no pipes here")

        monkeypatch.setattr(os, "mkfifo", refuse)


def _open_sqlite():
    folder = tempfile.mkdtemp(prefix="taskqueue-model-")
    queue = SQLiteQueue(name="default", path=Path(folder) / "tasks.db")

    def close():
        queue.close()
        shutil.rmtree(folder)

    return queue, close


TestSQLiteIsAsTheModel = machine_for(_open_sqlite)


def test_it_is_durable_and_shared():
    assert SQLiteQueue.capabilities == {"certain", "durable", "shared"}


def test_constructing_opens_nothing(path):
    SQLiteQueue(name="default", path=path)
    assert not path.parent.exists()


def test_tasks_outlive_the_object(open_queue):
    first = open_queue()
    beat(first)
    task_id = publish(first, record(body=b"\0\xff", secrets=b"\xfe", priority=3))
    hand_in(first, claim_one(first), "ready", attempts=1, outcome=b"outcome")
    before = first.get(task_id)
    first.close()
    assert open_queue().get(task_id) == before


def test_two_objects_of_one_queue_share_tasks_pause_and_owners(open_queue):
    one, two = open_queue(), open_queue()
    beat(one)
    beat(two)
    publish(one, record())
    one.pause()
    assert two.counts().paused
    assert two.exchange(OWNER, CONSUMER, (), 1).claimed == ()
    two.resume()
    claimed = claim_one(one)
    two.retire("somebody else")
    one.close()
    assert [status.alive for status in two.owners()] == [True]
    assert two.reclaim(3).ready == ()
    two.close()
    assert open_queue().reclaim(3).ready == (claimed.id,)


def test_a_relative_path_means_the_directory_at_the_time_of_configuration(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    queue = SQLiteQueue(name="default", path="tasks.db")
    monkeypatch.chdir("/")
    len(queue)
    queue.close()
    assert (tmp_path / "tasks.db").exists()


def test_a_path_may_hold_any_character(tmp_path):
    strange = tmp_path / "50% of?these #are\N{SNOWMAN}%20 odd"
    queue = SQLiteQueue(name="default", path=strange / "tasks&.db")
    publish(queue, record())
    queue.close()
    assert sorted(each.name for each in strange.iterdir()) == ["tasks&.db", "tasks&.db.lock"]


def test_files_are_for_their_user_alone(queue, path):
    publish(queue, record())
    queue.wait(queue.wait(0, 0.0), 0.0)
    (pipe,) = Path(f"{path}.waiting").iterdir()
    found = {each.name: each.stat().st_mode & 0o777 for each in [path.parent, *path.parent.rglob("*")]}
    assert found == {
        "var": 0o700,
        "tasks.db": 0o600,
        "tasks.db-wal": 0o600,
        "tasks.db-shm": 0o600,
        "tasks.db.lock": 0o600,
        "tasks.db.owners": 0o700,
        OWNER: 0o600,
        "tasks.db.waiting": 0o700,
        pipe.name: 0o600,
    }


@pytest.fixture
def _no_umask():
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("_no_umask")
def test_files_are_for_their_user_alone_whatever_the_umask(queue, path):
    test_files_are_for_their_user_alone(queue, path)


def test_every_commit_reaches_the_disk(queue):
    with queue._database.writing() as session:
        assert session.run("PRAGMA synchronous").fetchone() == (2,)
        assert session.run("PRAGMA journal_mode").fetchone() == ("wal",)


def test_only_who_writes_copies_the_log_into_the_file(queue):
    with queue._database.writing() as session:
        assert session.run("PRAGMA wal_autocheckpoint").fetchone() == (4096,)
    with queue._database.reading() as session:
        assert session.run("PRAGMA wal_autocheckpoint").fetchone() == (0,)


def test_connections_keep_few_pages_however_large_the_file_is(queue):
    with queue._database.writing() as session:
        assert session.run("PRAGMA cache_size").fetchone() == (-1024,)
    with queue._database.reading() as session:
        assert session.run("PRAGMA cache_size").fetchone() == (-256,)


def test_commits_need_not_reach_the_disk_where_that_is_asked_for(open_queue):
    queue = open_queue(synchronous="normal")
    with queue._database.writing() as session:
        assert session.run("PRAGMA synchronous").fetchone() == (1,)


def test_settlements_that_came_too_late_are_told_beside_those_that_did_not(queue):
    publish(queue, record(), record(), record())
    claims = claim(queue, 3)
    hand_in(queue, claims[1], "done")
    settlements = [Settlement(id=each.id, claim_number=each.claim_number, state="done") for each in claims]
    assert queue.exchange(OWNER, CONSUMER, settlements, 0).refused == (claims[1].id,)
    assert queue.counts().states["done"] == 3


def test_who_has_begun_an_exchange_does_not_wait_for_other_processes(queue, path):
    publish(queue, record())
    with open(f"{path}.lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        begun = queue.begin_exchange(OWNER, CONSUMER, (), 1)
        assert not begun.is_here()
    assert len(begun.end().claimed) == 1


def test_others_may_write_while_an_answer_is_read(queue, path, monkeypatch):
    publish(queue, record())
    read, locks = rowexchanges.read_claimed, []

    def read_beside_others(*arguments):
        with open(f"{path}.lock") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            locks.append(lock)
        return read(*arguments)

    monkeypatch.setattr(rowexchanges, "read_claimed", read_beside_others)
    claim_one(queue)
    assert locks


def test_wiped_secrets_are_not_left_in_the_file(queue, path):
    canary = b"canary-" * 3000
    publish(queue, record(secrets=canary))
    hand_in(queue, claim_one(queue), "done", wipe=True)
    queue.close()
    assert b"canary-" not in path.read_bytes()


def test_wiped_secrets_leave_the_log_before_it_has_grown(path, monkeypatch):
    monkeypatch.setattr(database, "EMPTY_LOG_SECONDS", 0.0)
    queue = SQLiteQueue(name="default", path=path)
    publish(queue, record(secrets=b"canary-" * 3000))
    hand_in(queue, claim_one(queue), "done", wipe=True)
    assert b"canary-" not in Path(f"{path}-wal").read_bytes() + path.read_bytes()
    queue.close()


def test_the_log_is_copied_into_the_file_when_it_has_grown(queue, path):
    log = Path(f"{path}-wal")
    for _ in range(36):
        publish(queue, record(body=bytes(1024 * 1024)))
        assert log.stat().st_size < 20 * 1024 * 1024
    assert path.stat().st_size > 18 * 1024 * 1024


def test_a_reader_that_stays_does_not_keep_the_log_from_being_written(queue, path, open_queue):
    publish(queue, record())
    reader = sqlite3.connect(path)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM task").fetchone()
    for _ in range(18):
        publish(queue, record(body=bytes(1024 * 1024)))
    reader.close()
    publish(queue, record(body=bytes(17 * 1024 * 1024)))
    assert Path(f"{path}-wal").stat().st_size == 0
    assert len(queue) == 20


def test_a_log_that_a_reader_has_kept_is_emptied_soon_after(path, monkeypatch):
    monkeypatch.setattr(database, "EMPTY_LOG_SECONDS", 0.0)
    queue = SQLiteQueue(name="default", path=path)
    publish(queue, record())
    monkeypatch.setattr(database, "EMPTY_LOG_SECONDS", HOUR)
    monkeypatch.setattr(database, "EMPTY_LOG_AGAIN_SECONDS", 0.0)
    reader = sqlite3.connect(path)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM task").fetchone()
    publish(queue, record())
    assert Path(f"{path}-wal").stat().st_size > 0
    reader.close()
    publish(queue, record())
    assert Path(f"{path}-wal").stat().st_size == 0
    queue.close()


# ---- what writes nothing -------------------------------------------------------------------------------------------


@pytest.fixture
def has_written(queue, path):
    """Tells whether anybody has committed anything since the last call."""
    len(queue)
    watcher = sqlite3.connect(path)
    seen = [watcher.execute("PRAGMA data_version").fetchone()]

    def has_written():
        seen.append(watcher.execute("PRAGMA data_version").fetchone())
        return seen[-1] != seen[-2]

    yield has_written
    watcher.close()


def test_consumers_that_are_idle_write_nothing(queue, has_written, clock):
    publish(queue, record(due=clock() + 100))
    run(queue, "done")
    run(queue, "dead")
    assert has_written()
    queue.exchange(OWNER, CONSUMER, (), 5, alone=True)
    queue.exchange(OWNER, CONSUMER, (), 0)
    queue.release(OWNER, CONSUMER, ())
    queue.reclaim(3)
    queue.promote()
    queue.prune(HOUR, 100, None, HOUR)
    queue.owners()
    queue.counts()
    queue.wait(0, 0.0)
    assert not has_written()


def test_a_paused_queue_writes_nothing(queue, has_written):
    publish(queue, record())
    queue.pause()
    has_written()
    queue.exchange(OWNER, CONSUMER, (), 5)
    assert not has_written()


def test_a_suspect_that_waits_for_somebody_idle_is_not_written_about(queue, has_written):
    publish(queue, record())
    claim_one(queue)
    queue.retire(OWNER)
    queue.reclaim(3)
    has_written()
    assert queue.exchange(OWNER, CONSUMER, (), 5).suspects_wait
    assert not has_written()
    assert queue.exchange(OWNER, CONSUMER, (), 5, alone=True).claimed
    assert has_written()


# ---- owners --------------------------------------------------------------------------------------------------------


def test_the_file_of_a_dead_owner_is_deleted(queue, path):
    beat(queue, OTHER)
    stage(queue, record(), owner_id=OTHER)
    queue.retire(OTHER)
    queue.reclaim(3)
    assert [each.name for each in Path(f"{path}.owners").iterdir()] == [OWNER]


def test_the_file_of_an_owner_that_died_holding_nothing_is_deleted_with_its_row(queue, path, open_queue, clock):
    killed = open_queue()
    beat(killed, OTHER)
    killed.close()  # frees its lock, as the end of its process does
    (path.parent / f"{path.name}.owners" / OTHER).touch()
    assert [status.alive for status in queue.owners()] == [True, False]
    clock.advance(HOUR + 1)
    queue.prune(HOUR, 100, None, HOUR)
    assert [status.owner.id for status in queue.owners()] == [OWNER]
    assert [each.name for each in Path(f"{path}.owners").iterdir()] == [OWNER]


def test_an_owner_whose_file_was_deleted_takes_it_again_with_its_next_beat(queue, path):
    shutil.rmtree(f"{path}.owners")
    assert [status.alive for status in queue.owners()] == [False]
    beat(queue)
    assert [status.alive for status in queue.owners()] == [True]


def test_no_owners_id_leads_out_of_the_directory(queue, path):
    strange = "../../escaped"
    beat(queue, strange)
    assert [status.alive for status in queue.owners()] == [True, True]
    assert not (path.parent.parent / "escaped").exists()
    queue.retire(strange)
    queue.reclaim(3)


def test_what_nobody_known_staged_is_held(queue):
    task_id = stage(queue, record(), owner_id="nobody")
    assert queue.reclaim(3).held == (task_id,)


# ---- the schema ----------------------------------------------------------------------------------------------------


def _change(path, statement):
    connection = sqlite3.connect(path)
    connection.execute(statement)
    connection.commit()
    connection.close()


def test_a_file_of_a_newer_release_is_refused(queue, path, open_queue):
    queue.close()
    _change(path, "UPDATE meta SET value = '2' WHERE key = 'schema_version'")
    with pytest.raises(BackendUnavailableError, match=r"tasks\.db: was made by a newer release .* upgrade") as caught:
        open_queue().get("id")
    assert "\n" not in str(caught.value)
    _change(path, "UPDATE meta SET value = '1' WHERE key = 'schema_version'")
    assert open_queue().get("id") is None


def test_a_database_of_something_else_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "other.db"
    _change(path, "CREATE TABLE visitors (name)")
    before = path.read_bytes()
    queue = SQLiteQueue(name="default", path=path)
    for act in (lambda: publish(queue, record()), lambda: queue.get("id")):
        with pytest.raises(BackendUnavailableError, match="database of something else; choose another path"):
            act()
    assert path.read_bytes() == before


def test_a_queue_that_lost_its_row_says_so_and_goes_on(queue, path):
    task_id = publish(queue, record())
    assert queue.get(task_id) is not None
    with queue._database.writing() as session:
        session.run("UPDATE queue SET number = 99")
    with pytest.raises(BackendUnavailableError, match="row is missing"):
        queue.exchange(OWNER, CONSUMER, (), 1)
    assert queue.get(task_id) is None


def test_many_that_are_due_at_once_are_made_ready_in_pieces(queue):
    publish(queue, *(record(due=HOUR * 1e9) for _ in range(2500)))
    with queue._database.writing() as session:
        session.run("UPDATE task SET due = 1")
    seen = []
    while queue.promote() is not None:
        seen.append(queue.counts().states["ready"])
    assert seen == [1000, 2000]
    assert queue.counts().states["ready"] == 2500


def test_a_page_is_what_was_there_though_some_of_it_are_claimed_before_they_are_read(queue, path, monkeypatch):
    elsewhere = SQLiteQueue(name="default", path=path)
    ids = [each.id for each in (record() for _ in range(6))]
    publish(queue, *(record(id=each) for each in ids))

    def claim_and_select(*arguments):
        claim(elsewhere, 2)
        return select_tasks(*arguments)

    select_tasks = rows.select_tasks
    monkeypatch.setattr(rows, "select_tasks", claim_and_select)
    assert [(each.id, each.state) for each in queue.list(["ready"], limit=3)] == [(each, "ready") for each in ids[:3]]
    assert [each.id for each in queue.list(["ready"], limit=2)] == ids[2:4]
