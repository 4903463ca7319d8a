"""Keeps forks out of moments in which a child could not live: while a thread tells something to whoever listens.

Whoever listens takes locks that nobody renews in a child, such as the one inside of every buffered stream. A child that
inherits one while it is held hangs with the first line that it writes, or with the last, when it ends. So a fork waits
until nobody tells anything, and meanwhile nobody begins to. Knows nothing of what is told.
"""

from __future__ import annotations

import os
import threading

# A listener that hangs shall not keep the process from forking, nor a fork that hangs anybody from telling.
PATIENCE_SECONDS = 5.0


class _Gate:
    """``with held_back: …`` lets no other thread fork while the block runs. Blocks do not wait for each other."""

    def __init__(self) -> None:
        self._start({})

    def _start(self, inside: dict[int, int]) -> None:
        self._changed = threading.Condition()  # may be taken twice: a signal may interrupt us and tell something
        self._inside = inside  # thread -> how many blocks it is in
        self._forking: int | None = None  # the thread that forks

    def __enter__(self) -> None:
        thread = threading.get_ident()
        with self._changed:
            if thread not in self._inside:
                self._changed.wait_for(lambda: self._forking in {None, thread}, PATIENCE_SECONDS)
            self._inside[thread] = self._inside.get(thread, 0) + 1

    def __exit__(self, *_: object) -> None:
        thread = threading.get_ident()
        with self._changed:
            self._inside[thread] -= 1
            if not self._inside[thread]:
                del self._inside[thread]
                self._changed.notify_all()

    def close(self) -> None:
        """This thread is about to fork: wait until no other is inside. Closing twice is closing once."""
        thread = threading.get_ident()
        with self._changed:
            if self._forking == thread:
                return
            self._changed.wait_for(lambda: self._forking is None, PATIENCE_SECONDS)
            self._forking = thread
            self._changed.wait_for(lambda: self._inside.keys() <= {thread}, PATIENCE_SECONDS)

    def open(self) -> None:
        """This thread has forked."""
        with self._changed:
            self._forking = None
            self._changed.notify_all()

    def start_in_child(self) -> None:
        """Only the thread that has forked is here, perhaps within a block. The lock may be held by another."""
        thread = threading.get_ident()
        self._start({thread: self._inside[thread]} if thread in self._inside else {})


held_back = _Gate()

os.register_at_fork(before=held_back.close, after_in_parent=held_back.open, after_in_child=held_back.start_in_child)
