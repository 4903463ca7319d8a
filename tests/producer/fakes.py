"""A backend that can be told to fail, neighbours in the transaction that fail where they are told to, and listeners."""

import threading
from collections import Counter

from transaction.interfaces import ISavepointDataManager
from zope.interface import implementer

from taskqueue.backends.local import LocalQueue
from taskqueue.context import Origin
from taskqueue.errors import BackendUnavailableError, PayloadLostError, TooLargeError
from taskqueue.producer import add
from taskqueue.record import decode_envelope

DEADLINE_SECONDS = 20.0


class FailingQueue(LocalQueue):
    """A queue in memory that notes its calls; ``failures`` and ``before`` say what a verb does instead or before."""

    def __init__(self, name="default", **options):
        super().__init__(name=name, **options)
        self.calls = []
        self.timeouts = []
        self.envelopes = []
        self.failures = {}
        self.before = {}

    def _note(self, verb, ids=(), timeout=None):
        self.calls.append((verb, tuple(ids)))
        if timeout is not None:
            self.timeouts.append(timeout)
        if verb in self.before:
            self.before[verb](timeout)
        if verb in self.failures:
            raise self.failures[verb]

    def verbs(self):
        """The verbs that the producer called, in order."""
        return [verb for verb, _ in self.calls]

    def counted(self):
        """How often each verb was called."""
        return Counter(self.verbs())

    def beat(self, owner, lease, timeout):
        if "beat" in self.failures:
            raise self.failures["beat"]
        super().beat(owner, lease, timeout)

    def stage(self, records, envelope, owner_id, timeout):
        self._note("stage", [record.id for record in records], timeout)
        self.envelopes.append((envelope, owner_id))
        super().stage(records, envelope, owner_id, timeout)

    def publish(self, records, timeout):
        self._note("publish", [record.id for record in records], timeout)
        super().publish(records, timeout)

    def deliver(self, records, timeout):
        self._note("deliver", [record.id for record in records], timeout)
        super().deliver(records, timeout)

    def discard(self, ids, timeout):
        self._note("discard", ids, timeout)
        super().discard(ids, timeout)

    def settle(self, ids, verdict, timeout=None):
        self._note(f"settle {verdict}", ids)
        return super().settle(ids, verdict)

    def state(self, task_id):
        """Where a task is; None when it is unknown or gone."""
        record = self.get(task_id)
        return record.state if record is not None else None


class Stall:
    """Blocks a verb for as long as its caller allows, or until it is released; then the verb was not answered."""

    def __init__(self):
        self.released = threading.Event()

    def __call__(self, timeout):
        if not self.released.wait(timeout):
            raise BackendUnavailableError("no answer")


class NeighbourError(Exception):
    """What a neighbour raises where it is told to."""


@implementer(ISavepointDataManager)
class Neighbour:
    """Another data manager of the transaction; ``acts`` says what it does, or raises, in a phase."""

    def __init__(self, manager, key, volatile=False, **acts):
        self.transaction_manager = manager
        self.key = key
        self.acts = acts
        self.phases = []
        if volatile:
            self.taskqueue_volatile = True
        manager.get().join(self)

    def _pass(self, phase):
        self.phases.append(phase)
        act = self.acts.get(phase)
        if isinstance(act, BaseException):
            raise act
        if act is not None:
            act()

    def sortKey(self):  # noqa: N802  # the name is IDataManager's
        return self.key

    def savepoint(self):
        return self

    def rollback(self):
        self._pass("rollback")

    def tpc_begin(self, transaction):
        self._pass("tpc_begin")

    def commit(self, transaction):
        self._pass("commit")

    def tpc_vote(self, transaction):
        self._pass("tpc_vote")

    def tpc_finish(self, transaction):
        self._pass("tpc_finish")

    def tpc_abort(self, transaction):
        self._pass("tpc_abort")

    def abort(self, transaction):
        self._pass("abort")


class Told:
    """Everything that was told, to be waited for."""

    def __init__(self):
        self._heard = threading.Condition()
        self.notices = []

    def __call__(self, notice):
        with self._heard:
            self.notices.append(notice)
            self._heard.notify_all()

    def of(self, event):
        """The notices of one kind."""
        return [notice for notice in self.notices if notice.event is event]

    def ids(self, event):
        """The ids of tasks that the notices of one kind speak of."""
        return [
            task_id
            for notice in self.of(event)
            for task_id in (notice.task_ids or ((notice.task.id,) if notice.task else ()))
        ]

    def wait_for(self, event):
        """Return when something of this kind was told; fail after the deadline."""
        with self._heard:
            heard = self._heard.wait_for(lambda: bool(self.of(event)), DEADLINE_SECONDS)
        assert heard, f"nobody told {event.value!r} within {DEADLINE_SECONDS:g} s, only {self.notices}"


class Body:
    """A body that can be had whole, or not any more."""

    def __init__(self, content=None):
        self.content = content

    def whole(self, limit):
        if self.content is None:
            raise PayloadLostError("gone")
        if len(self.content) > limit:
            raise TooLargeError("too large")
        return self.content


def origin(environ=None, body=None, **options):
    """A request as the filter knows it."""
    strings = {"wsgi.url_scheme": "http", "SERVER_NAME": "site", "SERVER_PORT": "80", **(environ or {})}
    live = options.pop("live_environ", dict(strings))
    return Origin(environ=strings, live_environ=live, body=Body(body) if body is not None else None, **options)


class CompletionListener:
    """A synchronizer that does something when a transaction is about to be completed."""

    def __init__(self, act):
        self.act = act

    def newTransaction(self, transaction):  # noqa: N802  # the name is ISynchronizer's
        """Nothing."""

    def beforeCompletion(self, transaction):  # noqa: N802  # the same
        self.act()

    def afterCompletion(self, transaction):  # noqa: N802  # the same
        """Nothing."""


NEIGHBOUR_TYPE = f"{__name__}.Neighbour"


def envelope_of(backend):
    """What the tasks that were staged last know of their transaction."""
    return decode_envelope(backend.envelopes[-1][0])


def added(manager, count=1, **arguments):
    """The ids of so many new tasks."""
    return [add(f"/{number}", transaction_manager=manager, **arguments) for number in range(count)]


def states(backend, ids):
    """Where these tasks are."""
    return [backend.state(task_id) for task_id in ids]
