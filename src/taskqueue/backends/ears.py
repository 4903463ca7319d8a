"""A connection that tells of hints, lent to the one who waits for them. Knows neither store nor driver.

The thread that owns the connection opens and checks it. While it lends it, the one who waits listens for himself, and
no hint has to wake two threads one after the other: a tenth of a millisecond where the machine is idle.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable

from .hints import Hints

Hear = Callable[[float, socket.socket], bool]


class LentEar:
    """An ``Ear`` of those who wait for ``hints``, from ``lend`` until ``take_back``.

    ``hear`` waits so many seconds for something to be said, or to be read from the socket that it is given, and tells
    whether it was a hint. When it fails, nobody listens any more, and ``tell_that_it_is_lost`` is called.
    """

    def __init__(self, hints: Hints, hear: Hear, tell_that_it_is_lost: Callable[[], None]) -> None:
        self._hints = hints
        self._is_away = True
        self._hear = hear
        self._tell_that_it_is_lost = tell_that_it_is_lost
        self._in_use = threading.Lock()
        # Closed under a lock: under its number, one who rings could else write into another file.
        self._ringing = threading.Lock()
        self._ringer, self._rung = socket.socketpair()
        self._ringer.setblocking(False)
        self._rung.setblocking(False)

    def listen(self, seconds: float) -> bool:
        """Wait for a hint, for ``ring``, or until time is up; whether there was a hint. Raises nothing."""
        with self._in_use:
            if self._is_away:
                return False
            try:
                heard = self._hear(seconds, self._rung)
            except Exception:  # noqa: BLE001  # whoever owns the connection opens another; hints may be missed
                self._is_away = True
                self._hints.take_back(self)
                self._tell_that_it_is_lost()
                return False
            with contextlib.suppress(BlockingIOError):
                self._rung.recv(4096)
            return heard

    def ring(self) -> None:
        """Have the one who listens return, or the next one."""
        with self._ringing, contextlib.suppress(OSError):  # it is full, and so it will be read; or it is closed
            self._ringer.send(b"!")

    def take_back(self) -> None:
        """When this returns, nobody uses the connection any more, until it is lent again."""
        self._hints.take_back(self)
        self._is_away = True
        self.ring()
        with self._in_use:
            pass

    def lend(self) -> None:
        """Whoever waits may listen."""
        self._is_away = False
        self._hints.lend(self)

    def close(self) -> None:
        """Take it back for good."""
        self.take_back()
        with self._ringing:
            self._ringer.close()
            self._rung.close()
