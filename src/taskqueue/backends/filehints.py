"""Hints among the threads and the processes that wait for one queue in a file. Knows no tasks and no connections.

The first thread that waits listens at a named pipe; others of its process wait for what it hears. Where there can be no
pipe, the one who waits looks at the file again and again instead.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable
from weakref import WeakSet

from .deadlines import Deadline
from .filepipes import Pipe, tell

POLL_SECONDS = 0.05  # how often those who have no pipe look whether another process has changed something
PATIENCE_SECONDS = 30.0  # until a pipe is tried again that could not be made


class FileHints:
    """A number that grows with each hint; who has seen a lower one does not wait. Opens nothing until somebody waits.

    ``has_changed`` tells, without waiting, whether anything in the file has changed since it was asked last.
    """

    def __init__(self, path: str, queue: tuple[str, str], has_changed: Callable[[], bool]) -> None:
        self._path = path
        self._folder = f"{path}.waiting"
        self._topic = hashlib.sha256("\0".join(queue).encode("utf-8", "replace")).hexdigest()[:16]
        self._has_changed = has_changed
        self._number = 0
        self._start()
        _all.add(self)

    def _start(self) -> None:
        """Begin anew in this process, with nothing open."""
        self._given = threading.Condition()
        self._pid = os.getpid()
        self._pipe: Pipe | None = None
        self._next_try = Deadline(0.0)
        self._someone_listens = self._is_closed = False

    def give(self) -> None:
        """Wake everybody in this process who waits, or waits next."""
        with self._given:
            self._hear()
            if self._someone_listens and self._pipe is not None:
                self._pipe.ring()

    def spread(self) -> None:
        """Wake everybody who waits, or waits next, in all processes. What they shall see has been committed."""
        self.give()
        pipe = self._pipe
        tell(self._folder, self._path, self._topic, None if pipe is None else pipe.name)

    def wait(self, seen: int, timeout: float) -> int:
        """Block until the number is another than ``seen``, at most ``timeout`` seconds; return it."""
        if self._pid != os.getpid():
            self.forget()
        deadline = Deadline(timeout)
        with self._given:
            self._is_closed = False
            while self._number == seen:
                remaining = deadline.remaining()
                if self._someone_listens:
                    self._given.wait(remaining)
                elif self._has_new_pipe():
                    self._hear()  # what was told before it was made, it could not hear
                elif self._pipe is not None:
                    self._listen(self._pipe, remaining)
                elif self._has_changed():
                    self._hear()
                else:
                    self._given.wait(min(remaining, POLL_SECONDS))
                if not remaining:
                    break
            return self._number

    def close(self) -> None:
        """Delete the pipe; another is made when somebody waits again."""
        with self._given:
            self._hear()
            self._is_closed = True
            if not self._someone_listens:
                self._drop_pipe()
            elif self._pipe is not None:
                self._pipe.ring()  # the one who listens closes it: under its number he could else read another file

    def forget(self) -> None:
        """In a forked child: the pipe is the parent's, and the lock may be held by a thread that the child lacks."""
        pipe = self._pipe
        self._start()
        if pipe is not None:
            pipe.let_go()

    def _hear(self) -> None:
        self._number += 1
        self._given.notify_all()

    def _listen(self, pipe: Pipe, timeout: float) -> None:
        """Wait for what others tell, without the lock. Of those who wait beside us, one takes over when this ends."""
        self._someone_listens = True
        self._given.release()
        heard = False
        try:
            heard = pipe.listen(timeout)
        finally:
            self._given.acquire()
            self._someone_listens = False
            self._number += heard
            self._given.notify_all()
            if self._is_closed:
                self._drop_pipe()

    def _has_new_pipe(self) -> bool:
        """See that there is a pipe where others find it; whether it was made just now."""
        if self._pipe is not None:
            if self._pipe.is_in_place():
                return False
            self._drop_pipe()
        if self._next_try.remaining() or not os.path.exists(self._path):
            return False
        try:
            self._pipe = Pipe(self._folder, self._path, self._topic)
        except OSError:
            self._next_try = Deadline(PATIENCE_SECONDS)
            return False
        return True

    def _drop_pipe(self) -> None:
        pipe, self._pipe = self._pipe, None
        if pipe is not None:
            pipe.close()


_all: WeakSet[FileHints] = WeakSet()


def _forget_in_child() -> None:
    for hints in list(_all):
        hints.forget()


os.register_at_fork(after_in_child=_forget_in_child)
