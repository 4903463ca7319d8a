"""Worker processes: started, watched from outside, ended. What they cost is read from the kernel, whoever they are."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .marks import BenchmarkError
from .peers.given import VARIABLE

ROOT = Path(__file__).parents[1]
END_SECONDS = 10.0
VERB_SECONDS = 300.0
LOOK_SECONDS = 0.005
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_TICK_SECONDS = 1 / os.sysconf("SC_CLK_TCK")
_PARENT, _SESSION, _USER_TICKS, _CHILDREN_TICKS, _PAGES = (
    1,
    3,
    11,
    13,
    21,
)  # fields of /proc/PID/stat behind the program's name


def run_verb(python: str, script: str, told: Mapping[str, Any], *arguments: str, seconds: float = VERB_SECONDS) -> str:
    """Run one verb of a script to its end; what it prints. Raises BenchmarkError."""
    done = subprocess.run(
        [python, "-m", "benchmarks.peers", script, *arguments],
        cwd=ROOT,
        env=_environment(told),
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    if done.returncode:
        raise BenchmarkError(f"{script} {' '.join(arguments)} failed:\n{done.stdout[-1000:]}{done.stderr[-2000:]}")
    return done.stdout


def _environment(told: Mapping[str, Any]) -> dict[str, str]:
    path = os.pathsep.join(filter(None, (told.get("source"), str(ROOT))))
    return {**os.environ, VARIABLE: json.dumps(told), "PYTHONPATH": path, "PYTHONWARNINGS": "ignore"}


class Workers:
    """The worker processes of one contestant. Each copy leads a session of its own, in which all its children are."""

    def __init__(self, python: str, script: str, told: Mapping[str, Any], copies: int = 1) -> None:
        self._command = [python, "-m", "benchmarks.peers", script, "work"]
        self._told = told
        self._copies = copies
        self._leaders: list[subprocess.Popen[bytes]] = []
        self._output = tempfile.TemporaryFile()  # noqa: SIM115  # closed in __exit__

    def __enter__(self) -> Workers:
        for _ in range(self._copies):
            self._leaders.append(
                subprocess.Popen(
                    self._command,
                    cwd=ROOT,
                    env=_environment(self._told),
                    stdin=subprocess.DEVNULL,
                    stdout=self._output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            )
        return self

    def __exit__(self, *error: object) -> None:
        self.kill()
        self._output.close()

    @property
    def pids(self) -> list[int]:
        """All processes of these sessions."""
        sessions = {leader.pid for leader in self._leaders}
        return [pid for pid, fields in _processes() if int(fields[_SESSION]) in sessions and fields[0] != "Z"]

    def cpu_seconds(self) -> float:
        """What they have used so far, those that ended not counted."""
        mine = set(self.pids)
        return sum(_ticks(fields, _USER_TICKS) for pid, fields in _processes() if pid in mine) * _TICK_SECONDS

    def fine_cpu_seconds(self) -> float:
        """The same by the scheduler's own account: exact where there is little to see."""
        paths = (path for pid in self.pids for path in Path(f"/proc/{pid}/task").glob("*/schedstat"))
        return sum(_first_number(path) for path in paths) / 1e9

    def memory_bytes(self) -> int:
        """What they hold in memory."""
        mine = set(self.pids)
        return sum(int(fields[_PAGES]) for pid, fields in _processes() if pid in mine) * _PAGE_BYTES

    def await_that(
        self, reached: Callable[[], bool], seconds: float, what: str, look_seconds: float = LOOK_SECONDS
    ) -> None:
        """Look until it is so. Raises BenchmarkError after so many seconds, and when a worker has ended."""
        deadline = time.monotonic() + seconds
        while not reached():
            ended = [leader.returncode for leader in self._leaders if leader.poll() is not None]
            if ended or time.monotonic() > deadline:
                reason = f"a worker ended with status {ended[0]}" if ended else f"it took more than {seconds:g} s"
                raise BenchmarkError(f"{what}: {reason}; the workers said:\n{self.said()}")
            time.sleep(look_seconds)

    def said(self) -> str:
        """The end of what they printed."""
        self._output.seek(0)
        return self._output.read()[-2000:].decode("utf-8", "replace")

    def stop(self) -> None:
        """Have them end by themselves."""
        for leader in self._leaders:
            leader.send_signal(signal.SIGTERM)
        for leader in self._leaders:
            try:
                leader.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                raise BenchmarkError(f"a worker did not end when it was told to:\n{self.said()}") from None

    def kill(self) -> None:
        """SIGKILL, to all of them, and to what they started meanwhile; wait until those are gone that we started."""
        while pids := self.pids:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
                    os.kill(pid, signal.SIGKILL)
        for leader in self._leaders:
            leader.wait(END_SECONDS)
        self._leaders = []


def tree_cpu_seconds(pid: int) -> float:
    """What a process and its children have used so far, those included that have ended."""
    found = _processes()
    own = sum(
        _ticks(fields, _USER_TICKS) + _ticks(fields, _CHILDREN_TICKS) for number, fields in found if number == pid
    )
    children = sum(_ticks(fields, _USER_TICKS) for _, fields in found if int(fields[_PARENT]) == pid)
    return (own + children) * _TICK_SECONDS


def _ticks(fields: list[str], first: int) -> int:
    """User and system time, which stand side by side."""
    return int(fields[first]) + int(fields[first + 1])


def _processes() -> Sequence[tuple[int, list[str]]]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = path.read_text("utf-8", "replace")
        except OSError:
            continue  # it has ended
        found.append((int(path.parent.name), text.rpartition(")")[2].split()))
    return found


def _first_number(path: Path) -> int:
    try:
        return int(path.read_text("ascii").split()[0])
    except OSError:
        return 0  # the thread has ended
