"""The process of a site of the proofs of faults: ``python -m tests.proof.faults_process``.

It reads a job, and then orders, as lines of JSON, and answers each with a line.
"""

import contextlib
import fcntl
import functools
import json
import logging
import os
import random
import re
import select
import signal
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from unittest import mock
from wsgiref.util import setup_testing_defaults

import taskqueue
from taskqueue import configure, failpoints, notices
from taskqueue.keeper import process_keeper
from taskqueue.queues import installed
from taskqueue.transactions import TransactionMiddleware
from taskqueue.wsgi import TaskQueueFilter

DEADLINE = 15.0
SERVER = {"consume": "auto", "min_backoff": "0.05 s", "conflict_backoff": "0.05 s", "grace": "5 s"}


class _Process:
    def __init__(self, job):
        self._folder = Path(job["folder"])
        self._effects = os.open(self._folder / "effects", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._armed = contextlib.ExitStack()
        self._store = None
        if job.get("redis_clock"):
            self._armed.enter_context(_clock_of_redis(job["redis_clock"], job["true_minus_monotonic"]))
        if job.get("sql"):
            from .applications import SQLStore

            self._store = SQLStore(job["sql"])
            if job.get("creates"):
                self._store.create()
            self._store.open()
        read = configure.read_keywords({"default": job["queue"]}, {"default": {**SERVER, **job.get("server", {})}})
        lease = {name: job[name] for name in ("lease", "renew") if name in job}
        servers = tuple(replace(server, **lease) for server in read.servers)
        self._filter = TaskQueueFilter(self._opened, configuration=replace(read, servers=servers), program="pshell")

    # ---- orders

    def do_add(self, path, count=1, **keywords):
        """A request that adds so many tasks, and writes a row where there is a database."""
        environ = {"PATH_INFO": "/add", "proof.path": path, "proof.count": count, "proof.keywords": keywords}
        setup_testing_defaults(environ)
        answer = {"ids": []}
        environ["proof.answer"] = answer
        began = time.monotonic()
        try:
            written = self._filter(environ, lambda status, headers, error=None: answer.update(status=int(status[:3])))
            for _ in written:
                pass
            written.close()
        except Exception as error:  # noqa: BLE001  # the test judges it
            answer.update(status=500, error=f"{type(error).__name__}: {error}")
        return {**answer, "seconds": time.monotonic() - began, "at": began}

    def do_consume(self, waits=True):
        """Start the consumer; wait until it has, unless it cannot."""
        started = threading.Event()
        notices.listen(lambda notice: started.set() if notice.event.value == "consumer started" else None)
        self._filter.installation.start(self._filter.replay)
        assert not waits or started.wait(DEADLINE), "the consumer did not start"
        return {}

    def do_stop_at(self, name):
        """Stand still at the next pass of a failpoint."""
        passed = []

        def stand_still():
            if not passed:
                passed.append(name)
                _stand_still()

        self._armed.enter_context(failpoints.armed(name, stand_still))
        return {}

    def do_stop(self):
        """Stand still now."""
        _stand_still()
        return {}

    def do_take_lease(self, lease, renew):
        """As in a process that also consumes: its lease is the one of a consumer's settings."""
        process_keeper().register_consumer(installed()["default"], "default", lease, renew)
        return {}

    def do_count(self):
        """How many tasks there are in each state."""
        return dict(installed()["default"].backend.counts().states)

    def do_time(self):
        """What time it is."""
        return {"time": time.time(), "monotonic": time.monotonic()}

    def do_end(self):
        """Stop, and let go of everything."""
        self._filter.installation.close()
        return {}

    # ---- the application

    def _opened(self, environ, start_response):
        with contextlib.ExitStack() as environ["proof.opened"]:
            return TransactionMiddleware(self._view)(environ, start_response)

    def _view(self, environ, start_response):
        _, verb, *names = environ["PATH_INFO"].split("/")
        getattr(self, f"_view_{verb}")(environ, *names)
        start_response("200 OK", [])
        return [b""]

    def _view_add(self, environ):
        keywords, path = environ["proof.keywords"], environ["proof.path"]
        if self._store is not None:
            self._join(environ).write(int(path.rpartition("/")[2].partition("-")[0]), environ["proof.count"])
        for number in range(environ["proof.count"]):
            if "payload_bytes" in keywords:
                keywords = {"method": "POST", "payload": os.urandom(keywords["payload_bytes"])}
            environ["proof.answer"]["ids"].append(taskqueue.add(path.format(number), **keywords))

    def _join(self, environ):
        return environ["proof.opened"].enter_context(contextlib.closing(self._store.join(environ["tm.manager"])))

    def _note(self, *words):
        os.write(self._effects, f"{' '.join(words)} {time.monotonic()!r}\n".encode())

    def _view_effect(self, environ, name):
        """Do it."""
        if self._store is not None:
            self._join(environ).note_effect(name)
        self._note("done", name, environ["HTTP_X_TASK_ATTEMPT"], str(os.getpid()))

    def _view_block(self, environ, name):
        """Wait for the gate."""
        self._note("began", name, environ["HTTP_X_TASK_ATTEMPT"], str(os.getpid()))
        pause = threading.Event()
        with (self._folder / "gate").open() as gate:
            while not _is_open(gate):
                pause.wait(0.01)
        self._note("done", name, environ["HTTP_X_TASK_ATTEMPT"], str(os.getpid()))

    def _view_busy(self, environ, name, seconds, way):
        """Keep the interpreter busy for so long."""
        self._note("began", name, environ["HTTP_X_TASK_ATTEMPT"], str(os.getpid()))
        until = time.monotonic() + float(seconds)
        while time.monotonic() < until:
            WAYS_TO_BE_BUSY[way]()
        self._note("done", name, environ["HTTP_X_TASK_ATTEMPT"], str(os.getpid()))

    def _view_kill(self, environ, name):
        """Kill the process that runs it."""
        self._note("killed", name, environ["HTTP_X_TASK_ATTEMPT"], str(os.getpid()))
        os.kill(os.getpid(), signal.SIGKILL)


def _stand_still():
    """SIGSTOP, while no thread of this process writes to a file: all others would have to wait for it."""
    database = getattr(installed()["default"].backend, "_database", None)
    with contextlib.nullcontext() if database is None else database._writer.lock:
        os.kill(os.getpid(), signal.SIGSTOP)


@contextlib.contextmanager
def _clock_of_redis(offset, true_minus_monotonic):
    """In place of the server's: libfaketime and the server's allocator do not go together. All that the queue knows of
    that clock goes through one call in the scripts, so that one is turned; no key of ours expires by itself."""
    from ..backends import redis_clock

    def turned():
        return time.monotonic() + true_minus_monotonic + float(Path(offset).read_text())

    with mock.patch.object(redis_clock, "time", mock.Mock(time=turned)), redis_clock.clock_of_this_process():
        yield


def _is_open(gate):
    try:
        fcntl.flock(gate, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _loop():
    for _ in range(10_000):
        pass


def _backtrack(letters):
    """A pattern that takes exponentially long, in C, with the interpreter's lock held: 0.04 s for 20 and more on a busy
    machine, four times that for 22."""
    re.match(r"(a+)+b", "a" * letters)


def _sort():
    """The same, sorting a large list."""
    sorted(_shuffled())


@functools.cache
def _shuffled():
    numbers = list(range(400_000))
    random.Random(1).shuffle(numbers)
    return numbers


WAYS_TO_BE_BUSY = {
    "python": _loop,
    "re": functools.partial(_backtrack, 20),
    "long-re": functools.partial(_backtrack, 22),
    "sort": _sort,
}


def main():
    """Do what comes in."""
    if "FAKETIME_TIMESTAMP_FILE" in os.environ:
        # libfaketime reckons the end of a sleep by the clock that was moved meanwhile, and then fails with EINVAL.
        time.sleep = lambda seconds: select.select([], [], [], seconds)
    logging.basicConfig(format="%(relativeCreated)d %(levelname)s %(name)s %(message)s", level=logging.INFO)
    process = _Process(json.loads(sys.stdin.readline()))
    print(json.dumps({"pid": os.getpid()}), flush=True)
    for line in sys.stdin:
        words = json.loads(line)
        do = words.pop("do")
        print(json.dumps(getattr(process, f"do_{do}")(**words)), flush=True)
        if do == "end":
            return


if __name__ == "__main__":
    main()
