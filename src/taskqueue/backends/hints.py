"""Hints: that there may be something to exchange, told to those who wait in this process. Knows no store."""

from __future__ import annotations

import threading


class Hints:
    """A number that grows with each hint; who has seen a lower one does not wait."""

    def __init__(self) -> None:
        self._given = threading.Condition()
        self._number = 0

    def give(self) -> None:
        """Wake everybody who waits, or waits next."""
        with self._given:
            self._number += 1
            self._given.notify_all()

    def wait(self, seen: int, timeout: float) -> int:
        """Block until the number is another than ``seen``, at most ``timeout`` seconds; return it."""
        with self._given:
            self._given.wait_for(lambda: self._number != seen, max(0.0, timeout))
            return self._number
