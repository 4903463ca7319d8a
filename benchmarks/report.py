"""The report: tables for people, the same as CSV for the documents, and all numbers as JSON."""

from __future__ import annotations

import csv
import os
import platform
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from .contestants import DRAINED, IDLE, SURPRISED, WAITING
from .environments import REQUIREMENTS, version_of
from .figures import Spread, short
from .goals import Reached, reached
from .results import Results
from .servers import Servers

BUSY_LOAD = 1.0
MEBIBYTE = 1024 * 1024
Table = Sequence[Sequence[str]]  # with its headings


def machine() -> dict[str, Any]:
    """Where this is measured, and how busy it is."""
    load = os.getloadavg()
    models = {line.partition(":")[2].strip() for line in _cpu_lines() if line.startswith("model name")}
    return {
        "date": time.strftime("%d %B %Y", time.gmtime()).lstrip("0"),
        "python": platform.python_version(),
        "system": platform.platform(terse=True),
        "processor": ", ".join(sorted(models)) or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "load": round(load[0], 2),
        "busy": load[0] >= BUSY_LOAD,
    }


def _cpu_lines() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text("utf-8").splitlines() if path.exists() else []


def describe(about: dict[str, Any], servers: Servers) -> str:
    """The same in a paragraph, with the versions of all that took part."""
    peers = sorted(each.stem for each in REQUIREMENTS.glob("*.txt") if each.stem != "picture")
    busy = "; others worked beside it, and the figures are worse than they could be" if about["busy"] else ""
    return (
        f"{about['date']}, {about['cores']} cores of {about['processor']}, {about['system']}, "
        f"Python {about['python']}, load {about['load']:.2f} before{busy}. "
        f"{'. '.join(servers.about.values())}. "
        f"Peers: {', '.join(f'{name} {version_of(name)}' for name in peers)}."
    )


def tables(results: Results) -> dict[str, Table]:
    """All tables, by the name of their file."""
    return {
        "goals": [("", "against", "must", "aim", "reached (range)", ""), *map(_goal, reached(results))],
        "drains": [
            ("store", "", "tasks/s (range)", "CPU s/1,000", "MiB", "asked/task", "store's CPU s/1,000"),
            *_drains(results),
        ],
        "latencies": [
            ("store", "", "after, p50, ms", "after, p99, ms", "in all, p50, ms"),
            *_latencies(results),
        ],
        "others": [("store", "", "", "(range)"), *_others(results)],
    }


def _goal(row: Reached) -> tuple[str, ...]:
    return (row.what, row.against, row.bound(row.must), row.bound(row.aim), f"{row.reached}{row.unit}", row.verdict)


def _drains(results: Results) -> Iterator[tuple[str, ...]]:
    for each in DRAINED:
        rate = results.spread("rate", each.key)
        if rate is None:
            continue
        others = [
            _middle(results.spread("cpu", each.key)),
            _middle(results.spread("memory", each.key), 1 / MEBIBYTE),
            _middle(results.spread("asked", each.key)) if results.spread("asked", each.key) else "",
            _middle(results.spread("store cpu", each.key)),
        ]
        if each.store not in ("redis", "postgresql"):
            others[2:] = ["", ""]
        yield (each.store, f"{each.name}, {each.about}", str(rate), *others)


def _latencies(results: Results) -> Iterator[tuple[str, ...]]:
    for each in SURPRISED:
        if results.spread("latency p50", each.key) is not None:
            found = (results.spread(f"latency {name}", each.key) for name in ("p50", "p99", "whole"))
            yield (each.store, f"{each.name}, {each.about}", *(str(spread.times(1000)) for spread in found if spread))


def _others(results: Results) -> Iterator[tuple[str, ...]]:
    for measure, contestants, what, factor, unit in (
        ("threads", WAITING, "sixteen threads against the ideal", 1.0, "×"),
        ("idle", IDLE, "idle CPU", 100.0, " %"),
    ):
        for each in contestants:
            found = results.spread(measure, each.key)
            if found is not None:
                yield (each.store, f"{each.name}, {each.about}", what, f"{found.times(factor)}{unit}")


def _middle(spread: Spread | None, factor: float = 1.0) -> str:
    return "" if spread is None else short(spread.median * factor)


def as_text(table: Table) -> str:
    """A table in columns."""
    widths = [max(len(line[column]) for line in table) for column in range(len(table[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in table
    )


def publish(folder: Path, about: str, found: dict[str, Table], name: str = "about") -> None:
    """Write what the documents include."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.inc").write_text(about + "\n", "utf-8")
    for title, table in found.items():
        with (folder / f"{title}.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(table)
