"""RQ on Redis."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path

from redis import Redis
from rq import Queue

from .given import PAYLOAD, redis_url, run_task, setting

_queue = Queue("benchmark", connection=Redis.from_url(redis_url()))


def mark(number: int, payload: str) -> None:
    """The task."""
    run_task(number, payload)


def add(numbers: Iterable[int]) -> None:
    """One job each."""
    for number in numbers:
        _queue.enqueue(mark, number, PAYLOAD)


def work() -> None:
    """Its command: by default a process that forks for each task."""
    program = str(Path(sys.executable).with_name("rq"))
    command = [program, "worker-pool" if "processes" in setting else "worker", "--url", redis_url(), "--quiet"]
    if "processes" in setting:
        command += ["--num-workers", str(setting["processes"])]
    if "worker" in setting:
        command += ["--worker-class", setting["worker"]]
    os.execv(program, [*command, "benchmark"])
