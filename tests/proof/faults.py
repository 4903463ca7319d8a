"""Sites for the proofs of faults: each is a process that adds, consumes, or both; ``faults_process`` is what it runs.

It is told its clock, its leases and its failpoints from outside, so that a test can have it killed, stopped, or live in
another hour. What a task did is a line in the file ``effects``, written at once, with the time by the clock of the
machine that does not jump.
"""

import contextlib
import fcntl
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from taskqueue.backends.postgresql import PostgreSQLQueue
from taskqueue.backends.redis import RedisQueue
from taskqueue.backends.sqlite import SQLiteQueue

from ..serving import whole_lines

ROOT = Path(__file__).parents[2]
LONG = os.environ.get("TASKQUEUE_PROOF") == "long"
DEADLINE = 30.0
KINDS = ("sqlite", "redis", "postgresql")


class Site:
    """One process. ``job`` has the options of its ``queue`` and its ``server``, the seconds of ``lease`` and ``renew``,
    and the URL of a database with a witness as ``sql``, if any."""

    def __init__(self, folder, queue, environ=None, **job):
        self.folder = folder
        self._log = folder / f"log-{len(list(folder.glob('log-*')))}"
        self._heard = b""
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.proof.faults_process"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                bufsize=0,
                cwd=ROOT,
                env={**os.environ, **(environ or {})},
            )
        self.order(folder=str(folder), queue=queue, **job)

    def __enter__(self):
        self.hear()
        return self

    def __exit__(self, *exc_info):
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        self._process.wait(DEADLINE)
        self._process.stdin.close()
        self._process.stdout.close()

    @property
    def pid(self):
        return self._process.pid

    @property
    def log(self):
        """What it has logged."""
        return self._log.read_text()

    def order(self, **words):
        """Tell it to do something."""
        self._process.stdin.write(json.dumps(words).encode() + b"\n")

    def hear(self, seconds=DEADLINE):
        """Its next answer."""
        deadline = time.monotonic() + seconds
        while b"\n" not in self._heard:
            readable, _, _ = select.select([self._process.stdout], [], [], max(0.0, deadline - time.monotonic()))
            assert readable, f"the site said nothing in time; its log:\n{self.log[-3000:]}"
            said = os.read(self._process.stdout.fileno(), 65536)
            assert said, f"the site ended with status {self._process.wait(DEADLINE)}; its log:\n{self.log[-3000:]}"
            self._heard += said
        line, _, self._heard = self._heard.partition(b"\n")
        return json.loads(line)

    def ask(self, do, **words):
        """Tell it to do something, and wait until it has; its answer."""
        self.order(do=do, **words)
        return self.hear()

    def add(self, path, **words):
        """A request that adds a task; the task's id. Fails when the request does."""
        return self.add_some(path, 1, **words)[0]

    def add_some(self, path, count, **words):
        """A request that adds so many, with their numbers in place of ``{}``; their ids."""
        answer = self.ask("add", path=path, count=count, **words)
        assert answer["status"] == 200, f"{answer}; its log:\n{self.log[-3000:]}"
        return answer["ids"]

    def consume(self):
        """Start its consumer, once."""
        self.ask("consume")
        return self

    def end(self):
        """Have it stop as at a SIGTERM, and end."""
        self.ask("end")
        assert self._process.wait(DEADLINE) == 0, self.log[-3000:]

    def wait_for_death(self):
        """Wait until it has died by SIGKILL."""
        assert self._process.wait(DEADLINE) == -signal.SIGKILL, self.log[-3000:]

    def is_dead(self):
        """Whether it is."""
        return self._process.poll() is not None

    def stop_still(self):
        """Have it stop itself with SIGSTOP; wait until it stands still. It answers when it goes on."""
        self.order(do="stop")
        self.wait_for_standstill()

    def wait_for_standstill(self):
        """Wait until it is stopped, by whomever."""
        wait_until(self._is_stopped, "it does not stand still")

    def _is_stopped(self):
        stat = Path(f"/proc/{self.pid}/stat").read_text()
        return stat.rpartition(")")[2].split()[0] == "T"

    def go_on(self):
        """SIGCONT."""
        os.kill(self.pid, signal.SIGCONT)


class Effects:
    """What the tasks of a folder did: words, and when."""

    def __init__(self, folder):
        self._path = folder / "effects"

    def read(self):
        """All lines, split into words; the time is the last one."""
        return [(*words, float(at)) for *words, at in map(str.split, whole_lines(self._path))]

    def of(self, name, did="done"):
        """When a task did something, each time."""
        return [line[-1] for line in self.read() if line[:2] == (did, name)]

    def wait_for(self, name, did="done", count=1, seconds=DEADLINE):
        """Wait until a task has done something so many times; when it first did."""
        wait_until(lambda: len(self.of(name, did)) >= count, lambda: f"{did} {name} not in {self.read()}", seconds)
        return self.of(name, did)[0]


class Gate:
    """Tasks of ``/block`` wait until it is open."""

    def __init__(self, folder):
        self._file = (folder / "gate").open("w")
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def open(self):
        """From now on."""
        fcntl.flock(self._file, fcntl.LOCK_UN)

    def close(self):
        """Open it for good."""
        self._file.close()


def wait_until(condition, explain="the condition did not come true", seconds=DEADLINE):
    """Look at something outside of this process until it is so."""
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, explain() if callable(explain) else explain
        pause.wait(0.01)


def open_queue(options):
    """The test's own way to a queue."""
    given = {name: value for name, value in options.items() if name != "type"}
    kinds = {"sqlite": SQLiteQueue, "redis": RedisQueue, "postgresql": PostgreSQLQueue}
    return contextlib.closing(kinds[options["type"]](name="default", **given))


@contextlib.contextmanager
def store(kind, folder):
    """The options of a new queue of one type, on a server that keeps what it confirms."""
    if kind == "sqlite":
        yield {"type": "sqlite", "path": str(folder / "tasks.db")}
    elif kind == "redis":
        from ..backends.redis_server import Server

        with Server(appendonly="yes") as server:
            yield {"type": "redis", **server.address}
    else:
        from ..backends.postgresql_server import new_database, shared_server

        with new_database(shared_server()) as url:
            options = {"type": "postgresql", "url": url}
            with open_queue(options) as queue:
                queue.migrate()
            yield options
