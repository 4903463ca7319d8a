"""Other processes for tests: they say when they are where a test needs them, and are told when to go on."""

import os
import select
import signal
import subprocess
import sys
import textwrap
import threading
import time
import traceback
from contextlib import contextmanager
from pathlib import Path

DEADLINE = 10.0
ROOT = Path(__file__).parents[2]

_PRELUDE = """
import os, sys, time
from taskqueue.backends.sqlite import SQLiteQueue
from taskqueue.errors import BackendUnavailableError
from tests.backends.making import *
path = sys.argv[1]
def say(word):
    print(word, flush=True)
def listen():
    line = sys.stdin.readline().strip()
    if not line:
        os._exit(3)
    return line
"""


class Child:
    """A Python process that runs some code with a path; it speaks and listens by lines."""

    def __init__(self, code, path, *arguments):
        self._process = subprocess.Popen(
            [sys.executable, "-c", _PRELUDE + textwrap.dedent(code), str(path), *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            cwd=ROOT,
        )
        self._heard = b""

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self._process.kill()
        self._process.wait(DEADLINE)
        self._process.stdin.close()
        self._process.stdout.close()

    def hear(self):
        """The next line that it says."""
        deadline = time.monotonic() + DEADLINE
        while b"\n" not in self._heard:
            readable, _, _ = select.select([self._process.stdout], [], [], max(0.0, deadline - time.monotonic()))
            assert readable, "the child said nothing in time"
            said = os.read(self._process.stdout.fileno(), 65536)
            assert said, f"the child ended with status {self._process.wait(DEADLINE)}"
            self._heard += said
        line, _, self._heard = self._heard.partition(b"\n")
        return line.decode().strip()

    def expect(self, word):
        """Wait until it says this."""
        assert self.hear() == word

    def tell(self, word="go"):
        """Say something to it."""
        self._process.stdin.write(f"{word}\n".encode())

    def kill(self):
        """SIGKILL, and wait until it is dead."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(DEADLINE)

    def end(self):
        """Wait until it ends well."""
        assert self._process.wait(DEADLINE) == 0


class Fork:
    """A forked child of this process that does something; fails with it, and does not outlive its test."""

    def __init__(self, action):
        ended, says = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            _do_and_exit(action, says)
        os.close(says)
        self._ended = ended

    def end(self):
        """Wait until it ends well."""
        readable, _, _ = select.select([self._ended], [], [], DEADLINE)
        word = os.read(self._ended, 4) if readable else b""
        os.close(self._ended)
        if not word:
            os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        assert word == b"well", "the forked child failed" if word else "the forked child did not end in time"


def _do_and_exit(action, says):
    """In the child: never returns into the test, whatever happens."""
    try:
        action()
        os.write(says, b"well")
    except BaseException:  # noqa: BLE001  # told to the parent, which fails
        traceback.print_exc()
        os.write(says, b"ill")
    finally:
        os._exit(0)


@contextmanager
def held_by_another_thread(lock):
    """Have a thread hold a lock that a child, forked in the block, would find held for ever."""
    held, let_go = threading.Event(), threading.Event()

    def hold():
        with lock:
            held.set()
            let_go.wait(DEADLINE)

    thread = threading.Thread(target=hold, daemon=True)
    thread.start()
    assert held.wait(DEADLINE), "the lock was not free"
    yield
    let_go.set()
    thread.join(DEADLINE)
