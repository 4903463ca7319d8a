"""The data manager: what is added is published if the transaction commits, and only then."""

import pytest
from transaction.interfaces import (
    DoomedTransaction,
    IDataManagerSavepoint,
    ISavepointDataManager,
    TransactionFailedError,
)
from zope.interface.verify import verifyObject

from taskqueue import record
from taskqueue.keeper import process_keeper
from taskqueue.notices import Event
from taskqueue.producer.datamanager import HOOK_ROUNDS
from taskqueue.producer.joining import join

from .fakes import NEIGHBOUR_TYPE, CompletionListener, Neighbour, NeighbourError, added, envelope_of, states

BEFORE = "/var/Data.fs"
AFTER = "~sqlalchemy:1"


def test_it_is_what_the_transaction_package_asks_for(manager):
    joined = join(manager, None)

    assert verifyObject(ISavepointDataManager, joined)
    assert verifyObject(IDataManagerSavepoint, joined.savepoint())


def test_it_sorts_behind_storages_and_before_what_commits_in_its_vote(manager):
    key = join(manager, None).sortKey()

    assert isinstance(key, str)
    assert sorted(["~sqlalchemy:1", key, "/var/Data.fs", "zeo", "~a"]) == [
        "/var/Data.fs",
        "zeo",
        key,
        "~a",
        "~sqlalchemy:1",
    ]


def test_a_commit_stages_before_any_neighbour_begins_and_publishes_after_it_finished(manager, backend):
    seen = []
    for key in (BEFORE, AFTER):
        Neighbour(
            manager,
            key,
            tpc_begin=lambda: seen.append(("begin", backend.verbs())),
            tpc_finish=lambda: seen.append(("finish", backend.verbs())),
        )
    added(manager)
    manager.commit()

    begun, finished = ("begin", ["stage"]), ("finish", ["stage"])
    assert seen == [begun, begun, finished, ("finish", ["stage", "publish"])]


def test_an_abort_before_the_commit_calls_no_backend(manager, backend):
    ids = added(manager)
    manager.abort()

    assert backend.calls == []
    assert states(backend, ids) == [None]


def test_a_doomed_transaction_takes_tasks_and_delivers_none(manager, backend):
    manager.doom()
    added(manager)

    with pytest.raises(DoomedTransaction):
        manager.commit()
    manager.abort()

    assert backend.calls == []


def test_a_thousand_tasks_of_one_transaction_are_one_call_to_stage_and_one_to_publish(manager, backend, other_backend):
    ids = added(manager, 1000)
    other_ids = added(manager, 3, queue="other")
    manager.commit()

    assert backend.calls == [("stage", tuple(ids)), ("publish", tuple(ids))]
    assert other_backend.calls == [("stage", tuple(other_ids)), ("publish", tuple(other_ids))]
    assert ids == sorted(ids)


def test_what_is_staged_knows_its_transaction_and_its_owner(manager, backend, other_backend):
    added(manager)
    added(manager, queue="other")
    manager.commit()

    (first, owner), (second, _) = backend.envelopes + other_backend.envelopes
    envelope = record.decode_envelope(first)
    assert envelope == record.decode_envelope(second)
    assert owner == envelope.owner == process_keeper().owner_id
    assert len(envelope.transaction_id) == 32
    assert (envelope.witnesses, envelope.strangers) == ((), ())


def test_the_owner_has_a_lease_before_it_stages(manager, backend):
    beaten = []
    backend.before["stage"] = lambda timeout: beaten.extend(status.owner.id for status in backend.owners())
    Neighbour(manager, "stranger")
    added(manager)
    manager.commit()

    assert beaten == [process_keeper().owner_id]


def test_what_was_added_is_told_after_the_commit(manager, told):
    ids = added(manager, 2)
    assert told.of(Event.ADDED) == []
    manager.commit()

    assert told.ids(Event.ADDED) == ids
    assert {notice.queue for notice in told.of(Event.ADDED)} == {"default"}


def test_an_aborted_transaction_is_not_told(manager, told):
    added(manager)
    manager.abort()

    assert told.of(Event.ADDED) == []


# ---- savepoints ----


def test_a_rollback_cuts_off_what_was_added_since_the_savepoint(manager, backend):
    kept = added(manager, 2)
    savepoint = manager.savepoint()
    cut = added(manager, 2)
    savepoint.rollback()
    later = added(manager)
    manager.commit()

    assert states(backend, kept + later) == ["ready"] * 3
    assert states(backend, cut) == [None, None]
    assert backend.calls == [("deliver", tuple(kept + later))]


def test_savepoints_within_savepoints_roll_back_in_any_order(manager, backend):
    first = added(manager)
    outer = manager.savepoint()
    second = added(manager)
    inner = manager.savepoint()
    third = added(manager)
    inner.rollback()
    fourth = added(manager)
    outer.rollback()
    manager.commit()

    assert states(backend, first + second + third + fourth) == ["ready", None, None, None]


def test_a_rollback_to_before_the_first_task_forgets_it_and_later_ones_are_delivered(manager, backend):
    savepoint = manager.savepoint()
    cut = added(manager)
    savepoint.rollback()
    kept = added(manager)
    manager.commit()

    assert states(backend, cut + kept) == [None, "ready"]


def test_a_rollback_to_before_the_first_task_twice_forgets_both(manager, backend):
    savepoint = manager.savepoint()
    cut = added(manager)
    savepoint.rollback()
    cut += added(manager)
    savepoint.rollback()
    manager.commit()

    assert states(backend, cut) == [None, None]
    assert backend.calls == []


# ---- hooks ----


def failing_hook():
    """A hook of the application that fails."""
    raise NeighbourError("hook")


@pytest.mark.parametrize("hook_is_first", [True, False])
def test_a_hook_that_raises_fails_the_commit_before_anything_is_staged(manager, backend, hook_is_first):
    if hook_is_first:
        manager.get().addBeforeCommitHook(failing_hook)
    ids = added(manager)
    if not hook_is_first:
        manager.get().addBeforeCommitHook(failing_hook)

    with pytest.raises(NeighbourError):
        manager.commit()
    manager.abort()

    assert states(backend, ids) == [None]
    assert backend.verbs() == []


@pytest.mark.parametrize("hook_is_first", [True, False])
@pytest.mark.parametrize("adds_more", [True, False])
def test_a_commit_that_is_tried_again_after_a_raising_hook_delivers_once(manager, backend, hook_is_first, adds_more):
    if hook_is_first:
        manager.get().addBeforeCommitHook(failing_hook)
    ids = added(manager)
    if not hook_is_first:
        manager.get().addBeforeCommitHook(failing_hook)
    with pytest.raises(NeighbourError):
        manager.commit()

    ids += added(manager) if adds_more else []
    Neighbour(manager, BEFORE, tpc_begin=lambda: staged_before.extend(backend.verbs()))
    staged_before = []
    manager.commit()

    assert states(backend, ids) == ["ready"] * len(ids)
    assert sorted(task_id for verb, each in backend.calls if verb == "stage" for task_id in each) == sorted(ids)
    # A hook is pending again once something is added; without that, the vote is what is left, where it is too late for
    # marks: the neighbour counts as somebody who cannot be asked.
    assert ("stage" in staged_before) == adds_more
    assert envelope_of(backend).strangers == (NEIGHBOUR_TYPE,)


def test_a_rollback_in_a_hook_takes_back_what_was_added_since(manager, backend):
    kept, cut, savepoints = added(manager), [], []
    Neighbour(manager, BEFORE)

    def add_more():
        savepoints.append(manager.savepoint())
        cut.extend(added(manager))
        manager.get().addBeforeCommitHook(savepoints[0].rollback)

    manager.get().addBeforeCommitHook(add_more)
    manager.commit()

    assert states(backend, kept + cut) == ["ready", None]
    assert backend.calls == [("stage", tuple(kept)), ("publish", tuple(kept))]


def test_a_rollback_behind_our_hook_discards_what_was_staged_since(manager, backend):
    kept, cut, savepoints = added(manager), [], []
    Neighbour(manager, BEFORE)

    def add_more():
        savepoints.append(manager.savepoint())
        cut.extend(added(manager))

    def roll_back():
        savepoints[0].rollback()

    manager.get().addBeforeCommitHook(add_more)
    listener = CompletionListener(roll_back)
    manager.registerSynch(listener)
    manager.commit()

    assert states(backend, kept + cut) == ["ready", None]
    assert backend.calls == [
        ("stage", tuple(kept + cut)),
        ("discard", tuple(cut)),
        ("publish", tuple(kept)),
    ]


def test_what_a_hook_adds_is_staged_before_the_locks(manager, backend):
    late = []
    staged_before = []
    ids = added(manager)
    manager.get().addBeforeCommitHook(lambda: late.extend(added(manager)))
    Neighbour(manager, BEFORE, tpc_begin=lambda: staged_before.extend(backend.calls))
    manager.commit()

    assert states(backend, late) == ["ready"]
    assert staged_before == [("stage", tuple(ids + late))]


def test_hooks_that_register_each_other_without_end_are_not_waited_for(manager, backend):
    def register_again():
        rounds.append(len(rounds))
        if len(rounds) <= 2 * HOOK_ROUNDS:
            manager.get().addBeforeCommitHook(register_again)
        else:
            ids.extend(added(manager))

    rounds, staged_before = [], []
    ids = added(manager)
    Neighbour(manager, BEFORE, tpc_begin=lambda: staged_before.extend(backend.calls))
    manager.get().addBeforeCommitHook(register_again)
    manager.commit()

    assert len(rounds) == 2 * HOOK_ROUNDS + 1
    assert staged_before == [("stage", tuple(ids[:1])), ("stage", tuple(ids[1:]))]
    assert states(backend, ids) == ["ready", "ready"]


def test_a_data_manager_without_tasks_marks_nothing_and_stages_nothing(manager, backend, witness):
    savepoint = manager.savepoint()
    cut = added(manager)
    savepoint.rollback()
    kept = added(manager)
    Neighbour(manager, BEFORE).database = witness.database
    manager.commit()

    assert states(backend, cut + kept) == [None, "ready"]
    assert len(witness.marked) == 1
    assert envelope_of(backend).transaction_id == witness.marked[0]


def test_the_vote_of_a_transaction_whose_request_has_ended_is_not_ours(manager, backend):
    added(manager)
    joined = join(manager, None)
    joined.discard_unless_ended()
    manager.commit()

    assert backend.calls == []
    assert not joined.may_commit


def test_the_first_task_may_come_from_a_hook(manager, backend):
    late = []
    manager.get().addBeforeCommitHook(lambda: late.extend(added(manager)))
    manager.commit()

    assert states(backend, late) == ["ready"]


def test_what_is_added_after_the_hooks_is_staged_in_the_vote(manager, backend):
    late = []
    staged_before = []
    ids = added(manager)
    # A weak reference is all that a manager keeps of it.
    listener = CompletionListener(lambda: late.extend(added(manager)))
    manager.registerSynch(listener)
    Neighbour(
        manager,
        BEFORE,
        commit=lambda: late.extend(added(manager)),
        tpc_vote=lambda: staged_before.extend(backend.calls),
    )
    manager.commit()

    assert staged_before == [("stage", tuple(ids))]
    assert backend.calls == [("stage", tuple(ids)), ("stage", tuple(late)), ("publish", tuple(ids + late))]


def test_an_add_after_the_vote_is_refused_and_takes_nothing_back(manager, backend):
    refused = []

    def add_too_late():
        with pytest.raises(ValueError, match="Committing") as caught:
            added(manager)
        refused.append(caught.value)

    Neighbour(manager, AFTER, tpc_vote=add_too_late, tpc_finish=add_too_late)
    ids = added(manager)
    manager.commit()

    assert len(refused) == 2
    assert states(backend, ids) == ["ready"]


@pytest.mark.parametrize("had_tasks", [True, False])
def test_an_add_in_an_after_commit_hook_is_refused_and_takes_nothing_back(manager, backend, had_tasks):
    refused = []

    def add_too_late(success):
        with pytest.raises(ValueError, match="Committed") as caught:
            added(manager)
        refused.append(caught.value)

    ids = added(manager) if had_tasks else []
    manager.get().addAfterCommitHook(add_too_late)
    manager.commit()

    assert len(refused) == 1
    assert states(backend, ids) == ["ready"] * len(ids)
    assert backend.verbs() == ["deliver"] * had_tasks


def test_the_aborts_that_after_commit_hooks_cause_take_nothing_back(manager, backend):
    ids = added(manager)
    joined = join(manager, None)
    current = manager.get()
    current.addAfterCommitHook(lambda success: None)
    manager.commit()
    joined.abort(current)
    joined.tpc_abort(current)

    assert states(backend, ids) == ["ready"]
    assert backend.verbs() == ["deliver"]


def test_an_abort_that_comes_twice_discards_once(manager, backend):
    added(manager)
    joined = join(manager, None)
    current = manager.get()
    Neighbour(manager, BEFORE, commit=NeighbourError())
    current.addAfterCommitHook(lambda success: None)
    with pytest.raises(NeighbourError):
        manager.commit()
    manager.abort()
    joined.tpc_abort(current)

    assert backend.verbs() == ["stage", "discard"]


def test_a_failed_transaction_takes_no_more_tasks(manager):
    added(manager)
    Neighbour(manager, BEFORE, commit=NeighbourError())
    with pytest.raises(NeighbourError):
        manager.commit()

    with pytest.raises(TransactionFailedError):
        added(manager)


def test_the_next_transaction_of_a_manager_begins_with_nothing(manager, backend):
    aborted = added(manager)
    manager.abort()
    manager.begin()
    committed = added(manager)
    manager.commit()

    assert states(backend, aborted + committed) == [None, "ready"]
    assert backend.calls == [("deliver", tuple(committed))]
