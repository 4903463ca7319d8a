"""The backend ``sqlite`` shared by real processes: their deaths, their forks, and their crowding."""

import sqlite3
import threading
from pathlib import Path

import pytest

from taskqueue.backends import database
from taskqueue.errors import BackendUnavailableError

from .making import CONSUMER, HOUR, OTHER, OWNER, beat, claim, claim_one, owner, publish, record, stage, state_of
from .processes import DEADLINE, Child, Fork, held_by_another_thread


def test_two_processes_share_a_queue(queue, path):
    with Child(
        """
        queue = SQLiteQueue(name="default", path=path)
        beat(queue, OTHER)
        say(publish(queue, record()))
        listen()
        say(claim_one(queue, owner_id=OTHER).id)
        listen()
        """,
        path,
    ) as child:
        theirs = child.hear()
        assert claim_one(queue).id == theirs
        mine = publish(queue, record())
        child.tell()
        assert child.hear() == mine
        assert queue.get(mine).owner == OTHER
        assert {(each.owner.id, each.alive) for each in queue.owners()} == {(OWNER, True), (OTHER, True)}
        child.tell()
        child.end()


def test_who_waits_is_woken_by_another_process(queue, path):
    with Child(
        """
        queue = SQLiteQueue(name="default", path=path)
        queue.exchange(OTHER, CONSUMER, (), 1)
        seen = queue.wait(0, 0)
        while (number := queue.wait(seen, 0.2)) != seen:
            seen = number
        say("waiting")
        begun = time.monotonic()
        assert queue.wait(seen, 20) != seen
        assert time.monotonic() - begun < 10
        say("woken")
        """,
        path,
    ) as child:
        child.expect("waiting")
        publish(queue, record())
        child.expect("woken")
        child.end()


def test_what_a_killed_process_held_is_reclaimed(queue, path):
    with Child(
        """
        queue = SQLiteQueue(name="default", path=path)
        beat(queue, OTHER)
        publish(queue, record())
        say(claim_one(queue, owner_id=OTHER).id)
        say(stage(queue, record(), owner_id=OTHER))
        listen()
        """,
        path,
    ) as child:
        running, staged = child.hear(), child.hear()
        assert queue.reclaim(3).owners == ()
        child.kill()
        reclaimed = queue.reclaim(3)
        assert (reclaimed.ready, reclaimed.held, reclaimed.owners) == ((running,), (staged,), (OTHER,))
        assert queue.get(running).suspect
        assert {each.owner.id for each in queue.owners() if each.alive} == {OWNER}
        assert [each.name for each in Path(f"{path}.owners").iterdir()] == [OWNER]
        publish(queue, record(id=staged))
        assert state_of(queue, staged) == "ready"


def test_a_process_that_is_stopped_for_long_is_not_dead(queue, path, clock):
    with Child(
        """
        queue = SQLiteQueue(name="default", path=path)
        beat(queue, OTHER)
        publish(queue, record())
        say(claim_one(queue, owner_id=OTHER).id)
        listen()
        """,
        path,
    ) as child:
        running = child.hear()
        clock.advance(1e6)
        assert queue.reclaim(3).ready == ()
        assert state_of(queue, running) == "running"


def test_a_forked_child_does_not_keep_its_parents_owner_alive(queue, path):
    with Child(
        """
        queue = SQLiteQueue(name="default", path=path)
        beat(queue, OTHER)
        publish(queue, record())
        running = claim_one(queue, owner_id=OTHER).id
        if os.fork() == 0:
            say(running)
        listen()
        """,
        path,
    ) as child:
        running = child.hear()
        assert queue.reclaim(3).owners == ()
        child.kill()  # its own child lives on, and waits for a line
        assert queue.reclaim(3).ready == (running,)


def test_a_forked_child_works_beside_its_parent(queue, path):
    publish(queue, record())
    queue.wait(0, 0.0)
    assert claim(queue, 1)
    child = Fork(lambda: [publish(queue, record()) for _ in range(30)])
    for _ in range(30):
        publish(queue, record())
    child.end()
    assert len(queue) == 60
    queue.close()
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


def test_no_connection_is_open_across_a_fork(queue):
    publish(queue, record())
    queue.get("id")
    queue._database.has_changed()
    assert all(slot.session is not None for slot in queue._database._slots())

    def look():
        assert all(slot.session is None for slot in queue._database._slots())
        assert database._kept_for_ever == []

    Fork(look).end()


def test_a_child_forked_in_the_middle_of_a_write_refuses_to_go_on(queue, monkeypatch):
    monkeypatch.setattr(database, "FORK_PATIENCE_SECONDS", 0.05)

    def look():
        with pytest.raises(BackendUnavailableError, match="was forked while its parent used the file; start it anew"):
            queue.get("id")
        with pytest.raises(BackendUnavailableError, match="start it anew"):
            publish(queue, record())
        queue.wait(0, 0.0)

    writing, forked = threading.Event(), threading.Event()

    def write():
        with queue._database.writing():
            writing.set()
            forked.wait(DEADLINE)

    thread = threading.Thread(target=write)
    thread.start()
    assert writing.wait(DEADLINE)
    child = Fork(look)
    forked.set()
    child.end()
    thread.join(DEADLINE)
    publish(queue, record())


def test_a_child_that_waits_does_not_inherit_a_held_lock(queue):
    queue.wait(0, 0.0)
    with held_by_another_thread(queue._hints._given):
        child = Fork(lambda: queue.wait(0, 0.0))
    child.end()


def test_none_of_many_writers_starves(queue, path):
    code = """
        queue = SQLiteQueue(name="default", path=path)
        say("here")
        listen()
        for _ in range(40):
            queue.publish([record()], 5.0)
        say("through")
    """
    children = [Child(code, path) for _ in range(6)]
    try:
        for child in children:
            child.expect("here")
        for child in children:
            child.tell()
        for child in children:
            child.expect("through")
            child.end()
    finally:
        for child in children:
            child.__exit__()
    assert len(queue) == 240


def test_processes_that_begin_at_once_create_one_file(path, open_queue):
    code = """
        say("here")
        listen()
        queue = SQLiteQueue(name="default", path=path)
        say(publish(queue, record()))
    """
    children = [Child(code, path) for _ in range(4)]
    try:
        for child in children:
            child.expect("here")
        for child in children:
            child.tell()
        ids = {child.hear() for child in children}
        for child in children:
            child.end()
    finally:
        for child in children:
            child.__exit__()
    assert {each.id for each in open_queue().list(["ready"])} == ids


# ---- locked by others ----------------------------------------------------------------------------------------------

_HOLD_DATABASE = """
    import sqlite3
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN EXCLUSIVE")
    say("held")
    listen()
"""
_HOLD_LOCK = """
    import fcntl
    file = open(path + ".lock", "r+")
    fcntl.flock(file, fcntl.LOCK_EX)
    say("held")
    listen()
"""


@pytest.mark.parametrize("code", [_HOLD_DATABASE, _HOLD_LOCK], ids=["database", "lock"])
def test_a_lock_of_another_process_is_waited_for_no_longer_than_allowed(queue, path, code):
    beat(queue)
    kept = publish(queue, record())
    with Child(code, path) as child:
        child.expect("held")
        for act in (
            lambda: queue.stage([record()], b"", OWNER, 0.2),
            lambda: queue.publish([record()], 0.2),
            lambda: queue.discard(["id"], 0.2),
            lambda: queue.beat(owner(OTHER), 60.0, 0.2),
        ):
            failed = _in_thread(act)
            assert isinstance(failed, BackendUnavailableError)
            assert "another process" in str(failed)
            assert "\n" not in str(failed)
        assert queue.get(kept) is not None, "readers need not wait"
        idle = (
            lambda: queue.exchange(OWNER, CONSUMER, (), 0),
            lambda: queue.release(OWNER, CONSUMER, ()),
            lambda: queue.reclaim(3),
            queue.promote,
            lambda: queue.prune(HOUR, 100, None, HOUR),
        )
        for act in idle:
            assert _in_thread(act) is None, "who finds nothing to do need not wait"
        child.tell()
        child.end()
    task_id = stage(queue, record())
    assert state_of(queue, task_id) == "staged"


@pytest.mark.parametrize("code", [_HOLD_DATABASE, _HOLD_LOCK], ids=["database", "lock"])
def test_who_waits_behind_a_thread_that_waits_for_another_process_is_told_of_that_process(
    queue, path, code, monkeypatch
):
    beat(queue)
    is_at_it = threading.Event()
    lock = queue._database._locked

    def locked(deadline):
        is_at_it.set()  # and has what threads share
        return lock(deadline)

    monkeypatch.setattr(queue._database, "_locked", locked)
    with Child(code, path) as child:
        child.expect("held")
        first = threading.Thread(target=lambda: queue.stage([record()], b"", OWNER, DEADLINE))
        first.start()
        assert is_at_it.wait(DEADLINE)
        failed = _in_thread(lambda: queue.stage([record()], b"", OWNER, 0.2))
        assert isinstance(failed, BackendUnavailableError)
        assert "another process" in str(failed)
        child.tell()
        child.end()
    first.join(DEADLINE)
    assert len(queue.staged()) == 1


def test_a_lock_of_another_thread_is_waited_for_no_longer_than_allowed(queue):
    with queue._database.writing():
        failed = _in_thread(lambda: queue.stage([record()], b"", OWNER, 0.2))
        assert isinstance(failed, BackendUnavailableError)
        assert "other threads" in str(failed)
    stage(queue, record())


def test_a_lock_that_is_let_go_in_time_is_taken(queue, path):
    with Child(_HOLD_LOCK, path) as child:
        child.expect("held")
        begun = threading.Event()
        result = []

        def publish_meanwhile():
            begun.set()
            queue.publish([record()], DEADLINE)
            result.append("published")

        thread = threading.Thread(target=publish_meanwhile)
        thread.start()
        assert begun.wait(DEADLINE)
        child.tell()
        thread.join(DEADLINE)
        assert result == ["published"]


def _in_thread(act):
    """The error that it raises; fails when it has not ended within two seconds."""
    raised = []

    def run():
        try:
            act()
        except Exception as error:  # noqa: BLE001  # looked at by the caller
            raised.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(2.0)
    assert not thread.is_alive(), "it waited for longer than two seconds"
    return raised[0] if raised else None


# ---- waking --------------------------------------------------------------------------------------------------------

WAITS = """
    from taskqueue.backends.database import Database
    Database.has_changed = lambda database: False
    queue = SQLiteQueue(name="default", path=path)
    len(queue)
    seen = queue.wait(queue.wait(0, 0.0), 0.0)
    say("waits")
    say("woken" if queue.wait(seen, 60.0) != seen else "not woken")
"""


def test_all_processes_that_wait_are_woken_without_looking(queue, path):
    with Child(WAITS, path) as one, Child(WAITS, path) as two:
        one.expect("waits")
        two.expect("waits")
        publish(queue, record())
        one.expect("woken")
        two.expect("woken")


def test_who_is_killed_while_it_waits_leaves_nothing_for_long(queue, path):
    pipes = Path(f"{path}.waiting")
    with Child(WAITS, path) as killed, Child(WAITS, path) as other:
        killed.expect("waits")
        other.expect("waits")
        assert len(list(pipes.iterdir())) == 2
        killed.kill()
        publish(queue, record())
        other.expect("woken")
        assert len(list(pipes.iterdir())) == 1
