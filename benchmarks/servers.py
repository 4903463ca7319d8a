"""The stores of a run: a Redis and a PostgreSQL server of its own, and a folder. Emptied between measurements.

All contestants of a store use the same server: Redis with ``appendonly yes`` and ``appendfsync everysec``, PostgreSQL
with ``fsync`` on, both of which count what they are asked for.
"""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.backends import postgresql_server, redis_server

from .processes import tree_cpu_seconds

REDIS, SQLITE, POSTGRESQL, LOCAL = "redis", "sqlite", "postgresql", "local"
STORES = (REDIS, SQLITE, POSTGRESQL, LOCAL)
_COUNT_STATEMENTS = (
    "SELECT coalesce(sum(calls), 0)::bigint FROM pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid "
    "WHERE d.datname = %s"
)


class Servers:
    """What a run has. ``about`` says so, by store; ``missing`` says why there is none."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.about = {SQLITE: f"SQLite {sqlite3.sqlite_version} on {filesystem(folder)}"}
        self.missing: dict[str, str] = {}
        self.redis: Any = None
        self.postgresql: Any = None
        self._url = ""
        self._numbers = itertools.count()

    def fresh(self, store: str) -> dict[str, Any]:
        """An empty store, and how a script is told where it is."""
        if store == REDIS:
            self.redis.ask("FLUSHALL", "SYNC")
        elif store == POSTGRESQL:
            if self._url:
                self.postgresql.drop_database(self._url)
            self._url = self.postgresql.create_database()
        elif store == SQLITE:
            for old in self.folder.glob("tasks-*"):
                if old.is_file():
                    old.unlink()
        return self.beside(store)

    def beside(self, store: str) -> dict[str, Any]:
        """Where a script finds the store, which is left as it is; in a file of its own where it is one."""
        if store == REDIS:
            return {"redis": {"port": self.redis.port, "socket": self.redis.socket_path}}
        if store == POSTGRESQL:
            return {"postgresql": self._url}
        return {"sqlite": str(self.folder / f"tasks-{next(self._numbers)}.db")} if store == SQLITE else {}

    def asked(self, store: str) -> float:
        """How often the store was asked so far: round trips of Redis, statements of PostgreSQL; 0 where none counts."""
        if store == REDIS:
            return float(self.redis.ask("INFO", "stats")["total_reads_processed"])
        if store == POSTGRESQL:
            ((count,),) = self.postgresql.ask(_COUNT_STATEMENTS, (self._url.rpartition("/")[2],))
            return float(count)
        return 0.0

    def cpu_seconds(self, store: str) -> float:
        """What the server has used so far; 0 where there is none."""
        if store == REDIS:
            used = self.redis.ask("INFO", "cpu")
            return float(used["used_cpu_user"]) + float(used["used_cpu_sys"])
        return tree_cpu_seconds(self._postmaster()) if store == POSTGRESQL else 0.0

    def connections(self, store: str) -> int:
        """How many clients the server has, our own question not counted; 0 where there is none."""
        if store == REDIS:
            return int(self.redis.ask("INFO", "clients")["connected_clients"]) - 1
        if store == POSTGRESQL:
            name = self._url.rpartition("/")[2]
            ((count,),) = self.postgresql.ask("SELECT count(*) FROM pg_stat_activity WHERE datname = %s", (name,))
            return int(count)
        return 0

    def _postmaster(self) -> int:
        ((folder,),) = self.postgresql.ask("SHOW data_directory")
        return int((Path(folder) / "postmaster.pid").read_text("utf-8").split()[0])

    def stored_bytes(self, store: str) -> float:
        """What the tasks in a server take: memory of Redis, files of PostgreSQL; 0 where there is none."""
        if store == REDIS:
            return float(self.redis.ask("INFO", "memory")["used_memory"])
        if store == POSTGRESQL:
            ((size,),) = self.postgresql.ask("SELECT pg_database_size(%s)", (self._url.rpartition("/")[2],))
            return float(size)
        return 0.0


@contextmanager
def running(folder: Path, stores: tuple[str, ...] = STORES) -> Iterator[Servers]:
    """Start what these stores need; what cannot be started is missing, and the run says so."""
    servers = Servers(folder)
    with ExitStack() as stack:
        for store, start in ((REDIS, _start_redis), (POSTGRESQL, _start_postgresql)):
            if store in stores:
                try:
                    start(servers, stack)
                except (pytest.skip.Exception, pytest.fail.Exception, AssertionError) as reason:
                    servers.missing[store] = str(reason).splitlines()[0]
        yield servers


def _start_redis(servers: Servers, stack: ExitStack) -> None:
    settings = {"appendonly": "yes", "appendfsync": "everysec", "auto_aof_rewrite_percentage": 0}
    servers.redis = stack.enter_context(redis_server.Server(**settings))
    version = servers.redis.ask("INFO", "server")["redis_version"]
    servers.about[REDIS] = f"Redis {version}, TCP on this machine, appendonly yes, appendfsync everysec"


def _start_postgresql(servers: Servers, stack: ExitStack) -> None:
    counting = {"shared_preload_libraries": "pg_stat_statements", "shared_buffers": "128MB", "max_connections": 400}
    servers.postgresql = stack.enter_context(postgresql_server.Server(**{**postgresql_server.DURABLE, **counting}))
    servers.postgresql.ask("CREATE EXTENSION pg_stat_statements")
    ((version,),) = servers.postgresql.ask("SHOW server_version")
    servers.about[POSTGRESQL] = (
        f"PostgreSQL {version.split()[0]}, TCP on this machine, fsync on, shared_buffers 128MB, pg_stat_statements"
    )


def filesystem(folder: Path) -> str:
    """The type of file system that a folder is on; some of them make fsync a matter of course."""
    mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text("utf-8").splitlines()]
    above = [(len(point), kind) for point, kind in mounts if folder.resolve().is_relative_to(point)]
    return max(above)[1] if above else "an unknown file system"
