"""The marks that tasks leave: each one exactly once, or the run has failed and its figures are worth nothing."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from .peers.given import MARK


class BenchmarkError(Exception):
    """A figure that cannot be believed; its text says why."""


class Marks:
    """The file to which every task of one measurement appends, whatever process it runs in."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.unlink(missing_ok=True)
        path.touch(0o600)

    def __len__(self) -> int:
        return self.path.stat().st_size // MARK.size

    def read(self) -> list[tuple[int, int]]:
        """All of them: the number of the task, and when it was entered, in nanoseconds."""
        return list(MARK.iter_unpack(self.path.read_bytes()))

    def before(self, moment: int) -> set[int]:
        """The numbers of those that were entered before."""
        return {number for number, entered in self.read() if entered < moment}

    def check(self, count: int, *, at_least_once: bool = False) -> dict[int, int]:
        """When each of the tasks 0 to ``count`` - 1 was first entered. Raises BenchmarkError unless each left one mark
        (or more, where a worker was killed) and nobody else did."""
        left = self.read()
        times = Counter(number for number, _ in left)
        missing = [number for number in range(count) if not times[number]]
        doubled = [] if at_least_once else [number for number in times if times[number] > 1]
        unknown = [number for number in times if number not in range(count)]
        if missing or doubled or unknown:
            raise BenchmarkError(
                f"of {count} tasks, {len(missing)} left no mark, {len(doubled)} left more than one, and "
                f"{len(unknown)} marks are of tasks that were never added"
            )
        return dict(reversed(left))
