from __future__ import annotations

import gc
import os
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import pytest

from taskqueue import keeper as keeper_module
from taskqueue import kept as kept_module
from taskqueue import notices, witnesses
from taskqueue.errors import BackendError, BackendUnavailableError
from taskqueue.interfaces import Owner, Record, WitnessMark
from taskqueue.keeper import Keeper, process_keeper
from taskqueue.notices import Event, Notice
from taskqueue.queues import Queue
from taskqueue.record import Envelope, encode_part, new_id

from .serving import wait_until
from .witnesses.fakes import FakeWitness

DEADLINE = 20.0


class Journal:
    """What happened, in order; tests wait for it."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._entries: list[Any] = []

    def note(self, entry: Any) -> None:
        with self._changed:
            self._entries.append(entry)
            self._changed.notify_all()

    def entries(self, kind: object = None) -> list[Any]:
        with self._changed:
            return [entry for entry in self._entries if kind is None or entry[0] == kind]

    def wait(self, kind: object, count: int = 1) -> Any:
        """The last of ``count`` entries of a kind."""
        with self._changed:
            there = self._changed.wait_for(lambda: self._count(kind) >= count, DEADLINE)
            assert there, f"within {DEADLINE:g} s there were not {count} of {kind!r}, but {self._entries[-20:]}"
        return self.entries(kind)[count - 1]

    def _count(self, kind: object) -> int:
        return sum(entry[0] == kind for entry in self._entries)


class Store:
    """The verbs that the keeper calls; each can be made to fail."""

    def __init__(self) -> None:
        self.journal = Journal()
        self.errors: dict[str, Exception] = {}
        self.before: dict[str, Callable[[], None]] = {}
        self.records: list[Record] = []

    def beat(self, owner: Owner, lease: float, timeout: float) -> None:
        self._called("beat", owner, lease, timeout)

    def publish(self, records: Sequence[Record], timeout: float) -> None:
        self._called("publish", tuple(record.id for record in records), timeout)

    def try_adding(self, timeout: float) -> None:
        self._called("try_adding", timeout)

    def settle(self, ids: Collection[str], verdict: str, timeout: float | None = None) -> int:
        self._called("settle", tuple(ids), verdict)
        return len(ids)

    def staged(self, limit: int, after: str) -> Sequence[Record]:
        self._called("staged", after)
        return [each for each in self.records if each.id > after][:limit]

    def wake(self) -> None:
        self._called("wake")

    def retire(self, owner_id: str, timeout: float) -> None:
        self._called("retire", owner_id)

    def _called(self, verb: str, *details: Any) -> None:
        self.before.get(verb, lambda: None)()
        error = self.errors.get(verb)
        self.journal.note((verb if error is None else f"{verb} failed", *details))
        if error is not None:
            raise error


DOWN = BackendUnavailableError("no answer")


def make_record() -> Record:
    return Record(id=new_id(), body=b"body", secrets=b"secrets")


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def queue(store: Store) -> Queue:
    return Queue(name="mail", backend=store)  # type: ignore[arg-type]  # as much of a backend as is needed


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Journal:
    journal = Journal()

    def listener(notice: Notice) -> None:
        journal.note((notice.event, notice))

    monkeypatch.setattr(notices, "_listeners", [listener])
    return journal


@pytest.fixture
def keeper(told: Journal, monkeypatch: pytest.MonkeyPatch) -> Iterator[Keeper]:
    monkeypatch.setattr(kept_module, "PROBE_SECONDS", 0.01)
    keeper = Keeper()
    yield keeper
    keeper.stop()
    assert keeper._thread is None or not keeper._thread.is_alive(), "the keeper's thread did not end"


@pytest.fixture
def threadless(told: Journal) -> Keeper:
    """A keeper that does nothing but what the test has it do: a stopped one starts no thread any more."""
    keeper = Keeper()
    keeper.stop()
    return keeper


# ---- the lease ---------------------------------------------------------------------------------------------------


def test_a_keeper_is_inert_until_it_is_used(keeper: Keeper, queue: Queue, store: Store) -> None:
    keeper.refuse_if_down(queue)
    assert keeper._thread is None
    assert keeper.unpublished() == 0
    assert store.journal.entries() == []


def test_the_lease_is_taken_before_the_first_use(keeper: Keeper, queue: Queue, store: Store) -> None:
    keeper.hold_lease(queue, 1.5)
    _, owner, lease, _timeout = store.journal.entries("beat")[0]
    assert (owner.id, owner.pid, owner.consumers, lease) == (keeper.owner_id, os.getpid(), (), 60.0)


def test_a_thread_that_could_not_be_started_is_started_later(
    keeper: Keeper, queue: Queue, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as full:
        full.setattr(threading.Thread, "start", start)
        with pytest.raises(RuntimeError):
            keeper.hold_lease(queue, 1.0)
    keeper.report_down(queue, DOWN)
    assert keeper._thread is not None
    assert keeper._thread.is_alive()


def test_holding_the_lease_again_costs_nothing(keeper: Keeper, queue: Queue, store: Store) -> None:
    keeper.hold_lease(queue, 1.0)
    store.errors["beat"] = AssertionError("another beat")
    for _ in range(100):
        keeper.hold_lease(queue, 1.0)


def test_a_lease_that_has_lapsed_is_taken_again(
    threadless: Keeper, queue: Queue, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    threadless.hold_lease(queue, 1.0)
    monkeypatch.setattr(kept_module.Kept, "seconds_since_beat", lambda kept: kept.lease + 1)
    threadless.hold_lease(queue, 1.0)
    assert len(store.journal.entries("beat")) == 2


def test_a_lease_that_cannot_be_had_is_an_error_and_others_are_refused_at_once(
    keeper: Keeper, queue: Queue, store: Store, told: Journal
) -> None:
    store.errors["beat"] = DOWN
    with pytest.raises(BackendUnavailableError):
        keeper.hold_lease(queue, 1.0)
    with pytest.raises(BackendUnavailableError, match="'mail' is unavailable"):
        keeper.refuse_if_down(queue)
    told.wait(Event.BACKEND_DOWN)


def test_the_lease_is_renewed_as_its_consumers_ask(keeper: Keeper, queue: Queue, store: Store) -> None:
    keeper.register_consumer(queue, "c", lease=0.5, renew=0.01)
    _, owner, lease, _ = store.journal.wait("beat", 5)
    assert (owner.consumers, lease) == (("c",), 0.5)


def test_a_consumer_is_in_the_next_beat_and_not_any_more_when_it_has_stopped(
    keeper: Keeper, queue: Queue, store: Store
) -> None:
    def wait_for(consumers: tuple[str, ...]) -> None:
        count = 0
        while True:
            count += 1
            if store.journal.wait("beat", count)[1].consumers == consumers:
                return

    keeper.register_consumer(queue, "b", lease=60, renew=15)
    wait_for(("b",))
    keeper.register_consumer(queue, "a", lease=60, renew=15)
    wait_for(("b", "a"))
    keeper.unregister_consumer(queue, "b")
    wait_for(("a",))


def test_the_longest_lease_and_the_shortest_renewal_win(keeper: Keeper, queue: Queue) -> None:
    keeper.register_consumer(queue, "a", lease=10, renew=3)
    kept = keeper._kept[id(queue)]
    assert (kept.lease, kept.renew) == (10, 3)
    keeper.register_consumer(queue, "b", lease=300, renew=100)
    assert (kept.lease, kept.renew) == (300, 3)
    keeper.register_consumer(queue, "c", lease=5, renew=2)
    assert (kept.lease, kept.renew) == (300, 2)


def test_a_consumer_that_registers_during_a_beat_is_in_another_one_at_once(
    threadless: Keeper, queue: Queue, store: Store
) -> None:
    def register_once() -> None:
        store.before.clear()
        threadless.register_consumer(queue, "late", lease=60, renew=15)

    store.before["beat"] = register_once
    threadless.hold_lease(queue, 1.0)
    assert store.journal.entries("beat")[0][1].consumers == ()
    threadless.hold_lease(queue, 1.0)
    assert store.journal.entries("beat")[1][1].consumers == ("late",)


# ---- down and up -------------------------------------------------------------------------------------------------


def test_a_backend_that_is_reported_down_is_refused_at_once_probed_and_up_again(
    keeper: Keeper, queue: Queue, store: Store, told: Journal
) -> None:
    keeper.hold_lease(queue, 1.0)
    store.errors["beat"] = DOWN
    keeper.report_down(queue, DOWN)
    with pytest.raises(BackendUnavailableError):
        keeper.refuse_if_down(queue)
    store.journal.wait("beat failed", 3)
    with pytest.raises(BackendUnavailableError):
        keeper.refuse_if_down(queue)
    store.errors.clear()
    told.wait(Event.BACKEND_UP)
    keeper.refuse_if_down(queue)
    assert len(told.entries(Event.BACKEND_DOWN)) == 1
    assert len(told.entries(Event.BACKEND_UP)) == 1
    assert "no answer" in told.entries(Event.BACKEND_DOWN)[0][1].detail


def test_one_queue_that_is_down_does_not_refuse_another(keeper: Keeper, queue: Queue, store: Store) -> None:
    store.errors["beat"] = DOWN
    keeper.report_down(queue, DOWN)
    other = Queue(name="other", backend=Store())  # type: ignore[arg-type]  # a fake
    keeper.hold_lease(other, 1.0)
    keeper.refuse_if_down(other)


def test_a_backend_that_takes_beats_but_no_tasks_stays_down_without_flapping(
    keeper: Keeper, queue: Queue, store: Store, told: Journal
) -> None:
    store.errors["publish"] = BackendUnavailableError("disk full")
    keeper.redo(queue, [make_record()], DOWN)
    keeper.report_down(queue, DOWN)
    store.journal.wait("publish failed", 4)
    with pytest.raises(BackendUnavailableError):
        keeper.refuse_if_down(queue)
    store.errors.clear()
    told.wait(Event.PUBLISHED_LATE)
    told.wait(Event.BACKEND_UP)
    assert [event for event, _ in told.entries() if event in (Event.BACKEND_UP, Event.BACKEND_DOWN)] == [
        Event.BACKEND_DOWN,
        Event.BACKEND_UP,
    ]


@pytest.mark.parametrize("verb", ["beat", "publish", "settle", "staged"])
def test_the_keeper_survives_any_exception_of_a_backend_and_tells_it_once(
    keeper: Keeper, queue: Queue, store: Store, told: Journal, verb: str
) -> None:
    store.errors[verb] = ZeroDivisionError("a bug")
    keeper.redo(queue, [make_record()], DOWN)
    keeper.settle_later(queue, ["x"], "hold")
    store.journal.wait(f"{verb} failed", 5)
    store.errors.clear()
    told.wait(Event.PUBLISHED_LATE)
    store.journal.wait("settle")
    failures = told.entries(Event.CONSUMER_FAILED)
    assert [notice.detail for _, notice in failures] == ["ZeroDivisionError('a bug')"]
    assert told.entries(Event.BACKEND_DOWN) == []


def test_a_backend_that_fails_before_its_first_beat_is_not_tried_without_a_pause(
    threadless: Keeper, queue: Queue, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.errors["beat"] = ZeroDivisionError("a bug")
    monkeypatch.setattr(kept_module, "PROBE_SECONDS", 1.0)
    kept = threadless._keep(queue)
    threadless._tend(kept)
    assert threadless._pause_seconds() == 1.0


def test_an_answer_to_what_was_asked_before_says_nothing_against_a_report(
    threadless: Keeper, queue: Queue, store: Store
) -> None:
    store.before["beat"] = lambda: threadless.report_down(queue, DOWN)
    threadless._tend(threadless._keep(queue))
    with pytest.raises(BackendUnavailableError):
        threadless.refuse_if_down(queue)


def test_a_backend_whose_probe_fails_in_another_way_is_still_down(
    threadless: Keeper, queue: Queue, store: Store
) -> None:
    threadless.report_down(queue, DOWN)
    store.errors["beat"] = ZeroDivisionError("a bug")
    threadless._tend(threadless._keep(queue))
    with pytest.raises(BackendUnavailableError):
        threadless.refuse_if_down(queue)


def test_the_error_of_a_backend_that_is_not_about_reaching_it_does_not_refuse_others(
    keeper: Keeper, queue: Queue, store: Store, told: Journal
) -> None:
    store.errors["publish"] = BackendError("this record cannot be stored")
    keeper.redo(queue, [make_record()], DOWN)
    store.journal.wait("publish failed", 3)
    keeper.refuse_if_down(queue)
    assert told.entries(Event.BACKEND_DOWN) == []
    assert len(told.entries(Event.CONSUMER_FAILED)) == 1


# ---- publishing late ---------------------------------------------------------------------------------------------


def test_what_could_not_be_published_is_published_until_it_succeeds(
    keeper: Keeper, queue: Queue, store: Store, told: Journal
) -> None:
    record = make_record()
    store.errors["publish"] = DOWN
    keeper.redo(queue, [record], DOWN)
    store.journal.wait("publish failed", 3)
    assert keeper.unpublished() == 1
    store.errors.clear()
    notice = told.wait(Event.PUBLISHED_LATE)[1]
    assert (notice.queue, notice.task_ids) == ("mail", (record.id,))
    assert keeper.unpublished() == 0
    assert told.entries(Event.UNPUBLISHED)[0][1].task_ids == (record.id,)
    assert [entry[1] for entry in store.journal.entries("publish")] == [(record.id,)]


def test_many_records_are_published_in_calls_that_can_end_in_time(
    keeper: Keeper, queue: Queue, store: Store, told: Journal
) -> None:
    records = [make_record() for _ in range(2 * keeper_module.REDO_BATCH + 1)]
    keeper.redo(queue, records, DOWN)
    told.wait(Event.PUBLISHED_LATE, 3)
    calls = [entry[1] for entry in store.journal.entries("publish")]
    assert [len(ids) for ids in calls] == [keeper_module.REDO_BATCH, keeper_module.REDO_BATCH, 1]
    assert [task_id for ids in calls for task_id in ids] == [record.id for record in records]


def test_a_lease_is_held_before_anything_is_published_again(keeper: Keeper, queue: Queue, store: Store) -> None:
    keeper.redo(queue, [make_record()], DOWN)
    store.journal.wait("publish")
    assert store.journal.entries()[0][0] == "beat"


def test_what_was_not_settled_in_time_is_settled_until_it_succeeds(keeper: Keeper, queue: Queue, store: Store) -> None:
    store.errors["settle"] = DOWN
    keeper.settle_later(queue, ["a", "b"], "discard")
    keeper.settle_later(queue, ["c"], "hold")
    store.journal.wait("settle failed", 2)
    store.errors.clear()
    store.journal.wait("settle", 2)
    assert [entry[1:] for entry in store.journal.entries("settle")] == [(("a", "b"), "discard"), (("c",), "hold")]


# ---- in doubt ----------------------------------------------------------------------------------------------------


@pytest.fixture
def witness(monkeypatch: pytest.MonkeyPatch) -> FakeWitness:
    made = FakeWitness(answer="yes")
    monkeypatch.setattr(witnesses, "_witnesses", [made])
    return made


def held(transaction_id: str = "t", **envelope: Any) -> Record:
    marks = (WitnessMark(kind="fake", database="main"),)
    given = Envelope(
        **{"transaction_id": transaction_id, "owner": "o", "witnesses": marks, "strangers": (), **envelope}
    )
    return Record(id=new_id(), body=b"", state="held", envelope=encode_part(given))


def test_a_keeper_looks_into_what_is_held_when_it_begins(
    keeper: Keeper, queue: Queue, store: Store, witness: FakeWitness
) -> None:
    store.records = [held()]
    keeper.hold_lease(queue, 1.0)
    assert store.journal.wait("settle")[1:] == ((store.records[0].id,), "publish")


def test_a_keeper_looks_again_as_soon_as_it_is_told_to(
    keeper: Keeper, queue: Queue, store: Store, witness: FakeWitness
) -> None:
    keeper.hold_lease(queue, 1.0)
    store.journal.wait("staged")
    store.records = [held()]
    keeper.look_into_doubts(queue)
    store.journal.wait("settle")


def test_without_being_told_a_keeper_looks_once_in_a_renewal(
    threadless: Keeper, queue: Queue, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = threadless._keep(queue)
    for _ in range(3):
        threadless._tend(kept)
    assert len(store.journal.entries("staged")) == 1
    assert kept.looked_at is not None
    kept.looked_at -= kept.renew
    threadless._tend(kept)
    assert len(store.journal.entries("staged")) == 2


@pytest.mark.parametrize(("renew", "rests"), [(15.0, keeper_module.DOUBT_SECONDS), (2.0, 2.0)])
def test_who_may_know_soon_is_asked_again_soon(
    threadless: Keeper, queue: Queue, store: Store, witness: FakeWitness, renew: float, rests: float
) -> None:
    witness.answer = "not yet"
    store.records = [held()]
    kept = threadless._keep(queue)
    kept.renew = renew
    threadless._tend(kept)
    assert 0 < threadless._pause_seconds() <= rests
    assert kept.looked_at is not None
    kept.looked_at -= rests
    threadless._tend(kept)
    assert len(witness.asked) == 2


def test_what_could_not_be_looked_into_is_looked_into_when_the_backend_is_up_again(
    threadless: Keeper, queue: Queue, store: Store, witness: FakeWitness
) -> None:
    store.records = [held()]
    store.errors["staged"] = DOWN
    kept = threadless._keep(queue)
    threadless._tend(kept)
    with pytest.raises(BackendUnavailableError):
        threadless.refuse_if_down(queue)
    store.errors.clear()
    threadless._tend(kept)
    threadless._tend(kept)
    assert len(store.journal.entries("settle")) == 1


def test_nobody_decides_for_a_transaction_that_may_still_commit_here(
    threadless: Keeper, queue: Queue, store: Store, witness: FakeWitness
) -> None:
    class Producer:
        may_commit = True

    producer = Producer()
    store.records = [held("open")]
    kept = threadless._keep(queue)
    threadless.in_flight.enter("open", producer)
    threadless._tend(kept)
    assert witness.asked == []
    producer.may_commit = False
    threadless.look_into_doubts(queue)
    threadless._tend(kept)
    assert witness.asked == [("open",)]


def test_nobody_decides_for_what_this_process_has_still_to_publish(
    threadless: Keeper, queue: Queue, store: Store, witness: FakeWitness
) -> None:
    store.records = [held()]
    store.errors["publish"] = BackendError("odd")
    kept = threadless._keep(queue)
    threadless.redo(queue, store.records, DOWN)
    threadless._tend(kept)
    store.errors.clear()
    assert threadless._kept
    kept.doubts.settle((), kept.redo)
    assert witness.asked == []


def test_a_transaction_that_is_gone_without_a_word_is_not_in_flight_any_more(threadless: Keeper) -> None:
    class Producer:
        may_commit = True

    producer = Producer()
    threadless.in_flight.enter("t", producer)
    assert "t" in threadless.in_flight
    del producer
    gc.collect()
    assert "t" not in threadless.in_flight
    assert len(threadless.in_flight) == 0


def test_the_witnesses_are_tidied_now_and_then_and_one_that_fails_harms_nobody(
    threadless: Keeper, told: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = FakeWitness("first"), FakeWitness("second")
    first.error = ValueError("a secret")
    monkeypatch.setattr(witnesses, "_witnesses", [first, second])
    threadless._tidy()
    assert (first.tidied, second.tidied) == (0, 0)
    threadless._tidied_at -= keeper_module.TIDY_SECONDS
    threadless._tidy()
    threadless._tidy()
    assert (first.tidied, second.tidied) == (1, 1)
    assert [notice.detail for _, notice in told.entries(Event.WARNING)] == [
        "the fake witness is not tidied: ValueError"
    ]


# ---- letting go --------------------------------------------------------------------------------------------------


def test_stopping_publishes_what_is_left_and_then_ends_the_lease(keeper: Keeper, queue: Queue, store: Store) -> None:
    record = make_record()
    store.errors["publish"] = DOWN
    keeper.redo(queue, [record], DOWN)
    store.journal.wait("publish failed")
    store.errors.clear()
    keeper.stop()
    assert [entry for entry in store.journal.entries() if entry[0] in ("publish", "retire")] == [
        ("publish", (record.id,), 2.0),
        ("retire", keeper.owner_id),
    ]


def test_stopping_ends_the_lease_even_if_nothing_can_be_published(keeper: Keeper, queue: Queue, store: Store) -> None:
    store.errors["publish"] = store.errors["settle"] = DOWN
    keeper.redo(queue, [make_record()], DOWN)
    keeper.settle_later(queue, ["x"], "hold")
    keeper.stop()
    assert store.journal.entries("retire") == [("retire", keeper.owner_id)]


def test_letting_go_of_a_queue_that_is_down_waits_for_nothing(keeper: Keeper, queue: Queue, store: Store) -> None:
    keeper.hold_lease(queue, 1)
    store.errors = dict.fromkeys(("beat", "retire"), DOWN)
    keeper.report_down(queue, DOWN)
    keeper.stop()
    assert not [entry for entry in store.journal.entries() if str(entry[0]).startswith("retire")]


def test_a_lease_in_doubt_is_taken_again(keeper: Keeper, queue: Queue, store: Store) -> None:
    keeper.hold_lease(queue, 1)
    keeper.hold_lease(queue, 1)
    before = len(store.journal.entries("beat"))
    keeper.doubt_lease(queue)
    store.journal.wait("beat", before + 1)


def test_stopping_twice_or_before_anything_is_fine(keeper: Keeper, queue: Queue, store: Store) -> None:
    Keeper().stop()
    keeper.hold_lease(queue, 1.0)
    keeper.stop()
    keeper.stop()
    assert len(store.journal.entries("retire")) == 1


def test_who_adds_after_the_stop_takes_a_lease_again(keeper: Keeper, queue: Queue, store: Store) -> None:
    keeper.hold_lease(queue, 1.0)
    keeper.stop()
    keeper.hold_lease(queue, 1.0)
    assert store.journal.entries()[-1][0] == "beat"


def test_forgetting_a_queue_publishes_what_is_left_and_ends_its_lease_only(
    keeper: Keeper, queue: Queue, store: Store
) -> None:
    other_store = Store()
    other = Queue(name="other", backend=other_store)  # type: ignore[arg-type]  # a fake
    keeper.hold_lease(other, 1.0)
    keeper.hold_lease(queue, 1.0)
    store.errors["publish"] = DOWN
    keeper.redo(queue, [make_record()], DOWN)
    store.journal.wait("publish failed")
    store.errors.clear()
    keeper.forget(queue)
    assert len(store.journal.entries("publish")) == 1
    assert store.journal.entries("retire") == [("retire", keeper.owner_id)]
    assert other_store.journal.entries("retire") == []
    assert keeper.unpublished() == 0


def test_forgetting_a_queue_waits_for_what_is_being_done_with_it(keeper: Keeper, queue: Queue, store: Store) -> None:
    is_publishing, may_go_on = threading.Event(), threading.Event()

    def stall() -> None:
        is_publishing.set()
        assert may_go_on.wait(DEADLINE)

    store.before["publish"] = stall
    keeper.redo(queue, [make_record()], DOWN)
    assert is_publishing.wait(DEADLINE)
    forgetting = threading.Thread(target=keeper.forget, args=(queue,))
    forgetting.start()
    wait_until(lambda: not keeper._kept)
    may_go_on.set()
    forgetting.join(DEADLINE)
    keeper.stop()
    verbs = [entry[0] for entry in store.journal.entries()]
    assert verbs.count("publish") == 1
    assert verbs[-1] == "retire"


def test_a_queue_that_is_forgotten_before_its_turn_is_not_tended_any_more(
    threadless: Keeper, queue: Queue, store: Store
) -> None:
    other_store = Store()
    other = Queue(name="other", backend=other_store)  # type: ignore[arg-type]  # a fake
    for each in (queue, other):
        threadless._keep(each)
    store.before["beat"] = lambda: threadless.forget(other)
    threadless._tend_all()
    assert [entry[0] for entry in other_store.journal.entries()] == ["retire"]


def test_a_queue_that_was_forgotten_while_it_was_down_is_not_kept_again(
    keeper: Keeper, queue: Queue, store: Store
) -> None:
    keeper.hold_lease(queue, 1.0)
    store.errors = dict.fromkeys(("beat", "publish", "settle", "retire"), DOWN)
    keeper.redo(queue, [make_record()], DOWN)
    store.journal.wait("beat failed")
    keeper.forget(queue)
    assert keeper._kept == {}
    keeper.refuse_if_down(queue)


def test_forgetting_a_queue_that_was_never_used_does_nothing(keeper: Keeper, queue: Queue, store: Store) -> None:
    keeper.forget(queue)
    assert store.journal.entries() == []


# ---- processes ---------------------------------------------------------------------------------------------------


def test_a_process_has_one_keeper() -> None:
    found: list[Keeper] = []
    threads = [threading.Thread(target=lambda: found.append(process_keeper())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE)
    assert len(found) == 8
    assert len({id(each) for each in found}) == 1
