"""dramatiq on Redis."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from .given import PAYLOAD, redis_url, run_task, setting

dramatiq.set_broker(RedisBroker(url=redis_url()))


@dramatiq.actor
def mark(number: int, payload: str) -> None:
    """The task."""
    run_task(number, payload)


def add(numbers: Iterable[int]) -> None:
    """One message each."""
    for number in numbers:
        mark.send(number, PAYLOAD)


def work() -> None:
    """Its command: by default a process for each core, with eight threads."""
    command = [sys.executable, "-m", "dramatiq", __name__, "--path", "."]
    if "processes" in setting:
        command += ["--processes", str(setting["processes"])]
    if "threads" in setting:
        command += ["--threads", str(setting["threads"])]
    if "prefetch" in setting:
        os.environ["dramatiq_queue_prefetch"] = str(setting["prefetch"])  # noqa: SIM112  # its name
    os.execv(sys.executable, command)
