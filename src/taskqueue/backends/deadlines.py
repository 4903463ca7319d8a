"""A deadline on the monotonic clock, which several waits of one call share."""

from __future__ import annotations

import time


class Deadline:
    """So many seconds from now."""

    __slots__ = ("_at",)

    def __init__(self, seconds: float) -> None:
        self._at = time.monotonic() + max(0.0, seconds)

    def remaining(self) -> float:
        """Seconds that are left, 0 when it has passed."""
        return max(0.0, self._at - time.monotonic())
