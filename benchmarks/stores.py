"""The stores under test: for each backend the options of a fresh queue, and the floors beside it."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.backends.redis_server import Server, find_program

from .floors import PAYLOAD, Call, RoundTrip, SyncedFile, SyncedInsert

ONE_INSERT = "one INSERT"
ONE_SYNC = "one fdatasync"
PING = "PING"
LPUSH = "LPUSH"


class Store:
    """A backend. ``floors`` are calls by name; ``claim_floor`` is the one that a claim cannot undercut."""

    def __init__(
        self,
        name: str,
        about: str,
        fresh: Callable[[], Mapping[str, Any]],
        floors: Mapping[str, Call],
        claim_floor: str | None,
    ) -> None:
        self.name = name
        self.about = about
        self.fresh = fresh
        self.floors = floors
        self.claim_floor = claim_floor


@contextmanager
def local_store(_folder: Path) -> Iterator[Store]:
    """In memory: nothing but Python to wait for."""
    yield Store("local", "in memory", lambda: {"type": "local"}, {}, None)


@contextmanager
def sqlite_store(folder: Path) -> Iterator[Store]:
    """A file of its own for each measure."""
    paths = (folder / f"tasks-{number}.db" for number in itertools.count())

    def fresh() -> Mapping[str, Any]:
        for old in folder.glob("tasks-*.db*"):
            if old.is_file():
                old.unlink()
        return {"type": "sqlite", "path": str(next(paths))}

    with ExitStack() as stack:
        file = SyncedFile(folder / "floor.txt")
        stack.callback(file.close)
        insert = SyncedInsert(folder / "floor.db")
        stack.callback(insert.close)
        about = f"{sqlite3.sqlite_version}, WAL, synchronous = FULL, on {filesystem(folder)}"
        yield Store("sqlite", about, fresh, {ONE_SYNC: file, ONE_INSERT: insert}, ONE_INSERT)


@contextmanager
def redis_store(_folder: Path) -> Iterator[Store]:
    """A server of our own, emptied before each measure."""
    with ExitStack() as stack:
        server = stack.enter_context(Server(appendonly="yes", appendfsync="everysec"))

        def fresh() -> Mapping[str, Any]:
            server.ask("FLUSHALL", "SYNC")
            return {"type": "redis", **server.address}

        ping = RoundTrip(server.address["host"], server.address["port"], b"PING")
        stack.callback(ping.close)
        push = RoundTrip(server.address["host"], server.address["port"], b"LPUSH", b"floor", PAYLOAD)
        stack.callback(push.close)
        version = server.ask("INFO", "server")["redis_version"]
        about = f"{version}, TCP on this machine, appendonly yes, appendfsync everysec; {_redis_reader()}"
        yield Store("redis", about, fresh, {PING: ping, LPUSH: push}, PING)


STORES = {"local": local_store, "sqlite": sqlite_store, "redis": redis_store}


def why_not(name: str) -> str:
    """Why this backend cannot be measured here; empty when it can."""
    if name != "redis":
        return ""
    try:
        find_program()
    except (pytest.skip.Exception, pytest.fail.Exception) as reason:
        return str(reason)
    return ""


def filesystem(folder: Path) -> str:
    """The type of file system that a folder is on; some of them make fsync a matter of course."""
    mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text("utf-8").splitlines()]
    above = [(len(point), kind) for point, kind in mounts if folder.resolve().is_relative_to(point)]
    return max(above)[1] if above else "an unknown file system"


def _redis_reader() -> str:
    try:
        import hiredis  # noqa: PLC0415  # it is not ours: redis-py uses it where it is installed
    except ImportError:
        return "replies read without hiredis"
    return f"replies read with hiredis {hiredis.__version__}"
