"""Who deals with the store, and what happens while an exchange is under way."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from taskqueue import notices
from taskqueue.consumer import Consumer
from taskqueue.consumer.watch import WATCH_SECONDS
from taskqueue.interfaces import Settlement
from taskqueue.notices import Event

from .fakes import PATIENCE, FaultError, Gate, Site, answering, exchanges, join_threads_of

FETCHING = "taskqueue-default-fetch"
MANY = 400


def hold_a_large_one(site: Site, smallest: int = 6) -> None:
    """Let the answer wait of the first exchange in which several tasks are handed in, while others wait to start."""
    site.backend.is_far = lambda settlements: not site.backend.on_the_way and len(settlements) >= smallest


def far_ahead(site: Site, application: Any) -> Consumer:
    """A consumer that holds many tasks at once, however long they take where others are busy as well."""
    return site.consumer(application, prefetch=PATIENCE)


def test_workers_deal_with_the_store_while_there_is_work(site: Site):
    site.add(*(f"/{number}" for number in range(MANY)))
    far_ahead(site, answering()).start()
    site.ears.wait_for(Event.DONE, MANY)
    by_worker = [name for name in site.backend.readers if name != FETCHING]
    assert len(by_worker) > 1
    assert set(by_worker) == {"taskqueue-default-1"}


def test_of_a_queue_in_memory_the_fetching_thread_makes_the_exchanges(site: Site, monkeypatch):
    monkeypatch.setattr(type(site.backend), "capabilities", frozenset())
    site.add(*(f"/{number}" for number in range(MANY)))
    site.consumer(answering()).start()
    site.ears.wait_for(Event.DONE, MANY)
    assert set(site.backend.readers) == {FETCHING}


def test_a_worker_that_calls_for_more_goes_on_though_nobody_comes(site: Site):
    consumer = site.consumer(answering())  # it was not started, so there is nobody who could come
    worker = threading.Thread(target=consumer._watch.stand_aside, daemon=True)
    worker.start()
    worker.join(PATIENCE)
    assert not worker.is_alive(), "it waits for ever"
    assert consumer._watch.wait(0), "it was not called"


def wait_until_idle(site: Site, consumer: Consumer) -> None:
    """Until the fetching thread rests, and a worker waits for hints, of which it has seen all."""
    site.backend.wait_for_call(lambda call: call[0] == "rest")
    site.backend.wait_for_call(lambda call: call == ("wait", WATCH_SECONDS), 2)
    assert consumer.running


def test_a_task_that_comes_alone_is_claimed_and_handed_in_by_its_worker(site: Site):
    site.backend.hints_only = True  # nobody looks by himself
    consumer = site.consumer(answering())
    consumer.start()
    wait_until_idle(site, consumer)
    before = len(site.backend.readers)
    site.add("/a")
    site.ears.wait_for(Event.DONE)
    assert site.backend.readers[before:] == ["taskqueue-default-1"] * 2


def test_who_has_nothing_to_do_meanwhile_does_not_begin_but_makes_an_exchange(site: Site):
    def begin(*arguments: Any) -> Any:
        raise FaultError("nobody has to wait for this")

    site.backend.begin_exchange = begin  # type: ignore[method-assign]
    site.consumer(answering()).start()
    for number in range(3):
        site.add("/a")
        site.ears.wait_for(Event.DONE, number + 1)
    assert not site.ears.of(Event.CONSUMER_FAILED)


def test_while_one_runs_a_task_another_waits_for_hints(site: Site):
    site.backend.hints_only = True
    gate = Gate()
    consumer = site.consumer(gate, concurrent_limit=3)
    consumer.start()
    wait_until_idle(site, consumer)
    before = len(site.backend.readers)
    for number in range(3):
        site.add(f"/wait/{number}")
        gate.wait_inside(f"/wait/{number}")
    assert FETCHING not in site.backend.readers[before:]
    for number in range(3):
        gate.open(f"/wait/{number}")
    site.ears.wait_for(Event.DONE, 3)


def test_the_store_is_not_asked_again_for_what_a_hint_told_of_while_a_task_ran(site: Site):
    site.backend.hints_only = True
    gate = Gate()
    consumer = site.consumer(gate)
    consumer.start()
    wait_until_idle(site, consumer)
    before = len(exchanges(site))
    site.add("/wait/a")
    gate.wait_inside("/wait/a")
    site.add("/b")
    gate.open("/wait/a")
    site.ears.wait_for(Event.DONE, 2)
    site.backend.wait_for_call(lambda call: call == ("wait", WATCH_SECONDS), 3)
    site.add("/c")
    site.ears.wait_for(Event.DONE, 3)
    asked = [(len(settlements), wanted > 0) for _, settlements, wanted, _ in exchanges(site)[before:]]
    assert asked == [(0, True), (1, True), (1, True), (0, True), (1, True)]


def test_what_the_fetching_thread_finds_wakes_the_worker_that_waits_for_hints(site: Site, monkeypatch):
    site.backend.hints_only = True
    consumer = site.consumer(answering())
    consumer.start()
    wait_until_idle(site, consumer)
    with monkeypatch.context() as missed:
        missed.setattr(site.backend._hints, "give", lambda: None)
        site.add("/a")
    consumer._watch.call()  # as if it were time to poll
    site.ears.wait_for(Event.DONE)
    assert FETCHING in site.backend.readers


def test_while_all_workers_are_busy_the_fetching_thread_waits_for_hints(site: Site):
    """Nobody needs them then, but they come on a connection that would become full of them."""
    gate = Gate()
    site.consumer(gate).start()
    site.add("/wait/a")
    gate.wait_inside("/wait/a")
    site.backend.wait_for_call(lambda call: call[0] == "wait" and call[1] < WATCH_SECONDS)
    gate.open("/wait/a")
    site.ears.wait_for(Event.DONE)


def test_without_hints_the_fetching_thread_polls_and_workers_wait_for_it(site: Site):
    site.backend.failing["wait"] = FaultError("there are none")
    site.consumer(answering()).start()
    site.ears.wait_for(Event.CONSUMER_FAILED)
    site.add("/a")
    site.ears.wait_for(Event.DONE)
    site.backend.failing.clear()
    site.ears.wait_for(Event.BACKEND_UP)


def test_tasks_are_run_while_the_store_works(site: Site):
    gate = Gate()
    hold_a_large_one(site)
    site.add(*(f"/{number}" for number in range(MANY)))
    far_ahead(site, gate).start()
    come = site.backend.wait_until_under_way()
    handed_in = len(exchanges(site)[-1][1])
    gate.wait_passed(handed_in + 1)
    come.set()
    site.ears.wait_for(Event.DONE, MANY)
    assert len(set(gate.passed)) == len(gate.passed) == MANY


def test_nothing_is_told_before_the_answer_has_come(site: Site):
    hold_a_large_one(site)
    site.add(*(f"/{number}" for number in range(MANY)))
    far_ahead(site, answering()).start()
    come = site.backend.wait_until_under_way()
    handed_in = {settlement.id for settlement in exchanges(site)[-1][1]}
    told = {notice.task.id for notice in site.ears.of(Event.DONE) if notice.task}
    assert not told & handed_in
    come.set()
    site.ears.wait_for(Event.DONE, MANY)


def test_an_answer_is_read_while_a_task_takes_long(site: Site):
    """The worker has begun an exchange, and then runs something that does not end: the fetching thread reads."""
    is_begun, is_inside, may_end = threading.Event(), threading.Event(), threading.Event()

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        if is_begun.is_set() and not is_inside.is_set():
            is_inside.set()
            assert may_end.wait(PATIENCE * 3)
        start_response("200 OK", [])
        return []

    def is_far(settlements: Sequence[Settlement]) -> bool:
        if is_begun.is_set() or len(settlements) < 6 or threading.current_thread().name == FETCHING:
            return False
        is_begun.set()
        return True

    site.backend.is_far = is_far
    site.add(*(f"/{number}" for number in range(MANY)))
    far_ahead(site, application).start()
    come = site.backend.wait_until_under_way()
    assert is_inside.wait(PATIENCE)
    handed_in = {settlement.id for settlement in exchanges(site)[-1][1]}
    before = len(site.ears.of(Event.DONE))
    read_before = len(site.backend.readers)
    come.set()
    site.ears.wait_for(Event.DONE, before + len(handed_in))
    assert site.backend.readers[read_before] == FETCHING
    may_end.set()
    site.ears.wait_for(Event.DONE, MANY)


def test_who_stops_waits_for_what_is_under_way(site: Site):
    hold_a_large_one(site)
    ids = site.add(*(f"/{number}" for number in range(MANY)))
    consumer = far_ahead(site, answering())
    consumer.start()
    come = site.backend.wait_until_under_way()
    stopping = threading.Thread(target=consumer.stop)
    stopping.start()
    come.set()
    stopping.join(PATIENCE)
    assert not consumer.running
    states = [site.record(task_id).state for task_id in ids]
    assert set(states) <= {"done", "ready"}
    assert states.count("done") == len(site.ears.of(Event.DONE)) == len(site.ears.of(Event.STARTED))


def test_after_an_answer_that_is_lost_on_its_way_each_task_is_run_once(site: Site):
    gate = Gate()
    hold_a_large_one(site)
    site.backend.lose_answer = lambda answer: len(site.backend.on_the_way) == 1 and not lost and not lost.append(answer)
    lost: list[Any] = []
    site.add(*(f"/{number}" for number in range(MANY)))
    far_ahead(site, gate).start()
    site.backend.wait_until_under_way().set()
    site.ears.wait_for(Event.DONE, MANY)
    assert lost
    assert lost[0].claimed  # which nobody knew of, and which were given back
    assert sorted(gate.passed) == sorted(f"/{number}" for number in range(MANY))
    assert len(site.ears.of(Event.CONSUMER_FAILED)) == 1
    assert not site.ears.of(Event.REFUSED)


def test_what_cannot_even_be_begun_is_begun_again(site: Site):
    failures = []

    def fail_once(*arguments: Any) -> Any:
        if threading.current_thread().name != FETCHING and not failures:
            failures.append(arguments)
            raise FaultError("it cannot be sent")
        return begin(*arguments)

    begin = site.backend.begin_exchange
    site.backend.begin_exchange = fail_once  # type: ignore[method-assign]
    site.add(*(f"/{number}" for number in range(MANY)))
    far_ahead(site, answering()).start()
    site.ears.wait_for(Event.DONE, MANY)
    assert failures
    assert len(site.ears.of(Event.STARTED)) == MANY


def test_whoever_listens_may_stop_the_consumer(site: Site):
    stopped = threading.Event()
    consumer = site.consumer(answering())

    def stop(notice: Any) -> None:
        if notice.event is Event.DONE and not stopped.is_set():
            consumer.stop(grace=PATIENCE)
            stopped.set()

    notices.listen(stop)
    try:
        site.add("/a")
        consumer.start()
        assert stopped.wait(PATIENCE / 2), "it waits for itself"
    finally:
        notices.unlisten(stop)
    assert not consumer.running


def test_nothing_is_claimed_when_the_stop_came_while_a_worker_asked_for_its_turn(site: Site):
    consumer = site.consumer(answering())
    turn = consumer._ledger.turn
    made_before = []

    class Turn:
        """A lock before which the consumer stops, as far as it does without this worker."""

        def acquire(self, blocking: bool = True) -> bool:
            if not blocking and not consumer._stop_requested.is_set():
                consumer.stop_claiming()
                for thread in threading.enumerate():
                    if thread.name == FETCHING:
                        thread.join(PATIENCE)
                made_before.append(len(exchanges(site)))
            return turn.acquire(blocking)

        def release(self) -> None:
            turn.release()

        def __enter__(self) -> None:
            turn.acquire()

        def __exit__(self, *error: object) -> None:
            turn.release()

    consumer._ledger.turn = Turn()  # type: ignore[assignment]
    ids = site.add(*(f"/{number}" for number in range(20)))
    consumer.start()
    site.ears.wait_for(Event.CONSUMER_STOPPED)
    join_threads_of()
    assert [site.record(task_id).state for task_id in ids] == ["done", *["ready"] * 19]
    assert made_before == [len(exchanges(site))]
