"""The keeper in processes of their own: forked ones, and those that end."""

from __future__ import annotations

import json
import subprocess
import sys

FORKING = """
import json, os, threading
from taskqueue import keeper as module
from taskqueue.errors import BackendUnavailableError
from taskqueue.interfaces import Record
from taskqueue.keeper import process_keeper
from taskqueue.queues import Queue

class Store:
    def beat(self, owner, lease, timeout): say("beat", owner.id, owner.pid)
    def publish(self, records, timeout): raise BackendUnavailableError("down")
    def settle(self, ids, verdict, timeout): pass
    def retire(self, owner_id, timeout): say("retire", owner_id)

def say(*words):
    os.write(1, (json.dumps([os.getpid(), *words]) + "\\n").encode())

queue = Queue(name="mail", backend=Store())
mine = process_keeper()
mine.hold_lease(queue, 1.0)
mine.redo(queue, [Record(id="a", body=b"")], BackendUnavailableError("down"))
say("keeper", mine.owner_id, mine.unpublished())
with module._making:  # another thread was just making one
    pid = os.fork()
    if pid == 0:
        threading.Timer(20, os._exit, [3]).start()  # in place of waiting for ever
        its = process_keeper()
        say("child", its.owner_id, its.unpublished())
        its.hold_lease(queue, 1.0)
        mine.stop()
        module._stop_at_exit()
        os._exit(0)
status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
say("waited", status)
"""


def test_a_forked_child_is_another_owner_with_nothing_to_publish_and_leaves_its_parents_lease() -> None:
    done = subprocess.run([sys.executable, "-c", FORKING], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    said = [json.loads(line) for line in done.stdout.splitlines()]
    parent = said[0][0]
    owners = {words[1]: words[2] for _pid, *words in said if words[0] in ("keeper", "child")}
    unpublished = {words[0]: words[2] for _pid, *words in said if words[0] in ("keeper", "child")}
    assert len(owners) == 2
    assert unpublished == {"keeper": 1, "child": 0}
    [parents_id] = [words[1] for _pid, *words in said if words[0] == "keeper"]
    [childs_id] = [words[1] for _pid, *words in said if words[0] == "child"]
    retired = [(pid == parent, words[1]) for pid, *words in said if words[0] == "retire"]
    assert retired == [(False, childs_id), (True, parents_id)]
    beaten = {
        (pid == parent, owner, pid == owner_pid)
        for pid, word, owner, owner_pid in (entry for entry in said if entry[1] == "beat")
    }
    assert beaten == {(True, parents_id, True), (False, childs_id, True)}


LEAVING = """
import atexit, os
from taskqueue.keeper import process_keeper
atexit.register(lambda: os.write(1, b"consumers stop\\n"))
from taskqueue.queues import Queue

class Store:
    def beat(self, owner, lease, timeout): pass
    def retire(self, owner_id, timeout): os.write(1, b"retire\\n")

queue = Queue(name="mail", backend=Store())
process_keeper().hold_lease(queue, 1.0)
"""


def test_at_exit_the_lease_outlives_the_consumers_that_run_under_it() -> None:
    done = subprocess.run([sys.executable, "-c", LEAVING], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.splitlines() == ["consumers stop", "retire"], done.stderr


ENDING = """
import os, threading
from taskqueue.interfaces import Record
from taskqueue.keeper import process_keeper
from taskqueue.queues import Queue

class Store:
    def beat(self, owner, lease, timeout): pass
    def publish(self, records, timeout): os.write(1, f"publish {[each.id for each in records]}\\n".encode())
    def retire(self, owner_id, timeout): os.write(1, b"retire\\n")

queue = Queue(name="mail", backend=Store())
keeper = process_keeper()
keeper.hold_lease(queue, 1.0)
with keeper.publisher._changed:  # so that its thread cannot begin before the fork
    keeper.publisher.hand_over(queue, [Record(id="a", body=b"")])
    pid = os.fork()
    if pid == 0:
        os._exit(len(process_keeper().publisher) + process_keeper().publisher.hand_over(queue, []) - 1)
os.write(1, f"child {os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])}\\n".encode())
"""


def test_what_was_handed_over_is_published_at_exit_under_the_lease_and_not_by_a_forked_child() -> None:
    done = subprocess.run([sys.executable, "-c", ENDING], capture_output=True, text=True, timeout=60, check=False)
    said = done.stdout.splitlines()
    assert sorted(said) == ["child 0", "publish ['a']", "retire"], done.stderr
    assert said[-1] == "retire"
