"""The rounds: in each, everybody has a turn at every measure, so that a slow minute of the machine harms all alike."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from . import contestants as who
from .contestants import Contestant
from .environments import MissingError
from .marks import BenchmarkError
from .measures import Bench
from .results import Results
from .servers import LOCAL, STORES

ADDING = (who.WEBOB_REDIS, who.WEBOB_SQLITE, who.WEBOB_POSTGRESQL)
TEN = 10


@dataclass(frozen=True)
class Effort:
    """How much is measured."""

    rounds: int = 3
    scale: float = 1.0  # of the tasks in a drain
    samples: int = 120  # of the latency
    gap_seconds: float = 0.03
    adds: int = 400
    local_tasks: int = 20_000
    idle_seconds: float = 20.0
    kills: bool = True
    lease_seconds: float = 60.0


QUICK = Effort(rounds=1, scale=0.25, samples=60, gap_seconds=0.02, adds=200, local_tasks=8_000, idle_seconds=5.0)


@dataclass
class Run:
    """One run: who takes part, what was found, and who could not be believed."""

    bench: Bench
    effort: Effort
    names: tuple[str, ...] = ()  # of programs that take part; all of them without any
    stores: tuple[str, ...] = STORES
    results: Results = field(default_factory=Results)
    left_out: dict[str, str] = field(default_factory=dict)  # and why
    doubtful: list[str] = field(default_factory=list)

    def measure_all(self) -> None:
        """All rounds, and what is measured once."""
        for number in range(1, self.effort.rounds + 1):
            print(f"round {number} of {self.effort.rounds}", file=sys.stderr, flush=True)
            self._drains()
            self._latencies()
            self._threads()
            self._adds()
        self._once()

    def _taking_part(self, contestants: tuple[Contestant, ...]) -> Iterator[Contestant]:
        for contestant in contestants:
            if contestant.store not in self.stores or contestant.store in self.bench.servers.missing:
                continue
            if self.names and contestant.name not in self.names:
                continue
            try:
                contestant.python()
            except MissingError as error:
                self._leave_out(contestant.name, f"its environment cannot be made: {error}")
            if contestant.name not in self.left_out:
                yield contestant

    def _leave_out(self, name: str, why: str) -> None:
        if name not in self.left_out:
            self.left_out[name] = why
            print(f"{name} is left out: {why}", file=sys.stderr, flush=True)

    @contextmanager
    def _trusted(self, contestant: Contestant) -> Iterator[None]:
        """What cannot be believed of us ends the run; what cannot be believed of a peer leaves this setting out."""
        try:
            yield
        except BenchmarkError as error:
            if contestant.is_ours:
                raise
            self.doubtful.append(f"{contestant.key}: {error}")
            print(f"not believed: {self.doubtful[-1]}", file=sys.stderr, flush=True)

    def _each(self, contestants: tuple[Contestant, ...], measure: Callable[[Contestant], None]) -> None:
        for contestant in self._taking_part(contestants):
            print(f"  {contestant.key}", file=sys.stderr, flush=True)
            with self._trusted(contestant):
                measure(contestant)

    # ---- in each round ----

    def _drains(self) -> None:
        def measure(contestant: Contestant) -> None:
            drained = self.bench.drain(contestant, max(20, int(contestant.tasks * self.effort.scale)))
            self.results.put("rate", contestant.key, drained.rate)
            self.results.put("cpu", contestant.key, drained.cpu_per_1000)
            self.results.put("memory", contestant.key, drained.memory_bytes)
            self.results.put("asked", contestant.key, drained.asked_per_task)
            self.results.put("store cpu", contestant.key, drained.store_cpu_per_1000)

        self._each(who.DRAINED, measure)

    def _latencies(self) -> None:
        def measure(contestant: Contestant) -> None:
            for name, seconds in self.bench.surprise(contestant, self.effort.samples, self.effort.gap_seconds).items():
                self.results.put(f"latency {name}", contestant.key, seconds)

        self._each(who.SURPRISED, measure)

    def _threads(self) -> None:
        def measure(contestant: Contestant) -> None:
            tasks = max(5 * who.THREADS, int(contestant.tasks * self.effort.scale))
            self.results.put("threads", contestant.key, self.bench.wait_in_threads(contestant, tasks, who.THREADS))

        self._each(who.WAITING, measure)

    def _adds(self) -> None:
        if LOCAL in self.stores:
            local = self.bench.local(who.WEBOB_LOCAL, self.effort.local_tasks)
            self.results.put("local", "task", local["task"])
            self.results.put("local", "call", local["call"])

        def measure(contestant: Contestant) -> None:
            for label, tasks, witness in (("one", 1, False), ("ten", TEN, False), ("witness", 1, True)):
                for name, seconds in self.bench.adds(contestant, self.effort.adds, tasks, witness).items():
                    self.results.put(f"add {label} {name}", contestant.key, seconds)
            for name, number in self.bench.store_cost(contestant, self.effort.adds * 5).items():
                self.results.put(f"store {name}", contestant.key, number)

        self._each(ADDING, measure)

    # ---- once ----

    def _once(self) -> None:
        idle = tuple(self._taking_part(who.IDLE))
        for key, share in self.bench.idle(idle, self.effort.idle_seconds).items():
            self.results.put("idle", key, share)
        if self.effort.kills:
            killed = tuple(self._taking_part(who.KILLED))
            for key, seconds in self.bench.kill(killed, 2 * self.effort.lease_seconds).items():
                self.results.put("kill", key, seconds)
