"""A machine that adds tasks in real transactions, has them fail and processes die, and compares each step with a model.

Two processes add to two queues, two consumers take from them. What a store says is compared with the model after each
step; what was run, and what is left at the end, is compared with what the databases of the application know.
"""

import sys

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from taskqueue.errors import BackendUnavailableError
from taskqueue.producer import add
from taskqueue.record import State

from ..backends.making import ALL_STATES, OWNER, beat
from ..backends.model import DELAYS, KEEP, OWNERS, SECONDS, SETTLEMENTS
from .machine_neighbours import KINDS, Neighbour
from .machine_process import Incident
from .machine_site import QUEUES, THERE, Site

PROCESSES = st.integers(0, 1)
NAMES = st.sampled_from(QUEUES)
TASKS = st.lists(st.tuples(NAMES, DELAYS, st.integers(-1, 1)), min_size=1, max_size=3)
INCIDENTS = st.builds(Incident, st.sampled_from(["", "fail", "die", "stall"]), st.integers(0, 23), st.booleans())
REQUEST = {
    "index": PROCESSES,
    "tasks": TASKS,
    "kinds": st.sets(st.sampled_from(KINDS), max_size=2),
    "incident": INCIDENTS,
}
CLAIM = {
    "name": NAMES,
    "owner_id": OWNERS,
    "wanted": st.integers(1, 6),
    "alone": st.sampled_from([True, True, False]),
}
MENDING = ("requeue", "requeue", "prune", "delete", "purge")


class TransactionMachine(RuleBasedStateMachine):
    """Does the same to the product and to the model. ``figures`` counts what was done."""

    def __init__(self, store, figures):
        super().__init__()
        self.site = Site(store, figures)

    def teardown(self):
        try:
            if sys.exc_info()[0] is None:
                self.come_to_an_end()
        finally:
            self.site.close()

    # ---- transactions ----

    @rule(index=PROCESSES, tasks=TASKS)
    def add(self, index, tasks):
        self.site.be_idle()
        owner, process, current = self.site.owners[index], self.site.processes[index], self.site.transaction_of(index)
        for name, delay, priority in tasks:
            try:
                with process.acting():
                    task_id = add(
                        "/x", queue=name, delay=delay or None, priority=priority, transaction_manager=process.manager
                    )
            except BackendUnavailableError:
                assert name in owner.down
                continue
            assert name not in owner.down
            current.add(name, task_id, priority, self.site.clock.now + delay if delay else 0.0)
            self.site.transactions[task_id] = current
            self.site.figures["tasks"] += 1

    @rule(index=PROCESSES, kind=st.sampled_from(KINDS))
    def join(self, index, kind):
        self.site.be_idle()
        current, manager = self.site.transaction_of(index), self.site.processes[index].manager
        if kind not in current.neighbours:
            manager.get().join(Neighbour(kind, self.site.processes[index], current))
            current.neighbours.append(kind)

    @rule(index=PROCESSES)
    def savepoint(self, index):
        self.site.be_idle()
        self.site.transaction_of(index).savepoint()
        self.site.owners[index].savepoints.append(self.site.processes[index].manager.get().savepoint())

    @rule(index=PROCESSES, data=st.data())
    def roll_back(self, index, data):
        self.site.be_idle()
        owner = self.site.owners[index]
        if owner.transaction is None or not owner.savepoints:
            return
        chosen = data.draw(st.integers(0, len(owner.savepoints) - 1))
        with self.site.processes[index].acting():
            owner.savepoints[chosen].rollback()
        del owner.savepoints[chosen + 1 :]
        owner.transaction.roll_back(chosen)

    @rule(index=PROCESSES)
    def abort(self, index):
        self.site.be_idle()
        if not self.site.has_transaction(index):
            return
        with self.site.processes[index].expecting(iter(())):
            self.site.processes[index].manager.abort()
        self.site.owners[index].transaction = None
        self.site.figures["aborted"] += 1

    @rule(index=PROCESSES, incident=INCIDENTS)
    def commit(self, index, incident):
        if self.site.has_transaction(index):
            self.site.commit(index, incident)

    def request(self, index, tasks, kinds, incident):
        """What most transactions are."""
        self.add(index, tasks)
        for kind in sorted(kinds):
            self.join(index, kind)
        self.site.commit(index, incident)

    # More often than anything else.
    first_request = rule(**REQUEST)(request)
    second_request = rule(**REQUEST)(request)
    third_request = rule(**REQUEST)(request)

    # ---- upkeep ----

    @rule(lapsing=st.sets(OWNERS, max_size=1))
    def reclaim(self, lapsing):
        self.site.take_back(lapsing)
        for side in self.site.sides.values():
            for owner_id in sorted(lapsing):
                beat(side.queue, owner_id)

    @rule(index=PROCESSES, name=NAMES)
    def tend(self, index, name):
        self.site.be_idle()
        self.site.tend(index, name)

    @rule(name=NAMES)
    def resolve(self, name):
        """Somebody who knows what the strangers did settles by hand what nobody can be asked about."""
        self.site.be_idle()
        side = self.site.sides[name]
        unknown = [
            each for each in side.model.known(State.HELD) if "stranger" in self.site.transactions[each].neighbours
        ]
        for is_durable, verdict in ((True, "publish"), (False, "discard")):
            side.settle([each for each in unknown if self.site.transactions[each].is_durable is is_durable], verdict)

    @rule(name=NAMES, seconds=SECONDS)
    def let_time_pass_and_promote(self, name, seconds):
        self.site.clock.now += seconds
        self.site.be_idle()
        self.site.sides[name].promote()

    # ---- the way out, and mending ----

    def claim(self, name, owner_id, wanted, alone):
        """Take what is ready."""
        self.site.be_idle()
        for task_id in self.site.sides[name].claim(owner_id, wanted, alone):
            self.site.see_that_it_may_run(name, task_id)
            self.site.figures["claims"] += 1

    first_claim = rule(**CLAIM)(claim)
    second_claim = rule(**CLAIM)(claim)

    @rule(name=NAMES, data=st.data(), **SETTLEMENTS)
    def hand_in(self, name, data, **fields):
        self.site.be_idle()
        side = self.site.sides[name]
        running = side.model.known(State.RUNNING)
        if running:
            task_id = data.draw(st.sampled_from(running))
            side.hand_in(OWNER, task_id, side.model.tasks[task_id].claim_number, **fields)

    @rule(name=NAMES, data=st.data(), **SETTLEMENTS)
    def hand_in_late(self, name, data, **fields):
        self.site.be_idle()
        old = self.site.sides[name].old_claims()
        if old:
            self.site.sides[name].hand_in(OWNER, *data.draw(st.sampled_from(old)), **fields)

    @rule(name=NAMES, owner_id=OWNERS, keeps=st.booleans())
    def give_back(self, name, owner_id, keeps):
        self.site.be_idle()
        side = self.site.sides[name]
        side.release(owner_id, side.model.known(State.RUNNING)[:keeps])

    @rule(name=NAMES, is_paused=st.sampled_from([False, False, True]))
    def pause_or_resume(self, name, is_paused):
        self.site.be_idle()
        (self.site.sides[name].pause if is_paused else self.site.sides[name].resume)()

    @rule(name=NAMES, keep=st.fixed_dictionaries(KEEP), data=st.data(), verb=st.sampled_from(MENDING))
    def mend(self, name, keep, data, verb):
        """Have tasks go that were published, or made ready again."""
        self.site.be_idle()
        side = self.site.sides[name]
        before = set(side.model.known(*THERE))
        if verb == "prune":
            side.prune(**keep)
        elif verb == "purge":
            side.purge({data.draw(st.sampled_from(ALL_STATES))})
        elif side.model.tasks:
            ids = data.draw(st.sets(st.sampled_from(sorted(side.model.tasks)), max_size=3))
            getattr(side, verb)(ids)
        self.site.cleared |= before - set(side.model.known(*THERE))

    # ---- what holds ----

    @invariant()
    def the_queues_are_as_the_model(self):
        for side in self.site.sides.values():
            if side.verbs:
                side.check()
            else:
                side.check_counts()
        self.site.be_idle()
        for process, owner in zip(self.site.processes, self.site.owners, strict=True):
            for name, queue in process.queues.items():
                assert process.keeper.is_down(queue) == (name in owner.down)
            assert process.keeper.unpublished() == sum(map(len, owner.redo.values()))
        self.site.figures["steps"] += 1

    def come_to_an_end(self):
        """Everybody does what is left to do; then all that was committed is there, and nothing else."""
        for index in range(2):
            self.abort(index)
        self.site.take_back(set())
        self.the_queues_are_as_the_model()
        for _ in range(2):  # what was down comes up, and then its doubts are looked into
            for index in range(2):
                for name in QUEUES:
                    self.tend(index, name)
                    self.the_queues_are_as_the_model()
        for name in QUEUES:
            self.resolve(name)
            self.the_queues_are_as_the_model()
            self.site.sides[name].check()
        for current in set(self.site.transactions.values()):
            for name in QUEUES:
                self.site.see_that_it_is_where_it_should_be(current, name)
