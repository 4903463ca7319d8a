"""``python -m benchmarks.profiling``: where the time of one task goes, for each backend, stage by stage."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import report
from .contestants import Contestant, ours
from .figures import short
from .marks import Marks
from .processes import run_verb
from .servers import STORES, Servers, running

FEWEST_MICROSECONDS = 0.05


def main(arguments: Sequence[str]) -> int:
    """Print a table for each backend, of adding and of running."""
    parser = argparse.ArgumentParser(prog="benchmarks.profiling", description=__doc__)
    parser.add_argument("--store", action="append", choices=STORES, help="only this one; may be repeated")
    parser.add_argument("--tasks", type=int, default=10_000, help="how many are run (%(default)s)")
    parser.add_argument("--adds", type=int, default=1_000, help="how many transactions add one (%(default)s)")
    options = parser.parse_args(arguments)
    stores = tuple(options.store or STORES)
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder, running(Path(folder), stores) as servers:
        print(report.describe(report.machine(), servers))
        for store in stores:
            if store in servers.missing:
                print(f"\n{store}: not measured: {servers.missing[store]}")
                continue
            contestant = ours(store, "", options.tasks)
            _print(f"{store}: a task is run", _staged(servers, contestant, "drain", str(options.tasks)))
            _print(f"{store}: a transaction adds a task", _staged(servers, contestant, "add", str(options.adds), "1"))
            _print(
                f"{store}: a transaction adds ten", _staged(servers, contestant, "add", str(options.adds // 4), "10")
            )
    return 0


def _staged(servers: Servers, contestant: Contestant, verb: str, *arguments: str) -> dict[str, Any]:
    told = contestant.told(servers.fresh(contestant.store))
    marks = Marks(servers.folder / "marks")
    said = run_verb(contestant.python(), "stages", {**told, "marks": str(marks.path)}, verb, *arguments)
    found: dict[str, Any] = json.loads(said)
    return found


def _print(title: str, found: dict[str, Any]) -> None:
    rows = [("stage", "calls", "CPU, µs", "time, µs")]
    for stage, (calls, cpu, wall) in sorted(found["stages"].items(), key=lambda item: -item[1][1]):
        if max(cpu, wall) >= FEWEST_MICROSECONDS:
            rows.append((stage, short(calls), short(cpu), short(wall)))
    timers = found["timers"]
    rest = found["cpu"] - timers - sum(cpu for _, cpu, _ in found["stages"].values())
    rows.append(("(elsewhere)", "", short(max(0.0, rest)), ""))
    total = f"CPU {short(found['cpu'] - timers)} µs, and {short(timers)} µs of the timers"
    print(f"\n{title}: {total}\n{report.as_text(rows)}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
