"""Hints between processes, over LISTEN and NOTIFY: one thread listens, one gives them, for all queues of a process that
are in the same database. Where one queue alone is listened for, the thread connects and checks, and the one who waits
listens: a thread less to be woken by each hint. Knows no tasks.

A NOTIFY takes a lock of the whole server while its transaction commits. So hints are given after the transaction that
they tell of, by one that changes nothing and so waits for no disk, and many at once become one. Hints may be missed, as
behind a pooler that shares connections they are; nothing depends on them: whoever waits polls behind them.
"""

from __future__ import annotations

import contextlib
import hashlib
import random
import socket
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import BackendUnavailableError
from ..threads import BackgroundThread
from .deadlines import Deadline
from .ears import LentEar
from .hints import Hints
from .postgresql_statements import HINT, PING

if TYPE_CHECKING:
    from .postgresql_link import Link
    from .postgresql_wire import Wire

CONNECT_TIMEOUT = 5.0
# A connection that was dropped silently is noticed after these two together.
CHECK_SECONDS = 10.0
CHECK_TIMEOUT = 5.0
FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 5.0
# Between two hints of one process: one that comes alone is given at once, those that come in crowds are made one.
FIRST_HINT_PAUSE_SECONDS = 0.001
LONGEST_HINT_PAUSE_SECONDS = 0.05
HINT_TIMEOUT = 2.0
LAST_HINT_SECONDS = 0.5  # how long a process that ends waits for its last one


class Cry(NamedTuple):
    """A hint to whoever waits for a queue. ``own`` are the owners of this process, which need none."""

    channel: str
    own: Collection[str]

    def parameters(self) -> dict[str, Any]:
        """Those of the statement that gives it."""
        return {"channel": self.channel, "own": sorted(self.own)}


def channel_of(prefix: str, name: str) -> str:
    """The channel of one queue: no name of a site can be more than PostgreSQL takes, or mean something to it."""
    return "taskqueue_" + hashlib.sha256(f"{prefix}\0{name}".encode()).hexdigest()[:32]


class Crier:
    """Gives the hints of this process's queues, each by its link; starts with the first ``cry``, and again after
    ``stop``."""

    def __init__(self) -> None:
        self.start_in_child()

    def start_in_child(self) -> None:
        """Nothing is due, and no thread runs."""
        self._changed = threading.Condition()
        self._due: dict[Link, Cry] = {}
        self._under_way: Collection[Link] = ()
        self._thread: threading.Thread | None = None
        self._is_stopped = False
        self._rests_until = 0.0  # monotonic

    def may_cry_at_once(self) -> bool:
        """Whether the caller may give a hint by itself, since none was given just now: then it is its turn."""
        with self._changed:
            now = time.monotonic()
            if self._due or self._under_way or now < self._rests_until:
                return False
            self._rests_until = now + 2 * FIRST_HINT_PAUSE_SECONDS
            return True

    def cry(self, link: Link, cry: Cry) -> None:
        """Give a hint soon; does not wait."""
        with self._changed:
            self._due[link] = cry
            self._is_stopped = False
            if self._thread is None:
                thread = BackgroundThread(target=self._run, name="taskqueue-postgresql-crier")
                with contextlib.suppress(RuntimeError):  # the interpreter is ending, and starts no more threads
                    thread.start()
                    self._thread = thread
            self._changed.notify_all()

    def finish(self, link: object) -> None:
        """Give what is due of one queue, and wait for it."""
        with self._changed:
            if self._thread is None or self._thread is threading.current_thread():
                return
            self._rests_until = 0.0
            self._changed.notify_all()
            self._changed.wait_for(lambda: link not in self._due and link not in self._under_way, LAST_HINT_SECONDS)

    def stop(self) -> None:
        """Give what is due, and stop. May come twice, or before the first hint."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify_all()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(LAST_HINT_SECONDS)

    def _run(self) -> None:
        pause = FIRST_HINT_PAUSE_SECONDS
        while True:
            with self._changed:
                pause = min(2 * pause, LONGEST_HINT_PAUSE_SECONDS) if self._due else FIRST_HINT_PAUSE_SECONDS
                self._changed.wait_for(lambda: self._due or self._is_stopped)
                if not self._due:
                    self._thread = None
                    return
                cries, self._due = self._due, {}
                self._under_way = cries
            for link, cry in cries.items():
                with contextlib.suppress(BackendUnavailableError):  # who works with the server tells what is wrong
                    link.run(HINT, HINT_TIMEOUT, repeat=True, **cry.parameters())
            with self._changed:
                self._under_way = ()
                self._rests_until = time.monotonic() + pause
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._is_stopped or time.monotonic() >= self._rests_until, pause)


class _Hearing:
    """What one thread listens to. When nobody waits any more it is over, and whoever comes then is another thread's."""

    def __init__(self) -> None:
        self.heard: dict[str, tuple[Hints, ...]] = {}  # by channel; replaced, never changed
        self._stopper, self.stopped = socket.socketpair()
        self._stopper.setblocking(False)

    def look(self) -> None:
        """Have the thread see what it is to listen to."""
        with contextlib.suppress(OSError):  # it is over, or so much is there that it will look
            self._stopper.send(b"!")

    def stop(self) -> None:
        """Have the thread end."""
        self._stopper.close()

    def add(self, channel: str, hints: Hints) -> None:
        """One more who waits."""
        if hints not in self.heard.get(channel, ()):
            self.heard = {**self.heard, channel: (*self.heard.get(channel, ()), hints)}

    def remove(self, channel: str, hints: Hints) -> None:
        """One less."""
        left = tuple(each for each in self.heard.get(channel, ()) if each is not hints)
        others = {name: each for name, each in self.heard.items() if name != channel}
        self.heard = {**others, channel: left} if left else others

    def give(self, channel: str) -> None:
        """There was something on a channel."""
        for hints in self.heard.get(channel, ()):
            hints.give()


class Listener:
    """One daemon thread with a connection of its own, which listens for all queues of a process that wait."""

    def __init__(self, open_wire: Callable[[Deadline], Wire], tidy: Callable[[], object]) -> None:
        """``tidy`` is called by the thread when it looks."""
        self._open_wire = open_wire
        self._tidy = tidy
        self.start_in_child()

    def start_in_child(self) -> None:
        """Nobody waits, and no thread runs."""
        self._lock = threading.Lock()
        self._hearing: _Hearing | None = None  # of the thread that runs; read without the lock
        self._pause = FIRST_PAUSE_SECONDS

    def start(self, channel: str, hints: Hints) -> None:
        """Listen to a channel; does nothing when it listens already."""
        known = self._hearing
        if known is not None and hints in known.heard.get(channel, ()):
            return
        with self._lock:
            if self._hearing is not None:
                self._hearing.add(channel, hints)
                self._hearing.look()
                return
            hearing = _Hearing()
            hearing.add(channel, hints)
            thread = BackgroundThread(target=self._run, args=(hearing,), name="taskqueue-postgresql-listener")
            with contextlib.suppress(RuntimeError):  # the interpreter is ending, and starts no more threads
                thread.start()
                self._hearing = hearing

    def stop(self, channel: str, hints: Hints) -> None:
        """Stop listening; for the last one, the thread stops. May come twice, or before ``start``."""
        with self._lock:
            hearing = self._hearing
            if hearing is None:
                return
            hearing.remove(channel, hints)
            if hearing.heard:
                hearing.look()
                return
            self._hearing = None
        hearing.stop()

    def look(self) -> None:
        """Have the thread look, if there is one; takes no lock."""
        hearing = self._hearing
        if hearing is not None:
            hearing.look()

    def _run(self, hearing: _Hearing) -> None:
        self._pause = FIRST_PAUSE_SECONDS
        with hearing.stopped as stopped:
            while not _is_closed(stopped, 0.0):
                self._tidy()
                try:
                    self._listen(hearing)
                except Exception:  # noqa: BLE001  # who works with the server tells what is wrong with it; this one comes back
                    # Not all processes of a site shall come back in the same moment.
                    _is_closed(stopped, self._pause * random.uniform(0.5, 1.5))  # noqa: S311  # no secret depends on it
                    self._pause = min(2 * self._pause, LONGEST_PAUSE_SECONDS)

    def _listen(self, hearing: _Hearing) -> None:
        wire = self._open_wire(Deadline(CONNECT_TIMEOUT))
        listening: set[str] = set()
        try:
            while not _is_closed(hearing.stopped, 0.0):
                self._tidy()
                heard = hearing.heard
                self._catch_up(wire, listening, hearing)
                self._pause = FIRST_PAUSE_SECONDS
                if sum(map(len, heard.values())) == 1:
                    self._lend(wire, hearing, heard)
                    continue
                channels = wire.receive(CHECK_SECONDS, hearing.stopped.fileno())
                if channels is None:
                    wire.run([(PING, {})], Deadline(CHECK_TIMEOUT))
                for channel in channels or ():
                    hearing.give(channel)
        finally:
            wire.close()

    def _lend(self, wire: Wire, hearing: _Hearing, heard: Mapping[str, Sequence[Hints]]) -> None:
        """Let the one who waits listen, until something else is wanted of the connection."""
        ((hints,),) = heard.values()
        ear = LentEar(hints, lambda seconds, rung: bool(wire.receive(seconds, rung.fileno())), hearing.look)
        try:
            while hearing.heard is heard:
                ear.lend()
                if _is_closed(hearing.stopped, CHECK_SECONDS):
                    return
                ear.take_back()
                self._tidy()
                wire.run([(PING, {})], Deadline(CHECK_TIMEOUT))
        finally:
            ear.close()

    def _catch_up(self, wire: Wire, listening: set[str], hearing: _Hearing) -> None:
        """Listen to what somebody waits for, and to nothing else."""
        wanted = hearing.heard.keys()
        for channel in wanted - listening:
            wire.listen(channel, Deadline(CONNECT_TIMEOUT))
            listening.add(channel)
            hearing.give(channel)  # until now nobody listened: there may have been hints before
        for channel in listening - wanted:
            wire.unlisten(channel, Deadline(CONNECT_TIMEOUT))
            listening.remove(channel)


def _is_closed(stopped: socket.socket, seconds: float) -> bool:
    """Whether the other end is closed; waits for it for so long."""
    stopped.settimeout(seconds)
    try:
        return stopped.recv(1) == b""
    except (BlockingIOError, TimeoutError):
        return False
