from __future__ import annotations

from typing import Any

from taskqueue.errors import BackendUnavailableError
from taskqueue.interfaces import Exchanged
from taskqueue.notices import Event

from .fakes import (
    FaultError,
    Gate,
    Site,
    answering,
)


def test_a_consumer_survives_a_storm_of_errors_and_tells_once(site: Site):
    consumer = site.consumer(answering())
    consumer.start()
    site.ears.wait_for(Event.CONSUMER_STARTED)
    site.backend.failing["exchange"] = BackendUnavailableError("no route")
    site.add("/a")
    site.backend.wait_for_call(lambda call: call[0] == "exchange", count=5)
    assert [n.detail for n in site.ears.wait_for(Event.BACKEND_DOWN)] == ["no route"]
    site.backend.failing.clear()
    site.ears.wait_for(Event.DONE)
    site.ears.wait_for(Event.BACKEND_UP)
    assert len(site.ears.of(Event.BACKEND_DOWN, Event.CONSUMER_FAILED, Event.BACKEND_UP)) == 2


def test_an_error_that_nobody_foresaw_does_not_end_the_loop(site: Site):
    consumer = site.consumer(answering())
    site.backend.failing["exchange"] = ZeroDivisionError("canary")
    consumer.start()
    notice = site.ears.wait_for(Event.CONSUMER_FAILED)[0]
    assert "ZeroDivisionError" in notice.detail
    assert "canary" not in notice.detail
    site.backend.failing.clear()
    site.add("/a")
    site.ears.wait_for(Event.DONE)


def test_without_hints_there_is_polling(site: Site):
    site.backend.failing["wait"] = FaultError("no hints")
    site.consumer(answering()).start()
    site.ears.wait_for(Event.CONSUMER_FAILED)
    site.add("/a")
    site.ears.wait_for(Event.DONE)
    assert len(site.ears.of(Event.CONSUMER_FAILED)) == 1


def test_what_was_claimed_in_an_answer_that_was_lost_is_given_back_and_runs_once(site: Site):
    gate = Gate()

    def lose_one(answer: Exchanged) -> bool:
        if not answer.claimed:
            return False
        site.backend.lose_answer = lambda answer: False
        return True

    site.backend.lose_answer = lose_one
    ids = site.add("/a", "/b")
    site.consumer(gate, concurrent_limit=2).start()
    site.ears.wait_for(Event.DONE, 2)
    assert sorted(gate.passed) == ["/a", "/b"]
    released = [call for call in site.backend.calls if call[0] == "release"]
    assert released == [("release", ())]
    assert [site.record(task_id).attempts for task_id in ids] == [1, 1]
    assert [site.record(task_id).claim_number for task_id in ids] == [2, 2]


def test_after_trouble_the_lease_is_taken_again_before_anything_is_claimed(site: Site):
    """The store may have been replaced by an empty one, which holds whoever claims without a lease for dead."""
    consumer = site.consumer(Gate())
    consumer.start()
    site.go_round()
    before = len(site.backend.calls)
    site.backend.failing["exchange"] = FaultError("the store went away")
    site.add("/a")
    site.backend.wait_for_call(lambda call: call[0] == "exchange", 1)
    site.ears.wait_for(Event.CONSUMER_FAILED)
    del site.backend.failing["exchange"]
    site.ears.wait_for(Event.DONE)
    verbs = [call[0] for call in site.backend.calls[before:]]
    assert "beat" in verbs[: verbs.index("release")]


def test_what_runs_is_not_given_back_after_a_lost_answer(site: Site):
    gate = Gate()
    site.consumer(gate, concurrent_limit=2).start()
    (running,) = site.add("/wait/a")
    gate.wait_inside("/wait/a")
    lost: list[Exchanged] = []

    def lose_one(answer: Exchanged) -> bool:
        if answer.claimed and not lost:
            lost.append(answer)
            return True
        return False

    site.backend.lose_answer = lose_one
    site.add("/b")
    site.ears.wait_for(Event.DONE)
    assert ("release", (running,)) in site.backend.calls
    assert site.record(running).claim_number == 1
    gate.open("/wait/a")
    site.ears.wait_for(Event.DONE, 2)
    assert gate.passed == ["/b", "/wait/a"]


def test_a_settlement_whose_answer_was_lost_is_handed_in_again_and_told_once(site: Site):
    lost: list[Exchanged] = []

    def lose_settlement(answer: Exchanged) -> bool:
        if site.backend.list(["done"]) and not lost:
            lost.append(answer)
            return True
        return False

    site.backend.lose_answer = lose_settlement
    site.consumer(answering()).start()
    (task_id,) = site.add("/a")
    site.ears.wait_for(Event.DONE)
    assert lost
    assert not site.ears.of(Event.REFUSED)
    assert site.record(task_id).attempts == 1


def test_a_task_that_came_back_in_the_answer_that_lost_its_settlement_is_not_forgotten(site: Site):
    lost: list[Exchanged] = []

    def lose_second_claim(answer: Exchanged) -> bool:
        if not lost and any(record.claim_number == 2 for record in answer.claimed):
            lost.append(answer)
            return True
        return False

    tries: list[str] = []

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        tries.append(environ["HTTP_X_TASK_ATTEMPT"])
        start_response("500 Error" if len(tries) == 1 else "200 OK", [])
        return []

    site.backend.lose_answer = lose_second_claim
    site.consumer(application, min_backoff=0.0).start()  # due at once: handed in and claimed again in one exchange
    (task_id,) = site.add("/a")
    site.ears.wait_for(Event.DONE)
    assert lost
    assert tries == ["1", "2"]
    assert site.record(task_id).claim_number == 3


def test_a_backend_that_is_down_at_the_start_is_tried_again(site: Site):
    beats = []
    beat = site.backend.beat

    def failing_beat(*arguments: Any) -> None:
        beats.append(arguments)
        if len(beats) < 3:
            raise BackendUnavailableError("not yet")
        beat(*arguments)

    site.backend.beat = failing_beat
    site.consumer(answering()).start()
    site.add("/a")
    site.ears.wait_for(Event.DONE)
    assert len(site.ears.of(Event.BACKEND_DOWN)) == 1


def test_nothing_is_claimed_before_there_is_a_lease(site: Site):
    order: list[str] = []
    beat = site.backend.beat

    def noting_beat(*arguments: Any) -> None:
        beat(*arguments)
        order.append("beat")

    site.backend.beat = noting_beat
    site.backend.lose_answer = lambda answer: bool(order.append("exchange"))
    site.consumer(answering()).start()
    site.add("/a")
    site.ears.wait_for(Event.DONE)
    assert order[0] == "beat"
