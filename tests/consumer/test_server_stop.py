from __future__ import annotations

import threading
from typing import Any

import pytest

from taskqueue.consumer.server import Consumer
from taskqueue.errors import BackendUnavailableError
from taskqueue.interfaces import Exchanged
from taskqueue.notices import Event

from .fakes import (
    PATIENCE,
    Gate,
    Site,
    answering,
    exchanges,
    join_threads_of,
    threads_of,
)


def test_a_consumer_is_inert_until_it_is_started(site: Site):
    consumer = site.consumer(answering())
    assert not threads_of()
    assert not consumer.running
    assert not site.backend.calls
    assert consumer.name == "default"


def test_its_threads_are_named_and_are_gone_after_the_stop(site: Site):
    consumer = site.consumer(answering(), name="reports", concurrent_limit=2)
    consumer.start()
    consumer.start()
    site.ears.wait_for(Event.CONSUMER_STARTED)
    site.add("/a")
    site.ears.wait_for(Event.DONE)
    assert threads_of("reports") == [
        "taskqueue-reports-1",
        "taskqueue-reports-2",
        "taskqueue-reports-fetch",
        "taskqueue-reports-upkeep",
    ]
    consumer.stop()
    assert threads_of("reports") == []
    assert not consumer.running


def test_stopping_may_come_twice_and_before_the_start(site: Site):
    consumer = site.consumer(answering())
    consumer.stop()
    consumer.start()
    assert not consumer.running
    other = site.consumer(answering(), name="other")
    other.start()
    other.stop()
    other.stop()
    other.start()
    assert not other.running


def test_stopping_wakes_one_that_waits_for_work(site: Site):
    site.backend.hints_only = True
    consumer = site.consumer(answering(), grace=0.0)
    consumer.start()
    site.backend.wait_for_call(lambda call: call[0] == "wait")
    consumer.stop()
    assert not consumer.running


def test_what_is_claimed_while_the_stop_comes_is_given_back_and_not_started(site: Site):
    gate = Gate()
    consumer = site.consumer(gate, concurrent_limit=3)

    def stop_when_claimed(answer: Exchanged) -> bool:
        if answer.claimed:
            consumer.stop_claiming()
        return False

    site.backend.lose_answer = stop_when_claimed
    ids = site.add("/a", "/b", "/c")
    consumer.start()
    site.ears.wait_for(Event.CONSUMER_STOPPED)
    assert gate.passed == []
    assert {site.record(task_id).state for task_id in ids} == {"ready"}
    assert len(site.ears.of(Event.RETURNED)) == 3


@pytest.mark.parametrize("grace", [0.0, 3600.0])
def test_one_whose_backend_is_down_stops_as_soon_as_it_has_nothing_to_hand_in(site: Site, grace):
    site.backend.failing["exchange"] = BackendUnavailableError("down")
    consumer = site.consumer(answering(), grace=grace)
    consumer.start()
    site.ears.wait_for(Event.BACKEND_DOWN)
    consumer.stop()
    assert not consumer.running


def test_what_has_not_started_is_given_back_at_once_and_nothing_is_spent(site: Site):
    gate = Gate()
    consumer = site.consumer(gate, prefetch=2.0)
    consumer.start()
    site.add(*(f"/quick/{number}" for number in range(10)))
    site.ears.wait_for(Event.DONE, 10)
    ids = site.add("/wait/long", *(f"/behind/{number}" for number in range(5)), priority=1)
    gate.wait_inside("/wait/long")
    site.backend.wait_for_call(lambda call: call[0] == "exchanged" and len(call[1].claimed) > 1)
    consumer.stop_claiming()
    site.ears.wait_for(Event.RETURNED)
    behind = [site.record(task_id) for task_id in ids[1:]]
    assert {record.state for record in behind} == {"ready"}
    assert {record.attempts for record in behind} == {0}
    assert site.record(ids[0]).state == "running"
    gate.open("/wait/long")
    consumer.stop()
    assert site.record(ids[0]).state == "done"
    assert not [path for path in gate.passed if path.startswith("/behind")]


def test_what_runs_is_waited_for_and_handed_in(site: Site):
    gate = Gate()
    consumer = site.consumer(gate, concurrent_limit=2)
    consumer.start()
    ids = site.add("/wait/a", "/wait/b")
    gate.wait_inside("/wait/a", "/wait/b")
    consumer.stop_claiming()
    assert consumer.running
    gate.open("/wait/a")
    site.ears.wait_for(Event.DONE)
    assert [site.record(task_id).state for task_id in ids] == ["done", "running"]
    gate.open("/wait/b")
    consumer.stop()
    assert [site.record(task_id).state for task_id in ids] == ["done", "done"]
    detail = site.ears.wait_for(Event.CONSUMER_STOPPED)[0].detail
    assert detail == "2 done, 0 retried, 0 dead, 0 given back, 0 still running"


def test_after_the_grace_the_rest_is_left_and_still_settles_when_it_ends(site: Site):
    gate = Gate()
    consumer = site.consumer(gate)
    consumer.start()
    (task_id,) = site.add("/wait/a")
    gate.wait_inside("/wait/a")
    consumer.stop(grace=0.0)
    assert not consumer.running
    assert site.record(task_id).state == "running"
    gate.open("/wait/a")
    site.ears.wait_for(Event.DONE)
    assert site.record(task_id).state == "done"
    join_threads_of()
    assert not threads_of()


def test_a_shorter_grace_ends_a_longer_one(site: Site):
    gate = Gate()
    consumer = site.consumer(gate, grace=3600.0, concurrent_limit=2)
    consumer.start()
    site.add("/wait/a", "/wait/b")
    gate.wait_inside("/wait/a", "/wait/b")
    consumer.stop_claiming()
    gate.open("/wait/b")
    site.ears.wait_for(Event.DONE)  # it waits for the other one now
    consumer.stop(grace=0.0)
    assert not consumer.running
    gate.open("/wait/a")


def test_what_could_not_be_handed_in_is_tried_again_during_the_grace(site: Site):
    gate = Gate()
    consumer = site.consumer(gate)
    consumer.start()
    (task_id,) = site.add("/wait/a")
    gate.wait_inside("/wait/a")
    site.backend.failing["exchange"] = BackendUnavailableError("down")
    consumer.stop_claiming()
    gate.open("/wait/a")
    before = len(exchanges(site))
    site.backend.wait_for_call(lambda call: call[0] == "exchange", count=before + 3)
    site.backend.failing.clear()
    consumer.stop()
    assert site.record(task_id).state == "done"


def test_several_consumers_stop_side_by_side(site: Site):
    gate = Gate()
    consumers = [site.consumer(gate, name=name) for name in ("one", "two")]
    for consumer in consumers:
        consumer.start()
    site.add("/wait/a", "/wait/b")
    gate.wait_inside("/wait/a", "/wait/b")
    for consumer in consumers:
        consumer.stop_claiming()
    site.add("/late")
    gate.open("/wait/a")
    gate.open("/wait/b")
    for consumer in consumers:
        consumer.stop()
    assert len(site.ears.of(Event.DONE)) == 2
    assert "/late" not in gate.passed


def test_a_task_may_stop_its_own_consumer(site: Site):
    stopped = threading.Event()
    consumers: list[Consumer] = []

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        consumers[0].stop_claiming()
        stopped.set()
        start_response("200 OK", [])
        return []

    consumers.append(site.consumer(application))
    consumers[0].start()
    (task_id,) = site.add("/a")
    assert stopped.wait(PATIENCE)
    consumers[0].stop()
    assert site.record(task_id).state == "done"


def test_the_owner_names_its_consumers_while_they_run(site: Site):
    consumer = site.consumer(answering(), name="reports")
    consumer.start()
    site.ears.wait_for(Event.CONSUMER_STARTED)
    assert [each.owner.consumers for each in site.backend.owners()] == [("reports",)]
    consumer.stop()
    site.backend.wait_for_call(lambda call: call == ("beat", ()))
