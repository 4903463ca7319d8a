"""Locks on files, which the kernel frees when their process dies. Knows no database.

``WriteLock`` lets one writer at a time into a database. ``OwnerLocks`` tells which owners are alive: each holds a lock
on a file of its own for as long as its process lives. A forked child inherits the open files, and must not keep an
owner alive that is not itself: it closes them.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import random
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from ..errors import BackendUnavailableError
from .deadlines import Deadline
from .filesystem import make_folder, open_or_make_file

SHORTEST_POLL_SECONDS = 0.0002
LONGEST_POLL_SECONDS = 0.002
_FLAGS = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW


class WriteLock:
    """A lock between processes on a file beside the database. One thread at a time may use it."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._file: int | None = None
        self.is_held = False

    @contextmanager
    def held(self, deadline: Deadline) -> Iterator[None]:
        """Hold the lock for a block. Polled, since waiting for a file lock cannot be given an end otherwise."""
        self.is_held = True
        try:  # first: an interrupt may come anywhere
            self._lock(deadline)
            yield
        finally:
            self.release()

    def release(self) -> None:
        """Hold the lock no longer, before the end of the block."""
        if self.is_held and self._file is not None:
            fcntl.flock(self._file, fcntl.LOCK_UN)
        self.is_held = False

    def close(self) -> None:
        """Close the file; it is opened again when needed."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _lock(self, deadline: Deadline) -> None:
        while True:
            if self._file is None:
                self._file = open_or_make_file(self._path)
            if not lock_until(self._file, deadline):
                raise BackendUnavailableError(
                    f"{self._path}: another process held the lock for too long; see which with fuser, and try again"
                )
            # Who deleted the file deleted the lock: others may hold one on a new file of that name.
            if is_at(self._path, self._file):
                return
            self.close()


class OwnerLocks:
    """The locks of owners, as files in one directory. All methods may be called from any thread."""

    def __init__(self, directory: str) -> None:
        self._directory = directory

    def hold(self, owner_id: str, deadline: Deadline) -> None:
        """Be alive in this owner's name, until released or until this process dies. Holding twice is holding once."""
        path = self._path(owner_id)
        with _holding:
            held = _held.get(path)
            if held is not None and is_at(path, held.descriptor):
                held.users.add(self)
                return
            users = held.users if held is not None else set()
            if held is not None:
                os.close(_held.pop(path).descriptor)
            make_folder(self._directory)
            _held[path] = _Held(self._lock(path, deadline), users | {self})

    def _lock(self, path: str, deadline: Deadline) -> int:
        while True:
            descriptor = open_or_make_file(path)
            if not lock_until(descriptor, deadline):
                os.close(descriptor)
                raise BackendUnavailableError(f"{path}: another process holds this lock; delete the file")
            # Somebody who took this owner for dead may have deleted the file between the two calls.
            if is_at(path, descriptor):
                return descriptor
            os.close(descriptor)

    def release(self, owner_id: str) -> None:
        """Be alive no more in this owner's name, unless another queue of this process still is."""
        self._release(self._path(owner_id))

    def release_all(self) -> None:
        """Release what was held through this object."""
        for path in tuple(_held):
            self._release(path)

    def _release(self, path: str) -> None:
        with _holding:
            held = _held.get(path)
            if held is None or self not in held.users:
                return
            held.users.discard(self)
            if not held.users:
                with suppress(OSError):
                    if is_at(path, held.descriptor):
                        os.unlink(path)
                os.close(_held.pop(path).descriptor)

    def is_alive(self, owner_id: str) -> bool:
        """Whether some process holds this owner's lock."""
        try:
            descriptor = os.open(self._path(owner_id), _FLAGS)
        except FileNotFoundError:
            return False
        try:
            # Shared, so that two who ask at once do not take each other for the owner.
            return not _try_lock(descriptor, fcntl.LOCK_SH)
        finally:
            os.close(descriptor)

    def forget(self, owner_id: str) -> None:
        """Delete the file of an owner that is dead."""
        path = self._path(owner_id)
        with suppress(OSError):
            descriptor = os.open(path, _FLAGS)
            try:
                if _try_lock(descriptor) and is_at(path, descriptor):
                    os.unlink(path)
            finally:
                os.close(descriptor)

    def _path(self, owner_id: str) -> str:
        # Ids come back from the store, where others may have written: none may lead out of the directory.
        name = owner_id if re.fullmatch(r"[A-Za-z0-9_-]{1,64}", owner_id) else _digest(owner_id)
        return os.path.join(self._directory, name)


class _Held:
    """A lock of this process, and the objects that it was taken through."""

    __slots__ = ("descriptor", "users")

    def __init__(self, descriptor: int, users: set[OwnerLocks]) -> None:
        self.descriptor = descriptor
        self.users = users


_held: dict[str, _Held] = {}
_holding = threading.Lock()


def lock_until(descriptor: int, deadline: Deadline) -> bool:
    """Lock an open file for this process alone; False when the deadline passes first."""
    while not _try_lock(descriptor):
        remaining = deadline.remaining()
        if remaining <= 0:
            return False
        # Random, so that no two processes keep missing their turn in step.
        time.sleep(min(remaining, random.uniform(SHORTEST_POLL_SECONDS, LONGEST_POLL_SECONDS)))  # noqa: S311  # no secret
    return True


def is_at(path: str, descriptor: int) -> bool:
    """Whether an open file is still the one of that name."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _try_lock(descriptor: int, kind: int = fcntl.LOCK_EX) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _digest(owner_id: str) -> str:
    return hashlib.sha256(owner_id.encode("utf-8", "replace")).hexdigest()


def _let_go_in_child() -> None:
    global _holding  # noqa: PLW0603  # the parent's may be held by a thread that the child does not have
    _holding = threading.Lock()
    for held in _held.values():
        os.close(held.descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_let_go_in_child)
