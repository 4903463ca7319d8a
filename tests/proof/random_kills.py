"""Kills at random times: processes that add and processes that consume, with all their threads, and who kills them.

This module runs as a process of its own, which forks them: it imports everything and opens nothing. It reads commands
as lines of JSON: to start a process in some role, to kill one. An adding process writes each task to the application's
database in the transaction that adds it, and a replay writes its effect there: what was committed, and what has run, is
told by the rows alone, and does not die with anybody.
"""

import gc
import json
import logging
import os
import random
import signal
import sys
import threading
import time
import traceback
from pathlib import Path

import transaction
import zope.sqlalchemy
from sqlalchemy import Column, MetaData, Table, Text, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import registry, sessionmaker

import taskqueue
from taskqueue import configure
from taskqueue.interfaces import Migrating
from taskqueue.keeper import process_keeper
from taskqueue.transactions import TransactionMiddleware
from taskqueue.wsgi import TaskQueueFilter

CONCURRENCY = 3
LEASE, RENEW = 2.0, 0.2
SERVER = {
    "concurrent_limit": CONCURRENCY,
    "max_deaths": 1000,
    "min_backoff": "0.01 s",
    "max_backoff": "0.2 s",
    "conflict_backoff": "0.01 s",
    "retry_max_count": 1000,
    "keep_done_count": 1_000_000,
    "lease": LEASE,
    "renew": RENEW,
}
RUNNING_SECONDS = 0.004  # a task at most
RESTING_SECONDS = 0.1  # an adding process at most, between two transactions
DRAINING_SECONDS = 90.0
UNSETTLED = ("staged", "held", "scheduled", "ready", "running")

METADATA = MetaData()
# A task stands here when its transaction has committed, and once for each of its effects.
ADDED = Table("added", METADATA, Column("task", Text, primary_key=True))
EFFECT = Table("effect", METADATA, Column("number", Text, primary_key=True), Column("task", Text))


class Added:
    """A row: the transaction that added this task has committed."""


class Effect:
    """A row: one effect of a task."""


_mapped = registry()
_mapped.map_imperatively(Added, ADDED)
_mapped.map_imperatively(Effect, EFFECT)


class RefusedError(Exception):
    """What a data manager raises that votes no."""


class Refuser:
    """A data manager that keeps nothing, and votes no: before the queue, or behind those who commit in their vote."""

    taskqueue_volatile = True

    def __init__(self, manager, key):
        self.transaction_manager = manager
        self._key = key
        manager.get().join(self)

    def sortKey(self):  # noqa: N802  # the name is IDataManager's
        return self._key

    def tpc_begin(self, _transaction):
        """Nothing."""

    commit = tpc_abort = abort = tpc_finish = tpc_begin

    def tpc_vote(self, _transaction):
        raise RefusedError


class AgainError(Exception):
    """What a view raises now and then."""


class Site:
    """The application as one process has it."""

    def __init__(self, settings):
        self._settings = settings
        self.engine = make_engine(settings["sql_url"])
        self.sessions = sessionmaker(self.engine)

    def open(self, consume):
        """Have the database asked, and install the queue; no thread starts."""
        self.witness = taskqueue.register_witness(self.sessions)
        server = {**SERVER, "consume": consume, "acknowledge": self._settings["acknowledge"]}
        read = configure.read_keywords({"default": self._settings["queue"]}, {"default": server})
        self._ran = os.open(Path(self._settings["folder"]) / "ran", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.filter = TaskQueueFilter(TransactionMiddleware(self._view), configuration=read, program="proof")
        self.queue = self.filter.installation.queues["default"]
        self.backend = self.queue.backend

    def start(self):
        """Start the consumer."""
        self.filter.installation.start(self.filter.replay)

    def session(self, manager):
        """A session in the manager's transaction."""
        session = self.sessions()
        zope.sqlalchemy.register(session, transaction_manager=manager)
        return session

    def _view(self, environ, start_response):
        """The view of the tasks: one effect for each time that its transaction commits. It fails now and then."""
        task = environ["taskqueue.task"]
        os.write(self._ran, f"{task.id}\n".encode())
        effect = Effect()
        effect.number, effect.task = os.urandom(16).hex(), task.id
        self.session(environ["tm.manager"]).add(effect)
        threading.Event().wait(random.random() * RUNNING_SECONDS)
        if random.random() < 0.03:
            raise AgainError
        start_response("200 OK", [])
        return [b""]


def make_engine(url):
    """The application's database. SIGKILL leaves to the kernel what was written, so nothing waits for a disk."""
    if not url.startswith("sqlite"):
        return create_engine(url)
    engine = create_engine(url, connect_args={"timeout": 20})
    event.listen(engine, "connect", lambda each, _: each.execute("PRAGMA synchronous = OFF"))
    return engine


# ---- the roles ---------------------------------------------------------------------------------------------------


def create(site):
    """Make all tables."""
    site.open("no")
    METADATA.create_all(site.engine)
    assert site.witness.database
    if isinstance(site.backend, Migrating):
        site.backend.migrate()
    process_keeper().hold_lease(site.queue, DRAINING_SECONDS)  # as whoever consumes does first


def add(site):
    """Add tasks in transactions, of which some fail, until killed."""
    site.open("no")
    # As short a lease as those have that consume, so that nobody has to wait for a minute at the end.
    process_keeper().register_consumer(site.queue, "adding", LEASE, RENEW)
    rest = threading.Event()
    while True:
        manager = transaction.TransactionManager(explicit=True)
        manager.begin()
        try:
            _add_some(site.session(manager), manager)
        except (RefusedError, taskqueue.TaskQueueError, DBAPIError):
            manager.abort()  # the rows tell whether it has committed all the same
        rest.wait(random.random() * RESTING_SECONDS)


def _add_some(session, manager):
    way = random.choice(("commit",) * 6 + ("abort", "refuse before", "refuse after"))
    for _ in range(random.randint(1, 3)):
        row = Added()
        row.task = taskqueue.add("/run", transaction_manager=manager)
        session.add(row)
    if way.startswith("refuse"):
        Refuser(manager, "~!" if way == "refuse before" else "~~")
    if way == "abort":
        manager.abort()
    else:
        manager.commit()


def consume(site):
    """Consume until killed."""
    site.open("auto")
    site.start()
    threading.Event().wait()


def drain(site):
    """Consume until nothing is left to do; returns what is left then."""
    site.open("auto")
    site.start()
    deadline = time.monotonic() + DRAINING_SECONDS
    looks = []
    while any(looks[-2:] or [True]) and time.monotonic() < deadline:  # twice nothing is nothing
        threading.Event().wait(0.1)
        states = site.backend.counts().states
        looks.append({state: states[state] for state in (*UNSETTLED, "dead") if states[state]})
    site.filter.installation.close()
    return looks[-1]


ROLES = {"create": create, "add": add, "consume": consume, "drain": drain}


# ---- who forks and kills -----------------------------------------------------------------------------------------


def main():
    """Start and kill processes, as told."""
    logging.disable(logging.CRITICAL)
    gc.freeze()
    for line in sys.stdin:
        command = json.loads(line)
        if "kill" in command:
            os.kill(command["kill"], signal.SIGKILL)
            _, status = os.waitpid(command["kill"], 0)
            answer = "killed" if os.WIFSIGNALED(status) else "had ended by itself"
        elif command["role"] in {"add", "consume"}:
            answer = _start(command)
        else:
            answer = _do(command)
        print(json.dumps(answer), flush=True)


def _start(command):
    """Fork a process, which goes on until it is killed; its id."""
    pid = os.fork()
    if pid == 0:
        _play(command)
    return pid


def _do(command):
    """Fork a process, and wait until it has ended; what it returned."""
    heard, says = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(heard)
        _play(command, says)
    os.close(says)
    with os.fdopen(heard) as said:
        told = said.read()
    os.waitpid(pid, 0)
    return json.loads(told or '"failed"')


def _play(command, says=None):
    """In the child: never returns."""
    try:
        random.seed(command.get("seed"))
        returned = ROLES[command["role"]](Site(command["settings"]))
        if says is not None:
            os.write(says, json.dumps(returned).encode())
    except BaseException:  # noqa: BLE001  # nobody else will tell
        traceback.print_exc()
    finally:
        os._exit(1)


if __name__ == "__main__":
    main()
