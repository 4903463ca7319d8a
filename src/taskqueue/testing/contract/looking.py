"""The contract of len, counts, get, list, requeue, delete, purge and close, and of queues side by side."""

import pytest

from ...record import STORED_STATES
from .making import (
    ALL_STATES,
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


class Looking:
    def test_the_length_is_what_is_ready_or_scheduled(self, queue, clock):
        assert len(queue) == 0
        stage(queue, record())
        publish(queue, record(priority=2), record(), record(due=clock() + 100))
        claim_one(queue)
        assert len(queue) == 2

    def test_every_state_is_counted_zero_included(self, queue, clock):
        assert queue.counts().states == {state.value: 0 for state in STORED_STATES}
        stage(queue, record(), record())
        queue.settle([queue.staged()[0].id], "hold")
        run(queue, "done")
        run(queue, "done")
        run(queue, "dead")
        publish(queue, record(), record(), record(due=clock() + 100))
        claim_one(queue)
        assert queue.counts().states == {
            "staged": 1,
            "held": 1,
            "scheduled": 1,
            "ready": 1,
            "running": 1,
            "done": 2,
            "dead": 1,
        }

    def test_the_oldest_age_is_that_of_who_waits_longest_to_run(self, queue, clock):
        assert queue.counts().oldest_ready_age is None
        publish(queue, record(due=clock() + 90))
        clock.advance(100)
        queue.promote()
        assert 10 <= queue.counts().oldest_ready_age < 20
        publish(queue, record())
        clock.advance(5)
        assert 15 <= queue.counts().oldest_ready_age < 25

    def test_what_does_not_wait_to_run_has_no_age(self, queue, clock):
        stage(queue, record())
        publish(queue, record(due=clock() + 90), record())
        claim_one(queue)
        assert queue.counts().oldest_ready_age is None

    def test_a_task_that_is_run_again_by_hand_is_as_young_as_that(self, queue, clock):
        task_id = run(queue, "dead")
        clock.advance(1000)
        queue.requeue([task_id])
        assert queue.counts().oldest_ready_age < 100

    def test_an_unknown_id_is_not_found(self, queue):
        assert queue.get("unknown") is None
        assert queue.get("\udcff\0") is None

    # ---- list ----

    def test_a_list_holds_what_is_in_these_states_by_id(self, queue, clock):
        ready = [record() for _ in range(3)]
        publish(queue, *reversed(ready))
        stage(queue, record())
        scheduled = publish(queue, record(due=clock() + 100))
        assert [each.id for each in queue.list(["ready"])] == [each.id for each in ready]
        assert [each.id for each in queue.list(["ready", "scheduled"])] == [*(each.id for each in ready), scheduled]
        assert queue.list([]) == []
        assert queue.list(["dead", "gone", "no such state"]) == []

    def test_a_list_can_be_read_in_pages(self, queue):
        ids = [each.id for each in (record(), record(), record(), record())]
        publish(queue, *(record(id=each) for each in ids))
        page = queue.list(["ready"], limit=2)
        assert [each.id for each in page] == ids[:2]
        assert [each.id for each in queue.list(["ready"], limit=5, after=ids[1])] == ids[2:]

    def test_a_list_can_begin_with_the_newest(self, queue):
        ids = [each.id for each in (record(), record(), record(), record())]
        publish(queue, *(record(id=each) for each in ids))
        assert [each.id for each in queue.list(["ready"], newest_first=True)] == ids[::-1]
        found = queue.list(["ready"], limit=2, after=ids[3], newest_first=True)
        assert [each.id for each in found] == [ids[2], ids[1]]

    def test_a_list_over_several_states_is_one_order(self, queue):
        records = [record() for _ in range(6)]
        publish(queue, *records[::2])
        stage(queue, *records[1::2])
        ids = [each.id for each in records]
        assert [each.id for each in queue.list(["ready", "staged"], limit=3)] == ids[:3]
        assert [each.id for each in queue.list(["staged", "ready"], limit=3, newest_first=True)] == ids[:2:-1]

    # ---- requeue ----

    def test_a_dead_task_can_start_over(self, queue):
        publish(queue, record())
        task_id = make_suspect(queue)
        make_suspect(queue, task_id, alone=True)
        hand_in(queue, claim_one(queue, alone=True), "dead", attempts=1, outcome=b"last")
        assert queue.requeue([task_id, "unknown"]) == [task_id]
        found = queue.get(task_id)
        assert (found.state, found.attempts, found.deaths, found.suspect) == ("ready", 0, 0, False)
        assert (found.first_claimed_at, found.finished_at) == (None, None)
        assert (found.claim_number, found.outcome) == (3, b"last")
        assert claim_one(queue).id == task_id

    def test_a_suspect_that_died_starts_over_beside_others(self, queue):
        publish(queue, record())
        task_id = make_suspect(queue)
        claim_one(queue, alone=True)
        queue.retire(OWNER)
        assert queue.reclaim(1).dead == (task_id,)
        queue.requeue([task_id])
        assert claim_one(queue).id == task_id

    def test_a_scheduled_task_can_run_at_once(self, queue, clock):
        task_id = publish(queue, record(due=clock() + 100))
        assert queue.requeue([task_id]) == [task_id]
        assert queue.get(task_id).due <= clock()
        assert queue.promote() is None
        assert claim_one(queue).id == task_id

    def test_a_wiped_task_stays_dead(self, queue):
        task_id = run(queue, "dead", wipe=True)
        assert queue.requeue([task_id]) == []
        assert state_of(queue, task_id) == "dead"

    def test_what_is_neither_dead_nor_scheduled_cannot_start_over(self, queue):
        staged = stage(queue, record())
        running, done = record(priority=1), run(queue, "done")
        publish(queue, running)
        claim_one(queue)
        ready = publish(queue, record())
        before = queue.list(ALL_STATES)
        assert queue.requeue([staged, running.id, done, ready]) == []
        assert queue.list(ALL_STATES) == before

    # ---- delete and purge ----

    def test_tasks_that_wait_or_are_finished_can_be_deleted(self, queue, clock):
        ids = [
            run(queue, "done"),
            run(queue, "dead"),
            publish(queue, record(due=clock() + 100)),
            publish(queue, record()),
        ]
        assert set(queue.delete([*ids, "unknown"])) == set(ids)
        assert queue.list(ALL_STATES) == []
        assert queue.delete(ids) == []
        assert claim(queue, 5) == ()

    def test_what_runs_or_is_in_doubt_cannot_be_deleted(self, queue):
        staged, held = stage(queue, record()), stage(queue, record())
        queue.settle([held], "hold")
        publish(queue, record())
        running = claim_one(queue)
        assert queue.delete([staged, held, running.id]) == []
        assert len(queue.list(ALL_STATES)) == 3

    def test_a_purge_takes_all_that_is_in_these_states(self, queue, clock):
        publish(queue, *(record(due=clock() + 100) for _ in range(3)))
        run(queue, "done")
        publish(queue, record(), record())
        assert queue.purge(["ready", "done"]) == 3
        assert [each.state for each in queue.list(ALL_STATES)] == ["scheduled"] * 3
        assert queue.purge(["ready"]) == 0

    def test_a_purge_takes_however_many_there_are(self, queue):
        publish(queue, *(record() for _ in range(2100)))
        assert queue.purge(["ready"]) == 2100
        assert len(queue) == 0

    def test_a_purge_spares_what_runs_or_is_in_doubt(self, queue):
        stage(queue, record())
        queue.settle([stage(queue, record())], "hold")
        publish(queue, record())
        claim_one(queue)
        assert queue.purge(ALL_STATES) == 0
        assert len(queue.list(ALL_STATES)) == 3

    # ---- queues side by side ----

    @pytest.mark.parametrize("other", [{"name": "other"}, {"prefix": "other"}])
    def test_queues_of_other_names_or_prefixes_never_meet(self, queue, open_queue, other):
        stranger = open_queue(**other)
        beat(stranger, "stranger")
        given = record()
        publish(queue, given)
        assert stranger.get(given.id) is None
        assert len(stranger) == 0
        assert claim(stranger, 5, owner_id="stranger") == ()
        assert [status.owner.id for status in stranger.owners()] == ["stranger"]
        queue.pause()
        publish(stranger, given)
        assert claim_one(stranger, owner_id="stranger").id == given.id
        stranger.discard([given.id], 5.0)
        assert stranger.delete([given.id]) == []
        assert state_of(queue, given.id) == "ready"

    def test_a_closed_queue_opens_again_when_needed(self, queue):
        queue.close()
        queue.close()
        beat(queue)
        task_id = publish(queue, record())
        assert claim_one(queue).id == task_id
