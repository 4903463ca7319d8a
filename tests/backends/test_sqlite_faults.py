"""The backend ``sqlite`` when its file cannot be used: one error of one line, and it goes on by itself."""

import contextlib
import os
import shutil
import sqlite3
import subprocess
import tempfile
import threading
from pathlib import Path

import pytest

from taskqueue.backends import database, filesystem
from taskqueue.backends.sqlite import SQLiteQueue
from taskqueue.errors import BackendReplacedError, BackendUnavailableError
from taskqueue.interfaces import Record

from .making import CONSUMER, OWNER, beat, claim, claim_one, hand_in, publish, record, stage, state_of
from .processes import DEADLINE, Child

WRITES = {
    "stage": lambda queue: stage(queue, record()),
    "try_adding": lambda queue: queue.try_adding(5.0),
    "publish": lambda queue: publish(queue, record()),
    "discard": lambda queue: queue.discard(["id"], 5.0),
    "settle": lambda queue: queue.settle(["id"], "publish"),
    "beat": beat,
    "requeue": lambda queue: queue.requeue(["id"]),
    "delete": lambda queue: queue.delete(["id"]),
    "purge": lambda queue: queue.purge(["done"]),
    "pause": lambda queue: queue.pause(),
    "retire": lambda queue: queue.retire(OWNER),
}
READS = {
    "get": lambda queue: queue.get("id"),
    "list": lambda queue: queue.list(["ready"]),
    "staged": lambda queue: queue.staged(),
    "len": len,
    "counts": lambda queue: queue.counts(),
    "owners": lambda queue: queue.owners(),
    "exchange": lambda queue: queue.exchange(OWNER, CONSUMER, (), 1),
    "release": lambda queue: queue.release(OWNER, CONSUMER, ()),
    "reclaim": lambda queue: queue.reclaim(3),
    "promote": lambda queue: queue.promote(),
    "prune": lambda queue: queue.prune(1, 1, 1, 1),
}
ALL = {**WRITES, **READS}


def fails(act, queue, match, error=BackendUnavailableError):
    """It raises the one error there is, in one line that names the file."""
    with pytest.raises(error, match=match) as caught:
        act(queue)
    assert str(caught.value).startswith(queue.path)
    assert "\n" not in str(caught.value)


# ---- deleted and replaced ------------------------------------------------------------------------------------------


def _delete(path):
    for each in path.parent.glob("tasks.db*"):
        shutil.rmtree(each) if each.is_dir() else each.unlink()


@pytest.mark.parametrize("verb", ALL)
@pytest.mark.parametrize(
    "delete", [os.unlink, _delete, lambda path: shutil.rmtree(path.parent)], ids=["file", "files", "directory"]
)
def test_a_deleted_file_is_told_once_and_made_anew(queue, path, delete, verb):
    lost = publish(queue, record())
    queue.get(lost)
    delete(path)
    fails(ALL[verb], queue, "was deleted while in use", BackendReplacedError)
    ALL[verb](queue)
    assert queue.get(lost) is None
    beat(queue)
    queue.resume()
    task_id = publish(queue, record(priority=1))
    assert claim_one(queue).id == task_id
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_replaced_file_is_told_once_and_opened(queue, path, tmp_path):
    other = SQLiteQueue(name="default", path=tmp_path / "other.db")
    task_id = publish(other, record())
    other.close()
    os.replace(tmp_path / "other.db", path)
    fails(WRITES["publish"], queue, "was replaced by another file", BackendReplacedError)
    assert state_of(queue, task_id) == "ready"


def test_all_connections_learn_of_a_deleted_file_at_once(queue, path):
    publish(queue, record())
    len(queue)
    queue.wait(0, 0.0)
    os.unlink(path)
    fails(len, queue, "was deleted")
    task_id = publish(queue, record())
    assert len(queue) == 1
    assert claim_one(queue).id == task_id


def test_what_is_left_of_a_deleted_file_does_not_spoil_the_next(queue, path):
    for _ in range(3):
        publish(queue, record())
    os.unlink(path)
    assert Path(f"{path}-wal").exists()
    fails(len, queue, "was deleted")
    assert len(queue) == 0
    publish(queue, record())
    assert len(queue) == 1


def test_who_waits_survives_that_the_file_goes_and_comes(queue, path):
    seen = [queue.wait(0, 0.0)]
    failures = []
    begun, stopped = threading.Event(), threading.Event()

    def wait():
        try:
            while not stopped.is_set():
                seen.append(queue.wait(seen[-1], 0.2))
                begun.set()
        except Exception as error:  # noqa: BLE001  # told by the assertion below
            failures.append(error)
            begun.set()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    assert begun.wait(DEADLINE)
    shutil.rmtree(path.parent)
    before = seen[-1]
    begun.clear()
    assert begun.wait(DEADLINE)
    fails(len, queue, "was deleted")
    publish(queue, record())
    begun.clear()
    assert begun.wait(DEADLINE)
    stopped.set()
    queue.wake()
    thread.join(DEADLINE)
    assert not thread.is_alive()
    assert failures == []
    assert seen[-1] != before


def test_a_deleted_lock_file_is_made_anew(queue, path):
    publish(queue, record())
    os.unlink(f"{path}.lock")
    publish(queue, record())
    assert Path(f"{path}.lock").exists()


# ---- no database, no right, no room --------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ALL)
def test_a_file_that_is_no_database_is_told_until_it_is_moved_away(path, open_queue, verb):
    path.parent.mkdir()
    path.write_bytes(b"This is the diary of somebody else. " * 200)
    queue = open_queue()
    fails(ALL[verb], queue, "not a database; give another path, or move it away")
    fails(ALL[verb], queue, "not a database; give another path, or move it away")
    assert path.read_bytes().startswith(b"This is the diary")
    path.unlink()
    publish(queue, record())
    assert len(queue) == 1


def test_a_damaged_file_is_told(queue, path):
    publish(queue, *(record(body=bytes(3000)) for _ in range(100)))
    queue.close()
    content = bytearray(path.read_bytes())
    content[4096:] = b"\x5a" * (len(content) - 4096)
    path.write_bytes(content)
    fails(READS["get"], queue, "malformed; stop all processes that use it, and recover it")
    fails(WRITES["publish"], queue, "malformed")


def test_a_path_that_is_a_directory_is_told(path, open_queue):
    path.mkdir(parents=True)
    fails(WRITES["publish"], open_queue(), "is a directory; name a file in it")


def test_a_directory_that_is_a_file_is_told(path, open_queue):
    path.parent.write_text("")
    queue = open_queue()
    fails(
        WRITES["publish"],
        queue,
        "as the user of the site|is a directory; name|is a file of this program|ot a directory|exists",
    )
    path.parent.unlink()
    publish(queue, record())


def test_a_full_disk_is_told_and_left_behind(path):
    with Child(
        """
        import resource
        queue = SQLiteQueue(name="default", path=path)
        beat(queue)
        kept = publish(queue, record())
        resource.setrlimit(resource.RLIMIT_FSIZE, (256 * 1024, resource.RLIM_INFINITY))
        large = record(body=bytes(1024 * 1024))
        for act in (lambda: publish(queue, large), lambda: stage(queue, large)):
            try:
                act()
            except BackendUnavailableError as error:
                say(str(error))
        assert queue.get(large.id) is None
        assert claim_one(queue).id == kept
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        publish(queue, large)
        say(str(len(queue)))
        """,
        path,
    ) as child:
        for _ in range(2):
            line = child.hear()
            assert line.startswith(f"{path}: ")
            assert "room" in line
        child.expect("1")
        child.end()


@pytest.fixture
def open_folder():
    """A directory that a user without any rights can reach."""
    folder = Path(tempfile.mkdtemp(prefix="taskqueue-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


_DROP_RIGHTS = """
    if os.getuid() == 0:
        os.setgid(65534)
        os.setuid(65534)
"""


def _make_file(folder):
    path = folder / "var" / "tasks.db"
    queue = SQLiteQueue(name="default", path=path)
    publish(queue, record())
    queue.close()
    if os.getuid() == 0:
        for each in [path.parent, *path.parent.iterdir()]:
            os.chown(each, 65534, 65534)
    return path


def test_trying_to_add_tells_that_the_disk_is_full(path):
    with Child(
        """
        import resource
        queue = SQLiteQueue(name="default", path=path)
        queue.try_adding(5.0)
        resource.setrlimit(resource.RLIMIT_FSIZE, (os.path.getsize(f"{path}-wal"), resource.RLIM_INFINITY))
        try:
            queue.try_adding(5.0)
        except BackendUnavailableError as error:
            say(str(error))
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        queue.try_adding(5.0)
        say(str(set(queue.counts().states.values())))
        """,
        path,
    ) as child:
        assert "room" in child.hear()
        child.expect("{0}")
        child.end()


def test_trying_to_add_waits_as_long_as_it_may_for_who_writes(queue, path):
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        fails(lambda queue: queue.try_adding(0.2), queue, "locked; another process uses it for too long")
    queue.try_adding(5.0)


def test_trying_to_add_again_and_again_takes_no_room(queue, path):
    publish(queue, record())
    sizes = set()
    for _ in range(3):
        for _ in range(20):
            queue.try_adding(5.0)
        queue.close()
        sizes.add(path.stat().st_size)
    assert len(sizes) == 1


def test_a_read_only_file_is_told_and_can_be_read(open_folder):
    path = _make_file(open_folder)
    path.chmod(0o400)
    with Child(
        _DROP_RIGHTS
        + """
    queue = SQLiteQueue(name="default", path=path)
    for act in (lambda: publish(queue, record()), lambda: queue.try_adding(5.0)):
        try:
            act()
        except BackendUnavailableError as error:
            say(str(error))
    say(str(len(queue)))
    listen()
    publish(queue, record())
    say(str(len(queue)))
    """,
        path,
    ) as child:
        for _ in range(2):
            line = child.hear()
            assert line.startswith(f"{path}: ")
            assert "the right to write" in line
        child.expect("1")
        path.chmod(0o600)
        child.tell()
        child.expect("2")
        child.end()


def test_a_directory_that_cannot_be_written_is_told(open_folder):
    (open_folder / "var").mkdir(0o555)
    path = open_folder / "var" / "tasks.db"
    with Child(
        _DROP_RIGHTS
        + """
    queue = SQLiteQueue(name="default", path=path)
    for act in (lambda: publish(queue, record()), lambda: len(queue), lambda: beat(queue)):
        try:
            act()
        except BackendUnavailableError as error:
            say(str(error))
    """,
        path,
    ) as child:
        for _ in range(3):
            line = child.hear()
            assert line.startswith(f"{path}: ")
            assert "the right to write" in line
        child.end()


def test_a_network_file_system_is_refused_at_first_use(path, open_queue, tmp_path, monkeypatch):
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"1 0 8:1 / / rw - ext4 /dev/vda rw\n2 1 0:50 / {tmp_path} rw - nfs4 server:/export rw\n")
    monkeypatch.setattr(filesystem, "MOUNTS", mounts)
    queue = open_queue()
    for act in (WRITES["publish"], READS["len"], WRITES["beat"]):
        fails(act, queue, r"network file system \(nfs4\).* choose a path on a disk of this machine")
    assert not path.parent.exists()
    mounts.write_text("1 0 8:1 / / rw - ext4 /dev/vda rw\n")
    publish(queue, record())


# ---- what must not be swallowed ------------------------------------------------------------------------------------


def test_a_write_that_fails_half_way_leaves_nothing(queue):
    good, bad = record(), record(priority="not a number", body=None)
    for act in (lambda: publish(queue, good, bad), lambda: stage(queue, good, bad)):
        with pytest.raises(BackendUnavailableError):
            act()
    assert len(queue.list(["staged", "ready"])) == 0
    publish(queue, good)
    assert len(queue) == 1


def test_an_interrupted_write_leaves_nothing(queue):
    def records():
        yield record()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        queue.publish(records(), 5.0)
    assert len(queue) == 0
    publish(queue, record())
    assert len(queue) == 1


# ---- what somebody else wrote ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["'text'", "x'ff00'", "7", "1.5", "cast(x'ff41' AS TEXT)"])
@pytest.mark.parametrize(
    "column", [name for name in Record.__struct_fields__ if name not in {"id", "state", "suspect"}]
)
def test_a_record_that_somebody_else_changed_keeps_no_other_from_running(queue, path, column, value):
    changed, other = publish(queue, record(priority=1)), publish(queue, record())
    queue.close()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute(f"UPDATE task SET {column} = {value} WHERE id = ?", (changed,))
        connection.commit()
    assert queue.get(changed).id == changed
    assert len(queue.list(["ready"])) == 2
    assert queue.counts().states["ready"] == 2
    beat(queue)
    claimed = [*claim(queue, 2, alone=True), *claim(queue, 2, alone=True)]
    assert {each.id for each in claimed} == {changed, other}
    for each in claimed:
        assert hand_in(queue, each, "dead").refused == ()
    assert queue.counts().states["dead"] == 2


@pytest.mark.parametrize("column", ["deaths", "suspect", "claim_number", "body"])
def test_a_running_record_that_somebody_else_changed_is_reclaimed(queue, path, column):
    beat(queue)
    publish(queue, record(), record())
    claim(queue, 2)
    queue.retire(OWNER)
    queue.close()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute(f"UPDATE task SET {column} = 'text'")
        connection.execute("UPDATE owner SET consumers = '7'")
        connection.commit()
    assert len(queue.reclaim(3).ready) == 2
    assert [each.owner.consumers for each in queue.owners()] == [()]
    queue.prune(0.0, 0, None, 0.0)


def test_an_id_that_is_no_text_keeps_no_other_from_running(queue, path):
    changed, other = publish(queue, record(priority=1)), publish(queue, record())
    queue.close()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE task SET id = x'ff00' WHERE id = ?", (changed,))
        connection.commit()
    assert [each.id for each in queue.list(["ready"])] == [other]
    assert [each.id for each in claim(queue, 2)] == [other]
    assert queue.purge(["ready"]) == 0


def test_what_root_makes_belongs_to_the_owner_of_the_folder(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    os.chown(tmp_path, 65534, 65534)
    queue = SQLiteQueue(name="q", path=tmp_path / "var" / "deep" / "tasks.db")
    beat(queue)
    publish(queue, record())
    made = list(tmp_path.rglob("*"))
    assert {path.name for path in made} >= {"var", "deep", "tasks.db", "tasks.db.lock", "tasks.db.owners"}
    assert {path.stat().st_uid for path in made} == {65534}
    queue.close()


# ---- what a commit leaves that has failed --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def failing_sync(tmp_path_factory):
    """A library that lets syncs fail."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    library = tmp_path_factory.mktemp("failing_sync") / "failing_sync.so"
    source = Path(__file__).with_name("failing_sync.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return library


FAILS_TO_SYNC = """
sign = os.environ["FAILING_SYNC"]
queue = SQLiteQueue(name="default", path=path)
first, second = record(), record()
queue.deliver([first], 5.0)
queue.get(first.id)
open(sign, "w").close()
try:
    queue.deliver([second], 5.0)
except BackendUnavailableError as error:
    say("failed" if "disk I/O error" in str(error) else error)
if sys.argv[2] == "mended":
    os.unlink(sign)
    say(queue.get(second.id) is None)
    queue.deliver([record()], 5.0)
say(first.id)
say(second.id)
listen()
"""


@pytest.mark.parametrize("then", ["crashed", "mended"])
def test_what_could_not_be_synced_is_not_found_as_committed_later(path, tmp_path, failing_sync, monkeypatch, then):
    """All of it may stand in the log by then, and whoever opens the file after a crash reads that."""
    monkeypatch.setenv("LD_PRELOAD", str(failing_sync))
    monkeypatch.setenv("FAILING_SYNC", str(tmp_path / "failing"))
    with Child(FAILS_TO_SYNC, path, then) as child:
        child.expect("failed")
        if then == "mended":
            child.expect("True")
        first, second = child.hear(), child.hear()
        child.kill()
    queue = SQLiteQueue(name="default", path=path)
    assert (state_of(queue, first), queue.get(second)) == ("ready", None)
    assert len(queue) == 1 + (then == "mended")


def test_a_transaction_that_was_left_open_takes_nothing_along(queue, path):
    """As by an interrupt where nothing is caught."""
    kept = publish(queue, record())
    queue._database._writer.session.connection.execute("BEGIN IMMEDIATE")
    added = publish(queue, record())
    elsewhere = SQLiteQueue(name="default", path=path)
    assert [state_of(elsewhere, task_id) for task_id in (kept, added)] == ["ready", "ready"]
    assert {each.id for each in claim(elsewhere, 2)} == {kept, added}


# ---- what is no file, or hangs -------------------------------------------------------------------------------------


def test_a_pipe_is_refused_before_anybody_waits_for_it(path):
    path.parent.mkdir()
    os.mkfifo(path)
    queue = SQLiteQueue(name="default", path=path)
    for verb in ("publish", "get", "counts"):
        fails(ALL[verb], queue, "is no file that something could be stored in; choose another path")
    queue.close()


def test_closing_does_not_wait_for_ever_for_who_does_not_come_back(queue, path, monkeypatch):
    publish(queue, record())
    monkeypatch.setattr(database, "DEFAULT_TIMEOUT", 0.05)
    with queue._database._writer.lock:
        queue.close()
        assert queue._database._writer.session is not None
    assert len(queue) == 1
