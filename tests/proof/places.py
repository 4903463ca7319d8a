"""Where a process is killed: the product's failpoints, the neighbours' phases, and places inside of the stores.

A ``Trap`` counts how often each place is passed. It is set to one place and the number of a pass; there it says so and
kills its own process.
"""

import contextlib
import functools
import os
import signal
import threading
from collections import Counter

from transaction.interfaces import ISavepointDataManager
from zope.interface import implementer

from taskqueue import failpoints, witnesses

PHASES = ("tpc_begin", "commit", "tpc_vote", "tpc_finish")
NEIGHBOURS = tuple(f"{side}.{phase}" for phase in PHASES for side in ("before", "after"))
ZODB_PLACES = ("zodb.voted", "zodb.unfinished", "zodb.status in buffer", "zodb.status in file", "zodb.finished")
ONE_PHASE_PLACES = ("sql.uncommitted", "sql.committed")
TWO_PHASE_PLACES = ("sql.unprepared", "sql.prepared", "sql.uncommitted", "sql.committed")

COMMITTING = (
    "add.joined",
    "hook.begun",
    "hook.marked",
    "stage.sent",
    "hook.staged",
    "vote.begun",
    "vote.done",
    "finish.begun",
    "finish.published",
    *NEIGHBOURS,
)
ABORTING = ("abort.begun", "abort.done", "before.tpc_abort", "after.tpc_abort")
DOUBTS = ("doubt.asked", "doubt.settled")
# How the transaction goes, and the places that it passes.
WAYS_IN = {
    "commits": COMMITTING,
    "adds late": ("stage.sent", "vote.begun", "vote.done", "before.tpc_finish", "finish.begun", "finish.published"),
    "refused before our vote": ABORTING,
    "refused after our vote": ABORTING,
    "fails in finish": (*ABORTING, *DOUBTS),
    "aborts": ("abort.begun", "abort.done"),
}
WAYS_OUT = (
    "claim.taken",
    "replay.begun",
    "replay.done",
    "settle.begun",
    "settle.done",
    "reclaim.begun",
    "reclaim.done",
    *DOUBTS,
)


# Where tasks are added in the application's own transaction, nothing is staged, and nothing is in doubt.
NOT_SHARED = ("stage.sent", *DOUBTS)
IS_CONSUMED = "is consumed"


def cells(application, is_shared=False):
    """All pairs of a way in and a place for an application, by its name."""
    inside = ()
    if "ZODB" in application:
        inside += ZODB_PLACES
    if "SQL" in application:
        inside += TWO_PHASE_PLACES if "two-phase" in application else ONE_PHASE_PLACES
    pairs = [(way, place) for way, places in WAYS_IN.items() for place in places]
    pairs += [("commits", place) for place in inside]
    if is_shared:
        # What is prepared takes nothing more.
        pairs = [(way, place) for way, place in pairs if place not in NOT_SHARED and way != "adds late"]
    return pairs


def ways_out(is_shared=False):
    """The places on the way out."""
    return [place for place in WAYS_OUT if not (is_shared and place in NOT_SHARED)]


ALL_CELLS = (
    *cells("ZODB + SQL"),
    *cells("SQL two-phase"),
    *((IS_CONSUMED, place) for place in WAYS_OUT),
)


class Trap:
    """Kills this process at one place, when it is passed for the ``nth`` time; without a place it counts only."""

    def __init__(self, says, place="", nth=1, linger_seconds=0.0):
        self._says = says
        self._linger_seconds = linger_seconds
        self._place = place
        self._nth = nth
        self._lock = threading.Lock()
        self._armed = contextlib.ExitStack()
        self.passes = Counter()
        # Passes with nothing to do there, again and again, do not count.
        self._is_idle = {"reclaim.done": True, "doubt.asked": True}
        self.ignored = set()

    def reach(self, place):
        """The process has come to this place."""
        with self._lock:
            if self._is_idle.get(place) or place in self.ignored:
                return
            self.passes[place] += 1
            is_here = place == self._place and self.passes[place] == self._nth
        if is_here:
            threading.Event().wait(self._linger_seconds)
            os.write(self._says, b"killed")
            os.kill(os.getpid(), signal.SIGKILL)

    def set(self, stores=(), backend=None):
        """Set it for as long as this process lives."""
        for name in failpoints.NAMES:
            self._armed.enter_context(failpoints.armed(name, functools.partial(self.reach, name)))
        for store in stores:
            for name, (thing, method, side) in store.places().items():
                self._wrap(name, thing, method, side)
        self._note_asking()
        if backend is not None:
            self._note_reclaiming(backend)

    def _wrap(self, name, thing, method, side):
        original = getattr(thing, method)

        def wrapped(*arguments, **keywords):
            if side == "before":
                self.reach(name)
            result = original(*arguments, **keywords)
            if side == "after":
                self.reach(name)
            return result

        setattr(thing, method, wrapped)

    def _note_asking(self):
        original = witnesses.testify

        def testify(asked, timeout):
            told = original(asked, timeout)
            self._is_idle["doubt.asked"] = not asked
            return told

        witnesses.testify = testify

    def _note_reclaiming(self, backend):
        original = backend.reclaim

        def reclaim(max_deaths):
            reclaimed = original(max_deaths)
            self._is_idle["reclaim.done"] = not (reclaimed.ready or reclaimed.held)
            return reclaimed

        backend.reclaim = reclaim


class RefusedError(Exception):
    """What a neighbour raises where it is told to."""


@implementer(ISavepointDataManager)
class Neighbour:
    """Another data manager, which keeps nothing; ``acts`` are called in its phases, or raised there."""

    taskqueue_volatile = True

    def __init__(self, side, key, trap, manager, **acts):
        self.transaction_manager = manager
        self._side = side
        self._key = key
        self._trap = trap
        self._acts = acts
        manager.get().join(self)

    def _pass(self, phase):
        self._trap.reach(f"{self._side}.{phase}")
        act = self._acts.get(phase)
        if act is not None:
            act()

    def sortKey(self):  # noqa: N802  # the name is IDataManager's
        return self._key

    def savepoint(self):
        return self

    def rollback(self):
        """Nothing to undo."""

    def tpc_begin(self, _transaction):
        self._pass("tpc_begin")

    def commit(self, _transaction):
        self._pass("commit")

    def tpc_vote(self, _transaction):
        self._pass("tpc_vote")

    def tpc_finish(self, _transaction):
        self._pass("tpc_finish")

    def tpc_abort(self, _transaction):
        self._pass("tpc_abort")

    def abort(self, _transaction):
        """Nothing to undo."""


def refuse():
    """Do not let the transaction go on."""
    raise RefusedError


def surround(trap, manager, way, add):
    """Join neighbours right before and right after the queue, which do what belongs to a way."""
    acts_before, acts_after = {}, {}
    trap.ignored.update(DOUBTS)  # of others

    def fail():
        trap.ignored.clear()
        refuse()

    if way == "adds late":
        acts_before["commit"] = add
    elif way == "refused before our vote":
        acts_before["tpc_vote"] = refuse
    elif way == "fails in finish":
        acts_before["tpc_finish"] = fail
    elif way == "refused after our vote":
        acts_after["tpc_vote"] = refuse
    Neighbour("before", "~!taskqueue", trap, manager, **acts_before)
    # Behind those who commit in their vote.
    Neighbour("after", "~~" if acts_after else "~!taskqueue~", trap, manager, **acts_after)
