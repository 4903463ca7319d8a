"""A script that adds and forgets to commit is told so when it ends."""

import subprocess
import sys

PROGRAM = """
import os, transaction, taskqueue
from taskqueue.wsgi import TaskQueueFilter
TaskQueueFilter(lambda environ, start_response: [], queues={{"default": {{"type": "sqlite", "path": {path!r}}}}})
task_id = taskqueue.add("/later")
{rest}
print(task_id)
"""


def run(tmp_path, rest):
    program = PROGRAM.format(path=str(tmp_path / "tasks.db"), rest=rest)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.strip(), done.stderr


def test_a_task_whose_transaction_was_never_ended_is_told_at_the_end(tmp_path):
    task_id, said = run(tmp_path, "")
    assert said.count("\n") == 1
    assert task_id in said
    assert "never committed: call transaction.commit()" in said


def test_nothing_is_told_of_what_was_committed_or_aborted(tmp_path):
    assert run(tmp_path, "transaction.commit()")[1] == ""
    assert run(tmp_path, "transaction.abort()")[1] == ""


def test_a_forked_child_says_nothing_of_its_parents_transaction(tmp_path):
    _, said = run(tmp_path, "pid = os.fork()\nif not pid: raise SystemExit\nos.waitpid(pid, 0); transaction.commit()")
    assert said == ""
