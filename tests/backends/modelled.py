"""A queue as the model knows it: tasks in memory that take the steps of the table of transitions, and nothing else."""

from taskqueue.record import TRANSITIONS, State

from .making import HOUR


class StoppedClock:
    """A clock that stands still until it is turned, so that the model knows every time exactly."""

    def __init__(self):
        self.now = 1_800_000_000.0

    def __call__(self):
        return self.now


class Modelled:
    """One task as the model knows it; its state is None as long as the store has never seen it."""

    def __init__(self):
        self.gone_at = -HOUR
        self.claim_number = 0
        self.forget_all()

    def forget_all(self):
        self.state = None
        self.attempts = self.deaths = self.priority = 0
        self.suspect = self.wiped = False
        self.due = 0.0
        self.owner = ""
        self.finished_at = None

    def step(self, verb, to):
        """Take a step if the table has it; tell whether it does."""
        if to not in TRANSITIONS.get((self.state, verb), ()):
            return False
        self.state = to
        return True


def reachable(state, verbs):
    """Where a task may be after these verbs, in this order, each of which it may take or not."""
    states = {state}
    for verb in verbs:
        states |= {to for each in states for to in TRANSITIONS.get((each, verb), ())}
    return states


class ModelledQueue:
    """The verbs of a backend, done to tasks of the model. What they return is what the backend has to."""

    def __init__(self, clock, ids=()):
        self.clock = clock
        self.tasks = {task_id: Modelled() for task_id in ids}
        self.is_paused = False

    def known(self, *states):
        """The ids of tasks in these states, sorted."""
        return sorted(task_id for task_id, task in self.tasks.items() if self.state_now(task) in states)

    def state_now(self, task):
        """The state, once the hour after a task was let go has passed."""
        if task.state is State.GONE and self.clock.now - task.gone_at >= HOUR:
            task.forget_all()
            task.claim_number = 0
        return task.state

    def counts(self):
        """How many there are in each state, as ``counts`` tells."""
        return {state.value: len(self.known(state)) for state in State if state is not State.GONE}

    # ---- the way in ----

    def _admit(self, given):
        task = self.tasks.setdefault(given.id, Modelled())
        if self.state_now(task) is None:
            task.priority, task.due = given.priority, given.due
        return task

    def stage(self, given, owner_id):
        """Put a record aside."""
        task = self._admit(given)
        if task.step("stage", State.STAGED):
            task.owner = owner_id

    def publish(self, given):
        """Make a record runnable."""
        return self._publish(self._admit(given), "publish")

    def _publish(self, task, verb):
        to = State.SCHEDULED if task.due > self.clock.now else State.READY
        if task.step(verb, to):
            task.owner = ""
            return True
        return False

    def _let_go(self, task_id, verb):
        task = self.tasks.setdefault(task_id, Modelled())
        self.state_now(task)
        if task.step(verb, State.GONE):
            task.gone_at = self.clock.now
            return True
        return False

    def discard(self, ids):
        """Forget what is staged or held."""
        for task_id in ids:
            self._let_go(task_id, "discard")

    def settle(self, ids, verdict):
        """Decide what is staged or held; returns the ids that changed."""
        act = {
            "publish": lambda task_id: self._publish(self.tasks[task_id], "settle"),
            "discard": lambda task_id: self._let_go(task_id, "settle"),
            "hold": lambda task_id: self.tasks[task_id].step("settle", State.HELD),
        }[verdict]
        return [task_id for task_id in sorted(ids) if act(task_id)]

    # ---- the way out ----

    def promote(self):
        """Make ready what is due; returns the seconds until the next is."""
        for task in self.tasks.values():
            if task.due <= self.clock.now:
                task.step("promote", State.READY)
        return self.next_due()

    def next_due(self):
        """Seconds until the next scheduled task is due."""
        due = [self.tasks[task_id].due for task_id in self.known(State.SCHEDULED)]
        return min(due) - self.clock.now if due else None

    def suspects_wait(self):
        """Whether one is ready."""
        return any(self.tasks[task_id].suspect for task_id in self.known(State.READY))

    def claim(self, owner_id, wanted, alone):
        """Claim in the order of claims; returns ids."""
        self.promote()
        ready = sorted(self.known(State.READY), key=lambda task_id: (-self.tasks[task_id].priority, task_id))
        if self.is_paused:
            claimed = []
        elif ready and wanted and alone and self.tasks[ready[0]].suspect:
            claimed = ready[:1]
        else:
            claimed = [task_id for task_id in ready if not self.tasks[task_id].suspect][:wanted]
        for task_id in claimed:
            task = self.tasks[task_id]
            assert task.step("exchange", State.RUNNING)
            task.claim_number += 1
            task.owner = owner_id
        return claimed

    def is_current(self, task_id, claim_number):
        """Whether a claim may still be settled."""
        task = self.tasks[task_id]
        return self.state_now(task) is State.RUNNING and task.claim_number == claim_number

    def hand_in(self, settlement):
        """Settle a claim; tells whether it was in time."""
        in_time = self.is_current(settlement.id, settlement.claim_number)
        if in_time:
            task = self.tasks[settlement.id]
            assert task.step("exchange", State(settlement.state))
            task.attempts += settlement.attempts
            task.suspect = task.suspect and not settlement.started
            task.wiped = task.wiped or settlement.wipe
            task.owner = ""
            if settlement.state == "scheduled":
                task.due = self.clock.now + settlement.delay
            task.finished_at = self.clock.now if settlement.state in {"done", "dead"} else None
        self.promote()
        return in_time

    def release(self, owner_id, holding):
        """Give back what an owner runs but for ``holding``; returns ids."""
        running = self.known(State.RUNNING)
        lost = [each for each in running if self.tasks[each].owner == owner_id and each not in holding]
        for task_id in lost:
            assert self.tasks[task_id].step("release", State.READY)
            self.tasks[task_id].owner = ""
        return lost

    # ---- upkeep ----

    def reclaim(self, owner_ids, max_deaths):
        """Take back what these owners had; returns ids by the state that they are in now."""
        taken = {State.READY: [], State.DEAD: [], State.HELD: []}
        for task_id in self.known(State.STAGED, State.RUNNING):
            if self.tasks[task_id].owner in owner_ids:
                taken[self._die(self.tasks[task_id], max_deaths)].append(task_id)
        return taken

    def _die(self, task, max_deaths):
        if task.step("reclaim", State.HELD):
            return State.HELD
        task.deaths += task.suspect
        to = State.DEAD if task.suspect and task.deaths >= max_deaths else State.READY
        assert task.step("reclaim", to)
        task.suspect, task.owner = True, ""
        if to is State.DEAD:
            task.finished_at = self.clock.now
        return to

    def prune(self, keep_done, keep_done_count, keep_dead, keep_secrets):
        """Forget what is finished and old; returns how many."""
        done = sorted(self.known(State.DONE), key=lambda each: (self.tasks[each].finished_at, each))
        newest = done[max(0, len(done) - keep_done_count) :]
        done = [each for each in done if each not in newest or self._is_old(each, keep_done)]
        dead = self.known(State.DEAD)
        wiped = [each for each in dead if not self.tasks[each].wiped and self._is_old(each, keep_secrets)]
        dead = [each for each in dead if keep_dead is not None and self._is_old(each, keep_dead)]
        wiped = [each for each in wiped if each not in dead]
        for task_id in done + dead:
            assert self._let_go(task_id, "prune")
        for task_id in wiped:
            self.tasks[task_id].wiped = True
        return {"done": len(done), "dead": len(dead), "wiped": len(wiped)}

    def _is_old(self, task_id, seconds):
        return self.tasks[task_id].finished_at <= self.clock.now - seconds

    # ---- mending ----

    def requeue(self, ids):
        """Make ready at once what is dead or scheduled; returns the ids that are."""
        return [task_id for task_id in sorted(ids) if self._requeue(self.tasks[task_id])]

    def _requeue(self, task):
        if task.wiped or not task.step("requeue", State.READY):
            return False
        task.attempts = task.deaths = 0
        task.suspect, task.finished_at, task.due = False, None, self.clock.now
        return True

    def delete(self, ids):
        """Forget what does not run and is published; returns the ids that were."""
        return [task_id for task_id in sorted(ids) if self._let_go(task_id, "delete")]

    def purge(self, states):
        """Delete all in these states; returns ids."""
        return self.delete([task_id for task_id in self.tasks if self.tasks[task_id].state in states])
