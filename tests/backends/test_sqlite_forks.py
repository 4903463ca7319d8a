"""Forks of servers that are written in C: Python does not know of them, and does nothing for us then."""

import subprocess
import sys

PROGRAM = """
import ctypes, os, sys
from taskqueue.backends.sqlite import SQLiteQueue
from taskqueue.errors import BackendUnavailableError

def fork(look):
    pid = ctypes.PyDLL(None).fork()
    if pid:
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
        return
    try:
        print(len(look()), flush=True)
    except BackendUnavailableError as error:
        print(error, flush=True)
    os._exit(0)

queue = SQLiteQueue(name="default", path="tasks.db")
look = lambda: queue.list(["ready"])
"""


def run(folder, text):
    command = [sys.executable, "-c", PROGRAM + text]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.splitlines()


def test_a_file_that_nobody_has_used_yet_can_be_used_after_the_fork(tmp_path):
    assert run(tmp_path, "fork(look); fork(look); print(len(look()))") == ["0", "0", "0", "0", "0"]


def test_a_file_that_was_in_use_is_refused_and_the_cure_is_named(tmp_path):
    said, status, parents = run(tmp_path, "look(); fork(look); print(len(look()))")
    assert "was forked while its parent used the file" in said
    assert "lazy-apps = true" in said
    assert (status, parents) == ("0", "0")


def test_a_file_that_was_closed_before_the_fork_can_be_used_after_it(tmp_path):
    assert run(tmp_path, "look(); queue.close(); fork(look)") == ["0", "0"]


def test_who_waits_for_a_file_that_was_in_use_is_not_disturbed_by_it(tmp_path):
    said, _ = run(tmp_path, "look(); queue.wait(0, 0); fork(lambda: [queue.wait(0, 0.01)])")
    assert said == "1"
