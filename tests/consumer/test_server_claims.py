from __future__ import annotations

from taskqueue.consumer import prefetch
from taskqueue.notices import Event

from .fakes import (
    Gate,
    Site,
    answering,
    answers,
    exchanges,
    join_threads_of,
    threads_of,
)

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


def test_what_waits_behind_a_long_task_is_given_back(site: Site, monkeypatch):
    monkeypatch.setattr(prefetch, "PATIENCE_FACTOR", 0.0)  # it is a second, then
    gate = Gate()
    consumer = site.consumer(gate, prefetch=0.5)
    site.add(*(f"/quick/{number}" for number in range(30)))
    consumer.start()
    site.ears.wait_for(Event.DONE, 30)
    ids = site.add("/wait/long", *(f"/behind/{number}" for number in range(10)), priority=1)
    gate.wait_inside("/wait/long")
    notices = site.ears.wait_for(Event.RETURNED, task_ids=ids[1:])  # or nothing was taken ahead of the long task
    returned = {task_id for notice in notices for task_id in notice.task_ids}.intersection(ids)
    record = site.record(min(returned))
    assert (record.state, record.attempts, record.first_claimed_at) == ("ready", 0, None)
    gate.open("/wait/long")
    site.ears.wait_for(Event.DONE, 41)


def test_a_consumer_that_is_busy_asks_the_store_for_nothing(site: Site):
    gate = Gate()
    site.consumer(gate).start()
    site.add("/wait/a")
    gate.wait_inside("/wait/a")
    site.go_round()
    before = len(exchanges(site))
    site.add("/b")
    site.go_round()
    assert len(exchanges(site)) == before
    gate.open("/wait/a")
    site.ears.wait_for(Event.DONE, 2)


# ---- suspects ----------------------------------------------------------------------------------------------------


def test_a_suspect_runs_alone(site: Site):
    gate = Gate()
    (suspect,) = site.add("/wait/suspect")
    site.leave_behind(suspect)
    site.add(*(f"/other/{number}" for number in range(10)))
    site.consumer(gate, concurrent_limit=4).start()
    gate.wait_inside("/wait/suspect")
    site.go_round()
    assert gate.inside == ["/wait/suspect"]
    running = site.backend.list(["running"])
    assert [record.id for record in running] == [suspect]
    gate.open("/wait/suspect")
    site.ears.wait_for(Event.DONE, 11)
    assert gate.passed[0] == "/wait/suspect"


def test_a_suspect_is_waited_for_until_nothing_else_runs(site: Site):
    gate = Gate()
    (suspect,) = site.add("/wait/suspect")
    site.leave_behind(suspect)  # before anybody here could claim it
    site.add("/wait/first", "/wait/second", priority=9)
    site.consumer(gate, concurrent_limit=3).start()
    gate.wait_inside("/wait/first", "/wait/second")
    # The first exchange was made alone, and others came before the suspect; the second one tells the consumer to wait.
    site.backend.wait_for_call(lambda call: call[0] == "exchanged" and call[1].suspects_wait, 2)
    site.add("/later")
    gate.open("/wait/second")
    site.ears.wait_for(Event.DONE)
    site.go_round()
    assert site.record(suspect).state == "ready"
    gate.open("/wait/first")
    gate.wait_inside("/wait/suspect")
    assert exchanges(site)[-1][2:] == (1, True)
    site.go_round()
    gate.open("/wait/suspect")
    site.ears.wait_for(Event.DONE, 4)
    assert gate.passed == ["/wait/second", "/wait/first", "/wait/suspect", "/later"]


def test_a_suspect_that_comes_after_others_does_not_hold_them_up_for_ever(site: Site):
    gate = Gate()
    (suspect,) = site.add("/suspect")
    site.leave_behind(suspect)
    site.add(*(f"/urgent/{number}" for number in range(20)), priority=9)
    site.consumer(gate, concurrent_limit=4).start()
    site.ears.wait_for(Event.DONE, 21)
    assert gate.passed[-1] == "/suspect"
    singly = [call for call in exchanges(site) if call[2:] == (1, True)]
    assert len(singly) <= 12


def test_several_suspects_run_one_after_the_other(site: Site):
    gate = Gate()
    ids = site.add(*(f"/suspect/{number}" for number in range(5)))
    site.leave_behind(*ids)
    site.consumer(gate, concurrent_limit=4).start()
    site.ears.wait_for(Event.DONE, 5)
    assert gate.most_inside == 1


# ---- the deadline ------------------------------------------------------------------------------------------------


def test_a_replay_past_its_deadline_is_told_once_and_its_place_is_filled(site: Site, monkeypatch):
    monkeypatch.setattr(prefetch, "POLL_SECONDS", 3600.0)
    gate = Gate()
    site.consumer(gate, deadline=0.9, prefetch=0.0).start()
    (stuck,) = site.add("/wait/stuck")
    gate.wait_inside("/wait/stuck")
    notice = site.ears.wait_for(Event.OVERDUE)[0]
    site.add("/next", "/and/next")
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
    assert site.ears.wait_for(Event.CONSUMER_STOPPED)[0].detail.endswith("1 still running")
    gate.open("/wait/stuck")
    site.ears.wait_for(Event.DONE)
    join_threads_of()
    assert not threads_of()
