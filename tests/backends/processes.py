"""Other processes for tests: they say when they are where a test needs them, and are told when to go on."""

import os
import select
import signal
import subprocess
import sys
import textwrap
import traceback
from pathlib import Path

DEADLINE = 20.0
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
            text=True,
            bufsize=1,
            cwd=ROOT,
        )
        self.pid = self._process.pid

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self._process.kill()
        self._process.wait(DEADLINE)
        self._process.stdin.close()
        self._process.stdout.close()

    def hear(self):
        """The next line that it says."""
        readable, _, _ = select.select([self._process.stdout], [], [], DEADLINE)
        assert readable, "the child said nothing in time"
        line = self._process.stdout.readline().strip()
        assert line, f"the child ended with status {self._process.wait(DEADLINE)}"
        return line

    def expect(self, word):
        """Wait until it says this."""
        assert self.hear() == word

    def tell(self, word="go"):
        """Say something to it."""
        self._process.stdin.write(f"{word}\n")
        self._process.stdin.flush()

    def kill(self):
        """SIGKILL, and wait until it is dead."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(DEADLINE)

    def end(self):
        """Wait until it ends well."""
        assert self._process.wait(DEADLINE) == 0


def outcome_of_child(action):
    """In a forked child: do it, and end with status 0 if all went well. Never returns."""
    try:
        action()
    except BaseException:  # noqa: BLE001  # whatever it is, the parent sees the status
        traceback.print_exc()
        os._exit(1)
    os._exit(0)
