"""Named pipes in one folder, through which processes of one machine wake each other. Knows no database.

Who waits makes a pipe of its own, so that each is woken; who has something to tell writes a byte into every pipe of its
topic. Nothing depends on them: where pipes cannot be made or reached there is polling. These are the dangers:

- A process may be killed at any moment. Its pipe stays, with nobody who reads: whoever finds it so deletes it.
- The folder may lie where others can write. It is used only when it belongs to us or to the owner of what lies beside
  it, and nobody else may write to it; names are opened from within it, and symbolic links are never followed.
- A pipe whose reader dies between opening and writing would send SIGPIPE, which an embedding program need not ignore.
  So a writer holds a reading end itself.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import select
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import islice

from .filesystem import give_to_owner_of_folder, make_folder

MOST_PIPES = 256  # that are written to at a time: nobody who tells something shall wait for a crowd
PIPE_BYTES = 64 * 1024  # as much as one holds
_FLAGS = os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
_NAME = re.compile(r"[0-9a-f]{1,64}-[0-9a-f]{16}")


class Pipe:
    """A pipe of this process. Made in a folder, which is made when it is missing; raises OSError where that fails."""

    def __init__(self, folder: str, owner_of: str, topic: str) -> None:
        """``owner_of`` names the file whose owner may own the folder; ``topic`` is hexadecimal."""
        self._descriptor = -1
        make_folder(folder)
        self.name = f"{topic}-{secrets.token_hex(8)}"
        self.path = os.path.join(folder, self.name)
        with _opened(folder, owner_of) as (opened, _):
            _delete_abandoned(opened)
            os.mkfifo(self.name, 0o600, dir_fd=opened)
            # For both directions, so that it has a reader as long as this process lives, and never comes to an end.
            self._descriptor = os.open(self.name, os.O_RDWR | _FLAGS, dir_fd=opened)
            try:
                os.fchmod(self._descriptor, 0o600)  # a umask may have taken even that
                give_to_owner_of_folder(self.path, self._descriptor)
            except BaseException:
                self.close()
                raise
        self._poll = select.poll()
        self._poll.register(self._descriptor, select.POLLIN)

    def is_in_place(self) -> bool:
        """Whether others still find it."""
        try:
            found = os.stat(self.path, follow_symlinks=False)
        except OSError:
            return False
        return os.path.samestat(found, os.fstat(self._descriptor))

    def listen(self, timeout: float) -> bool:
        """Wait until somebody writes, at most ``timeout`` seconds; whether somebody did. Takes all that was written."""
        if not self._poll.poll(timeout * 1000):
            return False
        with suppress(BlockingIOError):
            os.read(self._descriptor, PIPE_BYTES)
        return True

    def ring(self) -> None:
        """Wake the thread of this process that listens."""
        with suppress(BlockingIOError):  # it is full: that wakes as well
            os.write(self._descriptor, b"\0")

    def close(self) -> None:
        """Delete it."""
        with suppress(OSError):
            if self.is_in_place():
                os.unlink(self.path)
        self.let_go()

    def let_go(self) -> None:
        """Close it, and leave it to the process that this one was forked from. May come twice."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def __del__(self) -> None:
        self.let_go()  # whoever writes next finds that nobody reads, and deletes it


def tell(folder: str, owner_of: str, topic: str, but: str | None = None) -> None:
    """Wake all processes that wait for this topic, but for the pipe of one name. Never raises, never waits."""
    with suppress(OSError), _opened(folder, owner_of) as (opened, owners):
        named = (name for name in os.listdir(opened) if name.startswith(topic) and name != but)
        for name in islice(filter(_NAME.fullmatch, named), MOST_PIPES):
            with suppress(OSError):
                _write(name, opened, owners)


def _write(name: str, folder: int, owners: frozenset[int]) -> None:
    with _writing_end(name, folder) as writing:
        found = os.fstat(writing)
        if stat.S_ISFIFO(found.st_mode) and found.st_uid in owners:
            reading = os.open(name, os.O_RDONLY | _FLAGS, dir_fd=folder)
            try:
                os.write(writing, b"\0")
            finally:
                os.close(reading)


@contextmanager
def _writing_end(name: str, folder: int) -> Iterator[int]:
    """Open a pipe to write; it is deleted when nobody reads from it. Raises OSError then, and where it is none."""
    try:
        writing = os.open(name, os.O_WRONLY | _FLAGS, dir_fd=folder)
    except OSError as error:
        if error.errno == errno.ENXIO:
            os.unlink(name, dir_fd=folder)
        raise
    try:
        yield writing
    finally:
        os.close(writing)


def _delete_abandoned(folder: int) -> None:
    for name in filter(_NAME.fullmatch, os.listdir(folder)):
        with suppress(OSError), _writing_end(name, folder):
            pass


@contextmanager
def _opened(folder: str, owner_of: str) -> Iterator[tuple[int, frozenset[int]]]:
    """The folder, and whose pipes in it are ours. Raises PermissionError when others could write there."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        found = os.fstat(descriptor)
        owners = frozenset({os.geteuid(), found.st_uid})
        is_ours = found.st_uid in {os.geteuid(), os.stat(owner_of).st_uid}
        if not is_ours or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise PermissionError(errno.EPERM, "others can write to it", folder)
        yield descriptor, owners
    finally:
        os.close(descriptor)
