"""The contract of stage, publish, discard, staged and settle."""

import pytest

from ...errors import BackendUnavailableError, QueueFullError
from ...interfaces import ITaskQueue
from .making import (
    ALL_STATES,
    ENVELOPE,
    HOUR,
    OWNER,
    TIMEOUT,
    beat,
    claim,
    claim_one,
    hand_in,
    publish,
    publish_in_time,
    record,
    run,
    stage,
    state_of,
)


def _must_be_certain(queue):
    if "certain" not in queue.capabilities:
        pytest.skip("only of queues that are certain one call is the commit")
    return queue


class WayIn:
    @pytest.fixture
    def certain(self, queue):
        """A queue that knows what became of a call that fails."""
        return _must_be_certain(queue)

    @pytest.fixture
    def uncertain(self, queue):
        """A queue that may carry out a call when its caller has given it up."""
        if "certain" in queue.capabilities:
            pytest.skip("no call of a queue that is certain comes too late")
        return queue

    def test_the_class_keeps_the_interface(self, queue):
        from zope.interface.verify import verifyObject

        assert verifyObject(ITaskQueue, queue)

    def test_a_queue_tells_its_name_and_prefix(self, open_queue):
        queue = open_queue(name="mail", prefix="site")
        assert (queue.name, queue.prefix) == ("mail", "site")
        assert queue.capabilities <= {"certain", "durable", "shared"}

    # ---- whether tasks can be added ----

    def test_trying_to_add_leaves_nothing_behind(self, queue, clock):
        stage(queue, record())
        publish(queue, record(), record(due=clock() + HOUR))
        before, kept = queue.counts().states, queue.list(ALL_STATES)
        for _ in range(3):
            queue.try_adding(TIMEOUT)
        assert queue.counts().states == before
        assert queue.list(ALL_STATES) == kept
        assert len(claim(queue, 10)) == 1
        assert queue.prune(0, 0, 0, 0) == {"done": 0, "dead": 0, "wiped": 0}

    def test_adding_can_be_tried_before_anything_was(self, open_queue):
        queue = open_queue()
        queue.try_adding(TIMEOUT)
        assert set(queue.counts().states.values()) == {0}
        assert queue.owners() == []

    def test_trying_to_add_to_a_full_queue_is_refused_as_adding_is(self, open_queue, clock):
        queue = open_queue(length_limit=4)
        beat(queue)
        queue.settle([stage(queue, record())], "hold")
        publish(queue, record(), record(due=clock() + HOUR))
        queue.try_adding(TIMEOUT)
        last = stage(queue, record())
        with pytest.raises(QueueFullError, match="length_limit is 4"):
            queue.try_adding(TIMEOUT)
        assert queue.counts().states["staged"] == 1
        queue.discard([last], TIMEOUT)
        queue.try_adding(TIMEOUT)
        stage(queue, record())

    def test_what_runs_or_is_finished_keeps_nobody_from_trying_to_add(self, open_queue):
        queue = open_queue(length_limit=1)
        beat(queue)
        run(queue, "done")
        publish(queue, record())
        claim_one(queue)
        queue.try_adding(TIMEOUT)

    # ---- stage ----

    def test_a_staged_record_keeps_what_it_was_given(self, queue, clock):
        before = clock()
        given = record(body=b"\0body\xff", secrets=None, priority=-3, due=before + 50)
        stage(queue, given)
        found = queue.get(given.id)
        assert (found.body, found.secrets, found.priority, found.due) == (b"\0body\xff", None, -3, before + 50)
        assert (found.state, found.owner, found.envelope) == ("staged", OWNER, ENVELOPE)
        assert (found.claim_number, found.attempts, found.deaths, found.suspect) == (0, 0, 0, False)
        assert before <= found.staged_at <= clock()
        assert found.published_at is None

    def test_a_staged_record_is_not_handed_out(self, queue):
        stage(queue, record())
        assert claim(queue, 10) == ()

    def test_what_the_caller_says_of_progress_is_not_believed(self, queue):
        task_id = stage(queue, record(state="ready", claim_number=9, attempts=9, deaths=9, suspect=True, consumer="x"))
        found = queue.get(task_id)
        assert (found.state, found.claim_number, found.attempts, found.deaths) == ("staged", 0, 0, 0)
        assert not found.suspect
        assert found.consumer == ""

    def test_staging_twice_changes_nothing(self, queue):
        given = record()
        stage(queue, given)
        before = queue.get(given.id)
        stage(queue, record(id=given.id, body=b"other"), envelope=b"other")
        assert queue.get(given.id) == before

    @pytest.mark.parametrize("then", ["published", "running", "done", "discarded"])
    def test_staging_late_changes_nothing(self, queue, then):
        given = record()
        publish(queue, given)
        if then != "published":
            claimed = claim_one(queue)
        if then == "done":
            hand_in(queue, claimed, "done")
        if then == "discarded":
            hand_in(queue, claimed, "done")
            queue.delete([given.id])
        before = queue.get(given.id)
        stage(queue, given)
        assert queue.get(given.id) == before

    def test_a_full_queue_refuses_all_that_is_staged_together(self, open_queue):
        queue = open_queue(length_limit=3)
        beat(queue)
        stage(queue, record(), record())
        more = [record(), record()]
        with pytest.raises(QueueFullError, match="length_limit is 3"):
            stage(queue, *more)
        assert [queue.get(each.id) for each in more] == [None, None]
        stage(queue, record())
        assert queue.counts().states["staged"] == 3

    def test_all_that_waits_counts_for_the_limit(self, open_queue, clock):
        queue = open_queue(length_limit=4)
        beat(queue)
        stage(queue, record())
        queue.settle([stage(queue, record())], "hold")
        publish(queue, record(), record(due=clock() + 100))
        with pytest.raises(QueueFullError):
            stage(queue, record())

    def test_what_runs_or_is_finished_does_not_count_for_the_limit(self, open_queue):
        queue = open_queue(length_limit=1)
        beat(queue)
        run(queue, "done")
        run(queue, "dead")
        publish(queue, record())
        claim_one(queue)
        stage(queue, record())

    def test_a_full_queue_takes_known_ids_and_lets_publish_pass(self, open_queue):
        queue = open_queue(length_limit=1)
        beat(queue)
        given = record()
        stage(queue, given)
        publish(queue, record())
        stage(queue, given)
        assert len(queue) == 1

    # ---- publish ----

    def test_a_published_record_can_be_claimed(self, queue, clock):
        given = record()
        stage(queue, given)
        before = clock()
        publish(queue, given)
        found = queue.get(given.id)
        assert (found.state, found.owner, found.envelope) == ("ready", "", b"")
        assert before <= found.published_at <= clock()
        assert claim_one(queue).id == given.id

    def test_publish_stores_what_was_never_staged(self, queue):
        given = record(body=b"carried", secrets=b"along", priority=7)
        publish(queue, given)
        found = queue.get(given.id)
        assert (found.body, found.secrets, found.priority, found.state) == (b"carried", b"along", 7, "ready")

    def test_a_record_that_is_due_later_is_scheduled(self, queue, clock):
        staged, new = record(due=clock() + 10), record(due=clock() + 10)
        stage(queue, staged)
        publish(queue, staged, new)
        assert {state_of(queue, staged.id), state_of(queue, new.id)} == {"scheduled"}
        assert claim(queue, 10) == ()

    def test_a_record_that_is_due_already_is_ready(self, queue, clock):
        assert state_of(queue, publish(queue, record(due=clock() - 10))) == "ready"

    def test_publishing_twice_runs_it_once(self, queue):
        given = record()
        publish(queue, given)
        publish(queue, given)
        claimed = claim(queue, 10)
        assert [each.id for each in claimed] == [given.id]
        publish(queue, given)
        assert queue.get(given.id) == claimed[0]

    @pytest.mark.parametrize("end", ["done", "dead", "scheduled"])
    def test_publishing_late_does_not_run_it_again(self, queue, end):
        task_id = run(queue, end, delay=100)
        before = queue.get(task_id)
        publish(queue, record(id=task_id))
        assert queue.get(task_id) == before

    def test_publishing_what_is_held_makes_it_ready(self, queue):
        given = record()
        stage(queue, given)
        queue.settle([given.id], "hold")
        publish(queue, given)
        assert state_of(queue, given.id) == "ready"

    # ---- publish in time ----

    def test_what_is_published_in_time_can_be_claimed(self, queue, clock):
        later = clock() + 100
        ready, scheduled = stage(queue, record()), stage(queue, record(due=later))
        publish_in_time(queue, ready, scheduled)
        found = queue.get(ready)
        assert (found.state, found.owner, found.envelope) == ("ready", "", b"")
        assert found.staged_at <= found.published_at <= clock()
        assert state_of(queue, scheduled) == "scheduled"
        assert [each.id for each in claim(queue, 10)] == [ready]

    def test_what_is_held_can_be_published_in_time(self, queue):
        task_id = stage(queue, record())
        queue.settle([task_id], "hold")
        publish_in_time(queue, task_id)
        assert state_of(queue, task_id) == "ready"

    @pytest.mark.parametrize("end", ["done", "dead", "scheduled"])
    def test_publishing_in_time_once_more_changes_nothing(self, queue, end):
        task_id = run(queue, end, delay=100)
        before = queue.get(task_id)
        publish_in_time(queue, task_id, max_age=0.0)
        assert queue.get(task_id) == before

    def test_very_many_are_published_in_time(self, queue):
        records = [record() for _ in range(1001)]
        stage(queue, *records)
        queue.publish_in_time(records, TIMEOUT, TIMEOUT)
        assert queue.counts().states["ready"] == len(records)

    @pytest.mark.parametrize("age", [1.5, HOUR])
    def test_what_was_staged_for_too_long_is_not_published_in_time(self, uncertain, clock, age):
        staged, held = stage(uncertain, record()), stage(uncertain, record())
        uncertain.settle([held], "hold")
        published = publish(uncertain, record())
        clock.advance(age)
        with pytest.raises(BackendUnavailableError, match="nothing was added, try again"):
            publish_in_time(uncertain, published, staged, held, max_age=1.0)
        assert (state_of(uncertain, staged), state_of(uncertain, held)) == ("staged", "held")

    @pytest.mark.parametrize("reverse", [False, True])
    def test_the_newest_says_how_long_they_have_been_staged(self, uncertain, clock, reverse):
        first = stage(uncertain, record())
        clock.advance(1.5)
        ids = [first, stage(uncertain, record())]
        publish_in_time(uncertain, *(reversed(ids) if reverse else ids), max_age=1.0)
        assert {state_of(uncertain, task_id) for task_id in ids} == {"ready"}

    def test_what_the_store_has_lost_is_not_published_in_time(self, uncertain):
        staged = stage(uncertain, record())
        lost = record()
        with pytest.raises(BackendUnavailableError):
            publish_in_time(uncertain, staged, lost.id)
        assert (state_of(uncertain, staged), uncertain.get(lost.id)) == ("staged", None)

    def test_what_was_discarded_is_not_published_in_time(self, queue):
        kept, discarded = stage(queue, record()), stage(queue, record())
        queue.discard([discarded], TIMEOUT)
        publish_in_time(queue, kept, discarded)
        assert (state_of(queue, kept), queue.get(discarded)) == ("ready", None)

    # ---- gone ----

    @pytest.mark.parametrize("how", ["discard", "settle", "delete", "purge", "prune"])
    def test_what_is_gone_stays_gone_for_an_hour(self, queue, clock, how):
        given = record()
        if how in {"discard", "settle"}:
            stage(queue, given)
        else:
            publish(queue, given)
            hand_in(queue, claim_one(queue), "done")
        {
            "discard": lambda: queue.discard([given.id], 5.0),
            "settle": lambda: queue.settle([given.id], "discard"),
            "delete": lambda: queue.delete([given.id]),
            "purge": lambda: queue.purge(["done"]),
            "prune": lambda: queue.prune(0, 100, None, HOUR),
        }[how]()
        clock.advance(HOUR - 10)
        queue.prune(HOUR, 100, None, HOUR)
        publish(queue, given)
        stage(queue, given)
        assert queue.get(given.id) is None
        clock.advance(20)
        publish(queue, given)
        assert state_of(queue, given.id) == "ready"

    def test_pruning_forgets_ids_that_were_remembered_for_an_hour(self, queue, clock):
        given = record()
        stage(queue, given)
        queue.discard([given.id], 5.0)
        clock.advance(HOUR + 1)
        queue.prune(HOUR, 100, None, HOUR)
        clock.advance(-HOUR)
        publish(queue, given)
        assert state_of(queue, given.id) == "ready"

    # ---- deliver, of queues that are certain ----

    def test_what_is_delivered_can_be_claimed(self, certain, clock):
        now, later = record(priority=7, secrets=None), record(due=clock() + 100)
        before = clock()
        certain.deliver([now, later], TIMEOUT)
        found = certain.get(now.id)
        assert (found.state, found.body, found.secrets, found.priority) == ("ready", now.body, None, 7)
        assert (found.owner, found.envelope, found.staged_at) == ("", b"", None)
        assert before <= found.published_at <= clock()
        assert state_of(certain, later.id) == "scheduled"
        assert claim_one(certain).id == now.id

    def test_a_full_queue_refuses_all_that_is_delivered_together(self, open_queue, clock):
        queue = _must_be_certain(open_queue(length_limit=3))
        beat(queue)
        queue.deliver([record(), record(due=clock() + 100)], TIMEOUT)
        more = [record(), record()]
        with pytest.raises(QueueFullError, match="length_limit is 3"):
            queue.deliver(more, TIMEOUT)
        assert [queue.get(each.id) for each in more] == [None, None]
        queue.deliver(more[:1], TIMEOUT)
        assert len(queue) == 3

    def test_delivering_changes_nothing_of_what_is_known_or_gone(self, certain):
        gone, done, new = record(), run(certain, "done"), record()
        stage(certain, gone)
        certain.discard([gone.id], TIMEOUT)
        before = certain.get(done)
        certain.deliver([gone, record(id=done), new], TIMEOUT)
        assert (certain.get(gone.id), certain.get(done), state_of(certain, new.id)) == (None, before, "ready")

    def test_who_waits_is_woken_by_what_is_delivered(self, certain):
        seen = certain.wait(0, 0)
        certain.deliver([record()], TIMEOUT)
        assert certain.wait(seen, TIMEOUT) != seen

    # ---- discard ----

    def test_a_discarded_record_is_gone(self, queue):
        kept, given = record(), record()
        stage(queue, kept, given)
        queue.discard([given.id, "unknown"], 5.0)
        assert queue.get(given.id) is None
        assert state_of(queue, kept.id) == "staged"

    def test_discard_forgets_what_is_held(self, queue):
        task_id = stage(queue, record())
        queue.settle([task_id], "hold")
        queue.discard([task_id], 5.0)
        assert queue.get(task_id) is None

    def test_discard_leaves_what_is_published(self, queue, clock):
        ready, scheduled = record(), record(due=clock() + 100)
        publish(queue, ready, scheduled)
        finished = run(queue, "dead")
        queue.discard([ready.id, scheduled.id, finished], 5.0)
        found = queue.list(["ready", "scheduled", "dead", "done", "running"])
        assert {each.id for each in found} == {ready.id, scheduled.id, finished}

    # ---- staged and settle ----

    def test_what_is_in_doubt_is_listed_with_its_envelope(self, queue):
        records = [record() for _ in range(4)]
        stage(queue, records[1], records[0], records[2], envelope=b"e1")
        queue.settle([records[1].id], "hold")
        publish(queue, records[3])
        found = queue.staged()
        assert [(each.id, each.state) for each in found] == [
            (records[0].id, "staged"),
            (records[1].id, "held"),
            (records[2].id, "staged"),
        ]
        assert {each.envelope for each in found} == {b"e1"}
        assert [each.id for each in queue.staged(limit=1, after=records[0].id)] == [records[1].id]

    def test_settling_by_publish_makes_ready_or_scheduled(self, queue, clock):
        now, later = record(), record(due=clock() + 100)
        stage(queue, now, later)
        queue.settle([later.id], "hold")
        assert queue.settle([now.id, later.id, "unknown"], "publish") == 2
        found = {each.id: each for each in queue.list(["ready", "scheduled"])}
        assert (found[now.id].state, found[later.id].state) == ("ready", "scheduled")
        assert found[now.id].envelope == b""
        assert found[now.id].owner == ""
        assert found[now.id].published_at is not None

    def test_settling_by_discard_forgets(self, queue):
        staged, held = record(), record()
        stage(queue, staged, held)
        queue.settle([held.id], "hold")
        assert queue.settle([staged.id, held.id, "unknown"], "discard") == 2
        assert queue.staged() == []

    def test_settling_by_hold_keeps_until_somebody_decides(self, queue):
        task_id = stage(queue, record())
        assert queue.settle([task_id], "hold") == 1
        assert queue.settle([task_id], "hold") == 0
        assert state_of(queue, task_id) == "held"
        assert queue.get(task_id).envelope == ENVELOPE

    @pytest.mark.parametrize("verdict", ["publish", "discard", "hold"])
    def test_settling_leaves_what_is_no_longer_in_doubt(self, queue, verdict):
        ready = publish(queue, record())
        dead = publish(queue, record(priority=1))
        hand_in(queue, claim_one(queue), "dead")
        assert queue.settle([ready, dead], verdict) == 0
        assert (state_of(queue, ready), state_of(queue, dead)) == ("ready", "dead")
