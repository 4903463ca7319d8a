"""The command: reads its arguments, goes through the rounds, prints. In each round every backend and every measure has
its turn, and each figure is compared with floors that were timed right before it: a machine is not the same all day."""

from __future__ import annotations

import argparse
import json
import logging
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

from . import report
from .figures import Figure, summarise
from .marks import BenchmarkError
from .measures import MEASURES, Counts
from .stores import STORES, why_not


def main(arguments: Sequence[str]) -> int:
    """Measure; returns the exit status: 1 when a figure cannot be believed."""
    options = _parser().parse_args(arguments)
    # Warnings about stores that lose tasks are for those who keep some. What spoils a figure is an error all the same.
    logging.getLogger("taskqueue").addHandler(logging.NullHandler())
    about = {"machine": report.machine(), "counts": asdict(_counts(options))}
    print(report.describe(about["machine"]))
    try:
        figures, marks, about["stores"] = _measure(options)
    except BenchmarkError as error:
        print(f"No figures: {error}", file=sys.stderr)
        return 1
    rows = summarise(figures)
    print(f"\n{report.table(rows)}\n")
    print(f"{marks:,} marks were counted; none was missing, and none was there twice.")
    if options.json is not None:
        options.json.write_text(json.dumps(report.as_json(about, figures, rows), indent=1) + "\n", "utf-8")
    return 0


def _measure(options: argparse.Namespace) -> tuple[list[Figure], int, dict[str, str]]:
    figures: list[Figure] = []
    marks = 0
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="benchmarks-", dir=options.folder)))
        stores = [stack.enter_context(STORES[name](folder)) for name in _measurable(options.backend or list(STORES))]
        for store in stores:
            print(f"{store.name}: {store.about}")
        for number in range(1, options.rounds + 1):
            print(f"round {number} of {options.rounds}", file=sys.stderr)
            for measure in MEASURES.values():
                for store in stores:
                    found = list(measure(store, _counts(options)))
                    figures += found
                    marks += max(figure.marks for figure in found)  # they are of the same tasks
        return figures, marks, {store.name: store.about for store in stores}


def _measurable(names: Sequence[str]) -> list[str]:
    found = []
    for name in dict.fromkeys(names):
        reason = why_not(name)
        if reason:
            print(f"{name}: not measured: {reason}")
        else:
            found.append(name)
    if not found:
        raise BenchmarkError("there is nothing to measure")
    return found


def _counts(options: argparse.Namespace) -> Counts:
    return Counts(adds=options.adds, tasks=options.tasks, samples=options.samples)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="benchmarks", description="What a task costs, beside what it must cost.")
    parser.add_argument("--rounds", type=_count, default=5, help="how often all is measured (%(default)s)")
    parser.add_argument("--backend", action="append", choices=list(STORES), help="only this one; may be repeated")
    parser.add_argument("--adds", type=_count, default=500, help="tasks to add in each round (%(default)s)")
    parser.add_argument("--tasks", type=_count, default=3000, help="tasks to drain in each round (%(default)s)")
    parser.add_argument("--samples", type=_count, default=200, help="tasks for the latency in each round (%(default)s)")
    parser.add_argument("--folder", type=Path, help="where SQLite's files lie; choose the disk that you mean")
    parser.add_argument("--json", type=Path, help="write every round to this file")
    return parser


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("takes 1 or more")
    return number
