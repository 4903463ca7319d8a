"""taskiq on a Redis list."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterable

from taskiq_redis import ListQueueBroker

from .given import PAYLOAD, leave_mark, redis_url, setting, wait_seconds

broker = ListQueueBroker(redis_url())
_loop = asyncio.new_event_loop()


@broker.task(task_name="mark")
async def mark(number: int, payload: str) -> None:
    """The task."""
    leave_mark(number, payload)
    if wait_seconds():
        await asyncio.sleep(wait_seconds())


async def _add(numbers: Iterable[int]) -> None:
    for number in numbers:
        await mark.kiq(number, PAYLOAD)


def add(numbers: Iterable[int]) -> None:
    """One message each."""
    _loop.run_until_complete(_add(numbers))


def work() -> None:
    """Its command: by default two processes."""
    command = [sys.executable, "-m", "taskiq", "worker", f"{__name__}:broker", "--log-level", "WARNING"]
    if "processes" in setting:
        command += ["--workers", str(setting["processes"])]
    os.execv(sys.executable, command)
