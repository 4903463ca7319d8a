"""The worker threads of one consumer, and the buffer that they take from. Knows no tasks: it is given something to do
with each job. A job that never ends cannot be ended; its place is given to another thread."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, NamedTuple, TypeVar

from ..threads import BackgroundThread

Job = TypeVar("Job")

STUCK_LIMIT = 100  # threads that were replaced and still run; beyond it, what is stuck keeps its place
JOIN_SECONDS = 2.0


class Load(NamedTuple):
    """What a pool has to do. Jobs whose thread was replaced are not counted."""

    running: int
    buffered: int
    all_busy_seconds: float | None  # since a thread last took a job, None while one is free
    longest_seconds: float  # how long the oldest job that is not overdue has been running


class _Place(Generic[Job]):
    __slots__ = ("is_overdue", "is_replaced", "job", "started_at", "thread")

    def __init__(self) -> None:
        self.job: Job | None = None
        self.started_at = 0.0
        self.is_overdue = False
        self.is_replaced = False
        self.thread: threading.Thread | None = None


class Pool(Generic[Job]):
    """``size`` named daemon threads. ``perform`` is called with each job; like the others it raises nothing.

    ``on_hungry`` is called by a thread that has ended a job when no more than ``low_water`` jobs are left to start, and
    once until ``heed`` or ``submit``; it is told whether that thread has nothing to do now. ``on_idle`` is called by
    one thread at a time of those that have nothing to do, and again when it has returned True; it may submit jobs, and
    is to return when ``has_jobs``. Threads start with ``start``; a pool that was stopped stays stopped.
    """

    def __init__(
        self,
        name: str,
        size: int,
        perform: Callable[[Job], None],
        on_hungry: Callable[[bool], None],
        on_idle: Callable[[], bool] = lambda: False,
    ) -> None:
        self.name = name
        self.size = size
        self._perform = perform
        self._on_hungry = on_hungry
        self._on_idle = on_idle
        self._lock = threading.Lock()
        self._work_or_end = threading.Condition(self._lock)
        self._some_ended = threading.Condition(self._lock)
        self._buffer: deque[tuple[float, Job]] = deque()
        self._low_water = 0
        self._is_hunger_told = False
        self._places: list[_Place[Job]] = []
        self._stuck: set[_Place[Job]] = set()
        self._idle = 0  # threads that wait for jobs, and were not called
        self._is_watched = False  # whether a thread is in on_idle
        self._made = 0
        self._ended = 0
        self._waiting = 0  # who waits for some to end
        self._is_stopping = False

    # ---- the consumer's thread that deals with the store calls these ----

    def start(self) -> None:
        """Start the threads."""
        with self._lock:
            while len(self._places) < self.size:
                self._add_place()

    def heed(self) -> bool:
        """Have the next one that ends say again when there are few left; returns whether there are any."""
        with self._lock:
            self._is_hunger_told = False
            return bool(self._buffer)

    def heed_half(self) -> int:
        """Have it said again when half of those are left that are left now; returns how many that are now."""
        with self._lock:
            self._is_hunger_told = False
            self._low_water = len(self._buffer) // 2
            return len(self._buffer)

    def submit(self, jobs: Sequence[Job], low_water: int) -> bool:
        """More to do; ``low_water`` as the class tells. Returns whether there are jobs that no thread waits for, but
        for the one that may be in ``on_idle``."""
        now = time.monotonic()
        with self._lock:
            self._low_water = low_water
            self._buffer.extend((now, job) for job in jobs)
            return self._call(len(jobs)) < len(jobs)

    def has_jobs(self) -> bool:
        """Whether any are left to start."""
        return bool(self._buffer)

    def withdraw(self, waiting_seconds: float = 0.0) -> list[Job]:
        """Take back jobs that have not started, and have waited so long while every thread was busy."""
        before = time.monotonic() - waiting_seconds
        with self._lock:
            if waiting_seconds and any(place.job is None for place in self._places):
                return []
            taken = []
            while self._buffer and self._buffer[0][0] <= before:
                taken.append(self._buffer.popleft()[1])
            return taken

    def replace_overdue(self, deadline_seconds: float) -> list[Job]:
        """The jobs that have passed the deadline since the last call; other threads take their places."""
        before = time.monotonic() - deadline_seconds
        overdue = []
        with self._lock:
            for place in list(self._places):
                if place.job is None or place.is_overdue or place.started_at > before:
                    continue
                place.is_overdue = True
                overdue.append(place.job)
                with contextlib.suppress(RuntimeError):  # no more threads can be started; it keeps its place
                    self._replace(place)
        return overdue

    def load(self) -> Load:
        """How much there is to do."""
        now = time.monotonic()
        with self._lock:
            started = [place.started_at for place in self._places if place.job is not None]
            timely = [place.started_at for place in self._places if place.job is not None and not place.is_overdue]
            return Load(
                running=len(started),
                buffered=len(self._buffer),
                all_busy_seconds=now - max(started) if len(started) == self.size else None,
                longest_seconds=now - min(timely) if timely else 0.0,
            )

    def jobs(self) -> list[Job]:
        """What runs and what waits to, without what is stuck."""
        with self._lock:
            running = [place.job for place in self._places if place.job is not None]
            return running + [job for _, job in self._buffer]

    def stuck_count(self) -> int:
        """How many jobs run in threads that were replaced."""
        with self._lock:
            return len(self._stuck)

    def ended(self) -> int:
        """A number that changes with every job that ends, for ``wait_for_end``."""
        with self._lock:
            return self._ended

    def wait_for_end(self, seen: int, timeout: float) -> None:
        """Wait until some job has ended since ``ended`` returned ``seen``, or ``interrupt`` was called."""
        with self._lock:
            self._waiting += 1
            self._some_ended.wait_for(lambda: self._ended != seen, timeout)
            self._waiting -= 1

    def interrupt(self) -> None:
        """Let ``wait_for_end`` return; any thread may call this."""
        with self._lock:
            self._ended += 1
            self._some_ended.notify_all()

    def stop(self) -> None:
        """End the threads that have nothing to do, and the others when they are done. May come twice."""
        with self._lock:
            self._is_stopping = True
            self._call(self._idle)
            idle = [place.thread for place in self._places if place.job is None and place.thread is not None]
        for thread in idle:
            if thread is not threading.current_thread():
                thread.join(JOIN_SECONDS)

    # ---- the threads ----

    def _add_place(self) -> None:
        self._made += 1
        place: _Place[Job] = _Place()
        place.thread = BackgroundThread(target=self._work, args=(place,), name=f"{self.name}-{self._made}")
        place.thread.start()
        self._places.append(place)

    def _replace(self, place: _Place[Job]) -> None:
        if len(self._stuck) < STUCK_LIMIT:
            self._add_place()
            self._places.remove(place)
            self._stuck.add(place)
            place.is_replaced = True

    def _work(self, place: _Place[Job]) -> None:
        job = self._take(place)
        while job is not None:
            try:  # noqa: SIM105  # contextlib takes a fifth of what the pool does for a job
                self._perform(job)
            except Exception:  # noqa: BLE001, S110  # perform tells of its own errors; a thread less would tell nobody
                pass
            del job  # while it waits, a thread keeps nothing of the last one alive
            is_hungry, job = self._end(place)
            if is_hungry:
                self._on_hungry(job is None)
            if job is None:
                job = self._take(place)

    def _take(self, place: _Place[Job]) -> Job | None:
        """Wait for a job; None when this thread is to end."""
        with self._lock:
            may_watch = True
            while not self._is_stopping and not place.is_replaced:
                if self._buffer:  # for each one that was submitted another was called, if any waited: that one watches
                    return self._taken(place)
                if may_watch and not self._is_watched:
                    may_watch = self._watch()
                    continue
                self._idle += 1
                self._work_or_end.wait()
                may_watch = True
            self._stuck.discard(place)
            return None

    def _watch(self) -> bool:
        """Without the lock."""
        self._is_watched = True
        self._lock.release()
        try:
            return self._on_idle()
        finally:
            self._lock.acquire()
            self._is_watched = False

    def _call(self, count: int) -> int:
        """Have so many threads look that wait for jobs; returns how many there were."""
        called = min(count, self._idle)
        self._idle -= called
        self._work_or_end.notify(called)
        return called

    def _end(self, place: _Place[Job]) -> tuple[bool, Job | None]:
        """The job has ended: whether to tell that there are few left, and the next one if there is any."""
        with self._lock:
            place.job = None
            place.is_overdue = False
            self._ended += 1
            if self._waiting:
                self._some_ended.notify_all()
            is_hungry = False
            if not self._is_hunger_told and (len(self._buffer) <= self._low_water or place.is_replaced):
                self._is_hunger_told = is_hungry = True
            if self._buffer and not self._is_stopping and not place.is_replaced:
                return is_hungry, self._taken(place)
            return is_hungry, None

    def _taken(self, place: _Place[Job]) -> Job:
        place.started_at = time.monotonic()
        place.job = job = self._buffer.popleft()[1]
        return job
