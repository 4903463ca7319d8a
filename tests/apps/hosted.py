"""A bare WSGI application for any server: ``app`` for those that import a module, ``main`` for those that read an ini
file. What its views did stands in the file ``effects`` of the folder that HOSTED_FOLDER names.

Tasks and requests that block wait for the file ``gate``, a lock that the test holds.
"""

import faulthandler
import fcntl
import json
import logging
import multiprocessing
import os
import signal
import threading
import urllib.parse
from pathlib import Path

import taskqueue
from taskqueue.wsgi import Lifecycle, TaskQueueFilter, TransactionMiddleware

FOLDER = Path(os.environ["HOSTED_FOLDER"])
TASK_SECONDS = 0.04

faulthandler.register(signal.SIGRTMIN)
logging.basicConfig(format="%(process)d %(levelname)s %(name)s %(message)s")
logging.getLogger().setLevel(logging.INFO)
logging.getLogger("taskqueue.access").setLevel(logging.WARNING)


def hosted(environ, start_response):
    params = dict(urllib.parse.parse_qsl(environ.get("QUERY_STRING", "")))
    answer = VIEWS[environ["PATH_INFO"]](**params)
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(answer).encode()]


def pid():
    return os.getpid()


def add(url, count="1"):
    return [taskqueue.add(url) for _ in range(int(count))]


def record():
    note(did="record")


def work():
    """Something that takes a little time."""
    threading.Event().wait(TASK_SECONDS)
    note(did="work")


def block():
    note(did="began")
    pause = threading.Event()
    with (FOLDER / "gate").open() as gate:
        while not _is_open(gate):
            pause.wait(0.01)  # not in the lock: a signal would wait there for it as well
    note(did="ended")


def _is_open(gate):
    try:
        fcntl.flock(gate, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def fork():
    """Do something in a child, as applications do that use more than one processor."""
    child = multiprocessing.get_context("fork").Process(target=_in_child)
    child.start()
    child.join()


def _in_child():
    started = [each.installation.is_started for each in Lifecycle.all()]
    others = set(threading.enumerate()) - {threading.current_thread()}
    consuming = [each.name for each in others if each.name.startswith("taskqueue")]
    blocked = sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ()))
    note(did="child", started=any(started), threads=consuming, parent=os.getppid(), blocked=blocked)


def note(**facts):
    task = taskqueue.current_task()
    line = json.dumps({"pid": os.getpid(), "task": task and task.id, **facts}) + "\n"
    descriptor = os.open(FOLDER / "effects", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)


def main(global_config, **settings):
    return hosted


VIEWS = {f"/{view.__name__}": view for view in (pid, add, record, work, block, fork)}

if "HOSTED_BY_INI" not in os.environ:
    app = application = TaskQueueFilter(
        TransactionMiddleware(hosted),
        queues={"default": {"type": "sqlite", "path": str(FOLDER / "tasks.db")}},
        servers={
            "default": {
                "concurrent_limit": os.environ.get("HOSTED_LIMIT", "2"),
                "consume": os.environ.get("HOSTED_CONSUME", "auto"),
                "lease": "2",
                "renew": "0.5",
                "grace": os.environ.get("HOSTED_GRACE", "10"),
            }
        },
    )
    print("hosted is loaded", flush=True)
