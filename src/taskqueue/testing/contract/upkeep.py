"""The contract of beat, retire, owners, reclaim, promote and prune."""

import msgspec
import pytest

from ...interfaces import Owner, Reclaimed
from ...record import Outcome
from .making import (
    HOUR,
    OTHER,
    OWNER,
    TIMEOUT,
    beat,
    claim,
    claim_one,
    hand_in,
    make_suspect,
    publish,
    record,
    run,
    stage,
    state_of,
)


class Upkeep:
    # ---- owners ----

    def test_owners_are_told_oldest_first(self, queue, clock):
        younger = Owner(id="younger", host="h2", pid=22, started_at=900.0)
        older = Owner(id="older", host="h1", pid=11, started_at=800.0, consumers=("day", "night"))
        before = clock()
        queue.beat(younger, 60.0, TIMEOUT)
        queue.beat(older, 60.0, TIMEOUT)
        found = queue.owners()
        assert [status.owner for status in found] == [older, younger, found[2].owner]
        assert found[2].owner.id == OWNER
        assert all(status.alive for status in found)
        assert before <= found[0].seen_at <= clock()

    def test_a_beat_renews_what_is_known_of_the_owner(self, queue, clock):
        beat(queue, consumers=())
        before = queue.owners()[0]
        clock.advance(15)
        beat(queue, consumers=("night",))
        (after,) = queue.owners()
        assert after.owner.consumers == ("night",)
        assert after.seen_at >= before.seen_at + 15

    def test_a_retired_owner_that_holds_something_is_dead_until_it_beats_again(self, queue):
        stage(queue, record())
        queue.retire(OWNER)
        assert [status.alive for status in queue.owners()] == [False]
        beat(queue)
        assert [status.alive for status in queue.owners()] == [True]

    def test_a_retired_owner_that_holds_nothing_is_forgotten_at_once(self, queue):
        beat(queue, OTHER)
        publish(queue, record())
        hand_in(queue, claim_one(queue, owner_id=OTHER), "done")
        queue.retire(OTHER)
        assert [status.owner.id for status in queue.owners()] == [OWNER]

    @pytest.mark.parametrize("state", ["staged", "held", "running"])
    def test_a_retired_owner_in_whose_name_something_is_left_is_remembered(self, queue, state):
        task_id = publish(queue, record()) if state == "running" else stage(queue, record())
        if state == "running":
            claim_one(queue)
        elif state == "held":
            queue.settle([task_id], "hold")
        assert state_of(queue, task_id) == state
        queue.retire(OWNER)
        assert [(status.owner.id, status.alive) for status in queue.owners()] == [(OWNER, False)]

    def test_a_forgotten_owner_is_known_again_with_its_next_beat(self, queue):
        queue.retire(OWNER)
        assert list(queue.owners()) == []
        beat(queue)
        assert [status.alive for status in queue.owners()] == [True]

    def test_what_is_staged_after_its_owner_was_forgotten_is_held(self, queue):
        queue.retire(OWNER)
        task_id = stage(queue, record())
        assert queue.reclaim(3).held == (task_id,)

    def test_retiring_an_unknown_owner_is_fine(self, queue):
        queue.retire("unknown")
        assert [status.owner.id for status in queue.owners()] == [OWNER]

    def test_an_owner_that_retires_from_one_queue_still_has_its_lease_on_another(self, queue, open_queue):
        other = open_queue(name="other")
        beat(other)
        kept = stage(other, record())
        lost = stage(queue, record())
        queue.retire(OWNER)
        assert queue.reclaim(3).held == (lost,)
        assert other.reclaim(3) == Reclaimed()
        assert state_of(other, kept) == "staged"

    def test_an_owner_that_beats_again_keeps_what_it_holds(self, queue):
        publish(queue, record())
        claimed = claim_one(queue)
        queue.retire(OWNER)
        beat(queue)
        assert queue.reclaim(3) == Reclaimed()
        assert state_of(queue, claimed.id) == "running"

    def test_dead_owners_are_forgotten_after_an_hour(self, queue, clock):
        beat(queue, OTHER)
        publish(queue, record())
        claim_one(queue, owner_id=OTHER)
        queue.retire(OTHER)
        queue.reclaim(3)
        queue.prune(HOUR, 100, None, HOUR)
        assert len(queue.owners()) == 2
        clock.advance(HOUR + 1)
        queue.prune(HOUR, 100, None, HOUR)
        assert [status.owner.id for status in queue.owners()] == [OWNER]

    def test_a_dead_owner_is_remembered_while_something_is_held_in_its_name(self, queue, clock):
        task_id = stage(queue, record())
        queue.retire(OWNER)
        queue.reclaim(3)
        clock.advance(HOUR + 1)
        queue.prune(HOUR, 100, None, HOUR)
        assert [status.owner.id for status in queue.owners()] == [OWNER]
        queue.settle([task_id], "discard")
        queue.prune(HOUR, 100, None, HOUR)
        assert list(queue.owners()) == []

    # ---- reclaim ----

    def test_nothing_is_reclaimed_from_the_living(self, queue, clock):
        publish(queue, record())
        claimed = claim_one(queue)
        staged = stage(queue, record())
        clock.advance(HOUR)
        assert queue.reclaim(3) == Reclaimed()
        assert (state_of(queue, claimed.id), state_of(queue, staged)) == ("running", "staged")

    def test_what_a_dead_owner_ran_is_ready_and_suspect(self, queue):
        publish(queue, record())
        claimed = claim_one(queue)
        queue.retire(OWNER)
        assert queue.reclaim(3) == Reclaimed(ready=(claimed.id,), owners=(OWNER,))
        found = queue.get(claimed.id)
        assert (found.state, found.suspect, found.deaths, found.attempts) == ("ready", True, 0, 0)
        assert (found.owner, found.consumer) == ("", "")
        assert (found.claim_number, found.first_claimed_at) == (1, claimed.first_claimed_at)

    def test_what_a_dead_owner_staged_is_held(self, queue):
        first, second = record(), record()
        stage(queue, first, second)
        queue.retire(OWNER)
        assert queue.reclaim(3) == Reclaimed(held=(first.id, second.id), owners=(OWNER,))
        found = queue.get(first.id)
        assert (found.state, found.envelope) == ("held", b"envelope")

    def test_reclaiming_twice_takes_nothing_more(self, queue):
        stage(queue, record())
        publish(queue, record())
        claim_one(queue)
        queue.retire(OWNER)
        queue.reclaim(3)
        assert queue.reclaim(3) == Reclaimed()

    def test_only_the_dead_owner_loses(self, queue):
        beat(queue, OTHER)
        publish(queue, record(), record())
        lost, kept = claim_one(queue, owner_id=OTHER), claim_one(queue)
        staged = stage(queue, record())
        queue.retire(OTHER)
        assert queue.reclaim(3) == Reclaimed(ready=(lost.id,), owners=(OTHER,))
        assert (state_of(queue, kept.id), state_of(queue, staged)) == ("running", "staged")

    def test_a_settlement_of_the_dead_comes_too_late(self, queue):
        publish(queue, record())
        claimed = claim_one(queue)
        queue.retire(OWNER)
        queue.reclaim(3)
        assert hand_in(queue, claimed, "done").refused == (claimed.id,)
        assert state_of(queue, claimed.id) == "ready"

    def test_only_deaths_of_a_suspect_count(self, queue):
        publish(queue, record())
        task_id = make_suspect(queue)
        assert queue.get(task_id).deaths == 0
        make_suspect(queue, task_id, alone=True)
        assert queue.get(task_id).deaths == 1
        make_suspect(queue, task_id, alone=True)
        assert queue.get(task_id).deaths == 2

    def test_a_task_of_which_its_consumers_die_is_dead(self, queue, clock):
        publish(queue, record())
        task_id = make_suspect(queue)
        make_suspect(queue, task_id, alone=True)
        claim_one(queue, alone=True)
        queue.retire(OWNER)
        before = clock()
        assert queue.reclaim(2) == Reclaimed(dead=(task_id,), owners=(OWNER,))
        found = queue.get(task_id)
        assert (found.state, found.deaths, found.owner, found.consumer) == ("dead", 2, "", "")
        assert before <= found.finished_at <= clock()
        outcome = msgspec.msgpack.decode(found.outcome, type=Outcome)
        assert outcome.state == "dead"
        assert "died while running it, 2 times" in outcome.reason

    def test_a_task_that_is_no_suspect_survives_its_consumer(self, queue):
        publish(queue, record())
        claimed = claim_one(queue)
        queue.retire(OWNER)
        assert queue.reclaim(1).ready == (claimed.id,)

    def test_a_task_that_is_no_suspect_any_more_survives_its_consumer(self, queue):
        publish(queue, record())
        task_id = make_suspect(queue)
        make_suspect(queue, task_id, alone=True)
        hand_in(queue, claim_one(queue, alone=True), "ready")
        claim_one(queue)
        queue.retire(OWNER)
        assert queue.reclaim(1).ready == (task_id,)
        assert queue.get(task_id).deaths == 1

    def test_a_reclaimed_task_keeps_its_last_outcome(self, queue):
        publish(queue, record())
        hand_in(queue, claim_one(queue), "ready", outcome=b"failed")
        task_id = make_suspect(queue)
        assert queue.get(task_id).outcome == b"failed"

    # ---- promote ----

    def test_promote_makes_ready_what_is_due(self, queue, clock):
        soon, late = record(due=clock() + 10), record(due=clock() + 30)
        publish(queue, soon, late)
        assert 9 < queue.promote() <= 10
        clock.advance(11)
        assert 18 < queue.promote() <= 19
        assert (state_of(queue, soon.id), state_of(queue, late.id)) == ("ready", "scheduled")
        clock.advance(20)
        assert queue.promote() is None
        assert state_of(queue, late.id) == "ready"

    def test_nothing_to_promote_has_no_due_time(self, queue):
        publish(queue, record())
        assert queue.promote() is None

    # ---- prune ----

    def test_done_tasks_go_when_they_are_old(self, queue, clock):
        old = run(queue, "done")
        clock.advance(100)
        young = run(queue, "done")
        assert queue.prune(50, 100, None, HOUR) == {"done": 1, "dead": 0, "wiped": 0}
        assert (queue.get(old), state_of(queue, young)) == (None, "done")
        assert queue.prune(50, 100, None, HOUR)["done"] == 0

    def test_of_the_done_tasks_the_newest_are_kept(self, queue, clock):
        ids = []
        for _ in range(4):
            ids.append(run(queue, "done"))
            clock.advance(1)
        assert queue.prune(HOUR, 3, None, HOUR)["done"] == 1
        assert [each.id for each in queue.list(["done"])] == ids[1:]
        assert queue.prune(HOUR, 0, None, HOUR)["done"] == 3

    def test_newest_is_who_finished_last(self, queue, clock):
        publish(queue, record(), record())
        first, second = claim(queue, 2)
        hand_in(queue, second, "done")
        clock.advance(1)
        hand_in(queue, first, "done")
        queue.prune(HOUR, 1, None, HOUR)
        assert [each.id for each in queue.list(["done"])] == [first.id]

    def test_dead_tasks_go_when_they_are_old(self, queue, clock):
        old = run(queue, "dead")
        clock.advance(100)
        young = run(queue, "dead")
        assert queue.prune(0, 0, 50, HOUR) == {"done": 0, "dead": 1, "wiped": 0}
        assert (queue.get(old), state_of(queue, young)) == (None, "dead")

    def test_dead_tasks_are_kept_for_ever_when_nothing_else_is_said(self, queue, clock):
        task_id = run(queue, "dead")
        clock.advance(1e9)
        assert queue.prune(0, 0, None, 1e10)["dead"] == 0
        assert state_of(queue, task_id) == "dead"

    def test_the_secrets_of_the_dead_are_wiped_in_time(self, queue, clock):
        old = run(queue, "dead")
        clock.advance(100)
        young = run(queue, "dead")
        assert queue.prune(HOUR, 100, None, 50) == {"done": 0, "dead": 0, "wiped": 1}
        found = queue.get(old)
        assert (found.secrets, found.body, found.state) == (None, b"body", "dead")
        assert queue.get(young).secrets == b"secrets"
        assert queue.prune(HOUR, 100, None, 50)["wiped"] == 0

    def test_what_is_pruned_is_not_wiped_as_well(self, queue):
        run(queue, "dead")
        assert queue.prune(0, 0, 0, 0) == {"done": 0, "dead": 1, "wiped": 0}

    def test_only_the_finished_are_pruned(self, queue, clock):
        staged = stage(queue, record())
        publish(queue, record(priority=1), record(), record(due=clock() + 1e6))
        claim_one(queue)
        clock.advance(1e5)
        queue.prune(0, 0, 0, 0)
        assert queue.counts().states == {
            "staged": 1,
            "held": 0,
            "scheduled": 1,
            "ready": 1,
            "running": 1,
            "done": 0,
            "dead": 0,
        }
        assert queue.get(staged).secrets == b"secrets"

    def test_a_prune_is_a_bounded_piece_of_work(self, queue):
        publish(queue, *(record() for _ in range(700)))
        while claimed := claim(queue, 100):
            for each in claimed:
                hand_in(queue, each, "done")
        counts = [queue.prune(0, 0, None, 0)["done"] for _ in range(3)]
        assert sum(counts) == 700
        assert counts[0] < 700
        assert counts[2] == 0
