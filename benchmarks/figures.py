"""Figures: samples become seconds, rounds become a median with its range. Arithmetic."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Figure:
    """What one measure came to in one round: seconds for one task, and for its floors in the same round."""

    backend: str
    measure: str
    seconds: float
    floors: Mapping[str, float]
    marks: int  # tasks that were counted for it


@dataclass(frozen=True)
class Spread:
    """The same of several rounds."""

    median: float
    lowest: float
    highest: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Of at least one value."""
        return cls(median(values), min(values), max(values))


@dataclass(frozen=True)
class Row:
    """One measure of one backend over all rounds. Ratios are made within each round, before their median is taken."""

    backend: str
    measure: str
    seconds: Spread
    floors: Mapping[str, Spread]
    ratios: Mapping[str, Spread]
    marks: int


def summarise(figures: Sequence[Figure]) -> list[Row]:
    """A row for each backend and measure, in the order in which they first came."""
    groups: dict[tuple[str, str], list[Figure]] = {}
    for figure in figures:
        groups.setdefault((figure.backend, figure.measure), []).append(figure)
    return [
        Row(
            backend=backend,
            measure=measure,
            seconds=Spread.of([each.seconds for each in group]),
            floors={name: Spread.of([each.floors[name] for each in group]) for name in group[0].floors},
            ratios={name: Spread.of([each.seconds / each.floors[name] for each in group]) for name in group[0].floors},
            marks=sum(each.marks for each in group),
        )
        for (backend, measure), group in groups.items()
    ]


def percentile(samples: Sequence[float], percent: float) -> float:
    """The smallest sample that so many percent do not exceed (nearest rank)."""
    ordered = sorted(samples)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]
