"""``python -m benchmarks.comparing REVISION``: this tree beside another one of its own, on the same work, in one run.

What is not committed counts as this tree. Compared with HEAD itself, a clean tree shows how far figures differ here
without any reason.
"""

from __future__ import annotations

import argparse
import io
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median

from . import report
from .contestants import (
    WEBOB_LOCAL,
    WEBOB_POSTGRESQL,
    WEBOB_REDIS,
    WEBOB_REDIS_2,
    WEBOB_SQLITE,
    WEBOB_SQLITE_RELAXED,
    Contestant,
)
from .figures import short
from .marks import BenchmarkError
from .measures import Bench
from .processes import ROOT
from .results import Results
from .servers import STORES, running

HERE, THERE = "this tree", "the other"
DRAINED = (WEBOB_REDIS, WEBOB_REDIS_2, WEBOB_SQLITE, WEBOB_SQLITE_RELAXED, WEBOB_POSTGRESQL)
ASKED = (WEBOB_REDIS, WEBOB_SQLITE, WEBOB_POSTGRESQL)  # one task at a time
GAP_SECONDS = 0.03
UNITS = {"drain": (1.0, "tasks/s"), "CPU": (1e6, "µs"), "add": (1e6, "µs"), "idle": (1e3, "ms"), "local": (1e6, "µs")}


def main(arguments: Sequence[str]) -> int:
    """Print a table of ratios; returns the exit status: 1 when a figure cannot be believed."""
    options = _parser().parse_args(arguments)
    stores = tuple(options.store or STORES)
    results = Results()
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as name, running(Path(name), stores) as servers:
        folder = Path(name)
        try:
            sources = {HERE: "", THERE: check_out(options.revision, folder / "other")}
        except BenchmarkError as error:
            print(error, file=sys.stderr)
            return 1
        print(report.describe(report.machine(), servers))
        bench = Bench(servers)
        measures = [
            (contestant, measure)
            for contestant, measure in _measures(bench, options)
            if contestant.store in stores and contestant.store not in servers.missing
        ]
        try:
            for number in range(1, options.rounds + 1):
                print(f"round {number} of {options.rounds}", file=sys.stderr, flush=True)
                for contestant, measure in measures:
                    # Whoever comes second finds another machine than who comes first.
                    for side in (HERE, THERE) if number % 2 else (THERE, HERE):
                        for what, figure in measure(replace(contestant, source=sources[side])).items():
                            results.put(f"{what}, {contestant.store}, {contestant.about}", side, figure)
        except BenchmarkError as error:
            print(f"No figures: {error}", file=sys.stderr)
            return 1
    print(f"\n{report.as_text(table(results))}")
    print(f"\n{bench.counted:,} tasks left their marks; of none was one missing, and none left two.")
    return 0


def check_out(revision: str, folder: Path, root: Path = ROOT) -> str:
    """The sources of a revision below this folder; where they can be imported. Raises BenchmarkError."""
    done = subprocess.run(["git", "archive", revision, "src"], cwd=root, capture_output=True, check=False)
    if done.returncode:
        raise BenchmarkError(done.stderr.decode("utf-8", "replace").strip())
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return str(folder / "src")


Measure = Callable[[Contestant], Mapping[str, float]]


def _measures(bench: Bench, options: argparse.Namespace) -> list[tuple[Contestant, Measure]]:
    def drain(contestant: Contestant) -> dict[str, float]:
        drained = bench.drain(contestant, max(20, int(contestant.tasks * options.scale)))
        return {"drain": drained.rate, "CPU": drained.cpu_per_1000 / 1000}

    def add(contestant: Contestant) -> dict[str, float]:
        alone = bench.adds(contestant, options.samples * 3, 1, witness=False)
        witnessed = bench.adds(contestant, options.samples * 3, 1, witness=True)
        return {
            "add alone": alone["with"] - alone["without"],
            "add witnessed": witnessed["with"] - witnessed["without"],
        }

    def idle(contestant: Contestant) -> dict[str, float]:
        return {"idle": bench.surprise(contestant, options.samples, GAP_SECONDS)["p50"]}

    def local(contestant: Contestant) -> dict[str, float]:
        return {"local": bench.local(contestant, max(20, int(contestant.tasks * options.scale)))["task"]}

    known: dict[str, tuple[tuple[Contestant, ...], Measure]] = {
        "drain": (DRAINED, drain),
        "add": (ASKED, add),
        "idle": (ASKED, idle),
        "local": ((WEBOB_LOCAL,), local),
    }
    chosen = options.measure or known
    return [(contestant, known[name][1]) for name in chosen for contestant in known[name][0]]


def table(results: Results) -> report.Table:
    """What was found on both sides, and how they are to each other, made within each round."""
    rows = [("", HERE, THERE, f"{HERE} by {THERE}", "unit")]
    for what in results.numbers:
        factor, unit = UNITS[what.partition(",")[0].partition(" ")[0]]
        sides = [short(median(results.get(what, side)) * factor) for side in (HERE, THERE)]
        ratio = results.ratio(what, HERE, THERE)
        rows.append((what, *sides, "too little to tell" if ratio is None else str(ratio), unit))
    return rows


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="benchmarks.comparing", description="This tree beside another of its own.")
    parser.add_argument("revision", nargs="?", default="HEAD", help="what it is compared with (%(default)s)")
    parser.add_argument("--store", action="append", choices=STORES, help="only this one; may be repeated")
    parser.add_argument("--measure", action="append", choices=("drain", "add", "idle", "local"), help="only this one")
    parser.add_argument("--rounds", type=int, default=5, help="how often all is measured (%(default)s)")
    parser.add_argument("--scale", type=float, default=1.0, help="of the number of tasks in a drain (%(default)s)")
    parser.add_argument("--samples", type=int, default=100, help="of single tasks in a round (%(default)s)")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
