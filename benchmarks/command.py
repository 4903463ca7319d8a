"""The command: reads its arguments, goes through the rounds, prints and publishes what was found."""

from __future__ import annotations

import argparse
import json
import logging
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from . import capacity, drawing, report
from .contestants import DRAINED
from .environments import MissingError
from .marks import BenchmarkError
from .measures import Bench
from .processes import ROOT
from .results import Results
from .rounds import QUICK, Effort, Run
from .servers import STORES, running

MEASURED = ROOT / "docs" / "reference" / "measured"


def main(arguments: Sequence[str]) -> int:
    """Measure; returns the exit status: 1 when a figure cannot be believed."""
    options = _parser().parse_args(arguments)
    logging.getLogger("taskqueue").addHandler(logging.NullHandler())
    machine = report.machine()
    with (
        tempfile.TemporaryDirectory(prefix="benchmarks-", dir=options.folder) as folder,
        running(Path(folder), tuple(options.store or STORES)) as servers,
    ):
        about = report.describe(machine, servers)
        print(about)
        for store, why in servers.missing.items():
            print(f"{store}: not measured: {why}")
        run = Run(Bench(servers), _effort(options), tuple(options.peer or ()), tuple(options.store or STORES))
        try:
            run.measure_all()
        except BenchmarkError as error:
            print(f"No figures: {error}", file=sys.stderr)
            return 1
    _tell(run, about, options, machine)
    return 1 if run.doubtful else 0


def _tell(run: Run, about: str, options: argparse.Namespace, machine: dict[str, Any]) -> None:
    found = {**report.tables(run.results), "capacity": capacity.table(run.results)}
    for table in found.values():
        if len(table) > 1:
            print(f"\n{report.as_text(table)}")
    for name, why in run.left_out.items():
        print(f"{name} was left out: {why}")
    for each in run.doubtful:
        print(f"not believed, and left out: {each}")
    print(f"\n{run.bench.counted:,} tasks left their marks; of none was one missing, and none left two.")
    if options.json is not None:
        written = {"machine": machine, "about": about, "numbers": run.results.as_json()}
        options.json.write_text(json.dumps(written, indent=1) + "\n", "utf-8")
    if options.publish and not run.doubtful:
        report.publish(MEASURED, about, found)
        _draw(run.results, about.partition(",")[0])


def _draw(results: Results, date: str) -> None:
    try:
        drawing.draw(MEASURED / "drains", f"A full queue is emptied ({date})", drawing.drains(results))
    except MissingError as error:
        print(f"no picture: {error}", file=sys.stderr)


def _effort(options: argparse.Namespace) -> Effort:
    effort = QUICK if options.quick else Effort()
    given = {name: getattr(options, name) for name in ("rounds", "scale", "samples") if getattr(options, name)}
    return replace(effort, **given, kills=not options.no_kill)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="benchmarks", description="taskqueue beside its peers, on the same work.")
    parser.add_argument("--quick", action="store_true", help="one round, less of everything")
    parser.add_argument("--rounds", type=_count, help="how often all is measured")
    parser.add_argument("--scale", type=float, help="of the number of tasks in a drain; 1 is some seconds of work")
    parser.add_argument("--samples", type=_count, help="tasks for the latency in each round")
    parser.add_argument("--store", action="append", choices=STORES, help="only this one; may be repeated")
    names = sorted({each.name for each in DRAINED})
    parser.add_argument("--peer", action="append", choices=names, help="only this one takes part; may be repeated")
    parser.add_argument("--no-kill", action="store_true", help="leave out what waits for a lease, about a minute")
    parser.add_argument("--folder", type=Path, help="where SQLite's files lie; choose the disk that you mean")
    parser.add_argument("--json", type=Path, help="write every round to this file")
    parser.add_argument("--publish", action="store_true", help="write tables and picture into the documents")
    return parser


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("takes 1 or more")
    return number
