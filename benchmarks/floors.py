"""Floors: what cannot be undercut, each timed alone and call by call. Knows nothing of taskqueue.

A floor yields the seconds of single calls. ``pause`` is the rest before each: who is woken after a rest is slower than
who never sleeps, and an idle consumer has rested.
"""

from __future__ import annotations

import os
import queue
import socket
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import transaction

PAYLOAD = b"x" * 1000
PATIENCE_SECONDS = 30.0
WARM_CALLS = 20  # before the first that counts
FILE_BYTES = 4 * 1024 * 1024

Call = Callable[[], object]


def samples(call: Call, count: int, pause: float = 0.0) -> list[float]:
    """The seconds of so many calls."""
    for _ in range(min(WARM_CALLS, count)):
        call()
    taken = []
    for _ in range(count):
        if pause:
            time.sleep(pause)
        begun = time.perf_counter()
        call()
        taken.append(time.perf_counter() - begun)
    return taken


# ---- Python ------------------------------------------------------------------------------------------------------


class _NothingManager:
    """Takes part in a transaction, and does nothing."""

    transaction_manager: Any = None

    def sortKey(self) -> str:  # noqa: N802  # the name that the transaction library asks for
        return "nothing"

    def _ignore(self, _transaction: Any) -> None:
        pass

    tpc_begin = commit = tpc_vote = tpc_finish = tpc_abort = abort = _ignore


def empty_transaction() -> Call:
    """Begin a transaction, join it, commit it."""
    manager = transaction.TransactionManager(explicit=True)

    def call() -> None:
        manager.begin().join(_NothingManager())
        manager.commit()

    return call


def hand_offs(count: int, pause: float) -> list[float]:
    """From putting something into a queue to the thread that waits for it being awake."""
    put: queue.SimpleQueue[float | None] = queue.SimpleQueue()
    taken: queue.SimpleQueue[float] = queue.SimpleQueue()

    def wait() -> None:
        while (begun := put.get()) is not None:
            taken.put(time.perf_counter() - begun)

    threading.Thread(target=wait, daemon=True).start()
    found = []
    for _ in range(count):
        time.sleep(pause)
        put.put(time.perf_counter())
        found.append(taken.get(timeout=PATIENCE_SECONDS))
    put.put(None)
    return found


# ---- files -------------------------------------------------------------------------------------------------------


class SyncedFile:
    """Writing 1 KB over what is in a file, and having it on the disk. A file that grows would take longer."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_CREAT | os.O_WRONLY, 0o600)
        os.write(self._file, bytes(FILE_BYTES))
        os.fsync(self._file)
        self._offset = 0

    def __call__(self) -> None:
        os.pwrite(self._file, PAYLOAD, self._offset)
        os.fdatasync(self._file)
        self._offset = (self._offset + len(PAYLOAD)) % (FILE_BYTES - len(PAYLOAD))

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


class SyncedInsert:
    """One INSERT of 1 KB and its commit, with ``synchronous = FULL`` and a write-ahead log that has its full size."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.execute("CREATE TABLE thing (id INTEGER PRIMARY KEY, body BLOB)")
        self._connection.execute("BEGIN")
        for _ in range(2 * FILE_BYTES // len(PAYLOAD)):
            self()
        self._connection.execute("COMMIT")

    def __call__(self) -> None:
        self._connection.execute("INSERT INTO thing (body) VALUES (?)", (PAYLOAD,))

    def close(self) -> None:
        """Close the file."""
        self._connection.close()


# ---- Redis -------------------------------------------------------------------------------------------------------


class RoundTrip:
    """One command to Redis and its answer, over a bare socket: no client library."""

    def __init__(self, host: str, port: int, *command: bytes) -> None:
        self._socket = socket.create_connection((host, port), PATIENCE_SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        parts = b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in command)
        self._message = b"*%d\r\n%s" % (len(command), parts)

    def __call__(self) -> None:
        self._socket.sendall(self._message)
        answer = self._socket.recv(512)
        if answer[:1] not in {b"+", b":"} or not answer.endswith(b"\r\n"):
            raise ConnectionError(f"Redis answered {answer[:80]!r}")

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()
