"""A process that adds, as far as its stores can tell: an owner with backends and a transaction manager of its own.

All that it does to a store passes one place, where it can be told to fail, to stand still, or to die: from then on
nothing that the code of the dead still does reaches any store. Several of them live in one real process.
"""

import contextlib
import threading
from typing import NamedTuple

import transaction

from taskqueue import keeper, queues
from taskqueue.errors import BackendUnavailableError
from taskqueue.queues import Queue, Queues


class DiedError(BaseException):
    """The process does nothing any more. No code of the product may catch this for good."""


class Incident(NamedTuple):
    """What happens during a commit, and at which of its events; ``late`` is after the event's effect, not before."""

    kind: str  # "fail", "die", "stall"
    at: int
    late: bool


class StillKeeper(keeper.Keeper):
    """A keeper without a thread: it does its work when it is told to."""

    def __init__(self):
        super().__init__()
        self._thread = threading.current_thread()
        self.publisher.stop(0.0)  # the requests publish

    def tend(self, queue):
        """Renew the lease, publish and settle what could not be, and look into what is in doubt."""
        self.look_into_doubts(queue)
        self._tend(self._kept[id(queue)])
        assert self._kept[id(queue)].trouble == ""

    def is_down(self, queue):
        """Whether tasks for it are refused."""
        kept = self._kept.get(id(queue))
        return kept is not None and kept.down


class Guarded:
    """A backend as one process has it."""

    def __init__(self, backend, process):
        self.backend = backend
        self._process = process

    def __getattr__(self, name):
        if self._process.is_dead:
            raise DiedError
        return getattr(self.backend, name)

    def stage(self, records, envelope, owner_id, timeout):
        self._do("stage", lambda: self.backend.stage(records, envelope, owner_id, timeout))

    def publish(self, records, timeout):
        self._do("publish", lambda: self.backend.publish(records, timeout))

    def publish_in_time(self, records, max_age, timeout):
        self._do("publish", lambda: self.backend.publish_in_time(records, max_age, timeout))

    def deliver(self, records, timeout):
        self._do("deliver", lambda: self.backend.deliver(records, timeout))

    def discard(self, ids, timeout):
        self._do("discard", lambda: self.backend.discard(ids, timeout))

    def settle(self, ids, verdict, timeout=None):
        return self._do(f"settle {verdict}", lambda: self.backend.settle(ids, verdict, timeout))

    def _do(self, verb, effect):
        return self._process.do(f"{verb} {self.backend.name}", effect, BackendUnavailableError("no answer"))


class Process:
    """``walk`` is what the model expects of the commit under way: it yields the events, and is told what came of each.

    ``stand_still`` is called where the process stalls, with the stores in reach of everybody else.
    """

    def __init__(self, backends, databases, stand_still):
        self.databases = databases
        self.is_dead = False
        self.marks = set()
        self.keeper = StillKeeper()
        self.manager = transaction.TransactionManager(explicit=True)
        self.queues = Queues({each.name: Queue(each.name, Guarded(each, self)) for each in backends})
        self._stand_still = stand_still
        self._walk = None
        self._expected = None
        self._incident = None
        self._events = 0

    @property
    def owner_id(self):
        """In whose name it stages."""
        return self.keeper.owner_id

    @contextlib.contextmanager
    def acting(self):
        """Within, the product takes this process for its own."""
        before, keeper._keeper = keeper._keeper, self.keeper
        queues.install(self.queues)
        try:
            yield
        finally:
            keeper._keeper = before
            queues.install(None)

    @contextlib.contextmanager
    def expecting(self, walk, incident=None):
        """Within, events come as the model says, and one incident at most."""
        self._walk, self._incident, self._events = walk, incident, 0
        self._expected = next(walk, None)
        try:
            with self.acting():
                yield
            assert self.is_dead or self._expected is None, f"the model expects {self._expected}"
        finally:
            self._walk = self._expected = None

    def do(self, label, effect, error):
        """One thing that the stores can see."""
        if self.is_dead:
            raise DiedError
        if self._walk is None:
            return effect()
        assert label == self._expected, f"{label} happens, where the model expects {self._expected}"
        kind, late = self._what_happens_now()
        if kind == "stall" and not isinstance(error, BackendUnavailableError):
            self._stand_still(self)
        if kind in {"fail", "die"}:
            return self._be_cut_short(kind, late, effect, error)
        try:
            answer = effect()
        except Exception:
            self._go_on("failed")
            raise
        self._go_on("done")
        return answer

    def _what_happens_now(self):
        here, self._events = self._events, self._events + 1
        if self._incident is None or self._incident.at != here:
            return "", False
        return self._incident.kind, self._incident.late

    def _be_cut_short(self, kind, late, effect, error):
        if late:
            try:
                effect()
            except Exception:  # noqa: BLE001  # then it is as if nothing had been done
                late = False
        if kind == "die":
            self.is_dead = True
            self.databases.open -= self.marks  # a storage sees that its client is gone
            self._go_on("died late" if late else "died")
            raise DiedError
        self._go_on("failed late" if late else "failed")
        raise error

    def _go_on(self, what):
        try:
            self._expected = self._walk.send(what)
        except StopIteration:
            self._expected = None
