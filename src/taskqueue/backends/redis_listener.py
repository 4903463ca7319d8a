"""Listens for hints that other processes publish, and passes them on to those who wait in this one. Knows no tasks.

Hints may be missed, and nothing depends on them: whoever waits polls behind them. The listener connects again for ever.
"""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .deadlines import Deadline
from .hints import Hints
from .redis_faults import LostError

if TYPE_CHECKING:
    from .redis_wire import Wire

CONNECT_TIMEOUT = 5.0
# A connection that was dropped silently is noticed after these two together.
CHECK_SECONDS = 10.0
CHECK_TIMEOUT = 5.0
FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 5.0


class Listener:
    """One daemon thread with a connection of its own, from the first ``start`` until ``stop``; may be started again."""

    def __init__(self, open_wire: Callable[[Deadline], Wire], channel: str, hints: Hints) -> None:
        self._open_wire = open_wire
        self._channel = channel
        self._hints = hints
        self._lock = threading.Lock()
        self._stopped: threading.Event | None = None  # of the thread that runs
        self._wire: Wire | None = None
        self._pause = FIRST_PAUSE_SECONDS

    def start(self) -> None:
        """Start listening; does nothing when it listens already."""
        if self._stopped is not None:
            return
        with self._lock:
            if self._stopped is None:
                stopped = threading.Event()
                thread = threading.Thread(
                    target=self._run, args=(stopped,), name="taskqueue-redis-listener", daemon=True
                )
                with contextlib.suppress(RuntimeError):  # the interpreter is ending, and starts no more threads
                    thread.start()
                    self._stopped = stopped

    def stop(self) -> None:
        """Stop listening. May come twice, or before ``start``."""
        with self._lock:
            stopped, self._stopped = self._stopped, None
            if stopped is not None:
                stopped.set()
            if self._wire is not None:
                self._wire.interrupt()

    def _run(self, stopped: threading.Event) -> None:
        self._pause = FIRST_PAUSE_SECONDS
        while not stopped.is_set():
            try:
                self._listen(stopped)
            except Exception:  # noqa: BLE001  # who works with the server tells what is wrong with it; this one comes back
                # Not all processes of a site shall come back in the same moment.
                stopped.wait(self._pause * random.uniform(0.5, 1.5))  # noqa: S311  # no secret depends on it
                self._pause = min(2 * self._pause, LONGEST_PAUSE_SECONDS)

    def _listen(self, stopped: threading.Event) -> None:
        wire = self._open_wire(Deadline(CONNECT_TIMEOUT))
        with self._lock:
            if not stopped.is_set():
                self._wire = wire
        try:
            wire.send(["SUBSCRIBE", self._channel], Deadline(CONNECT_TIMEOUT))
            while not stopped.is_set():
                self._pass_on(wire.receive(Deadline(CHECK_SECONDS)) or self._check(wire))
        finally:
            with self._lock:
                if self._wire is wire:
                    self._wire = None
            wire.close()

    def _check(self, wire: Wire) -> Any:
        """See that the server is still there, when nothing has come for a while. Returns what it says."""
        wire.send(["PING"], Deadline(CHECK_TIMEOUT))
        said = wire.receive(Deadline(CHECK_TIMEOUT))
        if said is None:
            raise LostError("it is silent")
        return said

    def _pass_on(self, said: Any) -> None:
        kind = said[0] if isinstance(said, list) and said else b""
        if kind == b"subscribe":
            self._pause = FIRST_PAUSE_SECONDS
        if kind in {b"subscribe", b"message"}:
            # Until now nobody listened: there may have been hints before.
            self._hints.give()
