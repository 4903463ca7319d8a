from __future__ import annotations

import threading
import time
from typing import Any
from wsgiref.validate import validator

import msgspec
import pytest

from taskqueue.consumer.server import Consumer
from taskqueue.errors import BackendUnavailableError
from taskqueue.interfaces import Exchanged
from taskqueue.notices import Event
from taskqueue.record import Keyring, Outcome, encode

from .fakes import PATIENCE, FaultError, Gate, Site, answering, make_task


def threads_of(name: str = "default") -> list[str]:
    return sorted(t.name for t in threading.enumerate() if t.name.startswith(f"taskqueue-{name}-"))


def join_threads_of(name: str = "default") -> None:
    for thread in threading.enumerate():
        if thread.name.startswith(f"taskqueue-{name}-"):
            thread.join(PATIENCE)


def exchanges(site: Site) -> list[tuple[Any, ...]]:
    return [call for call in site.backend.calls if call[0] == "exchange"]


def answers(site: Site) -> list[Exchanged]:
    return [call[1] for call in site.backend.calls if call[0] == "exchanged"]


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
    site.consumer(answering()).start()
    site.ears.wait_for(Event.CONSUMER_STARTED)
    begun_at = time.monotonic()
    for number in range(1, 21):
        site.add("/a")
        site.ears.wait_for(Event.DONE, number)
    assert time.monotonic() - begun_at < 10  # twenty polls of a second each would take longer


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


# ---- taking ahead ------------------------------------------------------------------------------------------------


def test_short_tasks_are_taken_ahead_and_handed_in_together(site: Site):
    ids = site.add(*("/a" for _ in range(600)))
    site.consumer(answering(), prefetch=1.0).start()
    site.ears.wait_for(Event.DONE, len(ids))
    calls = len(exchanges(site))
    assert calls < len(ids) / 4, f"{calls} exchanges for {len(ids)} tasks"
    assert max(len(answer.claimed) for answer in answers(site)) <= 100


def test_without_prefetch_a_thread_takes_one_after_the_other(site: Site):
    site.add(*("/a" for _ in range(20)))
    site.consumer(answering(), prefetch=0.0).start()
    site.ears.wait_for(Event.DONE, 20)
    assert max(len(answer.claimed) for answer in answers(site)) == 1


def test_what_waits_behind_a_long_task_is_given_back(site: Site):
    gate = Gate()
    consumer = site.consumer(gate, prefetch=0.05)
    site.add(*(f"/quick/{number}" for number in range(30)))
    consumer.start()
    site.ears.wait_for(Event.DONE, 30)
    ids = site.add("/wait/long", *(f"/behind/{number}" for number in range(10)), priority=1)
    returned: set[str] = set()
    gate.wait_inside("/wait/long")
    if any(site.record(task_id).state == "running" for task_id in ids[1:]):
        site.ears.wait_for(Event.RETURNED)
    returned = {task_id for notice in site.ears.of(Event.RETURNED) for task_id in notice.task_ids}
    assert returned, "nothing was taken ahead of the long task"
    record = site.record(next(iter(returned)))
    assert (record.state, record.attempts, record.first_claimed_at) == ("ready", 0, None)
    gate.open("/wait/long")
    site.ears.wait_for(Event.DONE, 41)


# ---- suspects ----------------------------------------------------------------------------------------------------


def test_a_suspect_runs_alone(site: Site):
    gate = Gate()
    (suspect,) = site.add("/wait/suspect")
    site.leave_behind(suspect)
    site.add(*(f"/other/{number}" for number in range(10)))
    site.consumer(gate, concurrent_limit=4).start()
    gate.wait_inside("/wait/suspect")
    site.backend.go_round()
    assert gate.inside == ["/wait/suspect"]
    running = site.backend.list(["running"])
    assert [record.id for record in running] == [suspect]
    gate.open("/wait/suspect")
    site.ears.wait_for(Event.DONE, 11)
    assert gate.passed[0] == "/wait/suspect"


def test_a_suspect_is_waited_for_until_nothing_else_runs(site: Site):
    gate = Gate()
    site.consumer(gate, concurrent_limit=2).start()
    site.add("/wait/first")
    gate.wait_inside("/wait/first")
    (suspect,) = site.add("/wait/suspect")
    site.leave_behind(suspect)
    site.backend.wait_for_call(lambda call: call[0] == "exchanged" and call[1].suspects_wait)
    site.add("/later")
    site.backend.go_round()
    assert site.record(suspect).state == "ready"
    gate.open("/wait/first")
    gate.wait_inside("/wait/suspect")
    assert exchanges(site)[-1][2:] == (1, True)
    site.backend.go_round()
    gate.open("/wait/suspect")
    site.ears.wait_for(Event.DONE, 3)
    assert gate.passed == ["/wait/first", "/wait/suspect", "/later"]


def test_a_suspect_that_comes_after_others_does_not_hold_them_up_for_ever(site: Site):
    gate = Gate()
    (suspect,) = site.add("/suspect")
    site.leave_behind(suspect)
    site.add(*(f"/urgent/{number}" for number in range(20)), priority=9)
    site.consumer(gate, concurrent_limit=4).start()
    site.ears.wait_for(Event.DONE, 21)
    assert gate.passed[-1] == "/suspect"
    assert len(exchanges(site)) < 40


def test_several_suspects_run_one_after_the_other(site: Site):
    gate = Gate()
    ids = site.add(*(f"/suspect/{number}" for number in range(5)))
    site.leave_behind(*ids)
    site.consumer(gate, concurrent_limit=4).start()
    site.ears.wait_for(Event.DONE, 5)
    assert gate.most_inside == 1


# ---- the deadline ------------------------------------------------------------------------------------------------


def test_a_replay_past_its_deadline_is_told_once_and_its_place_is_filled(site: Site):
    gate = Gate()
    site.consumer(gate, deadline=0.1).start()
    (stuck,) = site.add("/wait/stuck")
    gate.wait_inside("/wait/stuck")
    site.add("/next", "/and/next")
    notice = site.ears.wait_for(Event.OVERDUE)[0]
    assert notice.task is not None
    assert notice.task.id == stuck
    site.ears.wait_for(Event.DONE, 2)
    assert site.record(stuck).state == "running"
    gate.open("/wait/stuck")
    site.ears.wait_for(Event.DONE, 3)
    assert site.record(stuck).state == "done"
    assert len(site.ears.of(Event.OVERDUE)) == 1


def test_one_that_is_stuck_does_not_keep_a_consumer_from_stopping(site: Site):
    gate = Gate()
    consumer = site.consumer(gate, deadline=0.1, grace=3600.0)
    consumer.start()
    site.add("/wait/stuck")
    site.ears.wait_for(Event.OVERDUE)
    consumer.stop()
    assert not consumer.running
    assert site.ears.wait_for(Event.CONSUMER_STOPPED)[0].detail.endswith("1 left to the lease")
    gate.open("/wait/stuck")
    site.ears.wait_for(Event.DONE)
    join_threads_of()
    assert not threads_of()


# ---- trouble -----------------------------------------------------------------------------------------------------


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


# ---- stopping ----------------------------------------------------------------------------------------------------


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
    consumer = site.consumer(answering())
    consumer.start()
    site.backend.wait_for_call(lambda call: call[0] == "exchanged")
    begun_at = time.monotonic()
    consumer.stop()
    assert not consumer.running
    assert time.monotonic() - begun_at < 5


def test_stopping_wakes_one_whose_backend_is_down(site: Site):
    site.backend.failing["exchange"] = BackendUnavailableError("down")
    consumer = site.consumer(answering(), grace=0.0)
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
    assert detail == "2 done, 0 retried, 0 dead, 0 given back, 0 left to the lease"


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
    consumer = site.consumer(gate, grace=3600.0)
    consumer.start()
    site.add("/wait/a")
    gate.wait_inside("/wait/a")
    consumer.stop_claiming()
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
