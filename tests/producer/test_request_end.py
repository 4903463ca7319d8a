"""The end of a request whose transaction is still open: its tasks are discarded, and no later commit delivers them."""

import threading

import pytest
import transaction

from taskqueue import context
from taskqueue.notices import Event
from taskqueue.producer import add
from taskqueue.producer.joining import discard_unfinished

from .fakes import Neighbour, NeighbourError, origin


def failing_hook():
    """A hook of the application that fails."""
    raise NeighbourError("hook")


class FailingSynchronizer:
    """Prevents a commit when all hooks have run."""

    def newTransaction(self, transaction):  # noqa: N802  # the name is ISynchronizer's
        """Nothing."""

    def beforeCompletion(self, transaction):  # noqa: N802  # the same
        raise NeighbourError("beforeCompletion")

    def afterCompletion(self, transaction):  # noqa: N802  # the same
        """Nothing."""


def test_what_a_request_leaves_in_an_open_transaction_is_discarded_for_good(site, backend, told):
    active = origin()
    with context.active(active):
        ids = [add("/x"), add("/y")]

    assert discard_unfinished(active) == tuple(ids)
    assert discard_unfinished(active) == ()
    transaction.commit()
    assert backend.calls == []
    assert told.of(Event.ADDED) == []


def test_the_next_request_in_the_same_transaction_delivers_its_own_tasks_only(site, backend):
    first, second = origin(), origin()
    with context.active(first):
        discarded = add("/x")
    discard_unfinished(first)
    with context.active(second):
        delivered = add("/y")
        transaction.commit()

    assert discard_unfinished(second) == ()
    assert [backend.state(discarded), backend.state(delivered)] == [None, "ready"]


def test_a_doomed_transaction_is_unfinished_too(site, backend):
    active = origin()
    with context.active(active):
        task_id = add("/x")
    transaction.doom()

    assert discard_unfinished(active) == (task_id,)


@pytest.mark.parametrize("ending", ["commit", "abort"])
def test_what_has_ended_is_let_be(site, backend, ending):
    active = origin()
    with context.active(active):
        task_id = add("/x")
        getattr(transaction, ending)()

    assert discard_unfinished(active) == ()
    assert [backend.state(task_id)] == ["ready" if ending == "commit" else None]


def test_what_was_to_be_committed_when_a_hook_prevented_it_is_forgotten(site, backend):
    active = origin()
    with context.active(active):
        task_id = add("/x")
        transaction.get().addBeforeCommitHook(failing_hook)
        with pytest.raises(NeighbourError):
            transaction.commit()

    assert discard_unfinished(active) == (task_id,)
    transaction.commit()
    assert backend.calls == []


def test_what_was_staged_for_a_commit_that_was_prevented_behind_the_hooks_is_discarded(site, backend):
    active = origin()
    with context.active(active):
        task_id = add("/x")
        Neighbour(transaction.manager, "/var/Data.fs")
        failing = FailingSynchronizer()
        transaction.manager.registerSynch(failing)
        with pytest.raises(NeighbourError):
            transaction.commit()
        transaction.manager.unregisterSynch(failing)

    assert [backend.state(task_id)] == ["staged"]
    assert discard_unfinished(active) == (task_id,)
    transaction.commit()
    assert backend.verbs() == ["stage", "discard"]
    assert [backend.state(task_id)] == [None]


def test_a_transaction_that_another_thread_commits_just_now_is_let_be(manager, backend):
    active = origin()
    with context.active(active):
        ids = [add("/x", transaction_manager=manager)]
    inside, may_go_on = threading.Event(), threading.Event()

    def wait_inside():
        inside.set()
        assert may_go_on.wait(20)

    Neighbour(manager, "/var/Data.fs", tpc_begin=wait_inside)
    committing = threading.Thread(target=manager.commit)
    committing.start()
    assert inside.wait(20)
    discarded = discard_unfinished(active)
    may_go_on.set()
    committing.join(20)

    assert discarded == ()
    assert [backend.state(ids[0])] == ["ready"]


def test_a_request_that_rolled_its_tasks_back_leaves_nothing(manager):
    active = origin()
    with context.active(active):
        savepoint = manager.savepoint()
        add("/x", transaction_manager=manager)
        savepoint.rollback()

    assert discard_unfinished(active) == ()
