"""The contracts: what a backend and a witness are asked, by whom, when, and what may fail. Imports nothing of ours.

A backend stores records as opaque bytes beside a few columns that it needs for choosing and counting. It knows
no settings, no requests and no transactions. ``TaskQueue`` is the contract as an abstract class, for type
checkers; ``ITaskQueue`` is the same contract as an interface, for ``verifyObject``.

Times are seconds since the epoch by the backend's own clock, durations are seconds. ``timeout`` bounds a whole call,
waiting for locks and connections included; None leaves it to the backend: a few seconds. Any verb may raise
``BackendUnavailableError``; after that the caller must assume nothing about whether it happened, and every verb that
changes something may be repeated.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import msgspec
from zope.interface import Interface, classImplements
from zope.interface.common import ABCInterface

Verdict = Literal["publish", "discard", "hold"]
Testimony = Literal["yes", "no", "not yet", "unknown"]
# Runs one statement with ``:name`` parameters; its answer has ``fetchall()``.
Execute = Callable[[str, Mapping[str, Any]], Any]

CLAIM_COUNT_LIMIT = 100
CLAIM_BYTES_LIMIT = 1024 * 1024


class Record(msgspec.Struct, frozen=True, gc=False):
    """One task as a backend stores it. ``body`` and ``secrets`` are opaque; the other fields are columns.

    ``add`` makes ``id``, ``body``, ``secrets``, ``priority`` and ``due``; the backend keeps the rest. A whole row may
    be given in the order of the fields: by their names it takes ten times as long.
    """

    id: str
    body: bytes
    secrets: bytes | None = None  # payload and credentials; None once they are wiped
    priority: int = 0  # higher first
    due: float = 0.0  # not before this time; 0 is at once
    state: str = ""
    claim_number: int = 0  # counts every claim, never repeats
    attempts: int = 0
    deaths: int = 0
    suspect: bool = False  # its owner died while it ran: claimed singly from now on
    owner: str = ""  # who staged it, or who runs it
    consumer: str = ""
    envelope: bytes = b""  # of a staged or held record
    outcome: bytes = b""  # of the last replay
    staged_at: float | None = None
    published_at: float | None = None
    first_claimed_at: float | None = None
    claimed_at: float | None = None
    finished_at: float | None = None

    def __repr__(self) -> str:
        return f"<Record {self.id} {self.state}>"  # body and secrets shall stand in no report of errors


class Owner(msgspec.Struct, frozen=True, kw_only=True):
    """One incarnation of a process that adds or consumes. Host and pid inform people; nothing is decided by them."""

    id: str
    host: str
    pid: int
    started_at: float
    consumers: tuple[str, ...] = ()  # names of those that take from this queue; none in a process that only adds


class OwnerStatus(msgspec.Struct, frozen=True, kw_only=True):
    """An owner as the store knows it."""

    owner: Owner
    alive: bool
    seen_at: float  # when its lease was last renewed


class Settlement(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What became of one claim. A settlement with an old claim number changes nothing."""

    id: str
    claim_number: int
    state: Literal["ready", "scheduled", "done", "dead"]
    delay: float = 0.0  # of "scheduled": due so many seconds from now
    attempts: int = 0  # how many attempts this claim spent: 0 or 1
    outcome: bytes | None = None  # None leaves the last one
    wipe: bool = False  # forget the secrets
    started: bool = True  # False: given back before it started, so it is no longer its first claim


class Exchanged(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The answer to one exchange."""

    claimed: tuple[Record, ...] = ()
    refused: tuple[str, ...] = ()  # ids whose settlement came too late: claimed by another, finished or gone
    suspects_wait: bool = False  # a suspect is ready, and is handed out only to a consumer that is idle
    next_due: float | None = None  # seconds until the next scheduled task is due
    paused: bool = False


class PendingExchange(NamedTuple):
    """An exchange that was begun. ``end`` returns the answer or raises what ``exchange`` raises; it is called once.
    ``is_here`` tells whether that waits for nobody, and never blocks."""

    end: Callable[[], Exchanged]
    is_here: Callable[[], bool] = lambda: True


class Reclaimed(msgspec.Struct, frozen=True, kw_only=True):
    """What an upkeep took from owners that are gone: ids."""

    ready: tuple[str, ...] = ()
    dead: tuple[str, ...] = ()
    held: tuple[str, ...] = ()
    owners: tuple[str, ...] = ()


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """How many tasks a queue holds, by state, and how long the oldest has waited to run."""

    states: Mapping[str, int]  # every state but "gone", zero included
    oldest_ready_age: float | None
    paused: bool


class SchemaStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Which version of a backend's schema a store has."""

    found: int  # 0 where there is nothing yet
    known: int  # the one that this release needs


@runtime_checkable
class Migrating(Protocol):
    """What a backend has beside its verbs when its store has a schema; ``taskqueue migrate`` calls it."""

    def schema(self) -> SchemaStatus:
        """Which version there is. Changes nothing, also where nothing is yet."""

    def migrate(self) -> Sequence[int]:
        """Create what is missing, and raise the schema to this release's version; returns the versions that it was
        raised to, one after the other. May be interrupted, and called again. A newer schema is refused."""


class TaskQueue(ABC):
    """One queue in one backend.

    A constructor takes ``name``, ``prefix``, ``length_limit`` and the options that its class declares, as keywords. It
    is inert: it opens nothing and starts nothing. All verbs may be called from any thread; in a forked child a
    backend opens connections of its own.
    """

    name: str
    prefix: str
    # "durable": survives the process; "shared": other processes see the same tasks; "joins": tasks are added in the
    # application's own transaction, through ``enlist``, and nothing is staged; "certain": a call that raises has
    # changed nothing, and will not, as none is still on its way when its caller has given it up
    capabilities: frozenset[str]
    # A busy consumer begins its next exchange when so many tasks are left to run, or fewer: about as many as are run
    # while the store works at a full one. When it is begun much earlier, the answer waits.
    begin_exchange_at: int = CLAIM_COUNT_LIMIT

    # ---- the way in; the producer calls these, inside a request ----------------------------------------------

    @abstractmethod
    def stage(self, records: Sequence[Record], envelope: bytes, owner_id: str, timeout: float) -> None:
        """Put aside durably, before the commit. All or none; ids already known stay as they are.

        Called in the before-commit hook, and in the vote for what was added since. The owner has beaten before.
        Raises QueueFullError when the queue would hold more than its limit, counted over all states that wait.
        """

    @abstractmethod
    def publish(self, records: Sequence[Record], timeout: float) -> None:
        """Make runnable, after the commit. Carries the bodies: what is not stored is stored now.

        A staged or held record becomes ready, or scheduled when its ``due`` lies ahead. One that is already
        published, running, finished, or gone within the last hour stays as it is. Never limited.
        """

    def publish_in_time(self, records: Sequence[Record], max_age: float, timeout: float) -> None:
        """Make runnable what was staged, as the commit of a transaction in which nothing durable takes part.

        Its caller waits for ``timeout`` seconds, then tells its own caller that nothing was committed. So a call that
        a store carries out later changes nothing: where the newest of these records was staged more than ``max_age``
        seconds ago by the store's own clock, or one is unknown, raises BackendUnavailableError, and all stay as they
        are. Of very many, only the first must be in time. A backend that is "certain" need not look.
        """
        self.publish(records, timeout)

    @abstractmethod
    def discard(self, ids: Collection[str], timeout: float) -> None:
        """Forget what is staged or held, after an abort. Published ones stay; unknown ids are fine."""

    def deliver(self, records: Sequence[Record], timeout: float) -> None:
        """Store what was never staged, and make it runnable: all or none, ids already known or gone stay as they are.

        Called in the vote of a transaction in which nobody else takes part, and is its commit; of those only that are
        "certain". Raises QueueFullError as ``stage`` does.
        """
        raise NotImplementedError(f"{type(self).__name__} is not certain of what it does")

    @abstractmethod
    def try_adding(self, timeout: float) -> None:
        """Write as an add would, and leave nothing behind: nobody sees it, and nobody waits for it.

        Raises what ``stage`` of one small record would raise, QueueFullError included. Called by whoever looks whether
        tasks can be added, and by the keeper once they could not be, to see when they can be again.
        """

    def now(self, timeout: float) -> float:
        """The time by the clock that says when tasks are due, in seconds since the epoch; asked when one is delayed."""
        return time.time()

    # ---- in doubt; the keeper and the command line call these ------------------------------------------------

    @abstractmethod
    def staged(self, limit: int = 100, after: str = "") -> Sequence[Record]:
        """Records that are staged or held, by id, from the one after ``after``; their envelope is filled in."""

    @abstractmethod
    def settle(self, ids: Collection[str], verdict: Verdict, timeout: float | None = None) -> int:
        """Decide what is staged or held: "publish", "discard", or "hold" until somebody decides. Returns how many
        changed. A record that is no longer staged or held stays as it is."""

    # ---- the way out; one thread of a consumer at a time calls these, but for ``wake`` -------------------------

    @abstractmethod
    def exchange(
        self, owner_id: str, consumer: str, settlements: Sequence[Settlement], wanted: int, alone: bool = False
    ) -> Exchanged:
        """Hand in what became of earlier claims, and claim up to ``wanted`` ready tasks: one round trip.

        Tasks that are due are promoted first. Claims go by priority, the higher first, then by id, the older first; at
        most 100 tasks and 1 MiB of bodies and secrets in one call, but always one if any is ready. ``wanted`` may be
        0. A paused queue takes settlements and hands out nothing. A suspect is claimed by itself, and only when
        ``alone`` says that the consumer runs nothing else; otherwise ``suspects_wait`` tells that one is ready.
        """

    def begin_exchange(
        self, owner_id: str, consumer: str, settlements: Sequence[Settlement], wanted: int, alone: bool = False
    ) -> PendingExchange:
        """Begin an exchange: the store works at it while the consumer does other things. It is ended within a second or
        so, by whatever thread: until then a store may hold locks. Where there is nobody to wait for, all of it is done
        at the end."""
        return PendingExchange(lambda: self.exchange(owner_id, consumer, settlements, wanted, alone))

    @abstractmethod
    def release(self, owner_id: str, consumer: str, holding: Collection[str]) -> int:
        """Give back what the store holds in this consumer's name but for ``holding``: ready, nothing spent.

        Called after an exchange whose answer was lost. Returns how many.
        """

    @abstractmethod
    def wait(self, seen: int, timeout: float) -> int:
        """Block until there may be something to exchange; return a number for the next call's ``seen``.

        Returns at once when a hint came since ``seen`` was returned, else with the next hint, ``wake``, or after
        ``timeout`` seconds, which may be 0. Several threads may wait. Hints may be false, and may be missed when
        another process gives them: poll behind it.
        """

    @abstractmethod
    def wake(self) -> None:
        """Make everybody in this process who waits, or waits next, return."""

    # ---- upkeep; the keeper and each consumer's upkeep call these --------------------------------------------

    @abstractmethod
    def beat(self, owner: Owner, lease: float, timeout: float) -> None:
        """Take the owner's lease on all that it staged and runs, or renew it, for ``lease`` seconds."""

    @abstractmethod
    def retire(self, owner_id: str, timeout: float | None = None) -> None:
        """End the lease at once, in a clean shutdown: what the owner still holds is as if it had died.

        An owner in whose name nothing is staged, held or running is forgotten: ``owners`` tells of it no more. Of any
        other, as of one that died, it tells until ``prune`` finds that it holds nothing, and was last seen an hour ago.
        """

    @abstractmethod
    def owners(self) -> Sequence[OwnerStatus]:
        """Who holds or held a lease, oldest first."""

    @abstractmethod
    def reclaim(self, max_deaths: int) -> Reclaimed:
        """Take back from owners whose lease has lapsed: what they ran is ready again, and suspect; what they staged is
        held. A task that was claimed as a suspect has died once more; with ``max_deaths`` it is dead."""

    @abstractmethod
    def promote(self) -> float | None:
        """Make ready what is due; return the seconds until the next is due, None when nothing is scheduled."""

    @abstractmethod
    def prune(
        self, keep_done: float, keep_done_count: int, keep_dead: float | None, keep_secrets: float
    ) -> Mapping[str, int]:
        """Delete done tasks older than ``keep_done`` seconds or beyond the newest ``keep_done_count``, dead ones older
        than ``keep_dead`` (None: never), wipe the secrets of the dead after ``keep_secrets``. A bounded piece of work
        at a time; returns how many as ``{"done": n, "dead": n, "wiped": n}``: call again while any is not 0."""

    # ---- looking and mending; the command line and the monitor call these ------------------------------------

    @abstractmethod
    def __len__(self) -> int:
        """How many tasks are ready or scheduled."""

    @abstractmethod
    def counts(self) -> Counts:
        """How many tasks there are in each state."""

    @abstractmethod
    def get(self, task_id: str) -> Record | None:
        """One record, None when it is unknown or gone."""

    @abstractmethod
    def list(
        self, states: Collection[str], limit: int = 100, after: str = "", newest_first: bool = False
    ) -> Sequence[Record]:
        """Records in these states by id, from the one beyond ``after`` in the order asked for. Fewer than ``limit`` are
        all that there are, also where others change states meanwhile."""

    @abstractmethod
    def requeue(self, ids: Collection[str]) -> Sequence[str]:
        """Dead or scheduled tasks are ready at once, attempts and deaths at zero. Returns the ids that are; one whose
        secrets were wiped stays dead."""

    @abstractmethod
    def delete(self, ids: Collection[str]) -> Sequence[str]:
        """Forget tasks that are ready, scheduled, done or dead. Returns the ids that were."""

    @abstractmethod
    def purge(self, states: Collection[str]) -> int:
        """Delete all tasks in these states (of ready, scheduled, done, dead). Returns how many."""

    @abstractmethod
    def pause(self) -> None:
        """Hand out no more tasks, to anyone, until ``resume``. Adding goes on."""

    @abstractmethod
    def resume(self) -> None:
        """Hand out tasks again."""

    @abstractmethod
    def close(self) -> None:
        """Close what this process has open; it opens again when needed. May come twice."""

    # ---- in the application's own transaction; only with the capability "joins" -----------------------------

    def enlist(self, records: Sequence[Record], execute: Execute) -> None:
        """Add, to be runnable from the moment when the application's transaction commits. Called in the before-commit
        hook, and in the vote for what was added since. Raises BackendError when that is another database."""
        raise NotImplementedError(f"{type(self).__name__} does not join transactions")

    def notify(self) -> None:
        """Hint that there is something new: the application's transaction has committed. Never raises."""
        raise NotImplementedError(f"{type(self).__name__} does not join transactions")

    def finish_within(self, settlement: Settlement, execute: Execute) -> bool:
        """Settle one claim in the application's transaction. False when that came too late: its claim number is old."""
        raise NotImplementedError(f"{type(self).__name__} does not join transactions")


class ITaskQueue(ABCInterface):  # type: ignore[misc]  # zope.interface publishes no types
    """``TaskQueue`` as an interface: the same verbs with the same words."""

    abc = TaskQueue


classImplements(TaskQueue, ITaskQueue)


class WitnessMark(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """That a database takes part in a transaction, and where it can be asked afterwards whether that committed."""

    kind: str
    database: str
    position: str = ""  # where the history of the database stood before the commit, in the witness's own terms
    marked_at: float = 0.0  # seconds since the epoch, by the clock of the process that marked


class Witness(ABC):
    """Something that can say afterwards whether a transaction committed: one database, as this process knows it.

    ``kind`` and ``database`` together name the database: only a process that has registered a witness with the same two
    is asked. All methods may be called from any thread.
    """

    kind: str
    # Whether being asked makes a commit impossible that has not happened yet, so that "not yet" is worth waiting for.
    fences: bool = False

    @property
    @abstractmethod
    def database(self) -> str:
        """Which one, the same in all processes that use it. May ask the database; then it may fail as ``mark`` may."""

    @abstractmethod
    def recognises(self, data_manager: Any) -> bool:
        """Whether this data manager, which has joined a transaction, is of this database. Never raises."""

    @abstractmethod
    def mark(self, key: str, transaction: Any, data_managers: Sequence[Any]) -> WitnessMark | None:
        """Write the key in the transaction, so that it is kept if and only if the transaction commits.

        Called inside a request, in a before-commit hook or in the vote, with the data managers that are recognised.
        ``key`` is one random transaction id, or another name for what shall happen once; it has at most 80 characters.
        Returns None when none of the data managers will write anything: then there is nothing to ask. Raises what it
        has to; the commit fails then. Called again with the same key in the same transaction, it writes nothing twice.
        """

    @abstractmethod
    def testify(self, marks: Mapping[str, WitnessMark], timeout: float) -> Mapping[str, Testimony]:
        """Whether the transactions with these keys committed, told within ``timeout`` seconds or so.

        "yes" and "no" are final: "no" says that the transaction cannot commit any more. "not yet" is to be asked again;
        what cannot be answered at all is "unknown". Called by the keeper and before a task runs again, never in a
        request that adds, and never for a transaction that is still open in this process. A mark without a position is
        looked for from about ``marked_at`` on. May raise anything: the same is asked again later.
        """

    def executor(self, transaction: Any, transaction_manager: Any) -> Execute | None:
        """Run statements of SQL in the application's own transaction: for queues that share its database.

        The transaction must commit them, whether or not anything else has changed. None where there is no SQL.
        """
        return None

    def tidy(self) -> None:  # noqa: B027  # most keep nothing that would have to be thrown away
        """Throw away what nobody will ask for any more. The keeper calls it now and then."""


class IWitness(ABCInterface):  # type: ignore[misc]  # zope.interface publishes no types
    """``Witness`` as an interface: the same methods with the same words."""

    abc = Witness


classImplements(Witness, IWitness)


class ITaskQueueLayer(Interface):  # type: ignore[misc]  # zope.interface publishes no types
    """Provided by the request of a task in Zope: a view of this layer is there for tasks, and for nobody else."""
