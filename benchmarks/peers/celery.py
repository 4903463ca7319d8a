"""Celery on Redis, without results."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable

from celery import Celery

from .given import PAYLOAD, redis_url, run_task, setting

app = Celery("benchmark", broker=redis_url("redis+socket://"))
app.conf.task_ignore_result = True
app.conf.broker_connection_retry_on_startup = True


@app.task(name="mark")
def mark(number: int, payload: str) -> None:
    """The task."""
    run_task(number, payload)


def add(numbers: Iterable[int]) -> None:
    """One message each."""
    for number in numbers:
        mark.delay(number, PAYLOAD)


def work() -> None:
    """Its command: by default a forked process for each core."""
    command = [sys.executable, "-m", "celery", "-A", f"{__name__}:app", "worker", "--loglevel", "ERROR"]
    if "pool" in setting:
        command += ["--pool", setting["pool"]]
    if "processes" in setting:
        command += ["--concurrency", str(setting["processes"])]
    os.environ["C_FORCE_ROOT"] = "1"  # it warns of root otherwise
    os.execv(sys.executable, command)
