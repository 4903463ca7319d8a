"""The marks that tasks leave: each one exactly once, or the run has failed and its figures are worth nothing."""

from __future__ import annotations

from collections import Counter


class BenchmarkError(Exception):
    """A figure that cannot be believed; its text says why."""


class Marks:
    """Who was here, and when. ``leave`` may be called from any thread: to append to a list is one step."""

    def __init__(self) -> None:
        self._left: list[tuple[int, float]] = []

    def leave(self, number: int, at: float) -> None:
        """The task of that number has run; ``at`` is when its view was entered."""
        self._left.append((number, at))

    def check(self, count: int) -> dict[int, float]:
        """When each of the tasks 0 to ``count`` - 1 was entered. Raises BenchmarkError unless each left one mark."""
        times = Counter(number for number, _ in self._left)
        missing = [number for number in range(count) if not times[number]]
        doubled = [number for number in times if times[number] > 1]
        unknown = [number for number in times if number not in range(count)]
        if missing or doubled or unknown:
            raise BenchmarkError(
                f"of {count} tasks, {len(missing)} left no mark, {len(doubled)} left more than one, and "
                f"{len(unknown)} marks are of tasks that were never added"
            )
        return dict(self._left)
