"""Hints: that there may be something to exchange, told to those who wait in this process. Knows no store."""

from __future__ import annotations

import threading
from typing import Protocol

from .deadlines import Deadline


class Ear(Protocol):
    """Where the first one who waits can hear for himself what others tell, so that no other thread has to wake him."""

    def listen(self, seconds: float) -> bool:
        """Wait for a hint, for ``ring``, or until time is up; whether there was a hint. Raises nothing."""

    def ring(self) -> None:
        """Have the one who listens return, or the next one."""


class Hints:
    """A number that grows with each hint; who has seen a lower one does not wait."""

    def __init__(self) -> None:
        self._given = threading.Condition()
        self._number = 0
        self._ear: Ear | None = None
        self._heard_by: Ear | None = None  # that of the one who listens

    def give(self) -> None:
        """Wake everybody who waits, or waits next."""
        with self._given:
            self._number += 1
            self._given.notify_all()
            if self._heard_by is not None:
                self._heard_by.ring()

    def lend(self, ear: Ear) -> None:
        """Let one of those who wait listen there, from now on."""
        with self._given:
            self._ear = ear
            self._given.notify_all()

    def take_back(self, ear: Ear) -> None:
        """Let nobody begin to listen there any more; who does already may still do."""
        with self._given:
            if self._ear is ear:  # else another connection was lent meanwhile
                self._ear = None

    def wait(self, seen: int, timeout: float) -> int:
        """Block until the number is another than ``seen``, at most ``timeout`` seconds; return it."""
        deadline = Deadline(timeout)
        with self._given:
            while self._number == seen:
                remaining = deadline.remaining()
                if self._ear is None or self._heard_by is not None:
                    self._given.wait(remaining)
                else:
                    self._listen(self._ear, remaining)
                if not remaining:
                    break
            return self._number

    def _listen(self, ear: Ear, seconds: float) -> None:
        """Without the lock. Of those who wait beside us, one takes over when this ends."""
        self._heard_by = ear
        self._given.release()
        heard = False
        try:
            heard = ear.listen(seconds)
        finally:
            self._given.acquire()
            self._heard_by = None
            self._number += heard
            self._given.notify_all()
