"""The commit in two phases: whatever fails wherever, a task runs if and only if its transaction committed."""

import contextlib
import time
from types import SimpleNamespace

import pytest

from taskqueue import keeper, notices, queues
from taskqueue.backends.local import LocalQueue
from taskqueue.doubts import Doubts
from taskqueue.errors import BackendError, BackendUnavailableError, QueueFullError
from taskqueue.keeper import Keeper, process_keeper
from taskqueue.notices import Event
from taskqueue.producer import add, budget
from taskqueue.producer.budget import BUDGET_SECONDS
from taskqueue.producer.handing_over import ASK_SECONDS
from taskqueue.queues import Queue, Queues

from .fakes import Neighbour, NeighbourError, Stall

BEFORE = "/var/Data.fs"
AFTER = "~sqlalchemy:1"
KEYS = {"before": BEFORE, "after": AFTER}


def down():
    """What a backend raises that is."""
    return BackendUnavailableError("no answer")


def outcome_of(manager, backend, ids):
    """Commit, abort if that fails, and say what became of the application's part and of the tasks."""
    committed = True
    try:
        manager.commit()
    except (NeighbourError, BackendError, RuntimeError):
        committed = False
        manager.abort()
    return committed, {backend.state(task_id) for task_id in ids}


# Where a neighbour fails -> where the task is then. None is gone. What fails after our vote may have been preceded by a
# neighbour that finished, so the tasks are held; behind our own finish it is too late to ask.
NEIGHBOUR_FAILS = {
    ("before", "tpc_begin"): None,
    ("before", "commit"): None,
    ("before", "tpc_vote"): None,
    ("before", "tpc_finish"): "held",
    ("after", "tpc_begin"): None,
    ("after", "commit"): None,
    ("after", "tpc_vote"): "held",
    ("after", "tpc_finish"): "ready",
}


@pytest.mark.parametrize("error", [NeighbourError("failed"), RuntimeError("failed")])
@pytest.mark.parametrize(("place", "phase"), list(NEIGHBOUR_FAILS))
def test_a_neighbour_that_fails_takes_the_tasks_along(manager, backend, place, phase, error):
    ids = [add("/x", transaction_manager=manager)]
    Neighbour(manager, KEYS[place], **{phase: error})

    committed, found = outcome_of(manager, backend, ids)

    assert not committed
    assert found == {NEIGHBOUR_FAILS[place, phase]}


@pytest.mark.parametrize(("place", "phase"), list(NEIGHBOUR_FAILS))
def test_a_volatile_neighbour_leaves_nothing_in_doubt(manager, backend, place, phase):
    ids = [add("/x", transaction_manager=manager)]
    Neighbour(manager, KEYS[place], volatile=True, **{phase: NeighbourError("failed")})

    _, found = outcome_of(manager, backend, ids)

    assert found == {"ready" if (place, phase) == ("after", "tpc_finish") else None}
    assert "settle hold" not in backend.verbs()


@pytest.mark.parametrize(("place", "phase"), list(NEIGHBOUR_FAILS))
@pytest.mark.parametrize("cleanup", ["abort", "tpc_abort"])
def test_a_neighbour_that_fails_in_its_cleanup_as_well_changes_nothing(manager, backend, place, phase, cleanup):
    ids = [add("/x", transaction_manager=manager)]
    Neighbour(manager, KEYS[place], **{phase: NeighbourError("failed"), cleanup: NeighbourError("again")})

    for ending in (manager.commit, manager.abort):
        with contextlib.suppress(NeighbourError):
            ending()

    assert {backend.state(task_id) for task_id in ids} == {NEIGHBOUR_FAILS[place, phase]}


@pytest.mark.parametrize(("place", "phase"), [("before", "commit"), ("before", "tpc_finish"), ("after", "tpc_vote")])
def test_an_interrupt_in_a_neighbours_cleanup_reaches_us_with_the_abort(manager, backend, place, phase):
    ids = [add("/x", transaction_manager=manager)]
    Neighbour(manager, BEFORE + "0", tpc_abort=KeyboardInterrupt())
    Neighbour(manager, KEYS[place], **{phase: NeighbourError("failed")})

    with pytest.raises(KeyboardInterrupt):
        manager.commit()
    manager.abort()

    assert {backend.state(task_id) for task_id in ids} == {NEIGHBOUR_FAILS[place, phase]}


@pytest.mark.parametrize("error", [down(), QueueFullError("full"), RuntimeError("broken")])
@pytest.mark.parametrize("is_late", [False, True])
@pytest.mark.parametrize("place", ["before", "after"])
def test_what_cannot_be_staged_fails_the_commit_before_anybody_votes_behind_us(manager, backend, error, is_late, place):
    ids = [add("/x", transaction_manager=manager)]

    def add_late():
        backend.failures["stage"] = error
        ids.append(add("/late", transaction_manager=manager))

    neighbour = Neighbour(manager, KEYS[place], **({"commit": add_late} if is_late else {}))
    if not is_late:
        backend.failures["stage"] = error

    committed, found = outcome_of(manager, backend, ids)

    assert not committed
    assert found <= {None, "staged"}
    assert "tpc_finish" not in neighbour.phases
    assert ("tpc_vote" in neighbour.phases) == (is_late and place == "before")
    # The keeper discards what an abort could not, because the backend was down.
    process_keeper().forget(queues.installed()["default"])
    assert {backend.state(task_id) for task_id in ids} == {None}


@pytest.mark.parametrize("verb", ["stage", "deliver"])
def test_a_queue_that_is_full_is_not_down(manager, site, backend, told, verb):
    backend.failures[verb] = QueueFullError("full")
    add("/x", transaction_manager=manager)
    if verb == "stage":
        Neighbour(manager, BEFORE)
    with pytest.raises(QueueFullError):
        manager.commit()
    manager.abort()
    assert backend.verbs() == [verb, "discard"]
    backend.failures.clear()
    manager.begin()
    add("/x", transaction_manager=manager)
    manager.commit()

    assert told.of(Event.BACKEND_DOWN) == []


def test_one_queue_that_cannot_be_staged_discards_what_another_has(manager, backend, other_backend):
    ids = [add("/x", transaction_manager=manager), add("/x", queue="other", transaction_manager=manager)]
    other_backend.failures["stage"] = QueueFullError("full")

    with pytest.raises(QueueFullError):
        manager.commit()
    manager.abort()

    assert backend.verbs() == ["stage", "discard"]
    assert [backend.state(ids[0]), other_backend.state(ids[1])] == [None, None]


def test_a_lost_answer_to_stage_is_discarded_although_nobody_knows_that_it_is_there(manager, backend):
    def stage_and_fail(timeout):
        type(backend).__mro__[1].stage(backend, records, b"", "owner", 1.0)
        raise RuntimeError("lost")

    task_id = add("/x", transaction_manager=manager)
    records = [entry.record for entry in manager.get()._resources[0]._entries]
    Neighbour(manager, BEFORE)
    backend.before["stage"] = stage_and_fail
    with pytest.raises(RuntimeError):
        manager.commit()
    assert backend.state(task_id) == "staged"
    manager.abort()

    assert backend.state(task_id) is None


# ---- in doubt ----


@pytest.mark.parametrize(("in_doubt", "state"), [("hold", "held"), ("publish", "ready"), ("discard", None)])
def test_the_queue_says_what_becomes_of_tasks_that_nobody_can_be_asked_about(backend, manager, told, in_doubt, state):
    queue = Queue("default", backend, in_doubt=in_doubt)
    queues.install(Queues({"default": queue}))
    ids = (add("/x", transaction_manager=manager),)
    Neighbour(manager, BEFORE, tpc_finish=NeighbourError("failed"))

    with pytest.raises(NeighbourError):
        manager.commit()
    manager.abort()
    event = Event.HELD if in_doubt == "hold" else Event.SETTLED
    told.wait_for(event)

    assert backend.state(ids[0]) == state
    (notice,) = told.of(event)
    assert (notice.queue, notice.task_ids) == ("default", ids)
    assert "tests.producer.fakes.Neighbour" in notice.detail
    process_keeper().forget(queue)


@pytest.mark.parametrize(("answer", "state", "word"), [("yes", "ready", "published"), ("no", None, "discarded")])
def test_a_witness_says_what_becomes_of_tasks_in_doubt(manager, backend, witness, told, answer, state, word):
    witness.answer = answer
    task_id = add("/x", transaction_manager=manager)
    Neighbour(manager, BEFORE, tpc_finish=NeighbourError("failed")).database = witness.database

    with pytest.raises(NeighbourError):
        manager.commit()
    manager.abort()
    told.wait_for(Event.SETTLED)

    assert backend.state(task_id) == state
    (notice,) = told.of(Event.SETTLED)
    assert (notice.task_ids, notice.detail.partition(":")[0]) == ((task_id,), word)


def test_the_witnesses_are_asked_as_soon_as_the_transaction_has_aborted(manager, site, backend, witness, monkeypatch):
    threadless = Keeper()
    threadless.stop()
    monkeypatch.setattr(keeper, "_keeper", threadless)
    kept = threadless._keep(site["default"])
    threadless._tend(kept)  # the first look; without a word, the next one would be after the renewal
    witness.answer = "yes"
    task_id = add("/x", transaction_manager=manager)
    Neighbour(manager, BEFORE, tpc_finish=NeighbourError("failed")).database = witness.database
    with pytest.raises(NeighbourError):
        manager.commit()
    manager.abort()
    threadless._tend(kept)

    assert backend.state(task_id) == "ready"


def test_no_witness_is_asked_while_neighbours_still_abort(manager, site, backend, witness):
    looked = []

    def look():
        looked.append((Doubts(site["default"]).settle(process_keeper().in_flight), len(witness.asked)))

    task_id = add("/x", transaction_manager=manager)
    Neighbour(manager, BEFORE, tpc_finish=NeighbourError("failed")).database = witness.database
    Neighbour(manager, AFTER, tpc_vote=look, tpc_abort=look).database = witness.database
    with pytest.raises(NeighbourError):
        manager.commit()

    manager.abort()

    assert looked == [(False, 0), (True, 0)]  # nothing is held yet; then it is, and is to be asked about later
    assert backend.state(task_id) == "held"  # the answer is "unknown"


def test_what_cannot_be_held_in_time_is_held_later(manager, backend, told):
    task_id = add("/x", transaction_manager=manager)
    Neighbour(manager, BEFORE, tpc_finish=NeighbourError("failed"))
    backend.before["settle hold"] = lambda timeout: backend.failures.update(beat=down())
    backend.failures["settle hold"] = down()

    with pytest.raises(NeighbourError):
        manager.commit()
    manager.abort()
    assert backend.state(task_id) == "staged"
    backend.before.clear()
    backend.failures.clear()
    told.wait_for(Event.BACKEND_UP)
    process_keeper().forget(queues.installed()["default"])

    assert backend.state(task_id) == "held"


def test_a_backend_that_is_broken_in_an_abort_is_not_told_to_be_down(manager, backend, told):
    add("/x", transaction_manager=manager)
    Neighbour(manager, BEFORE, commit=NeighbourError("failed"))
    backend.failures["discard"] = RuntimeError("broken")

    with pytest.raises(NeighbourError):
        manager.commit()
    manager.abort()

    assert told.of(Event.BACKEND_DOWN) == []


def test_what_cannot_be_discarded_in_time_is_discarded_later(manager, backend, told):
    task_id = add("/x", transaction_manager=manager)
    Neighbour(manager, BEFORE, commit=NeighbourError("failed"))
    backend.before["discard"] = lambda timeout: backend.failures.update(beat=down())
    backend.failures["discard"] = down()

    with pytest.raises(NeighbourError):
        manager.commit()
    manager.abort()
    assert backend.state(task_id) == "staged"
    backend.before.clear()
    backend.failures.clear()
    told.wait_for(Event.BACKEND_UP)
    process_keeper().forget(queues.installed()["default"])

    assert backend.state(task_id) is None


@pytest.mark.parametrize(
    ("verb", "place", "phase"), [("discard", "before", "commit"), ("settle hold", "after", "tpc_vote")]
)
def test_an_interrupt_while_letting_go_leaves_the_rest_to_the_keeper(
    manager, site, backend, other_backend, verb, place, phase
):
    ids = [add("/x", transaction_manager=manager), add("/x", queue="other", transaction_manager=manager)]
    Neighbour(manager, KEYS[place], **{phase: NeighbourError("failed")})
    backend.before[verb] = lambda timeout: backend.before.clear() or interrupt()

    with pytest.raises(KeyboardInterrupt):
        manager.commit()
    manager.abort()
    for queue in site.values():
        process_keeper().forget(queue)

    expected = NEIGHBOUR_FAILS[place, phase]
    assert [backend.state(ids[0]), other_backend.state(ids[1])] == [expected, expected]


def interrupt():
    """What Ctrl-C does."""
    raise KeyboardInterrupt


# ---- publishing ----


@pytest.mark.parametrize("error", [down(), BackendError("odd"), RuntimeError("broken")])
def test_what_cannot_be_published_is_committed_all_the_same_and_published_later(manager, backend, told, error):
    neighbours = [Neighbour(manager, key) for key in KEYS.values()]
    ids = tuple(add("/x", transaction_manager=manager) for _ in range(2))
    backend.failures["publish"] = error
    manager.commit()

    assert [neighbour.phases[-1] for neighbour in neighbours] == ["tpc_finish", "tpc_finish"]
    assert told.ids(Event.UNPUBLISHED) == list(ids)
    assert told.ids(Event.ADDED) == list(ids)
    backend.failures.clear()
    told.wait_for(Event.PUBLISHED_LATE)
    assert {backend.state(task_id) for task_id in ids} == {"ready"}


@pytest.mark.parametrize(("verb", "phase"), [("publish", None), ("discard", "commit"), ("settle hold", "tpc_vote")])
def test_what_is_left_to_do_is_known_before_its_backend_is_down(manager, site, backend, verb, phase):
    kept = process_keeper()._keep(site["default"])
    left = []

    def look(notice):
        if notice.event is Event.BACKEND_DOWN:
            left.append(len(kept.redo) + len(kept.verdicts))

    backend.failures = dict.fromkeys((verb, "settle discard"), down())
    Neighbour(manager, AFTER, **({phase: NeighbourError("failed")} if phase else {}))
    add("/x", transaction_manager=manager)
    notices.listen(look)
    outcome_of(manager, backend, ())
    notices.unlisten(look)

    assert left == [1]


def test_a_queue_that_cannot_be_published_does_not_keep_another_from_it(manager, backend, other_backend):
    Neighbour(manager, BEFORE)
    add("/x", transaction_manager=manager)
    other_id = add("/x", queue="other", transaction_manager=manager)
    backend.failures["publish"] = RuntimeError("broken")
    manager.commit()

    assert other_backend.state(other_id) == "ready"


def test_an_interrupt_while_publishing_leaves_the_rest_to_the_keeper(manager, site, backend, other_backend):
    Neighbour(manager, BEFORE)
    ids = [add("/x", transaction_manager=manager), add("/x", queue="other", transaction_manager=manager)]
    backend.before["publish"] = lambda timeout: backend.before.clear() or interrupt()

    with pytest.raises(KeyboardInterrupt):
        manager.commit()
    manager.abort()
    for queue in site.values():
        process_keeper().forget(queue)

    assert [backend.state(ids[0]), other_backend.state(ids[1])] == ["ready", "ready"]


# ---- nothing durable beside us: our finish is the commit ----


def test_a_commit_of_ours_alone_fails_when_it_cannot_be_published(manager, backend, other_backend, told):
    ids = [add("/x", transaction_manager=manager), add("/x", queue="other", transaction_manager=manager)]
    backend.failures["publish"] = down()

    with pytest.raises(BackendUnavailableError, match="no answer"):
        manager.commit()
    manager.abort()
    backend.failures.clear()
    told.wait_for(Event.BACKEND_UP)

    assert [backend.state(ids[0]), other_backend.state(ids[1])] == [None, None]
    assert told.of(Event.ADDED) == []


@pytest.mark.parametrize("capabilities", [{"durable", "shared"}, {"certain"}], ids=["uncertain", "certain"])
def test_a_lost_answer_to_a_publish_that_was_the_commit_is_looked_for(
    manager, backend, other_backend, monkeypatch, capabilities
):
    monkeypatch.setattr(backend, "capabilities", frozenset(capabilities))
    ids = [add("/x", transaction_manager=manager), add("/x", queue="other", transaction_manager=manager)]
    publish = backend.publish

    def lose_the_answer(records, timeout):
        publish(records, timeout)
        backend.publish = publish
        raise down()

    backend.publish = lose_the_answer
    manager.commit()

    assert [backend.state(ids[0]), other_backend.state(ids[1])] == ["ready", "ready"]


def test_a_publish_that_comes_when_the_commit_has_failed_finds_its_task_discarded(manager, backend, monkeypatch):
    monkeypatch.setattr(backend, "capabilities", frozenset({"durable", "shared"}))
    task_id = add("/x", transaction_manager=manager)
    backend.failures["publish"] = down()
    sent = []
    backend.before["publish"] = lambda timeout: sent.append(backend.get(task_id))
    with pytest.raises(BackendUnavailableError, match="no answer"):
        manager.commit()
    backend.failures.clear()
    LocalQueue.publish(backend, sent, BUDGET_SECONDS)

    assert backend.verbs()[:3] == ["stage", "publish", "discard"]
    assert backend.timeouts[2] <= ASK_SECONDS
    assert backend.state(task_id) is None


def test_an_interrupt_before_a_publish_that_is_the_commit_discards(manager, site, backend, other_backend):
    ids = [add("/x", transaction_manager=manager), add("/x", queue="other", transaction_manager=manager)]
    backend.before["publish"] = lambda timeout: backend.before.clear() or interrupt()

    with pytest.raises(KeyboardInterrupt):
        manager.commit()
    manager.abort()
    for queue in site.values():
        process_keeper().forget(queue)

    assert [backend.state(ids[0]), other_backend.state(ids[1])] == [None, None]


# ---- the budget ----


def test_a_backend_that_does_not_answer_costs_the_budget_once_and_then_nothing(manager, backend, told):
    stall = backend.before["stage"] = Stall()
    Neighbour(manager, BEFORE)
    add("/x", transaction_manager=manager)
    begun_at = time.monotonic()
    with pytest.raises(BackendUnavailableError):
        manager.commit()
    manager.abort()
    taken = time.monotonic() - begun_at

    assert BUDGET_SECONDS * 0.9 <= taken <= BUDGET_SECONDS + 1
    assert [verb for verb in backend.verbs() if verb != "settle discard"] == ["stage"]  # that one is the keeper's
    assert backend.timeouts[0] <= BUDGET_SECONDS
    (notice,) = told.of(Event.BACKEND_DOWN)
    assert notice.queue == "default"
    stall.released.set()


def test_all_calls_of_a_transaction_share_one_budget(manager, backend, other_backend):
    waited = []

    def half_the_budget(timeout):
        waited.append(timeout)
        assert not nothing_comes.wait(BUDGET_SECONDS / 4)

    nothing_comes = Stall().released
    for each in (backend, other_backend):
        each.before = {"stage": half_the_budget, "publish": half_the_budget}
    add("/x", transaction_manager=manager)
    add("/x", queue="other", transaction_manager=manager)
    manager.commit()

    assert waited == sorted(waited, reverse=True)
    assert waited[0] <= BUDGET_SECONDS
    assert waited[-1] <= BUDGET_SECONDS / 4


def test_the_time_that_neighbours_take_is_not_ours(manager, backend, monkeypatch):
    passed = []
    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + sum(passed))
    monkeypatch.setattr(budget, "time", clock)
    add("/x", transaction_manager=manager)
    Neighbour(manager, BEFORE, tpc_vote=lambda: passed.append(BUDGET_SECONDS))
    manager.commit()

    assert passed
    assert backend.timeouts[1] > 0


def test_a_spent_budget_publishes_later_and_says_nothing_of_the_backend(manager, backend, other_backend, told):
    nothing_comes = Stall().released
    backend.before["publish"] = nothing_comes.wait
    ids = [add("/x", transaction_manager=manager)]
    other_id = add("/x", queue="other", transaction_manager=manager)
    begun_at = time.monotonic()
    manager.commit()

    assert time.monotonic() - begun_at <= BUDGET_SECONDS + 1
    assert told.ids(Event.UNPUBLISHED) == [other_id]
    assert told.of(Event.BACKEND_DOWN) == []
    assert backend.state(ids[0]) == "ready"
    told.wait_for(Event.PUBLISHED_LATE)
    assert other_backend.state(other_id) == "ready"
