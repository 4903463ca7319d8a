"""``python -m benchmarks.growth``: what changes with size and with time. A million waiting tasks, scheduled ones, many
queues in one process, and a soak in which some tasks fail."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import drawing, report, soaking
from .command import MEASURED
from .contestants import Contestant, ours
from .environments import MissingError
from .figures import percentile, short
from .marks import BenchmarkError, Marks
from .measures import START_SECONDS, Bench, Watched
from .processes import Workers, run_verb
from .servers import POSTGRESQL, REDIS, SQLITE, running

MEBIBYTE = 1024 * 1024
FEW, CLAIMS = 1_000, 1_000
FEEDERS = 2
ENOUGH = 300  # tasks that a consumer has run before its memory is looked at
SCHEDULED_RATE, SCHEDULED_LEAD = 1000, 8.0
QUEUES = 50
DURABLE = (REDIS, SQLITE, POSTGRESQL)
Row = tuple[str, str, str, str]


@dataclass
class Growth:
    """One run, and its table."""

    bench: Bench
    many: int
    scheduled_seconds: float
    soak_seconds: float
    soak_rate: float
    rows: list[Row] = field(default_factory=lambda: [("store", "", "must", "reached")])
    missed: int = 0

    def _add(self, store: str, what: str, limit: float | None, reached: float, unit: str) -> None:
        must = "" if limit is None else f"≤ {limit:g}{unit}"
        self.missed += limit is not None and reached > limit
        self.rows.append((store, what, must, f"{short(reached)}{unit}"))
        print(f"  {store}: {what}: {short(reached)}{unit} {must}", file=sys.stderr, flush=True)

    def _told(self, contestant: Contestant) -> tuple[dict[str, Any], Marks]:
        store = self.bench.servers.fresh(contestant.store)
        marks = Marks(self.bench.servers.folder / "marks")
        return {**contestant.told(store), "marks": str(marks.path)}, marks

    # ---- size ----

    def waiting(self, store: str) -> None:
        """Claims, and the memory of a consumer, with few and with many waiting tasks."""
        contestant = ours(store, "", 0)
        told, marks = self._told(contestant)
        found = {}
        have = 0
        for count in (FEW, self.many):
            self._fill(contestant, told, count - have)
            have = count
            size = self._stored_bytes(store)
            claims = json.loads(run_verb(contestant.python(), "growing", told, "claims", str(CLAIMS)))
            found[count] = (claims["p50"], claims["p99"], self._memory(contestant, told, marks))
        few, many = found[FEW], found[self.many]
        words = f"with {self.many:,} waiting tasks against {FEW:,}"
        self._add(store, f"claim of ten, p99, {words}", 3.0, many[1] / few[1], "×")
        self._add(store, f"claim of ten, p99, with {self.many:,}", None, many[1] * 1000, " ms")
        self._add(store, f"claim of ten, p50, with {self.many:,}", None, many[0] * 1000, " ms")
        self._add(store, f"memory of a consumer, more {words}", 2.0, (many[2] - few[2]) / MEBIBYTE, " MiB")
        self._add(store, f"the store, with {self.many:,}", None, size / MEBIBYTE, " MiB")

    def _stored_bytes(self, store: str) -> float:
        files = (each.stat().st_size for each in self.bench.servers.folder.glob("tasks-*") if each.is_file())
        return self.bench.servers.stored_bytes(store) or float(sum(files))

    def _fill(self, contestant: Contestant, told: dict[str, Any], count: int) -> None:
        share = count // FEEDERS
        with ThreadPoolExecutor(FEEDERS) as threads:
            feeding = [
                threads.submit(self._fill_part, contestant, told, part * share, share) for part in range(FEEDERS)
            ]
            for each in feeding:
                each.result()

    def _fill_part(self, contestant: Contestant, told: dict[str, Any], first: int, count: int) -> None:
        portion = 100_000  # so that no verb takes longer than it may
        for start in range(first, first + count, portion):
            number = min(portion, first + count - start)
            run_verb(contestant.python(), "growing", told, "fill", str(start), str(number))

    def _memory(self, contestant: Contestant, told: dict[str, Any], marks: Marks) -> float:
        """What a consumer holds after it has run some."""
        with Workers(contestant.python(), contestant.script, told) as workers:
            enough = len(marks) + ENOUGH
            workers.await_that(lambda: len(marks) >= enough, START_SECONDS, f"{contestant.store}: marks")
            memory = workers.memory_bytes()
            workers.stop()
        return memory

    # ---- schedule, queues ----

    def scheduled(self, store: str) -> None:
        """How late tasks start that come due all the time."""
        contestant = ours(store, "", 0)
        told, marks = self._told(contestant)
        count = int(SCHEDULED_RATE * self.scheduled_seconds)
        lead = SCHEDULED_LEAD + count / 2000
        arguments = (str(count), str(SCHEDULED_RATE), str(lead))
        first_due = json.loads(run_verb(contestant.python(), "growing", told, "schedule", *arguments))
        with Workers(contestant.python(), contestant.script, told) as workers:
            patience = lead + self.scheduled_seconds + START_SECONDS
            workers.await_that(lambda: len(marks) >= count, patience, f"{store}: {count} marks of scheduled tasks")
            entered = marks.check(count)
        late = [entered[number] / 1e9 - first_due - number / SCHEDULED_RATE for number in range(count)]
        if min(late) < -0.001:
            raise BenchmarkError(f"{store}: a task was run {-min(late):.3f} s before it was due")
        what = f"{SCHEDULED_RATE:,} scheduled tasks a second: late by, p99"
        self._add(store, what, 1.0, percentile(late, 99), " s")

    def queues(self, store: str) -> None:
        """Many queues in one process: what it holds, what it costs while idle, and that all are served."""
        contestant = ours(store, "", 0, queues=QUEUES)
        told, marks = self._told(contestant)
        with Workers(contestant.python(), contestant.script, told) as workers:
            count = QUEUES * 10
            run_verb(contestant.python(), "growing", told, "spread", str(count))
            workers.await_that(lambda: len(marks) >= count, START_SECONDS, f"{store}: {count} marks of {QUEUES} queues")
            marks.check(count)
            time.sleep(3.0)
            begun, at = workers.fine_cpu_seconds(), time.monotonic()
            time.sleep(5.0)
            idle = (workers.fine_cpu_seconds() - begun) / (time.monotonic() - at)
            self._add(store, f"{QUEUES} queues in one process: idle CPU", None, idle * 100, " %")
            connections = self.bench.servers.connections(store)
            if connections:
                self._add(store, f"{QUEUES} queues in one process: connections", None, connections, "")
            self._add(store, f"{QUEUES} queues in one process: memory", None, workers.memory_bytes() / MEBIBYTE, " MiB")
            workers.stop()

    # ---- time ----

    def soak(self, store: str) -> soaking.Course:
        """Minutes of steady work, failures and retries among it; what became of memory and latency."""
        contestant = ours(store, "", 0, server={"min_backoff": 1})
        told, marks = self._told(contestant)
        count = int(self.soak_seconds * self.soak_rate)
        course = soaking.Course()
        with Workers(contestant.python(), contestant.script, told) as workers:
            verb = (str(self.soak_seconds), str(self.soak_rate))
            with ThreadPoolExecutor(1) as thread:
                feeding = thread.submit(
                    run_verb, contestant.python(), "growing", told, "soak", *verb, seconds=2 * self.soak_seconds + 60
                )
                while not feeding.done():
                    course.look(workers)
                    time.sleep(1.0)
                feeding.result()
            workers.await_that(lambda: len(marks) >= count, START_SECONDS, f"{store}: {count} marks of the soak")
            workers.stop()
        entered = marks.check(count)
        watched = Watched(told)
        if not watched.are_all_done():
            raise BenchmarkError(f"{store}: after the soak the store says {watched.states()}")
        watched.close()
        course.take(entered, soaking.read_added(Path(f"{marks.path}.added")))
        self.bench.counted += count
        what = f"soak, {self.soak_rate:g}/s for {self.soak_seconds:g} s"
        self._add(store, f"{what}: memory, last third against the middle", 1.05, course.memory_growth(), "×")
        self._add(store, f"{what}: latency p50, last third against the middle", 1.5, course.latency_growth(), "×")
        self._add(store, f"{what}: latency p50", None, course.latency(50) * 1000, " ms")
        self._add(store, f"{what}: latency p99", None, course.latency(99) * 1000, " ms")
        return course


def main(arguments: Sequence[str]) -> int:
    """Measure; returns the exit status."""
    options = _parser().parse_args(arguments)
    stores = tuple(options.store or DURABLE)
    soak_seconds = options.soak or (60.0 if options.quick else 600.0)
    machine = report.machine()
    with (
        tempfile.TemporaryDirectory(prefix="growth-", dir=options.folder) as folder,
        running(Path(folder), stores) as servers,
    ):
        about = report.describe(machine, servers)
        print(about)
        growth = Growth(
            Bench(servers),
            many=options.many or (50_000 if options.quick else 1_000_000),
            scheduled_seconds=5.0 if options.quick else 30.0,
            soak_seconds=soak_seconds,
            soak_rate=options.rate,
        )
        courses = {}
        parts: dict[str, Callable[[str], Any]] = {
            "waiting": growth.waiting,
            "scheduled": growth.scheduled,
            "queues": growth.queues,
        }
        for name, part in parts.items():
            for store in stores:
                if store not in servers.missing and name in (options.part or parts):
                    part(store)
        if "soak" in (options.part or ("soak",)):
            courses = {store: growth.soak(store) for store in stores[:1] if store not in servers.missing}
    print(f"\n{report.as_text(growth.rows)}")
    if options.publish:
        report.publish(MEASURED, about, {"growth": growth.rows}, name="growth_about")
        try:
            for course in courses.values():
                drawing.draw(MEASURED / "soak", f"{options.rate:g} tasks added in each second", course.panels())
        except MissingError as error:
            print(f"no picture: {error}", file=sys.stderr)
    return 1 if growth.missed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="benchmarks.growth", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fifty thousand tasks in place of a million, one minute")
    parser.add_argument("--store", action="append", choices=DURABLE, help="only this one; may be repeated")
    parser.add_argument("--part", action="append", choices=("waiting", "scheduled", "queues", "soak"), help="only this")
    parser.add_argument("--many", type=int, help="how many tasks are waiting")
    parser.add_argument("--soak", type=float, help="seconds of the soak, on the first store")
    parser.add_argument("--rate", type=float, default=500.0, help="tasks that it adds in a second (%(default)g)")
    parser.add_argument("--folder", type=Path, help="where SQLite's files lie; choose the disk that you mean")
    parser.add_argument("--publish", action="store_true", help="write table and picture into the documents")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
