"""A machine that does the same to a backend and to a simple model of it, and compares them.

``machine_for(open_queue)`` gives the test case of one backend; ``open_queue`` returns a fresh queue and what closes it.
"""

import time
from unittest import mock

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from taskqueue.record import State

from .compared import MAX_DEATHS, Compared
from .making import ALL_STATES, HOUR, OTHER, OWNER, beat
from .modelled import StoppedClock

SETTLEMENTS = {
    "state": st.sampled_from(["ready", "scheduled", "done", "dead"]),
    "attempts": st.integers(0, 1),
    "delay": st.sampled_from([0, 60]),
    "wipe": st.booleans(),
    "started": st.booleans(),
}
KEEP = {
    "keep_done": st.sampled_from([0, 100, HOUR]),
    "keep_done_count": st.integers(0, 2),
    "keep_dead": st.sampled_from([None, 0, 100]),
    "keep_secrets": st.sampled_from([0, 100]),
}
SECONDS = st.sampled_from([1, 60, 1800, HOUR])
IDS = tuple(f"task-{number}" for number in range(8))
DELAYS = st.sampled_from([0, 0, 60, HOUR])
OWNERS = st.sampled_from([OWNER, OTHER])


class BackendMachine(RuleBasedStateMachine):
    """Does the same to a backend and to the model. Every change of a state must be a step of the table."""

    def __init__(self):
        super().__init__()
        self.clock = StoppedClock()
        self.patch = mock.patch.object(time, "time", self.clock)
        self.patch.start()
        queue, self.close = self.open_queue()
        self.both = Compared(queue, self.clock, IDS)

    def teardown(self):
        self.close()
        self.patch.stop()

    @initialize()
    def take_leases(self):
        for owner_id in (OWNER, OTHER):
            beat(self.both.queue, owner_id)

    def _running(self, **_):
        return self.both.model.known(State.RUNNING)

    # ---- the way in ----

    def _due(self, delay):
        return self.clock.now + delay if delay else 0.0

    @rule(task_id=st.sampled_from(IDS), priority=st.integers(-1, 1), delay=DELAYS, owner_id=OWNERS)
    def stage(self, task_id, priority, delay, owner_id):
        self.both.stage(task_id, owner_id, priority=priority, due=self._due(delay))

    @rule(task_id=st.sampled_from(IDS), priority=st.integers(-1, 1), delay=DELAYS)
    def publish(self, task_id, priority, delay):
        self.both.publish(task_id, priority=priority, due=self._due(delay))

    @rule(priorities=st.lists(st.integers(-1, 1), min_size=1, max_size=3))
    def publish_new(self, priorities):
        for task_id, priority in zip(self.both.model.known(None), priorities, strict=False):
            assert self.both.publish(task_id, priority=priority)

    @rule(ids=st.sets(st.sampled_from(IDS), max_size=2))
    def discard(self, ids):
        self.both.discard(ids)

    @rule(ids=st.sets(st.sampled_from(IDS)), verdict=st.sampled_from(["publish", "discard", "hold"]))
    def settle(self, ids, verdict):
        self.both.settle(ids, verdict)

    # ---- the way out ----

    @rule(owner_id=OWNERS, wanted=st.integers(1, 4), alone=st.sampled_from([True, True, False]))
    def claim(self, owner_id, wanted, alone):
        self.both.claim(owner_id, wanted, alone)

    @precondition(_running)
    @rule(data=st.data(), **SETTLEMENTS)
    def hand_in(self, data, **fields):
        tasks, running = self.both.model.tasks, self._running()
        suspects = [task_id for task_id in running if tasks[task_id].suspect]  # rare, so they come first
        task_id = data.draw(st.sampled_from(suspects or running))
        self.both.hand_in(OWNER, task_id, tasks[task_id].claim_number, **fields)

    @precondition(lambda self: self.both.old_claims())
    @rule(data=st.data(), **SETTLEMENTS)
    def hand_in_late(self, data, **fields):
        self.both.hand_in(OWNER, *data.draw(st.sampled_from(self.both.old_claims())), **fields)

    @rule(owner_id=OWNERS, holding=st.sets(st.sampled_from(IDS), min_size=4))
    def release(self, owner_id, holding):
        self.both.release(owner_id, holding)

    # ---- upkeep ----

    @rule(owner_id=OWNERS)
    def retire_and_reclaim(self, owner_id):
        self.both.queue.retire(owner_id)
        self.both.reclaim({owner_id}, lambda: self.both.queue.reclaim(MAX_DEATHS))
        beat(self.both.queue, owner_id)

    @rule()
    def promote(self):
        self.both.promote()

    @rule(**KEEP)
    def prune(self, **keep):
        self.both.prune(**keep)

    @rule(seconds=SECONDS)
    def let_time_pass(self, seconds):
        self.both.verbs = ()
        self.clock.now += seconds

    # ---- mending ----

    @rule(ids=st.sets(st.sampled_from(IDS)))
    def requeue(self, ids):
        self.both.requeue(ids)

    @rule(ids=st.sets(st.sampled_from(IDS), max_size=2))
    def delete(self, ids):
        self.both.delete(ids)

    @rule(states=st.sets(st.sampled_from(ALL_STATES), max_size=1))
    def purge(self, states):
        self.both.purge(states)

    @rule(wanted=st.integers(0, 3), alone=st.booleans())
    def claim_while_paused(self, wanted, alone):
        self.both.pause()
        self.both.claim(OWNER, wanted, alone)
        self.both.resume()
        self.both.verbs = ("promote",)

    # ---- what holds after each step ----

    @invariant()
    def the_backend_is_as_the_model(self):
        self.both.check()

    @invariant()
    def one_is_found_as_it_is_listed(self):
        listed = {each.id: each for each in self.both.queue.list(ALL_STATES)}
        for task_id in IDS:
            assert self.both.queue.get(task_id) == listed.get(task_id)


def machine_for(open_queue):
    """The test case that compares one backend with the model."""
    machine = type("Machine", (BackendMachine,), {"open_queue": staticmethod(open_queue)})
    machine.TestCase.settings = settings(
        max_examples=80,
        stateful_step_count=50,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    return machine.TestCase
