"""A backend that takes no new tasks is down for those who add, until a write such as theirs succeeds, and for nobody
else."""

from __future__ import annotations

import pytest

from taskqueue import kept as kept_module
from taskqueue import notices
from taskqueue.errors import BackendError, BackendUnavailableError, QueueFullError
from taskqueue.keeper import Keeper
from taskqueue.notices import Event
from taskqueue.queues import Queue

from .test_keeper import DOWN, Journal, Store, make_record


class FullError(BackendUnavailableError):
    """What a full Redis answers to those who add."""

    only_adding = True


FULL = FullError("it is full")


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def queue(store: Store) -> Queue:
    return Queue(name="mail", backend=store)  # type: ignore[arg-type]  # as much of a backend as is needed


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Journal:
    journal = Journal()
    monkeypatch.setattr(notices, "_listeners", [lambda notice: journal.note((notice.event, notice))])
    return journal


@pytest.fixture
def keeper(told: Journal, monkeypatch: pytest.MonkeyPatch) -> Keeper:
    """One that does nothing but what the test has it do: a stopped one starts no thread any more."""
    monkeypatch.setattr(kept_module, "PROBE_SECONDS", 0.01)
    keeper = Keeper()
    keeper.stop()
    return keeper


def tend(keeper: Keeper, queue: Queue, times: int = 1) -> None:
    for _ in range(times):
        keeper._tend(keeper._keep(queue))


def tidings(told: Journal) -> list[Event]:
    return [event for event, _ in told.entries() if event in (Event.BACKEND_UP, Event.BACKEND_DOWN)]


def test_who_could_not_add_hears_once_of_it_and_once_of_its_end(
    keeper: Keeper, queue: Queue, store: Store, told: Journal
) -> None:
    store.errors["try_adding"] = FULL
    for _ in range(3):
        keeper.report_down(queue, FULL, adding=True)
        tend(keeper, queue, 3)
        with pytest.raises(BackendUnavailableError):
            keeper.refuse_if_down(queue)
    assert len(store.journal.entries("beat")) == 9  # which a full store takes
    assert tidings(told) == [Event.BACKEND_DOWN]
    store.errors.clear()
    tend(keeper, queue)
    keeper.refuse_if_down(queue)
    assert tidings(told) == [Event.BACKEND_DOWN, Event.BACKEND_UP]


def test_a_thread_tends_what_could_not_be_added_to_until_it_can(
    queue: Queue, store: Store, told: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_module, "PROBE_SECONDS", 0.01)
    store.errors["try_adding"] = FULL
    keeper = Keeper()
    keeper.report_down(queue, FULL, adding=True)
    store.journal.wait("try_adding failed", 4)
    assert told.entries(Event.BACKEND_UP) == []
    store.errors.clear()
    told.wait(Event.BACKEND_UP)
    keeper.stop()


def test_nothing_is_written_to_try_where_no_add_has_failed(keeper: Keeper, queue: Queue, store: Store) -> None:
    tend(keeper, queue)
    keeper.redo(queue, [make_record()], DOWN)
    keeper.report_down(queue, DOWN)
    tend(keeper, queue, 2)
    keeper.refuse_if_down(queue)
    assert store.journal.entries("try_adding") == []


def test_nothing_is_tried_any_more_once_tasks_can_be_added(keeper: Keeper, queue: Queue, store: Store) -> None:
    keeper.report_down(queue, FULL, adding=True)
    tend(keeper, queue)
    keeper.report_down(queue, DOWN)
    tend(keeper, queue, 3)
    assert len(store.journal.entries("try_adding")) == 1


def test_a_queue_at_its_limit_is_not_down(keeper: Keeper, queue: Queue, store: Store) -> None:
    keeper.report_down(queue, DOWN, adding=True)
    store.errors["try_adding"] = QueueFullError("its length_limit is 3 tasks")
    tend(keeper, queue)
    keeper.refuse_if_down(queue)


def test_a_try_that_fails_in_another_way_says_nothing_good_and_is_told_once(
    keeper: Keeper, queue: Queue, store: Store, told: Journal
) -> None:
    keeper.report_down(queue, DOWN, adding=True)
    store.errors["try_adding"] = ZeroDivisionError("a bug")
    tend(keeper, queue, 3)
    with pytest.raises(BackendUnavailableError):
        keeper.refuse_if_down(queue)
    assert [notice.detail for _, notice in told.entries(Event.CONSUMER_FAILED)] == ["ZeroDivisionError('a bug')"]


def test_a_lease_that_can_be_had_does_not_say_that_tasks_can_be_added(
    keeper: Keeper, queue: Queue, store: Store, told: Journal
) -> None:
    keeper.report_down(queue, FULL, adding=True)
    keeper.hold_lease(queue, 1.0)
    with pytest.raises(BackendUnavailableError):
        keeper.refuse_if_down(queue)
    assert tidings(told) == [Event.BACKEND_DOWN]


def test_an_add_that_fails_while_another_is_tried_counts(keeper: Keeper, queue: Queue, store: Store) -> None:
    keeper.report_down(queue, FULL, adding=True)
    store.before["try_adding"] = lambda: keeper.report_down(queue, FULL, adding=True)
    tend(keeper, queue)
    with pytest.raises(BackendUnavailableError):
        keeper.refuse_if_down(queue)


# ---- all the rest ------------------------------------------------------------------------------------------------


def test_what_only_takes_no_tasks_is_asked_for_all_the_rest(keeper: Keeper, queue: Queue, store: Store) -> None:
    keeper.report_down(queue, FULL, adding=True)
    keeper.refuse_if_silent(queue)


def test_where_nobody_knows_what_else_fails_nothing_is_asked_until_it_has_answered(
    keeper: Keeper, queue: Queue, store: Store
) -> None:
    keeper.report_down(queue, DOWN, adding=True)
    store.errors.update(beat=DOWN, try_adding=DOWN)
    tend(keeper, queue)
    with pytest.raises(BackendUnavailableError):
        keeper.refuse_if_silent(queue)
    del store.errors["beat"]
    tend(keeper, queue)
    keeper.refuse_if_silent(queue)
    with pytest.raises(BackendUnavailableError):
        keeper.refuse_if_down(queue)


def test_a_full_backend_that_cannot_be_reached_any_more_is_asked_nothing(
    keeper: Keeper, queue: Queue, store: Store
) -> None:
    keeper.report_down(queue, FULL, adding=True)
    store.errors["beat"] = DOWN
    tend(keeper, queue)
    with pytest.raises(BackendUnavailableError):
        keeper.refuse_if_silent(queue)


def test_what_is_handed_over_is_published_while_nothing_can_be_added(
    keeper: Keeper, queue: Queue, store: Store, told: Journal
) -> None:
    record = make_record()
    keeper.report_down(queue, FULL, adding=True)
    keeper._publish_now(queue, [record])
    assert [entry[1] for entry in store.journal.entries("publish")] == [(record.id,)]
    assert told.entries(Event.UNPUBLISHED) == []


def test_what_is_in_doubt_is_looked_into_while_nothing_can_be_added(keeper: Keeper, queue: Queue, store: Store) -> None:
    store.errors["try_adding"] = FULL
    keeper.report_down(queue, FULL, adding=True)
    keeper.look_into_doubts(queue)
    tend(keeper, queue)
    assert len(store.journal.entries("staged")) == 1


def test_a_lease_is_ended_although_nothing_can_be_added(keeper: Keeper, queue: Queue, store: Store) -> None:
    store.errors["try_adding"] = FULL
    keeper.report_down(queue, FULL, adding=True)
    keeper.forget(queue)
    assert len(store.journal.entries("retire")) == 1


def test_an_error_that_is_about_one_task_refuses_no_other(keeper: Keeper, queue: Queue, store: Store) -> None:
    store.errors["publish"] = BackendError("this record cannot be stored")
    keeper.redo(queue, [make_record()], DOWN)
    tend(keeper, queue)
    keeper.refuse_if_down(queue)
    assert store.journal.entries("try_adding") == []
