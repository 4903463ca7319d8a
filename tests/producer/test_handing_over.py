"""Where a witness knows of the commit, a thread publishes; everywhere else the request does, before it goes on."""

import threading

import pytest

import taskqueue
from taskqueue import failpoints, keeper, queues
from taskqueue.errors import BackendUnavailableError
from taskqueue.keeper import Keeper, process_keeper
from taskqueue.notices import Event
from taskqueue.queues import Queue, Queues

from ..serving import wait_until
from .fakes import DEADLINE_SECONDS, CompletionListener, FailingQueue, Neighbour, added, states

BEFORE = "/var/Data.fs"
AFTER = "~sqlalchemy:1"


class DurableQueue(FailingQueue):
    """Says that it outlives the process."""

    capabilities = frozenset({"durable"})


@pytest.fixture
def backend():
    return DurableQueue("default")


@pytest.fixture
def other_backend():
    return DurableQueue("other")


@pytest.fixture
def gate(backend):
    """Publishing waits until it is set, and says which thread does it."""
    opened = threading.Event()
    opened.threads = []

    def wait(_timeout):
        opened.threads.append(threading.current_thread())
        assert opened.wait(DEADLINE_SECONDS), "nobody opened the gate in time"

    backend.before["publish"] = wait
    yield opened
    opened.set()
    process_keeper().publisher.wait(DEADLINE_SECONDS)


def with_witness(manager, witness, key=BEFORE, **acts):
    """Join somebody whom the witness knows."""
    neighbour = Neighbour(manager, key, **acts)
    neighbour.database = witness.database
    return neighbour


@pytest.mark.parametrize("key", [BEFORE, AFTER])
def test_a_request_with_a_witness_does_not_wait_until_its_tasks_are_published(
    manager, backend, witness, told, gate, key
):
    ids = added(manager, 2)
    with_witness(manager, witness, key)
    manager.commit()

    assert states(backend, ids) == ["staged", "staged"]
    assert told.ids(Event.ADDED) == ids
    assert process_keeper().unpublished() == 2
    gate.set()
    assert process_keeper().publisher.wait(DEADLINE_SECONDS)
    assert states(backend, ids) == ["ready", "ready"]
    assert gate.threads != [threading.current_thread()]
    assert process_keeper().unpublished() == 0


def company_of_nobody(manager, witness):
    """Nothing durable."""


def company_of_a_stranger(manager, witness):
    """Somebody whom no witness knows."""
    Neighbour(manager, BEFORE)


def company_of_both(manager, witness):
    """Both."""
    with_witness(manager, witness)
    Neighbour(manager, AFTER)


def company_that_comes_late(manager, witness):
    """Somebody who joins when it is too late for a mark."""
    with_witness(manager, witness)
    listener = CompletionListener(lambda: Neighbour(manager, AFTER))
    manager.registerSynch(listener)
    return listener  # a weak reference is all that the manager keeps of it


@pytest.mark.parametrize("join", [company_of_nobody, company_of_a_stranger, company_of_both, company_that_comes_late])
def test_a_request_without_a_witness_for_all_publishes_itself(manager, backend, witness, gate, join):
    gate.set()
    ids = added(manager)
    kept = join(manager, witness)
    manager.commit()
    del kept

    assert states(backend, ids) == ["ready"]
    assert gate.threads == [threading.current_thread()]


def test_a_mark_that_was_left_in_the_vote_is_not_relied_on(manager, backend, witness, gate):
    gate.set()
    witness.writes_nothing = True  # as one that has only read until then
    ids = added(manager)
    with_witness(manager, witness, tpc_begin=lambda: setattr(witness, "writes_nothing", False))
    manager.commit()

    assert len(witness.marked) == 1
    assert states(backend, ids) == ["ready"]
    assert gate.threads == [threading.current_thread()]


def test_what_is_only_in_memory_is_published_before_the_request_goes_on(manager, site, witness):
    memory = FailingQueue("default")
    queues.install(Queues({"default": Queue("default", memory)}))
    ids = added(manager)
    with_witness(manager, witness)
    manager.commit()

    assert states(memory, ids) == ["ready"]
    process_keeper().forget(queues.installed()["default"])


def test_a_keeper_that_has_stopped_leaves_it_to_the_request(manager, backend, witness, gate, monkeypatch):
    gate.set()
    stopped = Keeper()
    stopped.stop()
    monkeypatch.setattr(keeper, "_keeper", stopped)
    ids = added(manager)
    with_witness(manager, witness)
    manager.commit()

    assert states(backend, ids) == ["ready"]
    assert gate.threads == [threading.current_thread()]


def open_when_somebody_waits(gate):
    def run():
        wait_until(lambda: process_keeper().publisher._waiters)
        gate.set()

    threading.Thread(target=run, daemon=True).start()


def test_who_looks_for_a_task_of_this_process_finds_it_published(manager, backend, witness, gate):
    (task_id,) = added(manager)
    with_witness(manager, witness)
    manager.commit()
    open_when_somebody_waits(gate)

    assert taskqueue.get(task_id).state == "ready"


def test_what_the_thread_cannot_publish_is_done_again(manager, backend, witness, told):
    backend.failures["publish"] = BackendUnavailableError("no answer")
    ids = added(manager)
    with_witness(manager, witness)
    manager.commit()
    told.wait_for(Event.UNPUBLISHED)
    backend.failures.clear()
    told.wait_for(Event.PUBLISHED_LATE)

    assert states(backend, ids) == ["ready"]
    assert told.ids(Event.UNPUBLISHED) == ids
    assert told.of(Event.BACKEND_DOWN)  # again, if a probe came between that and the publishing


@pytest.mark.parametrize("error", [RuntimeError("broken"), SystemExit()])
def test_the_thread_outlives_whatever_is_raised(manager, backend, witness, told, error):
    def fail():
        raise error

    with failpoints.armed("finish.published", fail):
        ids = added(manager)
        with_witness(manager, witness)
        manager.commit()
        told.wait_for(Event.UNPUBLISHED)
    manager.begin()
    ids += added(manager)
    with_witness(manager, witness)
    manager.commit()

    assert process_keeper().publisher.wait(DEADLINE_SECONDS)
    assert states(backend, ids) == ["ready", "ready"]


def test_letting_go_of_a_queue_waits_for_what_is_handed_over(manager, site, backend, witness, gate):
    ids = added(manager)
    with_witness(manager, witness)
    manager.commit()
    open_when_somebody_waits(gate)
    process_keeper().forget(site["default"])

    assert states(backend, ids) == ["ready"]


def test_a_rollback_of_nothing_is_no_reason_to_publish_more(manager, backend, witness):
    savepoint = manager.savepoint()
    cut = added(manager)
    savepoint.rollback()
    with_witness(manager, witness)
    manager.commit()

    assert process_keeper().publisher.wait(DEADLINE_SECONDS)
    assert states(backend, cut) == [None]
    assert backend.calls == []
