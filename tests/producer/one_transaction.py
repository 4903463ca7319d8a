"""One request whose transaction goes wrong at some place, between stores that tell what was committed.

A neighbour is a small durable store. It makes its data durable in its finish, as storages do, or in its vote, as
one-phase databases do; the latter sort behind us. It has a witness, or is a stranger.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import transaction

from taskqueue import failpoints, keeper, notices, queues, witnesses
from taskqueue.doubts import Doubts
from taskqueue.errors import BackendUnavailableError
from taskqueue.keeper import Keeper
from taskqueue.producer import add
from taskqueue.queues import Queue, Queues

from .fakes import Told
from .stores import Store, StoreManager, StoreWitness

ERRORS: tuple[type[BaseException], ...] = (ValueError, KeyboardInterrupt, SystemExit, GeneratorExit)
SORT_KEYS = {"before": "/var/store", "after": "~store"}


class Kind(NamedTuple):
    """A neighbour."""

    place: str  # "before" or "after" us
    commits_in: str  # "finish" or "vote"
    has_witness: bool = True
    joins: str = "first"  # or "behind" the first add, or "late": in beforeCompletion


STORAGE = Kind("before", "finish")
DATABASE = Kind("after", "vote")
LAST = Kind("after", "finish")
COMPANIES: dict[str, tuple[Kind, ...]] = {
    "nobody": (),
    "a storage": (STORAGE,),
    "a database": (DATABASE,),
    "one that finishes behind us": (LAST,),
    "a storage and a database": (STORAGE, DATABASE),
    "a database that joins behind us": (DATABASE._replace(joins="behind"),),
    "a strange storage": (STORAGE._replace(has_witness=False),),
    "a strange database": (DATABASE._replace(has_witness=False),),
    "a storage and a stranger": (STORAGE, DATABASE._replace(has_witness=False)),
    "one that joins late": (DATABASE._replace(joins="late"),),
    "a storage, and one that joins late": (STORAGE, DATABASE._replace(joins="late")),
}


class Fault(NamedTuple):
    """Where something is raised: in a ``neighbour``, at a ``failpoint``, by the ``backend``, or in a ``hook``."""

    whose: str
    where: str
    error: type[BaseException]
    when: str = "before"  # or "after" it has done its part
    number: int = 0  # of the neighbour

    def raised(self) -> BaseException:
        return self.error("raised by the test")


class Case(NamedTuple):
    company: str
    shape: str = "plain"
    faults: tuple[Fault, ...] = ()

    def __str__(self) -> str:
        faults = "; ".join(f"{f.error.__name__} {f.when} {f.whose} {f.number} {f.where}" for f in self.faults)
        return f"{self.company} / {self.shape} / {faults or 'no fault'}"


class Site:
    """Queues, stores, and a keeper that works when it is told to; what the application does in one transaction."""

    def __init__(self, case: Case, backends: tuple[Any, Any]) -> None:
        self.case = case
        self.backends = backends
        self.queues = {each.name: Queue(each.name, each) for each in backends}
        self.keeper = Keeper()
        self.keeper.stop()  # so it starts no thread
        self.manager = transaction.TransactionManager(explicit=True)
        self.stores = [Store(f"store {number}") for number in range(len(COMPANIES[case.company]))]
        self.witnesses = [StoreWitness(store) for store in self.stores]
        self.neighbours: dict[int, StoreManager] = {}
        self.kept: list[tuple[Any, str]] = []
        self.cut: list[tuple[Any, str]] = []
        self.told = Told()
        self.committed = False
        self._looks_on = not any(fault.whose == "backend" for fault in case.faults)
        self._synchronizer = Synchronizer(weakref.WeakMethod(self._before_completion))

    @contextlib.contextmanager
    def set_up(self) -> Iterator[None]:
        """Everything global that a transaction meets."""
        with contextlib.ExitStack() as stack:
            stack.enter_context(_replaced(keeper, "_keeper", self.keeper))
            stack.enter_context(_replaced(notices, "_listeners", [self.told]))
            kinds = COMPANIES[self.case.company]
            heard = [each for each, kind in zip(self.witnesses, kinds, strict=True) if kind.has_witness]
            stack.enter_context(_replaced(witnesses, "_witnesses", heard))
            stack.enter_context(_installed(Queues(self.queues)))
            for fault in self.case.faults:
                if fault.whose == "failpoint":
                    stack.enter_context(failpoints.armed(fault.where, Once(fault)))
                elif fault.whose == "backend":
                    self.backends[0].fault = (fault.where, fault.when, fault.raised())
            yield

    # ---- the application

    def run(self) -> None:
        """A request, its transaction, and what becomes of it in the end."""
        self.manager.begin()
        self.manager.registerSynch(self._synchronizer)
        self._does(self._view)
        self._does(self._commit)
        if self.case.shape == "a second commit" and not self.committed:
            self._does(self._commit)
        if self.manager._txn is not None:
            self._does(self.manager.abort)
        for neighbour in self.neighbours.values():
            neighbour.close()
        self._settle()

    def _does(self, step: Callable[[], object]) -> None:
        if self.manager._txn is None:
            return
        try:
            step()
        except (*ERRORS, BackendUnavailableError, transaction.interfaces.TransactionError):
            if step == self._view:
                self.manager.abort()

    def _view(self) -> None:
        shape = self.case.shape
        self._join("first")
        self._hook("a hook before")
        if shape == "adds in a hook before":
            self.manager.get().addBeforeCommitHook(self._add)
        if shape == "savepoint before the first add":
            savepoint = self.manager.savepoint()
            self._add(self.cut)
            savepoint.rollback()
        if not shape.startswith("adds only"):
            self._add()
        self._join("behind")
        if shape == "savepoint behind an add":
            savepoint = self.manager.savepoint()
            self._add(self.cut)
            savepoint.rollback()
            self._add()
        if shape == "two queues":
            self._add(queue="other")
        if shape in ("adds in a hook behind", "adds only in a hook"):
            self.manager.get().addBeforeCommitHook(self._add)
        self._hook("a hook behind")
        if shape == "doomed":
            self.manager.doom()
        if shape == "an after-commit hook":
            self.manager.get().addAfterCommitHook(lambda success: None)
        for fault in self.case.faults:
            if fault.whose == "hook" and fault.where == "an after-commit hook":
                self.manager.get().addAfterCommitHook(Once(fault))

    def _hook(self, where: str) -> None:
        for fault in self.case.faults:
            if fault.whose == "hook" and fault.where == where:
                self.manager.get().addBeforeCommitHook(Once(fault))

    def _before_completion(self) -> None:
        if self.manager.get().status != "Active" or self.committed:
            return
        self._join("late")
        if self.case.shape in ("adds in beforeCompletion", "adds only in beforeCompletion"):
            self._add()
        for fault in self.case.faults:
            if fault.whose == "hook" and fault.where == "beforeCompletion":
                self._synchronizer.fail(fault)

    def _join(self, when: str) -> None:
        for number, kind in enumerate(COMPANIES[self.case.company]):
            if kind.joins == when and number not in self.neighbours:
                made = StoreManager(
                    self.manager.get(), self.stores[number], SORT_KEYS[kind.place], kind.commits_in, self._look
                )
                for fault in self.case.faults:
                    if fault.whose == "neighbour" and fault.number == number:
                        made.faults[fault.where, fault.when] = fault.raised()
                self.neighbours[number] = made

    def _add(self, where: list[tuple[Any, str]] | None = None, queue: str = "default") -> None:
        backend = self.queues[queue].backend
        (self.kept if where is None else where).append(
            (backend, add("/", queue=queue, transaction_manager=self.manager))
        )

    def _commit(self) -> None:
        self.manager.commit()
        self.committed = True

    # ---- the keepers, ours and another process's

    def _look(self) -> None:
        """The worst moment to look into what is in doubt is while the transaction goes on."""
        if self._looks_on:
            self._tend()
            for witness in self.witnesses:
                witness.is_of_another_process = True
            for queue in self.queues.values():
                Doubts(queue).settle(())
            for witness in self.witnesses:
                witness.is_of_another_process = False

    def _settle(self) -> None:
        for _ in range(3):
            self._tend()

    def _tend(self) -> None:
        for queue in self.queues.values():
            self.keeper.look_into_doubts(queue)
            self.keeper._tend(self.keeper._keep(queue))

    # ---- what became of it

    def wrong(self) -> str:
        """What is not as it should be; empty when all is."""
        cut = [backend.state(task_id) for backend, task_id in self.cut]
        kept = [backend.state(task_id) for backend, task_id in self.kept]
        right = self._right()
        if any(cut):
            return f"what was rolled back is {cut}"
        if not set(kept) <= right:
            return f"{self._data()} is there, and the tasks are {kept}, not all {right}"
        if any(witness.asked_too_early for witness in self.witnesses):
            return "a witness was asked of a transaction that was still open"
        if len(self.keeper.in_flight):
            return "something is still in flight"
        return ""

    def _data(self) -> list[bool]:
        return [bool(store.data) for store in self.stores]

    def _right(self) -> set[str | None]:
        """Where the tasks may be."""
        data, kinds = self._data(), COMPANIES[self.case.company]
        too_late = self.case.shape == "adds only in beforeCompletion"
        may_be_held = too_late or any(not kind.has_witness or kind.joins == "late" for kind in kinds)
        held: set[str | None] = {"held"} if may_be_held else set()
        marked = [there for there, kind in zip(data, kinds, strict=True) if kind.joins != "late"]
        if marked and len(marked) < len(data):
            # What is staged goes by what was marked when it was; only what is added later knows who came late.
            return {"ready" if any(marked) or self.committed else None, *held}
        if self.is_between():
            return {"ready", *held}
        if not kinds:
            return {"ready"} if self.committed else {None}
        return {"ready" if any(data) else None, *held}

    def is_between(self) -> bool:
        """Whether a part of what belongs together was committed, and another part cannot be any more."""
        data = self._data()
        if any(data) and not all(data):
            return True
        return not any(data) and not self.committed and self._is_interrupted_behind_our_finish()

    def _is_interrupted_behind_our_finish(self) -> bool:
        """We have published, or noted that we have to, and nobody may fail from there on; but somebody does."""
        kinds = COMPANIES[self.case.company]
        ours = {"finish.published"}
        if not kinds and self.case.shape != "two queues":  # then our vote is the commit
            ours |= {"vote.done", "finish.begun"}
        for fault in self.case.faults:
            if fault.whose == "failpoint" and fault.where in ours:
                return True
            # With nobody else, the publish is the commit, and what comes before it has prevented it.
            behind = bool(kinds) or fault.when == "after"
            if fault[:2] == ("backend", "publish") and not issubclass(fault.error, Exception) and behind:
                return True
            if fault[:2] == ("neighbour", "tpc_finish") and kinds[fault.number] == LAST:
                return True
        return False


class Once:
    """Raises, the first time."""

    def __init__(self, fault: Fault) -> None:
        self._fault: Fault | None = fault

    def __call__(self, success: bool = True) -> None:
        fault, self._fault = self._fault, None
        if fault is not None:
            raise fault.raised()


class Synchronizer:
    """Does something when a transaction is about to be completed; a fault is raised once."""

    def __init__(self, act: weakref.WeakMethod[Any]) -> None:
        self._act = act
        self._has_failed = False

    def newTransaction(self, transaction: Any) -> None:  # noqa: N802  # the name is ISynchronizer's
        """Nothing."""

    def beforeCompletion(self, transaction: Any) -> None:  # noqa: N802  # the same
        act = self._act()
        if act is not None:
            act()

    def afterCompletion(self, transaction: Any) -> None:  # noqa: N802  # the same
        """Nothing."""

    def fail(self, fault: Fault) -> None:
        if not self._has_failed:
            self._has_failed = True
            raise fault.raised()


@contextlib.contextmanager
def _replaced(module: Any, name: str, value: Any) -> Iterator[None]:
    previous = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, previous)


@contextlib.contextmanager
def _installed(configured: Queues) -> Iterator[None]:
    queues.install(configured)
    try:
        yield
    finally:
        queues.install(None)
