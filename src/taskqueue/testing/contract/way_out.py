"""The contract of exchange and release."""

import pytest

from ...interfaces import CLAIM_BYTES_LIMIT, CLAIM_COUNT_LIMIT, Settlement
from ...record import new_id
from .making import (
    CONSUMER,
    OTHER,
    OWNER,
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


class WayOut:
    # ---- claiming ----

    def test_a_claim_is_in_the_consumers_name(self, queue, clock):
        given = record(body=b"\0\xff", secrets=b"\xfe")
        publish(queue, given)
        before = clock()
        claimed = claim_one(queue, consumer="night")
        assert (claimed.id, claimed.body, claimed.secrets) == (given.id, b"\0\xff", b"\xfe")
        assert (claimed.state, claimed.owner, claimed.consumer) == ("running", OWNER, "night")
        assert claimed.claim_number == 1
        assert before <= claimed.claimed_at == claimed.first_claimed_at <= clock()
        assert queue.get(given.id) == claimed

    def test_claims_go_by_priority_and_then_by_age(self, queue):
        ids = [new_id() for _ in range(4)]
        publish(
            queue, record(id=ids[3]), record(id=ids[1]), record(id=ids[0], priority=-1), record(id=ids[2], priority=5)
        )
        assert [each.id for each in claim(queue, 10)] == [ids[2], ids[1], ids[3], ids[0]]

    def test_no_more_are_claimed_than_wanted(self, queue):
        publish(queue, *(record() for _ in range(5)))
        assert len(claim(queue, 2)) == 2
        assert claim(queue, 0) == ()
        assert claim(queue, -1) == ()
        assert len(claim(queue, 10)) == 3

    def test_a_claimed_task_is_not_claimed_again(self, queue):
        publish(queue, record())
        claim_one(queue)
        assert claim(queue, 10, owner_id=OTHER) == ()

    def test_a_claim_takes_a_hundred_tasks_at_most(self, queue):
        publish(queue, *(record() for _ in range(CLAIM_COUNT_LIMIT + 5)))
        assert len(claim(queue, 1000)) == CLAIM_COUNT_LIMIT

    def test_a_claim_takes_one_mebibyte_at_most_secrets_included(self, queue):
        third = CLAIM_BYTES_LIMIT // 3
        publish(queue, *(record(body=bytes(third // 2), secrets=bytes(third - third // 2)) for _ in range(5)))
        assert len(claim(queue, 10)) == 3
        assert len(claim(queue, 10)) == 2

    def test_a_claim_passes_over_nothing_that_is_too_large(self, queue):
        first, large, last = record(), record(body=bytes(CLAIM_BYTES_LIMIT)), record()
        publish(queue, first, large, last)
        assert [each.id for each in claim(queue, 10)] == [first.id]
        assert [each.id for each in claim(queue, 10)] == [large.id]
        assert [each.id for each in claim(queue, 10)] == [last.id]

    def test_one_task_is_always_claimed_however_large(self, queue):
        publish(queue, record(body=bytes(CLAIM_BYTES_LIMIT + 1)))
        assert len(claim(queue, 10)) == 1

    def test_claim_numbers_grow_with_each_claim(self, queue):
        publish(queue, record())
        numbers = []
        for _ in range(3):
            claimed = claim_one(queue)
            numbers.append(claimed.claim_number)
            hand_in(queue, claimed, "ready")
        queue.requeue([claimed.id])
        numbers.append(claim_one(queue).claim_number)
        assert numbers == [1, 2, 3, 4]

    def test_the_first_claim_is_remembered_over_later_ones(self, queue, clock):
        publish(queue, record())
        first = claim_one(queue)
        hand_in(queue, first, "ready")
        clock.advance(10)
        second = claim_one(queue)
        assert second.first_claimed_at == first.first_claimed_at
        assert second.claimed_at >= first.claimed_at + 10

    # ---- due times ----

    def test_a_scheduled_task_is_handed_out_when_it_is_due(self, queue, clock):
        task_id = publish(queue, record(due=clock() + 10))
        answer = queue.exchange(OWNER, CONSUMER, (), 1)
        assert answer.claimed == ()
        assert 9 < answer.next_due <= 10
        clock.advance(11)
        assert claim_one(queue).id == task_id

    def test_the_next_due_time_is_that_of_the_earliest(self, queue, clock):
        publish(queue, record(due=clock() + 50), record(due=clock() + 20), record(due=clock() + 90))
        assert 19 < queue.exchange(OWNER, CONSUMER, (), 0).next_due <= 20

    def test_nothing_scheduled_has_no_due_time(self, queue):
        publish(queue, record())
        assert queue.exchange(OWNER, CONSUMER, (), 1).next_due is None

    def test_an_exchange_promotes_what_is_due_also_when_it_wants_nothing(self, queue, clock):
        task_id = publish(queue, record(due=clock() + 10))
        clock.advance(11)
        assert queue.exchange(OWNER, CONSUMER, (), 0).next_due is None
        assert state_of(queue, task_id) == "ready"

    # ---- settling claims ----

    @pytest.mark.parametrize("end", ["done", "dead"])
    def test_a_finished_task_keeps_its_outcome(self, queue, clock, end):
        before = clock()
        found = queue.get(run(queue, end, outcome=b"outcome", attempts=1))
        assert (found.state, found.outcome, found.attempts) == (end, b"outcome", 1)
        assert before <= found.finished_at <= clock()
        assert (found.owner, found.consumer) == ("", "")
        assert claim(queue, 10) == ()

    def test_a_retried_task_waits_for_its_delay(self, queue, clock):
        before = clock()
        found = queue.get(run(queue, "scheduled", delay=10, outcome=b"outcome", attempts=1))
        assert (found.state, found.outcome, found.attempts) == ("scheduled", b"outcome", 1)
        assert before + 10 <= found.due <= clock() + 10
        assert found.finished_at is None
        assert claim(queue, 10) == ()
        clock.advance(11)
        assert claim_one(queue).id == found.id

    def test_a_task_that_is_given_back_can_be_claimed_at_once(self, queue):
        publish(queue, record())
        claimed = claim_one(queue)
        hand_in(queue, claimed, "ready", started=False)
        found = queue.get(claimed.id)
        assert (found.state, found.owner, found.consumer, found.attempts) == ("ready", "", "", 0)
        assert claim_one(queue).id == claimed.id

    def test_attempts_add_up(self, queue):
        publish(queue, record())
        for spent in (1, 0, 1):
            hand_in(queue, claim_one(queue), "ready", attempts=spent)
        assert claim_one(queue).attempts == 2

    def test_no_outcome_leaves_the_last_one(self, queue):
        publish(queue, record())
        hand_in(queue, claim_one(queue), "ready", outcome=b"first")
        hand_in(queue, claim_one(queue), "ready")
        assert claim_one(queue).outcome == b"first"

    def test_wiping_forgets_the_secrets_and_keeps_the_body(self, queue):
        found = queue.get(run(queue, "done", wipe=True))
        assert (found.secrets, found.body) == (None, b"body")

    def test_not_wiping_keeps_the_secrets(self, queue):
        assert queue.get(run(queue, "dead")).secrets == b"secrets"

    @pytest.mark.parametrize("end", ["ready", "scheduled", "done", "dead"])
    def test_a_settlement_with_an_old_claim_number_is_refused(self, queue, end):
        publish(queue, record())
        old = claim_one(queue)
        hand_in(queue, old, "ready")
        new = claim_one(queue)
        assert hand_in(queue, old, end, attempts=1, wipe=True, outcome=b"late").refused == (old.id,)
        assert queue.get(old.id) == new

    @pytest.mark.parametrize("end", ["done", "dead", "scheduled", "ready"])
    def test_a_settlement_of_what_runs_no_more_is_refused(self, queue, end):
        publish(queue, record())
        claimed = claim_one(queue)
        hand_in(queue, claimed, end, delay=100)
        before = queue.get(claimed.id)
        assert hand_in(queue, claimed, "done", attempts=1).refused == (claimed.id,)
        assert queue.get(claimed.id) == before

    def test_a_settlement_of_what_is_unknown_or_gone_is_refused(self, queue):
        task_id = run(queue, "done")
        queue.delete([task_id])
        settlements = [Settlement(id=each, claim_number=1, state="done") for each in (task_id, "unknown")]
        assert queue.exchange(OWNER, CONSUMER, settlements, 0).refused == (task_id, "unknown")
        assert queue.get(task_id) is None

    def test_settlements_that_hold_are_taken_beside_those_that_are_refused(self, queue):
        publish(queue, record(), record())
        first, second = claim(queue, 2)
        settlements = [
            Settlement(id=first.id, claim_number=first.claim_number + 1, state="done"),
            Settlement(id=second.id, claim_number=second.claim_number, state="done"),
        ]
        assert queue.exchange(OWNER, CONSUMER, settlements, 0).refused == (first.id,)
        assert (state_of(queue, first.id), state_of(queue, second.id)) == ("running", "done")

    def test_one_exchange_hands_in_and_claims(self, queue):
        publish(queue, record(), record())
        first = claim_one(queue)
        done = Settlement(id=first.id, claim_number=first.claim_number, state="done")
        answer = queue.exchange(OWNER, CONSUMER, (done,), 5)
        assert len(answer.claimed) == 1
        assert answer.claimed[0].id != first.id
        assert state_of(queue, first.id) == "done"

    def test_what_one_exchange_gives_back_it_may_claim_again(self, queue):
        publish(queue, record())
        claimed = claim_one(queue)
        back = Settlement(id=claimed.id, claim_number=claimed.claim_number, state="ready")
        answer = queue.exchange(OWNER, CONSUMER, (back,), 1)
        assert [(each.id, each.claim_number) for each in answer.claimed] == [(claimed.id, 2)]

    # ---- given back before it started ----

    def test_a_claim_that_did_not_start_is_no_first_claim(self, queue):
        publish(queue, record())
        claimed = claim_one(queue)
        hand_in(queue, claimed, "ready", started=False)
        assert queue.get(claimed.id).first_claimed_at is None

    def test_a_later_claim_that_did_not_start_leaves_the_first(self, queue, clock):
        publish(queue, record())
        first = claim_one(queue)
        hand_in(queue, first, "ready")
        clock.advance(1)
        hand_in(queue, claim_one(queue), "ready", started=False)
        assert queue.get(first.id).first_claimed_at == first.first_claimed_at

    def test_a_task_that_ran_keeps_its_first_claim(self, queue):
        publish(queue, record())
        claimed = claim_one(queue)
        hand_in(queue, claimed, "ready")
        assert queue.get(claimed.id).first_claimed_at == claimed.first_claimed_at

    # ---- suspects ----

    def test_a_suspect_is_handed_out_only_to_a_consumer_that_is_idle(self, queue):
        task_id = publish(queue, record())
        make_suspect(queue)
        answer = queue.exchange(OWNER, CONSUMER, (), 5)
        assert answer.claimed == ()
        assert answer.suspects_wait
        answer = queue.exchange(OWNER, CONSUMER, (), 5, alone=True)
        assert [each.id for each in answer.claimed] == [task_id]
        assert answer.claimed[0].suspect
        assert not answer.suspects_wait

    def test_a_suspect_is_claimed_by_itself(self, queue):
        publish(queue, record(), record(), record())
        suspect = make_suspect(queue)
        assert [each.id for each in claim(queue, 5, alone=True)] == [suspect]
        assert len(claim(queue, 5)) == 2

    def test_two_suspects_are_claimed_one_after_the_other(self, queue):
        first, second = record(), record()
        publish(queue, first, second)
        claim(queue, 2)
        queue.retire(OWNER)
        queue.reclaim(3)
        answer = queue.exchange(OWNER, CONSUMER, (), 5, alone=True)
        assert [each.id for each in answer.claimed] == [first.id]
        assert answer.suspects_wait
        assert claim_one(queue, alone=True).id == second.id

    def test_others_are_handed_out_beside_a_suspect_that_waits(self, queue):
        publish(queue, record())
        suspect = make_suspect(queue)
        younger = publish(queue, record())
        answer = queue.exchange(OWNER, CONSUMER, (), 5)
        assert [each.id for each in answer.claimed] == [younger]
        assert answer.suspects_wait
        assert state_of(queue, suspect) == "ready"

    def test_suspects_keep_to_the_order_of_claims(self, queue):
        publish(queue, record())
        suspect = make_suspect(queue)
        urgent = publish(queue, record(priority=1))
        publish(queue, record())
        answer = queue.exchange(OWNER, CONSUMER, (), 1, alone=True)
        assert [each.id for each in answer.claimed] == [urgent]
        assert answer.suspects_wait
        assert claim_one(queue, alone=True).id == suspect

    def test_an_idle_consumer_that_wants_nothing_gets_no_suspect(self, queue):
        publish(queue, record())
        make_suspect(queue)
        assert claim(queue, 0, alone=True) == ()

    def test_without_suspects_none_wait(self, queue):
        publish(queue, record(), record())
        assert not queue.exchange(OWNER, CONSUMER, (), 1).suspects_wait

    @pytest.mark.parametrize("end", ["ready", "scheduled"])
    def test_a_suspect_that_ran_is_one_no_more(self, queue, end):
        publish(queue, record())
        make_suspect(queue)
        claimed = claim_one(queue, alone=True)
        hand_in(queue, claimed, end)
        assert not queue.get(claimed.id).suspect
        assert claim_one(queue).id == claimed.id

    def test_a_suspect_that_did_not_start_still_is_one(self, queue):
        publish(queue, record())
        make_suspect(queue)
        claimed = claim_one(queue, alone=True)
        hand_in(queue, claimed, "ready", started=False)
        assert queue.get(claimed.id).suspect
        assert claim(queue, 5) == ()

    # ---- pause ----

    def test_a_paused_queue_hands_out_nothing(self, queue, clock):
        publish(queue, record())
        queue.pause()
        answer = queue.exchange(OWNER, CONSUMER, (), 5, alone=True)
        assert (answer.claimed, answer.paused) == ((), True)
        publish(queue, record())
        assert queue.counts().paused
        queue.resume()
        answer = queue.exchange(OWNER, CONSUMER, (), 5)
        assert (len(answer.claimed), answer.paused) == (2, False)
        assert not queue.counts().paused

    def test_a_paused_queue_takes_settlements(self, queue):
        publish(queue, record(), record())
        claimed = claim_one(queue)
        queue.pause()
        done = Settlement(id=claimed.id, claim_number=claimed.claim_number, state="done")
        answer = queue.exchange(OWNER, CONSUMER, (done,), 5)
        assert (answer.refused, answer.claimed, answer.paused) == ((), (), True)
        assert state_of(queue, claimed.id) == "done"

    # ---- release ----

    def test_release_gives_back_what_the_consumer_does_not_know_of(self, queue):
        publish(queue, *(record() for _ in range(3)))
        kept, *lost = claim(queue, 3)
        assert queue.release(OWNER, CONSUMER, [kept.id]) == 2
        assert queue.release(OWNER, CONSUMER, [kept.id]) == 0
        assert state_of(queue, kept.id) == "running"
        found = queue.list(["ready"])
        assert [each.id for each in found] == [each.id for each in lost]
        assert {(each.owner, each.consumer, each.attempts, each.deaths) for each in found} == {("", "", 0, 0)}
        assert not any(each.suspect for each in found)

    def test_release_leaves_what_others_run(self, queue):
        beat(queue, OTHER)
        publish(queue, record(), record())
        other_owner = claim_one(queue, owner_id=OTHER)
        other_consumer = claim_one(queue, consumer="night")
        assert queue.release(OWNER, CONSUMER, ()) == 0
        assert {state_of(queue, other_owner.id), state_of(queue, other_consumer.id)} == {"running"}

    def test_what_was_released_was_not_claimed_first(self, queue):
        publish(queue, record())
        claimed = claim_one(queue)
        queue.release(OWNER, CONSUMER, ())
        assert queue.get(claimed.id).first_claimed_at is None
        assert claim_one(queue).claim_number == 2

    def test_a_released_suspect_still_is_one(self, queue):
        publish(queue, record())
        make_suspect(queue)
        claimed = claim_one(queue, alone=True)
        queue.release(OWNER, CONSUMER, ())
        found = queue.get(claimed.id)
        assert found.suspect
        assert found.first_claimed_at is not None

    def test_release_leaves_what_is_staged(self, queue):
        task_id = stage(queue, record())
        assert queue.release(OWNER, "", ()) == 0
        assert state_of(queue, task_id) == "staged"
