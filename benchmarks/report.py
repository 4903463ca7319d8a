"""The report: a table for people, and the same with every round as JSON."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

from .figures import Figure, Row, Spread

BUSY_LOAD = 1.0
_HEADINGS = ("backend", "measure", "µs (range)", "each second", "floor", "its µs", "ratio (range)")
_TO_THE_RIGHT = frozenset({2, 3, 5, 6})


def machine() -> dict[str, Any]:
    """Where this is measured, and how busy it is."""
    load = os.getloadavg()
    return {
        "python": platform.python_version(),
        "system": platform.platform(terse=True),
        "cores": len(os.sched_getaffinity(0)),
        "load": round(load[0], 2),
        "busy": load[0] >= BUSY_LOAD,
    }


def describe(about: dict[str, Any]) -> str:
    """The same in a line."""
    busy = "; the machine is busy, and the figures are worse than they could be" if about["busy"] else ""
    return (
        f"Python {about['python']} on {about['system']}, {about['cores']} cores, load {about['load']:.2f} before{busy}"
    )


def table(rows: Sequence[Row]) -> str:
    """One line for each measure and floor."""
    lines = [_HEADINGS, *_cells(rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEADINGS))]
    return "\n".join(_joined(line, widths) for line in lines)


def _cells(rows: Iterable[Row]) -> Iterator[tuple[str, ...]]:
    for row in rows:
        rate = "" if row.measure.startswith("latency") else f"{1 / row.seconds.median:,.0f}"
        figure = (row.backend, row.measure, _in_microseconds(row.seconds), rate)
        for name, floor in row.floors.items():
            yield (*figure, name, _short(floor.median * 1e6), _spread(row.ratios[name]))
            figure = ("", "", "", "")


def _joined(line: Sequence[str], widths: Sequence[int]) -> str:
    cells = (
        cell.rjust(width) if column in _TO_THE_RIGHT else cell.ljust(width)
        for column, (cell, width) in enumerate(zip(line, widths, strict=True))
    )
    return "  ".join(cells).rstrip()


def _in_microseconds(spread: Spread) -> str:
    return _spread(Spread(spread.median * 1e6, spread.lowest * 1e6, spread.highest * 1e6))


def _spread(spread: Spread) -> str:
    return f"{_short(spread.median)} ({_short(spread.lowest)} to {_short(spread.highest)})"


def _short(number: float) -> str:
    """Three digits that count."""
    if abs(number) >= 99.95:
        return f"{number:,.0f}"
    return f"{number:.1f}" if abs(number) >= 9.995 else f"{number:.2f}"


def as_json(about: dict[str, Any], figures: Sequence[Figure], rows: Sequence[Row]) -> dict[str, Any]:
    """What is written with ``--json``: seconds, each round, and the rows of the table."""
    return {**about, "figures": [asdict(figure) for figure in figures], "rows": [asdict(row) for row in rows]}
