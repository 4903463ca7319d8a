"""Nobody but us takes part, and all tasks are of one queue: then nothing is staged, and our vote is the commit."""

import pytest

from taskqueue import failpoints, queues
from taskqueue.errors import BackendUnavailableError
from taskqueue.keeper import process_keeper
from taskqueue.notices import Event
from taskqueue.producer import add

from .fakes import Neighbour, states

BEFORE = "/var/Data.fs"
AFTER = "~sqlalchemy:1"


def down():
    return BackendUnavailableError("no answer")


def interrupt():
    raise KeyboardInterrupt


def test_where_nobody_else_takes_part_one_call_is_the_commit(manager, backend):
    ids = [add("/x", transaction_manager=manager) for _ in range(3)]
    manager.commit()

    assert backend.calls == [("deliver", tuple(ids))]
    assert states(backend, ids) == ["ready"] * 3
    assert backend.envelopes == []
    assert [status.owner.id for status in backend.owners()] == [process_keeper().owner_id]


def two_queues(manager):
    add("/x", queue="other", transaction_manager=manager)


def a_volatile_neighbour(manager):
    return Neighbour(manager, AFTER, volatile=True)


def a_stranger(manager):
    return Neighbour(manager, BEFORE)


@pytest.mark.parametrize("join", [two_queues, a_volatile_neighbour, a_stranger])
def test_where_somebody_else_may_still_fail_tasks_are_staged_first(manager, backend, join):
    (task_id,) = ids = [add("/x", transaction_manager=manager)]
    kept = join(manager)
    manager.commit()
    del kept

    assert backend.calls[:2] == [("stage", (task_id,)), ("publish", (task_id,))]
    assert states(backend, ids) == ["ready"]


@pytest.mark.parametrize("error", [down(), RuntimeError("what is this"), KeyboardInterrupt()], ids=repr)
def test_a_commit_in_one_call_fails_before_there_is_anything_to_finish(manager, backend, told, error, caplog):
    task_id = add("/x", transaction_manager=manager)
    backend.failures["deliver"] = error
    with pytest.raises(type(error)):
        manager.commit()
    manager.abort()

    assert backend.state(task_id) is None
    assert told.of(Event.ADDED) == []
    assert [record for record in caplog.records if record.levelname == "CRITICAL"] == []


@pytest.fixture
def lose_answer(backend, monkeypatch):
    """What ``deliver`` has done, it has done; then this is raised."""

    def lose(error):
        deliver = backend.deliver

        def deliver_and_fail(records, timeout):
            deliver(records, timeout)
            raise error

        monkeypatch.setattr(backend, "deliver", deliver_and_fail)

    return lose


@pytest.mark.parametrize("error", [down(), OSError("nobody can be told")], ids=repr)
def test_what_has_been_stored_is_committed_whatever_came_behind_it(manager, backend, told, lose_answer, error):
    ids = [add("/x", transaction_manager=manager) for _ in range(2)]
    lose_answer(error)
    manager.commit()

    assert states(backend, ids) == ["ready"] * 2
    assert len(told.of(Event.ADDED)) == 2


def test_an_interrupt_behind_what_has_been_stored_takes_nothing_back(manager, backend, lose_answer):
    ids = [add("/x", transaction_manager=manager)]
    lose_answer(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        manager.commit()
    manager.abort()

    assert states(backend, ids) == ["ready"]
    assert "discard" not in backend.verbs()


@pytest.mark.parametrize("error", [down(), RuntimeError("lost")], ids=repr)
def test_what_may_still_come_of_a_call_that_has_failed_is_discarded(manager, backend, error):
    task_id = add("/x", transaction_manager=manager)
    backend.failures["deliver"] = error
    with pytest.raises(type(error)):
        manager.commit()
    manager.abort()
    process_keeper().forget(queues.installed()["default"])

    (verb, ids) = backend.calls[-1]
    assert verb in {"discard", "settle discard"}  # by the abort, or by the keeper while the queue was down
    assert ids == (task_id,)


def test_of_a_queue_that_may_answer_too_late_tasks_are_staged_first(manager, backend, monkeypatch):
    monkeypatch.setattr(backend, "capabilities", frozenset({"durable", "shared"}))
    ids = [add("/x", transaction_manager=manager)]
    manager.commit()

    assert backend.verbs() == ["stage", "publish"]
    assert states(backend, ids) == ["ready"]


def test_a_queue_that_is_down_is_told_once_and_refuses_what_comes_next(manager, backend, told):
    backend.before["deliver"] = lambda timeout: backend.failures.update(deliver=down(), beat=down())
    add("/x", transaction_manager=manager)
    with pytest.raises(BackendUnavailableError):
        manager.commit()
    manager.abort()
    with pytest.raises(BackendUnavailableError, match="try again later"):
        add("/x", transaction_manager=manager)

    assert len(told.of(Event.BACKEND_DOWN)) == 1


def test_an_interrupt_between_the_commit_in_one_call_and_its_end_takes_nothing_back(manager, backend):
    ids = [add("/x", transaction_manager=manager)]
    with failpoints.armed("vote.done", interrupt), pytest.raises(KeyboardInterrupt):
        manager.commit()
    manager.abort()

    assert states(backend, ids) == ["ready"]
    assert backend.verbs() == ["deliver"]
