from __future__ import annotations

import time
from typing import Any
from wsgiref.validate import validator

import msgspec
import pytest

from taskqueue.consumer import prefetch
from taskqueue.notices import Event
from taskqueue.record import Keyring, Outcome, encode

from .fakes import (
    FaultError,
    Gate,
    Site,
    answering,
    make_task,
    threads_of,
)

# ---- the road of a task ------------------------------------------------------------------------------------------


def test_a_task_is_replayed_and_is_done(site: Site):
    consumer = site.consumer(answering(body=b"fine"))
    consumer.start()
    (task_id,) = site.add("/a", payload=b"secret")
    notice = site.ears.wait_for(Event.DONE)[0]
    record = site.record(task_id)
    assert (record.state, record.attempts, record.secrets) == ("done", 1, None)
    assert notice.task is not None
    assert notice.task.id == task_id
    assert msgspec.msgpack.decode(record.outcome, type=Outcome).body == b"fine"


def test_what_was_waiting_before_the_start_is_replayed(site: Site):
    ids = site.add(*(f"/{number}" for number in range(20)))
    site.consumer(answering(), concurrent_limit=3).start()
    site.ears.wait_for(Event.DONE, 20)
    assert {site.record(task_id).state for task_id in ids} == {"done"}


def test_when_done_is_told_the_store_knows_it(site: Site):
    states = []

    class Watcher:
        def __call__(self, notice: Any) -> None:
            if notice.event is Event.DONE:
                states.append(site.record(notice.task.id).state)

    from taskqueue import notices

    watcher = Watcher()
    notices.listen(watcher)
    try:
        site.consumer(answering()).start()
        site.add("/a", "/b", "/c")
        site.ears.wait_for(Event.DONE, 3)
    finally:
        notices.unlisten(watcher)
    assert states == ["done"] * 3


def test_a_task_that_fails_is_tried_again_until_it_succeeds(site: Site):
    attempts = []

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        attempts.append(environ["HTTP_X_TASK_ATTEMPT"])
        start_response("500 Error" if len(attempts) < 3 else "200 OK", [])
        return []

    site.consumer(application).start()
    (task_id,) = site.add("/a")
    site.ears.wait_for(Event.DONE)
    assert attempts == ["1", "2", "3"]
    assert [n.event for n in site.ears.of(Event.STARTED, Event.RETRIED, Event.DONE)] == [
        Event.STARTED,
        Event.RETRIED,
        Event.STARTED,
        Event.RETRIED,
        Event.STARTED,
        Event.DONE,
    ]
    assert site.record(task_id).attempts == 3


def test_a_task_that_never_succeeds_is_dead_and_keeps_its_secrets(site: Site):
    site.consumer(answering("500 Error"), retry_max_count=2).start()
    (task_id,) = site.add("/a", payload=b"secret")
    site.ears.wait_for(Event.DEAD)
    record = site.record(task_id)
    assert (record.state, record.attempts) == ("dead", 3)
    assert record.secrets is not None


def test_conflicts_spend_no_attempts(site: Site):
    tries = []

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        tries.append(environ["HTTP_X_TASK_ATTEMPT"])
        start_response("409 Conflict" if len(tries) < 4 else "200 OK", [])
        return []

    site.consumer(application, retry_max_count=0).start()
    (task_id,) = site.add("/a")
    site.ears.wait_for(Event.DONE)
    assert tries == ["1", "1", "1", "1"]
    assert site.record(task_id).attempts == 1


def test_a_replay_under_the_protocol_checker_is_done(site: Site):
    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        environ["wsgi.input"].read(3)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"ok"]

    site.consumer(validator(application)).start()
    site.add("/a?b=c", payload=b"abc", headers=(("Cookie", "a=b"),))
    assert site.ears.wait_for(Event.DONE)


@pytest.mark.parametrize("fault", [SystemExit(1), KeyboardInterrupt(), GeneratorExit(), MemoryError()])
def test_no_exception_of_a_task_ends_the_thread_that_replays_it(site: Site, fault):
    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        if environ["PATH_INFO"] == "/bad":
            raise fault
        start_response("200 OK", [])
        return []

    site.consumer(application, retry_max_count=0).start()
    site.add("/bad", "/good")
    site.ears.wait_for(Event.DEAD)
    site.ears.wait_for(Event.DONE)
    assert threads_of().count("taskqueue-default-1") == 1


def test_as_many_run_at_the_same_time_as_configured_and_no_more(site: Site):
    gate = Gate()
    site.consumer(gate, concurrent_limit=3).start()
    site.add(*(f"/wait/{number}" for number in range(5)))
    gate.wait_inside("/wait/0", "/wait/1", "/wait/2")
    for number in range(5):
        gate.open(f"/wait/{number}")
    site.ears.wait_for(Event.DONE, 5)
    assert gate.most_inside == 3


def test_a_paused_queue_hands_out_nothing_until_it_is_resumed(site: Site):
    site.backend.pause()
    site.consumer(answering()).start()
    site.add("/a")
    site.backend.wait_for_call(lambda call: call[0] == "exchanged" and call[1].paused)
    assert not site.ears.of(Event.STARTED)
    site.backend.resume()
    site.ears.wait_for(Event.DONE)


def test_a_settlement_is_handed_in_without_waiting_for_the_next_poll(site: Site):
    site.backend.hints_only = True
    site.consumer(answering()).start()
    for number in range(1, 6):
        site.add("/a")
        site.ears.wait_for(Event.DONE, number)


def test_large_tasks_that_come_one_by_one_fill_all_threads_without_waiting_for_the_next_poll(site: Site):
    gate = Gate()
    paths = [f"/wait/{number}" for number in range(4)]
    site.add(*paths, payload=b"x" * 700_000)
    site.backend.hints_only = True
    site.consumer(gate, concurrent_limit=4).start()
    gate.wait_inside(*paths)
    for path in paths:
        gate.open(path)


def test_a_task_that_is_due_soon_is_not_left_to_the_next_poll(site: Site, monkeypatch):
    monkeypatch.setattr(prefetch, "POLL_SECONDS", 3600.0)
    site.consumer(answering()).start()
    site.ears.wait_for(Event.CONSUMER_STARTED)
    site.add("/a", due=time.time() + 0.9)
    site.ears.wait_for(Event.DONE)


def test_a_task_of_another_claim_is_settled_by_nobody_else(site: Site):
    gate = Gate()
    site.consumer(gate).start()
    (task_id,) = site.add("/wait/a")
    gate.wait_inside("/wait/a")
    site.backend.retire(site.keeper.owner_id)
    site.backend.reclaim(3)
    gate.open("/wait/a")
    notice = site.ears.wait_for(Event.REFUSED)[0]
    assert notice.task_ids == (task_id,)


# ---- records that cannot be run ----------------------------------------------------------------------------------


def test_a_broken_record_harms_no_other(site: Site):
    good = encode(make_task("/good"), Keyring())
    bad = msgspec.structs.replace(encode(make_task("/bad"), Keyring()), body=b"garbage")
    site.backend.publish([bad, good], 1.0)
    site.consumer(answering()).start()
    assert site.ears.wait_for(Event.DEAD)[0].task_ids == (bad.id,)
    site.ears.wait_for(Event.DONE)
    assert site.record(bad.id).state == "dead"
    assert site.record(bad.id).secrets == bad.secrets


def test_a_record_of_another_release_stays_in_the_store(site: Site):
    record = msgspec.structs.replace(
        encode(make_task("/a"), Keyring()), body=msgspec.msgpack.encode((2, "request", "", b"", b""))
    )
    site.backend.publish([record], 1.0)
    site.consumer(answering()).start()
    site.ears.wait_for(Event.UNREADABLE)
    site.backend.wait_for_call(lambda call: call[0] == "exchanged" and call[1].next_due is not None)
    stored = site.record(record.id)
    assert (stored.state, stored.attempts, stored.body) == ("scheduled", 0, record.body)


def test_an_error_of_our_own_in_a_worker_is_told_and_the_task_is_settled(site: Site, monkeypatch):
    from taskqueue.consumer import attempt

    def fail(*arguments: Any) -> None:
        monkeypatch.undo()
        raise FaultError("ours")

    monkeypatch.setattr(attempt, "replay", fail)
    site.consumer(answering()).start()
    (task_id,) = site.add("/a")
    site.ears.wait_for(Event.CONSUMER_FAILED)
    site.ears.wait_for(Event.DONE)
    assert site.record(task_id).attempts == 2


def test_hundreds_of_short_tasks_are_run_once_each_however_often_their_workers_call_for_more(site: Site):
    ids = site.add(*(f"/{number}" for number in range(500)))
    consumer = site.consumer(answering(), concurrent_limit=2)
    consumer.start()
    site.ears.wait_for(Event.DONE, 500)
    consumer.stop()
    assert sorted(notice.task.id for notice in site.ears.of(Event.DONE) if notice.task) == sorted(ids)
    assert len(site.ears.of(Event.STARTED)) == 500
