"""Who can say afterwards whether a transaction committed: what is staged knows it, and nobody is missed."""

import pytest

from taskqueue import record
from taskqueue.errors import BackendError
from taskqueue.keeper import DEFAULT_LEASE, Keeper

from .fakes import NEIGHBOUR_TYPE, CompletionListener, Neighbour, NeighbourError, added, envelope_of, states

BEFORE = "/var/Data.fs"
AFTER = "~sqlalchemy:1"
hold_lease = Keeper.hold_lease


def test_what_is_staged_knows_the_marks_and_the_strangers_of_its_transaction(manager, backend, witness):
    Neighbour(manager, BEFORE).database = witness.database
    Neighbour(manager, BEFORE, volatile=True)
    Neighbour(manager, AFTER)
    added(manager)
    manager.commit()

    envelope = envelope_of(backend)
    assert [(mark.kind, mark.database) for mark in envelope.witnesses] == [("fake", "main")]
    assert envelope.strangers == (NEIGHBOUR_TYPE,)
    assert witness.marked == [envelope.transaction_id]


def test_marks_are_left_once_all_other_hooks_have_run(manager, backend, witness):
    added(manager)
    for _ in range(3):
        manager.get().addBeforeCommitHook(
            lambda: setattr(Neighbour(manager, BEFORE), "database", witness.database) or added(manager)
        )
    manager.commit()

    (mark,) = envelope_of(backend).witnesses
    assert mark.position == "3"
    assert len(witness.marked) == 1
    assert backend.counted() == {"stage": 1, "publish": 1}


def test_a_witness_that_cannot_mark_fails_the_commit_and_the_transaction_may_be_tried_again(manager, backend, witness):
    Neighbour(manager, BEFORE).database = witness.database
    ids = added(manager)
    witness.error = NeighbourError("read only")
    with pytest.raises(NeighbourError):
        manager.commit()
    assert backend.calls == []
    witness.error = None
    ids += added(manager)
    manager.commit()

    assert states(backend, ids) == ["ready", "ready"]


def test_where_nothing_durable_takes_part_the_vote_stages(manager, backend):
    seen = []
    added(manager)
    for key in (BEFORE, AFTER):
        Neighbour(manager, key, volatile=True, tpc_vote=lambda: seen.append(backend.verbs()))
    manager.commit()

    assert seen == [[], ["stage"]]


def test_who_joins_behind_the_hooks_is_not_missed(manager, backend):
    added(manager)
    listener = CompletionListener(lambda: Neighbour(manager, AFTER))
    manager.registerSynch(listener)
    manager.commit()

    assert envelope_of(backend).strangers == (NEIGHBOUR_TYPE,)


def test_what_is_added_late_knows_who_joined_late(manager, backend, witness):
    Neighbour(manager, BEFORE).database = witness.database
    added(manager)
    listener = CompletionListener(lambda: Neighbour(manager, AFTER, commit=lambda: added(manager)))
    manager.registerSynch(listener)
    manager.commit()

    first, second = (record.decode_envelope(envelope) for envelope, _ in backend.envelopes)
    assert (len(first.witnesses), first.strangers) == (1, ())
    assert (second.witnesses, second.strangers) == (first.witnesses, (NEIGHBOUR_TYPE,))


def test_what_is_added_while_others_prepare_their_commits_is_staged_before_they_have(manager, backend, witness):
    witness.fences = True
    staged = []
    neighbour = Neighbour(
        manager, BEFORE, commit=lambda: added(manager), tpc_vote=lambda: staged.extend(backend.staged())
    )
    neighbour.database = witness.database
    added(manager)
    manager.commit()

    assert [each.state for each in staged] == ["staged", "staged"]
    assert states(backend, [each.id for each in staged]) == ["ready", "ready"]


# ---- a process that stands still ----


def stand_still(monkeypatch):
    """Let the lease that is taken for staging lapse at once, without anybody noticing."""
    monkeypatch.setattr(Keeper, "hold_lease", lambda *arguments: hold_lease(*arguments) - 2 * DEFAULT_LEASE)


@pytest.mark.parametrize(("volatile", "is_lost"), [(True, True), (False, False)])
def test_a_commit_of_ours_alone_fails_when_others_took_the_process_for_dead(
    manager, backend, monkeypatch, volatile, is_lost
):
    (task_id,) = added(manager)
    # Nobody but us can fail once others have committed: then a late publish stores what it has to.
    stand_still(monkeypatch)
    Neighbour(manager, AFTER, volatile=volatile, tpc_vote=lambda: backend.settle([task_id], "discard"))

    if is_lost:
        with pytest.raises(BackendError, match="1 of its tasks were discarded"):
            manager.commit()
    else:
        manager.commit()
    manager.abort() if manager._txn is not None else None

    assert states(backend, [task_id]) == [None]


def test_a_commit_of_ours_alone_is_not_slower_for_looking_when_the_process_did_not_stand_still(manager, backend):
    backend.before["get"] = lambda timeout: pytest.fail("it looked")
    added(manager)
    Neighbour(manager, AFTER, volatile=True)
    manager.commit()

    assert backend.verbs() == ["stage", "publish"]


def test_what_cannot_be_looked_for_is_believed_to_be_there(manager, backend, monkeypatch):
    stand_still(monkeypatch)
    (task_id,) = added(manager)
    monkeypatch.setattr(backend, "get", lambda task_id: 1 / 0)
    manager.commit()
    monkeypatch.undo()

    assert states(backend, [task_id]) == ["ready"]
