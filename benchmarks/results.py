"""Everything that a run has measured: for each measure and contestant one number a round. Arithmetic, and JSON."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from statistics import median
from typing import Any

from .contestants import Contestant
from .figures import Spread


class Results:
    """Numbers by measure and by contestant, in the order of the rounds."""

    def __init__(self) -> None:
        self.numbers: dict[str, dict[str, list[float]]] = defaultdict(dict)

    def put(self, measure: str, key: str, number: float | None) -> None:
        """One more round."""
        if number is not None:
            self.numbers[measure].setdefault(key, []).append(number)

    def get(self, measure: str, key: str) -> list[float]:
        """One number for each round; none where nothing was measured."""
        return self.numbers.get(measure, {}).get(key, [])

    def spread(self, measure: str, key: str) -> Spread | None:
        """Median and range."""
        found = self.get(measure, key)
        return Spread.of(found) if found else None

    def ratio(self, measure: str, ours: str, theirs: str, factor: float = 1.0) -> Spread | None:
        """Ours by theirs, made within each round."""
        return quotient(self.get(measure, ours), self.get(measure, theirs), factor)

    def best(self, measure: str, candidates: Iterable[Contestant], *, lowest: bool = False) -> Contestant | None:
        """Who has the best median."""
        found = [each for each in candidates if self.get(measure, each.key)]
        if not found:
            return None
        return (min if lowest else max)(found, key=lambda each: median(self.get(measure, each.key)))

    def as_json(self) -> dict[str, Any]:
        """All numbers."""
        return dict(self.numbers)


def quotient(above: Sequence[float], below: Sequence[float], factor: float = 1.0) -> Spread | None:
    """One list by another, round by round."""
    pairs = [(over, under) for over, under in zip(above, below, strict=False) if under]
    return Spread.of([over / under * factor for over, under in pairs]) if pairs else None
