"""The time that a transaction may take for calls to backends. Knows no backend."""

from __future__ import annotations

import time
from collections.abc import Callable

from ..errors import BackendUnavailableError

BUDGET_SECONDS = 2.0


class Budget:
    """Seconds that the backend calls of one transaction may take together; what others take meanwhile costs nothing.

    ``with budget as seconds_left: …`` spends the time of a block; the function tells how many seconds are left. Raises
    when there are none. It is no generator: that would cost each transaction more than all its other sums.
    """

    __slots__ = ("_deadline", "_left")

    def __init__(self, seconds: float) -> None:
        self._left = seconds
        self._deadline = 0.0

    def __enter__(self) -> Callable[[], float]:
        if self._left <= 0:
            raise SpentError(f"the transaction has used up its {BUDGET_SECONDS:g} s for calls to backends")
        self._deadline = time.monotonic() + self._left
        return self._seconds_left

    def __exit__(self, *_raised: object) -> None:
        self._left = self._deadline - time.monotonic()

    def _seconds_left(self) -> float:
        return max(0.0, self._deadline - time.monotonic())


class SpentError(BackendUnavailableError):
    """There was no time left to ask: nothing is said of this backend."""
