"""A site of two processes that add and two consumers, its queues each beside a model: what the steps are made of.

Knows what the application's databases know of each transaction, and compares with that what was run and what is left.
"""

import time
from unittest import mock

from taskqueue import witnesses
from taskqueue.errors import BackendError
from taskqueue.record import State

from ..backends.compared import Compared
from ..backends.making import OTHER, OWNER, beat
from ..backends.modelled import StoppedClock
from .machine_neighbours import WITNESSED, Databases, NeighbourError, TrueWitness
from .machine_process import DiedError, Process
from .machine_transaction import ModelledTransaction

QUEUES = ("default", "other")
CONSUMERS = (OWNER, OTHER)
STALL_SECONDS = 90.0  # longer than a lease
THERE = (State.SCHEDULED, State.READY, State.RUNNING, State.DONE, State.DEAD)


class Monotonic:
    """The monotonic clock, put ahead."""

    def __init__(self):
        self._true = time.monotonic
        self.ahead = 0.0

    def __call__(self):
        return self._true() + self.ahead


class ModelledOwner:
    """What the model knows of a process: its keeper's lists, its transaction."""

    def __init__(self, owner_id):
        self.id = owner_id
        self.down = set()
        self.redo = {name: {} for name in QUEUES}
        self.verdicts = {name: {} for name in QUEUES}
        self.transaction = None
        self.savepoints = []  # of the transaction package, as the model's


class Site:
    """Two queues in one store. ``figures`` counts what was done."""

    def __init__(self, store, figures):
        self.store, self.figures = store, figures
        self.clock, self.monotonic = StoppedClock(), Monotonic()
        self._patches = [
            mock.patch.object(time, "time", self.clock),
            mock.patch.object(time, "monotonic", self.monotonic),
        ]
        for patch in self._patches:
            patch.start()
        self.databases = Databases()
        self._witnesses = [witnesses.register(TrueWitness(kind, self.databases)) for kind in WITNESSED]
        self.dead = set()  # owners
        self.start()
        self.figures["runs"] += 1

    def start(self):
        """Nothing is there but two processes and two consumers."""
        self.store.clear()
        self.sides = {name: Compared(self.store.open(name), self.clock) for name in QUEUES}
        self.transactions = {}  # task id -> the transaction that it was added in
        self.cleared = set()  # ids that were published, and deleted or pruned
        self.processes, self.owners = [], []
        for index in range(2):
            self.begin_process(index)
        for side in self.sides.values():
            for owner_id in CONSUMERS:
                beat(side.queue, owner_id)

    def begin_process(self, index):
        """In place of one that has died."""
        process = Process([self.store.open(name) for name in QUEUES], self.databases, self.stand_still)
        self.processes[index : index + 1] = [process]
        self.owners[index : index + 1] = [ModelledOwner(process.owner_id)]

    def close(self):
        """Nothing is open any more, and the clocks are right."""
        self.close_all()
        for witness in self._witnesses:
            witnesses.unregister(witness)
        for patch in self._patches:
            patch.stop()

    def close_all(self):
        """All queues of all processes."""
        for side in self.sides.values():
            side.queue.close()
        for process in self.processes:
            self.close_process(process)

    @staticmethod
    def close_process(process):
        for queue in process.queues.values():
            queue.backend.backend.close()

    # ---- transactions ----

    def transaction_of(self, index):
        """The current one of a process, begun if need be."""
        owner, process = self.owners[index], self.processes[index]
        if owner.transaction is None:
            process.manager.begin()
            models = {name: side.model for name, side in self.sides.items()}
            owner.transaction, owner.savepoints = ModelledTransaction(owner, models, self.store.is_certain), []
        return owner.transaction

    def has_transaction(self, index):
        return self.owners[index].transaction is not None

    def commit(self, index, incident):
        process, owner = self.processes[index], self.owners[index]
        current, owner.transaction = owner.transaction, None
        for side in self.sides.values():
            side.verbs = ("stage", "reclaim", "settle", "publish", "discard")
        incident = incident._replace(at=incident.at % max(1, current.event_count()))
        is_told = self.try_to_commit(process, current.commit(), incident)
        assert is_told == (current.has_succeeded or process.is_dead)
        self.figures["died" if process.is_dead else "committed" if is_told else "failed"] += 1
        if process.is_dead:
            self.bury(index)

    @staticmethod
    def try_to_commit(process, walk, incident):
        try:
            with process.expecting(walk, incident):
                try:
                    process.manager.commit()
                except (NeighbourError, BackendError):
                    process.manager.abort()
                    return False
        except DiedError:
            assert process.is_dead
        return True

    def bury(self, index):
        """The process is dead, and another one begins in its place."""
        if not self.store.survives:
            self.close_all()
            self.start()
            return
        self.dead.add(self.owners[index].id)
        self.close_process(self.processes[index])
        self.begin_process(index)

    def stand_still(self, process):
        """The process stalls in a commit, for longer than its lease lasts, while the others live."""
        self.figures["stalled"] += 1
        for each in self.transactions.values():
            each.stood_still = each.stood_still or (each.in_progress and each.owner.id == process.owner_id)
        self.monotonic.ahead += STALL_SECONDS
        self.clock.now += STALL_SECONDS
        self.take_back({process.owner_id} if self.store.ends_silence else set())
        (other,) = (index for index, each in enumerate(self.processes) if each is not process)
        for name in QUEUES:
            self.tend(other, name)
        for side in self.sides.values():
            side.verbs = ("stage", "reclaim", "settle", "publish", "discard", "settle", "publish")

    def be_idle(self):
        """A step begins, which changes nothing but what it says."""
        for side in self.sides.values():
            side.verbs = ()

    # ---- upkeep ----

    def take_back(self, lapsing):
        living = {*CONSUMERS, *(owner.id for owner in self.owners)} - lapsing
        gone = lapsing | self.dead
        for side in self.sides.values():
            side.reclaim(
                gone, lambda side=side: self.store.lapse(side.queue, sorted(gone), sorted(living), self.monotonic)
            )

    def tend(self, index, name):
        """The keeper of a process does its work for one queue."""
        process, owner, side = self.processes[index], self.owners[index], self.sides[name]
        side.verbs = ("publish", "settle", "settle")
        with process.acting():
            process.keeper._keep(process.queues[name])
            process.keeper.tend(process.queues[name])
        for given in owner.redo[name].values():
            side.model.publish(given)
        for task_id, verdict in owner.verdicts[name].items():
            side.model.settle([task_id], verdict)
        owner.redo[name], owner.verdicts[name] = {}, {}
        if name not in owner.down:
            self.settle_doubts(side, owner)
        owner.down.discard(name)

    def settle_doubts(self, side, owner):
        for task_id in side.model.known(State.HELD):
            verdict = self.transactions[task_id].decide()
            if verdict is not None and verdict != "hold":
                side.model.settle([task_id], verdict)
                self.figures["settled"] += 1

    # ---- what holds ----

    def see_that_it_may_run(self, name, task_id):
        """Its transaction has committed, as far as the application's databases know."""
        of = self.transactions[task_id]
        is_published = name in of.published_to | of.redone
        assert of.is_durable or (of.is_alone and is_published), f"{task_id} is a phantom"

    def see_that_it_is_where_it_should_be(self, current, name):
        """A task is there if and only if its transaction committed, in the words of the databases."""
        model = self.sides[name].model
        for task_id in current.ids(name):
            assert task_id not in model.known(State.STAGED, State.HELD), f"{task_id} is still in doubt"
            is_there = task_id in self.cleared or task_id in model.known(*THERE)
            if not current.is_alone:
                assert is_there == current.is_durable, f"{task_id} is there: {is_there}, and {current.is_durable}"
            elif current.has_succeeded and name not in current.redone:
                assert is_there, f"{task_id} is lost"
            elif name not in current.published_to | current.redone:
                assert not is_there, f"{task_id} came from nowhere"
            elif current.has_succeeded and not is_there:
                self.figures["lost with the process, from the second queue of a commit without any database"] += 1
