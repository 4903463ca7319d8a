"""ZODB: the databases that can say whether a transaction committed, and whether there are connections enough."""

from __future__ import annotations

import configparser
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from .. import notices, witnesses
from ..settings import ServerSettings

WAITRESS_THREADS = 4  # its default


def register_database(event: Any) -> None:
    """Have all databases of this Zope asked, after a crash, whether a transaction committed."""
    for database in event.database.databases.values():
        witnesses.register(database)


def close_after(database: Any, stop: Callable[[], None]) -> None:
    """Have a database stopped for before it is closed: the commands of Zope close it while tasks still run."""
    close = database.close

    def stop_and_close() -> None:
        stop()
        close()

    database.close = stop_and_close


def warn_of_pool(database: Any, servers: Iterable[ServerSettings]) -> None:
    """Each thread that serves or replays has a connection of its own; beyond the pool's size they are made anew."""
    consuming = sum(server.concurrent_limit for server in servers if server.consume != "no")
    serving = waitress_threads(sys.argv)
    size = database.getPoolSize()
    if consuming and consuming + serving > size:
        threads = f"{serving} threads of waitress and " if serving else ""
        notices.tell(
            notices.Event.WARNING,
            detail=f"{threads}{consuming} of consumers (concurrent_limit) share {size} connections to the database: "
            f"set pool-size {consuming + (serving or WAITRESS_THREADS)} or more in its <zodb_db> of zope.conf",
        )


def waitress_threads(arguments: Iterable[str]) -> int:
    """How many threads waitress will have, by the ini file that the command was given; 0 where nobody can know."""
    ini = next((Path(each.partition("#")[0]) for each in arguments if each.partition("#")[0].endswith(".ini")), None)
    parser = configparser.RawConfigParser(strict=False)
    try:
        if ini is None or not parser.read(ini, "utf-8"):
            return 0
        server = parser["server:main"]
        # Buildout's instances have a server of their own name, which is waitress, too.
        is_waitress = any(word in "".join(server.values()) for word in ("waitress", "zope2instance"))
        return int(server.get("threads", str(WAITRESS_THREADS))) if is_waitress else 0
    except (OSError, KeyError, ValueError, configparser.Error):
        return 0
