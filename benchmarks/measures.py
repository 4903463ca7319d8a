"""What is measured, one contestant at a time: worker processes are started on a store that was emptied, and watched.

Time is counted between the first and the last mark, so that nobody's start is in it. What a store or a process was
asked to do is read while it works, and divided by the tasks that were done in between.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from taskqueue.configure import Installation, read_keywords

from .contestants import Contestant
from .figures import percentile
from .marks import BenchmarkError, Marks
from .peers.given import now
from .processes import Workers, run_verb
from .servers import POSTGRESQL, REDIS, Servers

COUNTED = (REDIS, POSTGRESQL)  # servers that count what they are asked
START_SECONDS = 60.0
DRAIN_SECONDS = 180.0
WAIT_SECONDS = 0.01
WARM_TASKS = 3  # a worker has started when it has run some; and the first that somebody adds opens connections
KILLED_WAIT_SECONDS = 0.05
LEISURE_SECONDS = 0.2  # between looks into a store
SETTLE_SECONDS = 2.0  # after the start, before it is looked how idle somebody is


@dataclass(frozen=True)
class Drained:
    """What became of a full queue."""

    tasks: int
    rate: float  # tasks in a second
    cpu_per_1000: float  # seconds of CPU, all worker processes together
    memory_bytes: int
    asked_per_task: float | None  # round trips or statements
    store_cpu_per_1000: float


class Bench:
    """The servers of a run, and what is measured on them."""

    def __init__(self, servers: Servers) -> None:
        self.servers = servers
        self.counted = 0  # marks, of all measurements

    @contextmanager
    def _fed(
        self, contestant: Contestant, tasks: int, wait_seconds: float = 0.0
    ) -> Iterator[tuple[dict[str, Any], Marks]]:
        """An empty store with so many tasks in it: what the scripts are told, and the marks."""
        store = self.servers.fresh(contestant.store)
        marks = Marks(self.servers.folder / "marks")
        told = {**contestant.told(store), "marks": str(marks.path), "wait_seconds": wait_seconds}
        run_verb(contestant.python(), contestant.script, told, "prepare")
        if tasks:
            run_verb(contestant.python(), contestant.script, told, "feed", str(tasks))
        yield told, marks

    def _workers(self, contestant: Contestant, told: dict[str, Any]) -> Workers:
        return Workers(contestant.python(), contestant.script, told, contestant.copies)

    def _finish(
        self, contestant: Contestant, told: dict[str, Any], workers: Workers, marks: Marks, tasks: int
    ) -> dict[int, int]:
        """Count the marks; of ours, when they have stopped, and the store says that nothing is left."""
        if contestant.is_ours:
            workers.stop()
            watched = Watched(told)
            if not watched.are_all_done():
                raise BenchmarkError(f"{contestant.key}: after the last mark the store says {watched.states()}")
            watched.close()
        entered = marks.check(tasks)
        self.counted += tasks
        return entered

    def drain(self, contestant: Contestant, tasks: int, wait_seconds: float = 0.0) -> Drained:
        """A full queue is emptied."""
        with (
            self._fed(contestant, tasks, wait_seconds) as (told, marks),
            self._workers(contestant, told) as workers,
        ):
            workers.await_that(lambda: len(marks) > 0, START_SECONDS, f"{contestant.key}: the first mark")
            before = self._account(contestant, workers, marks)
            workers.await_that(lambda: len(marks) >= tasks, DRAIN_SECONDS, f"{contestant.key}: {tasks} marks")
            after = self._account(contestant, workers, marks)
            memory = workers.memory_bytes()
            times = sorted(self._finish(contestant, told, workers, marks, tasks).values())
        done, cpu, store_cpu, asked = (late - early for late, early in zip(after, before, strict=True))
        return Drained(
            tasks=tasks,
            rate=(tasks - 1) / max(1e-9, (times[-1] - times[0]) / 1e9),
            cpu_per_1000=cpu / max(1, done) * 1000,
            memory_bytes=memory,
            asked_per_task=asked / max(1, done) if contestant.store in COUNTED else None,
            store_cpu_per_1000=store_cpu / max(1, done) * 1000,
        )

    def _account(self, contestant: Contestant, workers: Workers, marks: Marks) -> tuple[float, float, float, float]:
        """How far it is, and what that has cost: tasks done, CPU of the workers and of the store, what it was asked."""
        store = contestant.store
        return len(marks), workers.cpu_seconds(), self.servers.cpu_seconds(store), self.servers.asked(store)

    def store_cost(self, contestant: Contestant, tasks: int) -> dict[str, float]:
        """What adding costs the server: seconds of CPU for 1000 tasks, each in a transaction of its own, and bytes."""
        with self._fed(contestant, 0) as (told, _):
            begun = (self.servers.cpu_seconds(contestant.store), self.servers.stored_bytes(contestant.store))
            run_verb(contestant.python(), contestant.script, told, "trickle", "0", str(tasks), "0")
            cpu = self.servers.cpu_seconds(contestant.store) - begun[0]
            size = self.servers.stored_bytes(contestant.store) - begun[1]
        return {"cpu added": cpu / tasks * 1000, "bytes": size / tasks}

    def surprise(self, contestant: Contestant, samples: int, gap_seconds: float) -> dict[str, float]:
        """An idle consumer gets one task at a time: seconds from the return of what adds it to its start."""
        with self._fed(contestant, WARM_TASKS) as (told, marks), self._workers(contestant, told) as workers:
            workers.await_that(lambda: len(marks) >= WARM_TASKS, START_SECONDS, f"{contestant.key}: the first marks")
            arguments = (str(WARM_TASKS), str(samples + WARM_TASKS), str(gap_seconds))
            times = json.loads(run_verb(contestant.python(), contestant.script, told, "trickle", *arguments))
            total = WARM_TASKS + len(times)
            workers.await_that(lambda: len(marks) >= total, START_SECONDS, f"{contestant.key}: {total} marks")
            entered = self._finish(contestant, told, workers, marks, total)
        added = list(enumerate(times, WARM_TASKS))[-samples:]
        late = [(entered[number] - ended) / 1e9 for number, (_, ended) in added]
        whole = [(entered[number] - begun) / 1e9 for number, (begun, _) in added]
        return {"p50": percentile(late, 50), "p99": percentile(late, 99), "whole": percentile(whole, 50)}

    def wait_in_threads(self, contestant: Contestant, tasks: int, threads: int) -> float:
        """Tasks that wait: the time from the first start to the last, against that of threads that never pause."""
        drained = self.drain(contestant, tasks, WAIT_SECONDS)
        return (tasks - 1) / drained.rate / ((tasks - threads) / threads * WAIT_SECONDS)

    def local(self, contestant: Contestant, tasks: int) -> dict[str, float]:
        """Seconds for a task of a local queue, from its first mark to its last, and for the bare WSGI call."""
        return self._by_itself(contestant, "local", str(tasks))

    def adds(self, contestant: Contestant, transactions: int, tasks_in_each: int, witness: bool) -> dict[str, float]:
        """Seconds of a transaction with and without tasks, of a bare round trip, and of one of the store's client."""
        arguments = (str(transactions), str(tasks_in_each), "witness" if witness else "alone")
        return self._by_itself(contestant, "time_adds", *arguments)

    def _by_itself(self, contestant: Contestant, verb: str, *arguments: str) -> dict[str, float]:
        """A verb of our own script that measures, in a process of its own on an empty store."""
        with self._fed(contestant, 0) as (told, marks):
            found: dict[str, float] = json.loads(run_verb(contestant.python(), "inside", told, verb, *arguments))
            self.counted += len(marks)
        return found

    # ---- once in a run ----

    def idle(self, contestants: Sequence[Contestant], seconds: float) -> dict[str, float]:
        """How much of a core each takes while it has nothing to do; all at the same time."""
        for store in {contestant.store for contestant in contestants}:
            self.servers.fresh(store)
        with ExitStack() as stack:
            watched = []
            for contestant in contestants:
                told = {**contestant.told(self.servers.beside(contestant.store)), "marks": ""}
                run_verb(contestant.python(), contestant.script, told, "prepare")
                watched.append((contestant.key, stack.enter_context(self._workers(contestant, told))))
            time.sleep(SETTLE_SECONDS + len(watched))
            before = [(workers.fine_cpu_seconds(), time.monotonic()) for _, workers in watched]
            time.sleep(seconds)
            found = {
                key: (workers.fine_cpu_seconds() - cpu) / (time.monotonic() - at)
                for (key, workers), (cpu, at) in zip(watched, before, strict=True)
            }
            for key, workers in watched:
                workers.await_that(lambda: True, 0.0, key)  # they are all alive
        return found

    def kill(self, contestants: Sequence[Contestant], patience_seconds: float) -> dict[str, float]:
        """SIGKILL in the middle, and another worker after it, nothing new being added: seconds until what ran then has
        run again, and the queue is done. All at the same time, since they wait for their leases."""
        with ExitStack() as stack:
            sites = []
            for contestant in contestants:
                marks = Marks(self.servers.folder / f"marks-{contestant.store}")
                told = {**contestant.told(self.servers.fresh(contestant.store)), "marks": str(marks.path)}
                told["wait_seconds"] = KILLED_WAIT_SECONDS
                run_verb(contestant.python(), contestant.script, told, "feed", str(contestant.tasks))
                sites.append((contestant, told, marks))
            killed_at = [self._kill(*site) for site in sites]
            replaced = [stack.enter_context(self._workers(contestant, told)) for contestant, told, _ in sites]
            found = {}
            for (contestant, told, marks), workers, at in zip(sites, replaced, killed_at, strict=True):
                states = Watched(told)
                what = f"{contestant.key}: all done after a kill"
                workers.await_that(states.are_all_done, patience_seconds, what, LEISURE_SECONDS)
                states.close()
                marks.check(contestant.tasks, at_least_once=True)
                before = marks.before(at)
                again = [entered for number, entered in marks.read() if entered > at and number in before]
                if not again:
                    raise BenchmarkError(f"{contestant.key}: nothing ran when it was killed, so nothing is shown")
                found[contestant.key] = (max(again) - at) / 1e9
                self.counted += contestant.tasks
        return found

    def _kill(self, contestant: Contestant, told: dict[str, Any], marks: Marks) -> int:
        with self._workers(contestant, told) as workers:
            workers.await_that(lambda: len(marks) >= contestant.tasks // 4, START_SECONDS, f"{contestant.key}: marks")
            at = now()
            workers.kill()
        return at


class Watched:
    """The queues of our own workers, looked at from outside."""

    def __init__(self, told: dict[str, Any]) -> None:
        configuration = read_keywords({"queue00": told["setting"]["queue"]}, {})
        self._backend = Installation(configuration).queues["queue00"].backend

    def states(self) -> dict[str, int]:
        """How many tasks there are, by state; none of those in which there are none."""
        return {state: count for state, count in self._backend.counts().states.items() if count}

    def are_all_done(self) -> bool:
        """Whether nothing is left to run, and nothing is in doubt or dead."""
        return set(self.states()) <= {"done"}

    def close(self) -> None:
        """Close the store."""
        self._backend.close()
