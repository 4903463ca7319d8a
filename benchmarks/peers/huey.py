"""huey on Redis, and in a SQLite file."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable

from huey import RedisHuey, SqliteHuey

from .given import PAYLOAD, redis_url, run_task, setting, told

if "sqlite" in told:
    options = {} if setting.get("fsync") is None else {"fsync": setting["fsync"]}
    huey = SqliteHuey("benchmark", filename=told["sqlite"], **options)
else:
    huey = RedisHuey("benchmark", url=redis_url())


@huey.task()
def mark(number: int, payload: str) -> None:
    """The task."""
    run_task(number, payload)


def add(numbers: Iterable[int]) -> None:
    """One message each."""
    for number in numbers:
        mark(number, PAYLOAD)


def work() -> None:
    """Its command: by default one thread."""
    command = [sys.executable, "-m", "huey.bin.huey_consumer", f"{__name__}.huey", "--quiet"]
    if "threads" in setting:
        command += ["-w", str(setting["threads"]), "-k", "thread"]
    if "processes" in setting:
        command += ["-w", str(setting["processes"]), "-k", "process"]
    os.execv(sys.executable, command)
