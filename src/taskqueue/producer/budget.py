"""The time that a transaction may take for calls to backends. Knows no backend."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ..errors import BackendUnavailableError

BUDGET_SECONDS = 2.0


class Budget:
    """Seconds that the backend calls of one transaction may take together; what others take meanwhile costs nothing."""

    def __init__(self, seconds: float) -> None:
        self._left = seconds

    @contextmanager
    def spend(self) -> Iterator[Callable[[], float]]:
        """For the time of a block: a function that tells how many seconds are left. Raises when there are none."""
        if self._left <= 0:
            raise SpentError(f"the transaction has used up its {BUDGET_SECONDS:g} s for calls to backends")
        deadline = time.monotonic() + self._left
        try:
            yield lambda: max(0.0, deadline - time.monotonic())
        finally:
            self._left = deadline - time.monotonic()


class SpentError(BackendUnavailableError):
    """There was no time left to ask: nothing is said of this backend."""
