"""A queue of a backend beside the model of it: each verb is done to both, and what they say is compared."""

from taskqueue.interfaces import Settlement
from taskqueue.record import State

from .making import ALL_STATES, CONSUMER, HOUR, TIMEOUT, record
from .modelled import ModelledQueue, reachable

MAX_DEATHS = 2
LIST_LIMIT = 10_000


class Compared:
    """One queue and its model. ``verbs`` are those of the last step: what it may have changed follows from them."""

    def __init__(self, queue, clock, ids=()):
        self.queue = queue
        self.clock = clock
        self.model = ModelledQueue(clock, ids)
        self.claims = []  # every claim there ever was: id and number
        self.verbs = ()
        self._seen = {}  # id -> state and claim number, as the backend told them last

    # ---- the way in ----

    def stage(self, task_id, owner_id, **fields):
        """Stage a record."""
        self.verbs = ("stage",)
        given = record(id=task_id, **fields)
        self.queue.stage([given], b"envelope", owner_id, TIMEOUT)
        self.model.stage(given, owner_id)

    def publish(self, task_id, **fields):
        """Publish a record; tells whether the model says that it could be."""
        self.verbs = ("publish",)
        given = record(id=task_id, **fields)
        self.queue.publish([given], TIMEOUT)
        return self.model.publish(given)

    def discard(self, ids):
        """Discard what is staged or held."""
        self.verbs = ("discard",)
        self.queue.discard(ids, TIMEOUT)
        self.model.discard(ids)

    def settle(self, ids, verdict):
        """Decide what is staged or held."""
        self.verbs = ("settle",)
        assert self.queue.settle(ids, verdict) == len(self.model.settle(ids, verdict))

    # ---- the way out ----

    def claim(self, owner_id, wanted, alone):
        """Claim; returns ids."""
        self.verbs = ("promote", "exchange")
        expected = self.model.claim(owner_id, wanted, alone)
        answer = self.queue.exchange(owner_id, CONSUMER, (), wanted, alone)
        assert [each.id for each in answer.claimed] == expected
        for each in answer.claimed:
            self.claims.append((each.id, self.model.tasks[each.id].claim_number))
            assert each == self.queue.get(each.id)
        assert answer.paused == self.model.is_paused
        if not answer.paused:
            assert answer.suspects_wait == self.model.suspects_wait()
            assert answer.next_due == self.model.next_due()
        return expected

    def old_claims(self):
        """Claims that may not be settled any more."""
        return [claim for claim in self.claims if not self.model.is_current(*claim)]

    def hand_in(self, owner_id, task_id, number, state, attempts, delay, wipe, started):
        """Settle a claim, in time or too late."""
        self.verbs = ("exchange", "promote")
        settlement = Settlement(
            id=task_id,
            claim_number=number,
            state=state,
            attempts=attempts,
            delay=delay,
            wipe=wipe and state in {"done", "dead"},
            started=started or state != "ready",
        )
        answer = self.queue.exchange(owner_id, CONSUMER, (settlement,), 0)
        assert answer.refused == (() if self.model.hand_in(settlement) else (task_id,))

    def release(self, owner_id, holding):
        """Give back what an owner runs but for ``holding``."""
        self.verbs = ("release",)
        assert self.queue.release(owner_id, CONSUMER, holding) == len(self.model.release(owner_id, holding))

    # ---- upkeep ----

    def reclaim(self, owner_ids, look):
        """Take back what these owners had; ``look`` does it to the queue, and returns what was taken."""
        self.verbs = ("reclaim",)
        taken = self.model.reclaim(owner_ids, MAX_DEATHS)
        found = look()
        assert sorted(found.ready) == taken[State.READY]
        assert sorted(found.dead) == taken[State.DEAD]
        assert sorted(found.held) == taken[State.HELD]

    def promote(self):
        """Make ready what is due."""
        self.verbs = ("promote",)
        assert self.queue.promote() == self.model.promote()

    def prune(self, **keep):
        """Forget what is finished and old."""
        self.verbs = ("prune",)
        assert self.queue.prune(**keep) == self.model.prune(**keep)

    # ---- mending ----

    def requeue(self, ids):
        """Make ready at once what is dead or scheduled."""
        self.verbs = ("requeue",)
        assert sorted(self.queue.requeue(ids)) == self.model.requeue(ids)

    def delete(self, ids):
        """Delete what is published and does not run."""
        self.verbs = ("delete",)
        assert sorted(self.queue.delete(ids)) == self.model.delete(ids)

    def purge(self, states):
        """Delete all in these states."""
        self.verbs = ("delete",)
        assert self.queue.purge(states) == len(self.model.purge(states))

    def pause(self):
        """Hand out nothing any more."""
        self.verbs = ()
        self.queue.pause()
        self.model.is_paused = True

    def resume(self):
        """Hand out again."""
        self.verbs = ()
        self.queue.resume()
        self.model.is_paused = False

    # ---- what holds after each step ----

    def check(self):
        """The queue is as the model, and has changed by steps of the table only."""
        listed = self.queue.list(ALL_STATES, LIST_LIMIT)
        assert [each.id for each in listed] == sorted(each.id for each in listed)
        found = {each.id: each for each in listed}
        assert found.keys() <= self.model.tasks.keys(), "nobody has added this"
        for task_id, task in self.model.tasks.items():
            self._check_task(task_id, task, found.get(task_id))
            self._check_step(task_id, task, found.get(task_id))
        assert len(self.queue) == len(self.model.known(State.READY, State.SCHEDULED))
        self.check_counts()

    def check_counts(self):
        """There are as many in each state as the model says."""
        counted = self.model.counts()
        counts = self.queue.counts()
        assert (counts.states, counts.paused) == (counted, self.model.is_paused)

    def _check_task(self, task_id, task, found):
        if self.model.state_now(task) in {None, State.GONE}:
            assert found is None, f"{task_id} came back from {task.state}"
            return
        assert found is not None, f"{task_id} is lost"
        assert (found.state, found.claim_number) == (task.state.value, task.claim_number)
        assert (found.attempts, found.deaths, found.suspect) == (task.attempts, task.deaths, task.suspect)
        assert (found.secrets is None, found.owner) == (task.wiped, task.owner)
        assert (found.finished_at, found.priority, found.due) == (task.finished_at, task.priority, task.due)

    def _check_step(self, task_id, task, found):
        state = State(found.state) if found is not None else None
        number = found.claim_number if found is not None else 0
        before, number_before = self._seen.get(task_id, (None, 0))
        if state is None and before is not None:
            state = State.GONE
        if state is None:
            return
        was_forgotten = before is State.GONE and task.gone_at <= self.clock.now - HOUR
        if state is not before and not was_forgotten:
            assert state in reachable(before, self.verbs), f"{before} to {state} by {self.verbs}"
        assert before is State.GONE or state is State.GONE or number >= number_before
        self._seen[task_id] = (state, number)
