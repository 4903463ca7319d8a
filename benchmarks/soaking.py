"""What a soak looked like over time: memory of the consumer, and how long tasks took to start. Arithmetic, but for
reading the memory."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from .figures import percentile
from .peers.given import MARK
from .processes import Workers

MEBIBYTE = 1024 * 1024
BUCKET_SECONDS = 5


def read_added(path: Path) -> dict[int, int]:
    """When the commit of each task had returned."""
    return dict(MARK.iter_unpack(path.read_bytes()))


@dataclass
class Course:
    """Memory in each second, and latencies by the time at which tasks were added. Retried tasks are not counted."""

    memory: list[tuple[float, float]] = field(default_factory=list)  # seconds, bytes
    latencies: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))  # by bucket
    begun: float = field(default_factory=time.monotonic)
    failing: int = 20

    def look(self, workers: Workers) -> None:
        """How much memory they hold now."""
        self.memory.append((time.monotonic() - self.begun, workers.memory_bytes()))

    def take(self, entered: Mapping[int, int], added: Mapping[int, int]) -> None:
        """What the marks say of tasks that did not fail."""
        first = min(added.values())
        for number, at in added.items():
            if number % self.failing:
                bucket = int((at - first) / 1e9 / BUCKET_SECONDS)
                self.latencies[bucket].append((entered[number] - at) / 1e9)

    def memory_growth(self) -> float:
        """The last third against the one before."""
        third = max(1, len(self.memory) // 3)
        middle, last = self.memory[third : 2 * third], self.memory[-third:]
        return median(size for _, size in last) / median(size for _, size in middle)

    def latency_growth(self) -> float:
        """The same of the median latency."""
        buckets = [self.latencies[bucket] for bucket in sorted(self.latencies)]
        third = max(1, len(buckets) // 3)
        middle, last = buckets[third : 2 * third] or buckets, buckets[-third:]
        return median(x for each in last for x in each) / median(x for each in middle for x in each)

    def latency(self, percent: float) -> float:
        """Of all, in seconds."""
        return percentile([x for each in self.latencies.values() for x in each], percent)

    def panels(self) -> list[dict[str, Any]]:
        """What the picture shows."""
        seconds = [bucket * BUCKET_SECONDS for bucket in sorted(self.latencies)]
        lines = [
            {
                "label": f"p{percent}",
                "x": seconds,
                "y": [percentile(self.latencies[b], percent) * 1000 for b in sorted(self.latencies)],
            }
            for percent in (50, 99)
        ]
        memory = {
            "label": "consumer",
            "x": [at for at, _ in self.memory],
            "y": [size / MEBIBYTE for _, size in self.memory],
        }
        return [
            {
                "title": "From the commit to the start of the view",
                "lines": lines,
                "y_label": "ms",
                "is_logarithmic": True,
            },
            {"title": "Memory", "lines": [memory], "y_label": "MiB", "x_label": "seconds"},
        ]
