"""What every script is told, and the mark that every task leaves. Standard library only: all environments run it."""

from __future__ import annotations

import json
import os
import struct
import time
from typing import Any

VARIABLE = "TASKQUEUE_BENCHMARK"
MARK = struct.Struct("<QQ")  # the number of the task, and when it was entered, in nanoseconds of CLOCK_MONOTONIC
PAYLOAD = "x" * 1000

told: dict[str, Any] = json.loads(os.environ.get(VARIABLE, "{}"))
setting: dict[str, Any] = told.get("setting", {})

_marks: int | None = None


def now() -> int:
    """Nanoseconds, by the clock that all processes of a machine share."""
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC)


def leave_mark(number: int, payload: str | bytes) -> None:
    """This task has begun. One write, which the kernel does not mix with another's."""
    global _marks  # noqa: PLW0603  # opened once in each process
    entered = now()
    if len(payload) != len(PAYLOAD):
        raise ValueError("the payload is not the one that was added")
    if _marks is None:
        _marks = os.open(told["marks"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(_marks, MARK.pack(number, entered))


def wait_seconds() -> float:
    """How long each task waits for something, after its mark."""
    return float(told.get("wait_seconds", 0.0))


def run_task(number: int, payload: str | bytes) -> None:
    """The task of those whose workers are threads."""
    leave_mark(number, payload)
    if wait_seconds():
        time.sleep(wait_seconds())


def redis_url(socket_scheme: str = "unix://", socket_suffix: str = "") -> str:
    """Where Redis is: over TCP, or through its socket where the setting says so."""
    if setting.get("socket"):
        return f"{socket_scheme}{told['redis']['socket']}{socket_suffix}"
    return f"redis://127.0.0.1:{told['redis']['port']}/0"
