"""Connections to a SQLite file, opened as this package needs them. Knows no tasks, and not when to open which."""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, Literal
from urllib.parse import quote

from ..errors import BackendUnavailableError
from .deadlines import Deadline
from .statements import load

Identity = tuple[int, int]  # device and inode
Synchronous = Literal["full", "normal"]

# Of pages that a connection keeps. An exchange changes less than the second; SQLite itself would keep 2 MiB for each.
CACHE_KIBIBYTES, WRITERS_CACHE_KIBIBYTES = 256, 1024


_WRITE_NOTHING_NEW = load("write_nothing_new")


class Session:
    """An open connection, and the number of the queue in it; ``:queue`` in statements."""

    __slots__ = ("connection", "identity", "patience", "queue")

    def __init__(self, connection: sqlite3.Connection, identity: Identity | None) -> None:
        self.connection = connection
        self.identity = identity
        self.queue = 0
        self.patience = -1  # in milliseconds, when it was set last

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """A transaction that writes; committed at the end of the block, rolled back when the block raises."""
        is_committing = False
        try:
            self.connection.execute("BEGIN IMMEDIATE")
            yield
            is_committing = True
            self.connection.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                self.connection.execute("ROLLBACK")
            if is_committing:
                self._write_over()
            raise

    def _write_over(self) -> None:
        """Write something else where the log may have all of a commit that has failed, as when it could not be synced:
        whoever finds the file after a crash reads the log, and would take that for committed."""
        with suppress(sqlite3.Error):
            self.connection.execute(_WRITE_NOTHING_NEW)

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """A transaction that reads: all of its statements see the same."""
        try:
            self.connection.execute("BEGIN")
            yield
        finally:
            with suppress(sqlite3.Error):
                self.connection.execute("ROLLBACK")

    def run(self, statement: str, **parameters: Any) -> sqlite3.Cursor:
        """Execute one statement."""
        return self.connection.execute(statement, {"queue": self.queue, **parameters})

    def run_many(self, statement: str, rows: Iterable[Mapping[str, Any]]) -> int:
        """Execute one statement for each row of parameters; returns how many rows of the table it changed."""
        return self.connection.executemany(statement, ({"queue": self.queue, **row} for row in rows)).rowcount


class Slot:
    """The place of one connection, and the lock of the threads that share it."""

    __slots__ = ("has_begun", "is_spent", "lock", "session")

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.session: Session | None = None
        self.is_spent = False  # whether the connection is not to be used again
        self.has_begun = False  # whether who has the lock works; else it may still wait for another process

    def is_left_open(self) -> bool:
        """Whether a transaction was begun and not ended, as by an interrupt where nothing is caught: it must not become
        a part of the next one."""
        return self.session is not None and self.session.connection.in_transaction

    def discard(self) -> None:
        """Close the connection, whatever state it is in."""
        session, self.session, self.is_spent = self.session, None, False
        if session is not None:
            with suppress(sqlite3.Error):
                session.connection.close()


def connect(path: str, synchronous: Synchronous, deadline: Deadline) -> sqlite3.Connection:
    """A connection to a file that exists. Raises BackendUnavailableError for a pipe, a device or a socket, of which
    SQLite would wait for something to read."""
    if not stat.S_ISREG(mode := os.stat(path).st_mode) and not stat.S_ISDIR(mode):
        raise BackendUnavailableError(f"{path}: is no file that something could be stored in; choose another path")
    connection = sqlite3.connect(
        f"file:{quote(path)}?mode=rw",
        uri=True,
        timeout=deadline.remaining(),
        isolation_level=None,
        check_same_thread=False,
    )
    # Text that is none shall not make its row unreadable, and with it all that would come after.
    connection.text_factory = partial(str, encoding="utf-8", errors="replace")
    try:
        for setting in (
            f"synchronous = {synchronous}",
            "wal_autocheckpoint = 0",
            f"cache_size = -{CACHE_KIBIBYTES}",
            "secure_delete = ON",
            "temp_store = MEMORY",
            "trusted_schema = OFF",
        ):
            connection.execute(f"PRAGMA {setting}")
    except BaseException:
        connection.close()
        raise
    return connection


def prepare_to_write(session: Session, checkpoint_bytes: int) -> None:
    """Have it keep as many pages as an exchange changes, and copy the log into the file when that has so much."""
    session.connection.execute(f"PRAGMA cache_size = -{WRITERS_CACHE_KIBIBYTES}")
    (page_bytes,) = session.connection.execute("PRAGMA page_size").fetchone()
    session.connection.execute(f"PRAGMA wal_autocheckpoint = {checkpoint_bytes // page_bytes}")


def identify(path: str) -> Identity | None:
    """Which file has this name, None when there is none."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def set_patience(session: Session, deadline: Deadline) -> None:
    """Have SQLite wait for its own locks as long as is left."""
    milliseconds = int(deadline.remaining() * 1000)
    if milliseconds > 200:
        milliseconds -= milliseconds % 100  # few different statements, which stay compiled
    if milliseconds != session.patience:
        session.connection.execute(f"PRAGMA busy_timeout = {milliseconds}")
        session.patience = milliseconds


def use_write_ahead_log(connection: sqlite3.Connection) -> None:
    """Make a file ready for readers beside a writer. Raises sqlite3.Error where that cannot be."""
    (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise sqlite3.OperationalError("this file system cannot hold a write-ahead log")
