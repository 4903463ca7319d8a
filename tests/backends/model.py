"""A machine that does the same to a backend and to a simple model of it, and compares them.

``machine_for(open_queue)`` gives the test case of one backend; ``open_queue`` returns a fresh queue and what closes it.
"""

import time
from unittest import mock

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from taskqueue.interfaces import Settlement
from taskqueue.record import State

from .making import CONSUMER, HOUR, OTHER, OWNER, TIMEOUT, beat, record
from .modelled import Modelled, StoppedClock, reachable

MAX_DEATHS = 2
SETTLEMENTS = {
    "state": st.sampled_from(["ready", "scheduled", "done", "dead"]),
    "attempts": st.integers(0, 1),
    "delay": st.sampled_from([0, 60]),
    "wipe": st.booleans(),
    "started": st.booleans(),
}
IDS = tuple(f"task-{number}" for number in range(8))


class BackendMachine(RuleBasedStateMachine):
    """Does the same to a backend and to the model. Every change of a state must be a step of the table."""

    def __init__(self):
        super().__init__()
        self.clock = StoppedClock()
        self.patch = mock.patch.object(time, "time", self.clock)
        self.patch.start()
        self.queue, self.close = self.open_queue()
        self.tasks = {task_id: Modelled() for task_id in IDS}
        self.claims = []  # every claim there ever was: id and number
        self.seen = {}  # id -> state and claim number, as the backend told them last
        self.verbs = ()

    def teardown(self):
        self.close()
        self.patch.stop()

    @initialize()
    def take_leases(self):
        for owner_id in (OWNER, OTHER):
            beat(self.queue, owner_id)

    # ---- the way in ----

    def _record(self, task_id, priority, delay):
        return record(id=task_id, priority=priority, due=self.clock.now + delay if delay else 0.0)

    def _state_now(self, task):
        """The state, once the hour after a task was let go has passed."""
        if task.state is State.GONE and self.clock.now - task.gone_at >= HOUR:
            task.forget_all()
            task.claim_number = 0
        return task.state

    def _known(self, *states):
        return [task_id for task_id in IDS if self._state_now(self.tasks[task_id]) in states]

    def _admit(self, task, given):
        if self._state_now(task) is None:
            task.priority, task.due = given.priority, given.due

    def _publish(self, task, verb):
        to = State.SCHEDULED if task.due > self.clock.now else State.READY
        if task.step(verb, to):
            task.owner = ""
            return True
        return False

    def _let_go(self, task, verb):
        if task.step(verb, State.GONE):
            task.gone_at = self.clock.now
            return True
        return False

    @rule(
        task_id=st.sampled_from(IDS),
        priority=st.integers(-1, 1),
        delay=st.sampled_from([0, 0, 60, HOUR]),
        owner_id=st.sampled_from([OWNER, OTHER]),
    )
    def stage(self, task_id, priority, delay, owner_id):
        self.verbs = ("stage",)
        given, task = self._record(task_id, priority, delay), self.tasks[task_id]
        self.queue.stage([given], b"envelope", owner_id, TIMEOUT)
        self._admit(task, given)
        if task.step("stage", State.STAGED):
            task.owner = owner_id

    @rule(task_id=st.sampled_from(IDS), priority=st.integers(-1, 1), delay=st.sampled_from([0, 0, 60, HOUR]))
    def publish(self, task_id, priority, delay):
        self.verbs = ("publish",)
        given, task = self._record(task_id, priority, delay), self.tasks[task_id]
        self.queue.publish([given], TIMEOUT)
        self._admit(task, given)
        self._publish(task, "publish")

    @rule(priorities=st.lists(st.integers(-1, 1), min_size=1, max_size=3))
    def publish_new(self, priorities):
        self.verbs = ("publish",)
        for task_id, priority in zip(self._known(None), priorities, strict=False):
            given, task = self._record(task_id, priority, 0), self.tasks[task_id]
            self.queue.publish([given], TIMEOUT)
            self._admit(task, given)
            assert self._publish(task, "publish")

    @rule(ids=st.sets(st.sampled_from(IDS), max_size=2))
    def discard(self, ids):
        self.verbs = ("discard",)
        self.queue.discard(ids, TIMEOUT)
        for task_id in ids:
            self._state_now(self.tasks[task_id])
            self._let_go(self.tasks[task_id], "discard")

    @rule(ids=st.sets(st.sampled_from(IDS)), verdict=st.sampled_from(["publish", "discard", "hold"]))
    def settle(self, ids, verdict):
        self.verbs = ("settle",)
        act = {
            "publish": lambda task: self._publish(task, "settle"),
            "discard": lambda task: self._let_go(task, "settle"),
            "hold": lambda task: task.step("settle", State.HELD),
        }[verdict]
        expected = [task_id for task_id in IDS if task_id in ids and act(self.tasks[task_id])]
        assert self.queue.settle(ids, verdict) == len(expected)

    # ---- the way out ----

    def _promote(self):
        for task in self.tasks.values():
            if task.due <= self.clock.now:
                task.step("promote", State.READY)

    def _expected_claims(self, wanted, alone):
        ready = self._known(State.READY)
        ready.sort(key=lambda task_id: (-self.tasks[task_id].priority, task_id))
        if ready and wanted and alone and self.tasks[ready[0]].suspect:
            return ready[:1]
        return [task_id for task_id in ready if not self.tasks[task_id].suspect][:wanted]

    @rule(
        owner_id=st.sampled_from([OWNER, OTHER]), wanted=st.integers(1, 4), alone=st.sampled_from([True, True, False])
    )
    def claim(self, owner_id, wanted, alone):
        self.verbs = ("promote", "exchange")
        self._promote()
        expected = self._expected_claims(wanted, alone)
        answer = self.queue.exchange(owner_id, CONSUMER, (), wanted, alone)
        assert [each.id for each in answer.claimed] == expected
        for each in answer.claimed:
            task = self.tasks[each.id]
            assert task.step("exchange", State.RUNNING)
            task.claim_number += 1
            task.owner = owner_id
            self.claims.append((each.id, task.claim_number))
            assert each == self.queue.get(each.id)
        assert not answer.paused
        assert answer.suspects_wait == any(self.tasks[task_id].suspect for task_id in self._known(State.READY))
        due = [self.tasks[task_id].due for task_id in self._known(State.SCHEDULED)]
        assert answer.next_due == (min(due) - self.clock.now if due else None)

    def _old_claims(self):
        """Claims that may not be settled any more."""
        return [
            (task_id, number)
            for task_id, number in self.claims
            if (self._state_now(self.tasks[task_id]), self.tasks[task_id].claim_number) != (State.RUNNING, number)
        ]

    @precondition(lambda self: self._known(State.RUNNING))
    @rule(data=st.data(), **SETTLEMENTS)
    def hand_in(self, data, **fields):
        running = self._known(State.RUNNING)
        suspects = [task_id for task_id in running if self.tasks[task_id].suspect]  # rare, so they come first
        task_id = data.draw(st.sampled_from(suspects or running))
        self._hand_in(task_id, self.tasks[task_id].claim_number, **fields)

    @precondition(lambda self: self._old_claims())
    @rule(data=st.data(), **SETTLEMENTS)
    def hand_in_late(self, data, **fields):
        self._hand_in(*data.draw(st.sampled_from(self._old_claims())), **fields)

    def _hand_in(self, task_id, number, state, attempts, delay, wipe, started):
        self.verbs = ("exchange", "promote")
        task = self.tasks[task_id]
        is_current = self._state_now(task) is State.RUNNING and task.claim_number == number
        wipe, started = wipe and state in {"done", "dead"}, started or state != "ready"
        settlement = Settlement(
            id=task_id,
            claim_number=number,
            state=state,
            attempts=attempts,
            delay=delay,
            wipe=wipe,
            started=started,
        )
        answer = self.queue.exchange(OWNER, CONSUMER, (settlement,), 0)
        assert answer.refused == (() if is_current else (task_id,))
        if is_current:
            assert task.step("exchange", State(state))
            task.attempts += attempts
            task.suspect = task.suspect and not started
            task.wiped = task.wiped or wipe
            task.owner = ""
            if state == "scheduled":
                task.due = self.clock.now + delay
            task.finished_at = self.clock.now if state in {"done", "dead"} else None
        self._promote()

    @rule(owner_id=st.sampled_from([OWNER, OTHER]), holding=st.sets(st.sampled_from(IDS), min_size=4))
    def release(self, owner_id, holding):
        self.verbs = ("release",)
        lost = [i for i in self._known(State.RUNNING) if self.tasks[i].owner == owner_id and i not in holding]
        assert self.queue.release(owner_id, CONSUMER, holding) == len(lost)
        for task_id in lost:
            assert self.tasks[task_id].step("release", State.READY)
            self.tasks[task_id].owner = ""

    # ---- upkeep ----

    @rule(owner_id=st.sampled_from([OWNER, OTHER]))
    def retire_and_reclaim(self, owner_id):
        self.verbs = ("reclaim",)
        self.queue.retire(owner_id)
        reclaimed = self.queue.reclaim(MAX_DEATHS)
        expected = {State.READY: [], State.DEAD: [], State.HELD: []}
        for task_id in self._known(State.STAGED, State.RUNNING):
            if self.tasks[task_id].owner == owner_id:
                expected[self._die(self.tasks[task_id])].append(task_id)
        assert reclaimed.ready == tuple(expected[State.READY])
        assert reclaimed.dead == tuple(expected[State.DEAD])
        assert reclaimed.held == tuple(expected[State.HELD])
        beat(self.queue, owner_id)

    def _die(self, task):
        if task.step("reclaim", State.HELD):
            return State.HELD
        task.deaths += task.suspect
        to = State.DEAD if task.suspect and task.deaths >= MAX_DEATHS else State.READY
        assert task.step("reclaim", to)
        task.suspect, task.owner = True, ""
        if to is State.DEAD:
            task.finished_at = self.clock.now
        return to

    @rule()
    def promote(self):
        self.verbs = ("promote",)
        self._promote()
        due = [self.tasks[task_id].due for task_id in self._known(State.SCHEDULED)]
        assert self.queue.promote() == (min(due) - self.clock.now if due else None)

    @rule(
        keep_done=st.sampled_from([0, 100, HOUR]),
        keep_count=st.integers(0, 2),
        keep_dead=st.sampled_from([None, 0, 100]),
        keep_secrets=st.sampled_from([0, 100]),
    )
    def prune(self, keep_done, keep_count, keep_dead, keep_secrets):
        self.verbs = ("prune",)
        now = self.clock.now
        done = sorted(self._known(State.DONE), key=lambda i: (self.tasks[i].finished_at, i))
        kept = done[max(0, len(done) - keep_count) :]
        done = [i for i in done if i not in kept or self.tasks[i].finished_at <= now - keep_done]
        dead = [
            i for i in self._known(State.DEAD) if keep_dead is not None and self.tasks[i].finished_at <= now - keep_dead
        ]
        wiped = [
            i
            for i in self._known(State.DEAD)
            if i not in dead and not self.tasks[i].wiped and self.tasks[i].finished_at <= now - keep_secrets
        ]
        expected = {"done": len(done), "dead": len(dead), "wiped": len(wiped)}
        assert self.queue.prune(keep_done, keep_count, keep_dead, keep_secrets) == expected
        for task_id in done + dead:
            assert self._let_go(self.tasks[task_id], "prune")
        for task_id in wiped:
            self.tasks[task_id].wiped = True

    @rule(seconds=st.sampled_from([1, 60, 1800, HOUR]))
    def let_time_pass(self, seconds):
        self.verbs = ()
        self.clock.now += seconds

    # ---- mending ----

    @rule(ids=st.sets(st.sampled_from(IDS)))
    def requeue(self, ids):
        self.verbs = ("requeue",)
        expected = []
        for task_id in sorted(ids):
            task = self.tasks[task_id]
            if not task.wiped and task.step("requeue", State.READY):
                expected.append(task_id)
                task.attempts = task.deaths = 0
                task.suspect, task.finished_at, task.due = False, None, self.clock.now
        assert sorted(self.queue.requeue(ids)) == expected

    @rule(ids=st.sets(st.sampled_from(IDS), max_size=2))
    def delete(self, ids):
        self.verbs = ("delete",)
        expected = [task_id for task_id in sorted(ids) if self._let_go(self.tasks[task_id], "delete")]
        assert sorted(self.queue.delete(ids)) == expected

    @rule(states=st.sets(st.sampled_from([state.value for state in State]), max_size=1))
    def purge(self, states):
        self.verbs = ("delete",)
        chosen = [i for i in IDS if self.tasks[i].state is not None and self.tasks[i].state.value in states]
        expected = [task_id for task_id in chosen if self._let_go(self.tasks[task_id], "delete")]
        assert self.queue.purge(states) == len(expected)

    @rule(wanted=st.integers(0, 3), alone=st.booleans())
    def claim_while_paused(self, wanted, alone):
        self.verbs = ("promote",)
        self.queue.pause()
        answer = self.queue.exchange(OWNER, CONSUMER, (), wanted, alone)
        assert (answer.claimed, answer.paused) == ((), True)
        self._promote()
        self.queue.resume()

    # ---- what holds after each step ----

    @invariant()
    def the_backend_is_as_the_model(self):
        for task_id, task in self.tasks.items():
            found = self.queue.get(task_id)
            if self._state_now(task) in {None, State.GONE}:
                assert found is None, f"{task_id} came back from {task.state}"
                continue
            assert found is not None, f"{task_id} is lost"
            assert (found.state, found.claim_number) == (task.state.value, task.claim_number)
            assert (found.attempts, found.deaths, found.suspect) == (task.attempts, task.deaths, task.suspect)
            assert (found.secrets is None, found.owner) == (task.wiped, task.owner)
            assert (found.finished_at, found.priority, found.due) == (task.finished_at, task.priority, task.due)

    @invariant()
    def states_change_by_the_table_only(self):
        for task_id in IDS:
            found = self.queue.get(task_id)
            state = State(found.state) if found is not None else None
            number = found.claim_number if found is not None else 0
            before, number_before = self.seen.get(task_id, (None, 0))
            if state is None and before is not None:
                state = State.GONE
            if state is not None:
                if state is not before and not (
                    before is State.GONE and self.tasks[task_id].gone_at <= self.clock.now - HOUR
                ):
                    assert state in reachable(before, self.verbs), f"{before} to {state} by {self.verbs}"
                assert before is State.GONE or state is State.GONE or number >= number_before
                self.seen[task_id] = (state, number)

    @invariant()
    def the_counts_are_those_of_the_model(self):
        counted = {state.value: 0 for state in State if state is not State.GONE}
        for task in self.tasks.values():
            if self._state_now(task) not in {None, State.GONE}:
                counted[task.state.value] += 1
        assert self.queue.counts().states == counted
        assert len(self.queue) == counted["ready"] + counted["scheduled"]


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
