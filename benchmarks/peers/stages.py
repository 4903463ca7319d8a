"""Where the time of one task goes: functions at the borders between stages are timed, the rest is their callers'.

Each stage is charged with the CPU that its thread uses while it is the innermost, and with the time that passes
meanwhile: for a lock, for the GIL, for a store. Nothing is traced. What the timers themselves take is found out, and is
charged to nobody.
"""

from __future__ import annotations

import functools
import gc
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.floors import PATIENCE_SECONDS
from benchmarks.marks import Marks
from taskqueue import keeper, notices, producer, wsgi
from taskqueue.backends import redis_link, redis_records, rowexchanges, sqlite
from taskqueue.consumer import attempt, ledger, pool, replay, server, watch
from taskqueue.interfaces import TaskQueue
from taskqueue.producer import datamanager

from . import ours, views
from .given import told
from .inside import LOOK_SECONDS

WARM_TRANSACTIONS = 50


class Stages:
    """Seconds by stage, of all threads; ``wrap`` puts a function of a module or class into a stage."""

    def __init__(self) -> None:
        self.cpu: dict[str, float] = {}
        self.wall: dict[str, float] = {}
        self.calls: dict[str, int] = {}
        self.children: dict[str, int] = {}
        self._lock = threading.Lock()
        self._threads = threading.local()

    def wrap(self, owner: Any, name: str, stage: str) -> None:
        """Time it from now on."""
        wrapped: Callable[..., Any] = getattr(owner, name)

        @functools.wraps(wrapped)
        def timed(*arguments: Any, **options: Any) -> Any:
            stack = self._stack()
            stack.append([0, 0, 0])
            cpu, wall = time.thread_time_ns(), time.perf_counter_ns()
            try:
                return wrapped(*arguments, **options)
            finally:
                cpu, wall = time.thread_time_ns() - cpu, time.perf_counter_ns() - wall
                inner_cpu, inner_wall, children = stack.pop()
                if stack:
                    stack[-1][0] += cpu
                    stack[-1][1] += wall
                    stack[-1][2] += 1
                self._charge(stage, cpu - inner_cpu, wall - inner_wall, children)

        setattr(owner, name, timed)

    def _stack(self) -> list[list[int]]:
        if not hasattr(self._threads, "stack"):
            self._threads.stack = []
        return self._threads.stack  # type: ignore[no-any-return]  # threading.local knows no types

    def _charge(self, stage: str, cpu: int, wall: int, children: int) -> None:
        with self._lock:
            self.cpu[stage] = self.cpu.get(stage, 0.0) + cpu / 1e9
            self.wall[stage] = self.wall.get(stage, 0.0) + wall / 1e9
            self.calls[stage] = self.calls.get(stage, 0) + 1
            self.children[stage] = self.children.get(stage, 0) + children

    def forget(self) -> None:
        """Begin again."""
        with self._lock:
            for numbers in (self.cpu, self.wall, self.calls, self.children):
                numbers.clear()

    def as_json(self, tasks: int) -> dict[str, Any]:
        """For each stage the calls, and the microseconds of CPU and of time that passes, for one task."""
        own, parents = _cost_of_timers()
        found = {}
        for stage, calls in self.calls.items():
            timers = calls * own + self.children[stage] * parents
            numbers = (self.cpu[stage] - timers, self.wall[stage] - timers)
            found[stage] = [calls / tasks, *(max(0.0, number) / tasks * 1e6 for number in numbers)]
        return {"stages": found, "timers": sum(self.calls.values()) * (own + parents) / tasks * 1e6}


class _Nothing:
    """Whose calls cost nothing but their timers."""

    def outer(self, count: int) -> None:
        """Many calls."""
        for _ in range(count):
            self.inner()

    def inner(self) -> None:
        """No work."""


def _cost_of_timers(count: int = 20_000) -> tuple[float, float]:
    """Seconds that a timed call charges to its own stage, and to the one that it is called from."""
    bare = _Nothing()
    begun = time.thread_time()
    bare.outer(count)
    loop = time.thread_time() - begun
    stages = Stages()
    timed = type("_Timed", (_Nothing,), {})
    stages.wrap(timed, "outer", "outer")
    stages.wrap(timed, "inner", "inner")
    timed().outer(count)
    return stages.cpu["inner"] / count, max(0.0, stages.cpu["outer"] - loop) / count


def _wrap_way_out(stages: Stages, backend: type[Any]) -> None:
    stages.wrap(server.Consumer, "_run", "fetching thread: the loop")
    stages.wrap(server.Consumer, "_deal", "worker: deal with the store")
    stages.wrap(ledger.Ledger, "begin", "store: begin an exchange")
    stages.wrap(ledger.Ledger, "end", "store: end an exchange")
    stages.wrap(ledger.Ledger, "_forget", "what is done: forget")
    stages.wrap(ledger.Ledger, "tell", "what is done: tell")
    if backend.begin_exchange is TaskQueue.begin_exchange:
        stages.wrap(backend, "exchange", "store: exchange")
    stages.wrap(sqlite.SQLiteQueue, "_exchange", "store: exchange")
    stages.wrap(rowexchanges, "settle", "store: write the settlements")
    stages.wrap(rowexchanges, "change_all", "store: change the file")
    stages.wrap(rowexchanges, "read_claimed", "store: read the answer")
    stages.wrap(backend, "wait", "store: wait")
    stages.wrap(redis_link.Link, "run", "store: round trip")
    stages.wrap(redis_link.Link, "begin", "store: send")
    stages.wrap(redis_link.Link, "_exchange", "store: wait for the answer")
    stages.wrap(redis_records, "exchanged", "store: read the answer")
    stages.wrap(redis_records, "settlements", "store: write the settlements")
    stages.wrap(pool.Pool, "_work", "worker: the loop")
    stages.wrap(pool.Pool, "_take", "worker: take a job")
    stages.wrap(pool.Pool, "_end", "worker: end a job")
    stages.wrap(server.Consumer, "_keep_watch", "worker: wait for hints")
    stages.wrap(watch.Watch, "call", "worker: call the fetching thread")
    stages.wrap(server.Consumer, "_perform", "worker: put down what is finished")
    stages.wrap(server, "attempt", "worker: attempt")
    stages.wrap(attempt, "_read", "worker: read and check the record")
    stages.wrap(attempt, "replay", "worker: replay")
    stages.wrap(replay, "build_environ", "worker: build the environ")
    stages.wrap(attempt.outcome, "judge", "worker: judge")
    stages.wrap(attempt, "_finished", "worker: make the settlement")
    stages.wrap(notices, "tell", "notices and log")
    stages.wrap(wsgi.TaskQueueFilter, "replay", "the filter")
    stages.wrap(views, "leave_mark", "the mark")


def drain(count: str) -> None:
    """A full queue is emptied by a consumer in this process."""
    tasks, marks = int(count), Marks(Path(told["marks"]))
    site = ours.make_site()
    _feed(site, tasks)
    stages = Stages()
    _wrap_way_out(stages, type(next(iter(site.filter.installation.queues.values())).backend))
    stages.wrap(ours, "webob_application", "the view")
    site._tasks = ours.webob_application
    gc.collect()
    begun = time.process_time()
    site.filter.installation.start(site.filter.replay)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while len(marks) < tasks:
        if time.monotonic() > deadline:
            raise TimeoutError(f"only {len(marks)} of {tasks} tasks were run")
        time.sleep(LOOK_SECONDS)
    site.filter.installation.stop()
    used = time.process_time() - begun
    entered = sorted(marks.check(tasks).values())
    wall = (entered[-1] - entered[0]) / 1e9
    print(json.dumps({**stages.as_json(tasks), "cpu": used / tasks * 1e6, "wall": wall / tasks * 1e6}))


def _feed(site: ours.Site, tasks: int) -> None:
    for first in range(0, tasks, ours.TASKS_IN_A_TRANSACTION):
        numbers = range(first, min(first + ours.TASKS_IN_A_TRANSACTION, tasks))
        site.add([f"{views.MARK_PATH}?{number}" for number in numbers])


def add(count: str, tasks_in_each: str) -> None:
    """A request adds one task or some, and its transaction commits."""
    site = ours.make_site()
    urls = [f"{views.MARK_PATH}?{number}" for number in range(int(tasks_in_each))]
    backend = type(next(iter(site.filter.installation.queues.values())).backend)
    stages = Stages()
    stages.wrap(ours.Site, "request", "the request around it, and the filter")
    stages.wrap(ours.taskqueue, "add", "add: the rest of it")
    stages.wrap(producer, "capture", "add: capture the request")
    stages.wrap(producer.record, "encode", "add: encode the record")
    stages.wrap(producer, "join", "add: join the transaction")
    stages.wrap(datamanager.TaskDataManager, "_before_commit", "commit: hook")
    stages.wrap(datamanager.TaskDataManager, "tpc_vote", "commit: vote")
    stages.wrap(datamanager.TaskDataManager, "tpc_finish", "commit: finish")
    stages.wrap(keeper.Keeper, "hold_lease", "commit: see to the lease")
    stages.wrap(backend, "stage", "store: stage, around the round trip")
    stages.wrap(backend, "publish", "store: publish, around the round trip")
    stages.wrap(redis_link.Link, "run", "store: round trip")
    stages.wrap(redis_records, "new_records", "store: write the records")
    stages.wrap(notices, "tell", "notices and log")
    for _ in range(WARM_TRANSACTIONS):
        site.add(urls)
    stages.forget()
    transactions = int(count)
    begun, used = time.perf_counter(), time.thread_time()
    for _ in range(transactions):
        site.add(urls)
    wall, cpu = time.perf_counter() - begun, time.thread_time() - used
    site.filter.installation.close()
    found = stages.as_json(transactions)
    print(json.dumps({**found, "cpu": cpu / transactions * 1e6, "wall": wall / transactions * 1e6}))
