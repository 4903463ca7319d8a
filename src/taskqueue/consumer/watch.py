"""Who of one consumer waits for hints. Knows no tasks.

An idle worker does, and asks the store itself when there is one, so that nobody has to be woken between the hint and
the task; the fetching thread sleeps until it is called or its time is up. While no worker is idle a hint is of use to
nobody, but connections on which they come want to be read: then the fetching thread waits for them.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable

from ..interfaces import TaskQueue
from .trouble import Trouble

WATCH_SECONDS = 5.0  # so long a worker waits at a time: a pipe may be gone; the fetching thread polls beside it
CALL_SECONDS = 0.005  # so long a worker lets the fetching thread go first; the interpreter would have made it by then


class Watch:
    """``wait`` is for the fetching thread, ``wait_idle`` for one worker at a time; any thread may call the others.

    Those who wait and those who wake them agree by attributes alone: either says what it does, and then looks at what
    the other has said.
    """

    def __init__(self, backend: TaskQueue, by_workers: bool, trouble: Trouble, stop_requested: threading.Event) -> None:
        """``by_workers``: whether they wait for hints at all."""
        self._backend = backend
        self._by_workers = self._is_left_to_worker = by_workers
        self._trouble = trouble
        self._stop_requested = stop_requested
        self._hint = -1  # that was seen last
        self._called = threading.Event()
        self._fetcher_came = threading.Event()
        self._fetcher_hears = False
        self._worker_hears = False

    def wait(self, seconds: float) -> bool:
        """Wait for a call or a hint, at most so long; whether there was one."""
        if self._is_left_to_worker:
            called = self._called.wait(seconds)
            self._is_left_to_worker = called or self._worker_hears  # else what it runs takes long
        else:
            self._fetcher_hears = True
            called = self._called.is_set() or self._hear(seconds)
            self._fetcher_hears = False
        self._called.clear()
        self._fetcher_came.set()
        return called

    def wait_idle(self, has_jobs: Callable[[], bool]) -> bool:
        """Wait for a hint, or for jobs that somebody else has found; whether it was a hint."""
        self._worker_hears = self._is_left_to_worker = True
        try:
            return not has_jobs() and self._hear(WATCH_SECONDS)
        finally:
            self._worker_hears = False

    def catch_up(self) -> None:
        """What hints have told of by now will be in the answer to what is asked next. Does not wait."""
        if self._by_workers and not self._worker_hears:
            with contextlib.suppress(Exception):  # who waits the next time tells of it
                self._hint = self._backend.wait(self._hint, 0.0)

    @property
    def is_of_use(self) -> bool:
        """Whether a worker should wait for hints."""
        return self._by_workers and not (self._trouble or self._stop_requested.is_set())

    def call(self) -> None:
        """Have the fetching thread look."""
        self._called.set()
        if self._fetcher_hears:
            self._wake()

    def call_worker(self) -> None:
        """Have the worker look that waits for hints, if one does."""
        if self._worker_hears:
            self._wake()

    def call_all(self) -> None:
        """Have everybody look."""
        self._called.set()
        self._wake()

    def stand_aside(self) -> None:
        """Call the fetching thread, and wait until it has come."""
        self._fetcher_came.clear()
        self.call()
        self._fetcher_came.wait(CALL_SECONDS)

    def _hear(self, seconds: float) -> bool:
        seen = heard = self._hint
        try:
            self._hint = heard = self._backend.wait(seen, seconds)
            self._trouble.is_over()
        except Exception as error:  # noqa: BLE001  # without hints there is polling
            self._trouble.goes_on(error)
            if not self._worker_hears:
                self._stop_requested.wait(seconds)
        return heard != seen

    def _wake(self) -> None:
        with contextlib.suppress(Exception):  # a hint; polling goes on behind it
            self._backend.wake()
