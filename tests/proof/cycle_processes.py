"""The processes of a kill cycle: one that adds, one that consumes until it is killed, one that recovers.

Each opens its own stores and its own queue, through the doors that an application uses. Knows no forks and no counts.
"""

import json
import os
import random
import threading
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import transaction

import taskqueue
from taskqueue import configure, consumer, doubts, failpoints, notices
from taskqueue.interfaces import Migrating, Settlement
from taskqueue.keeper import process_keeper
from taskqueue.notices import Event
from taskqueue.producer.datamanager import TaskDataManager
from taskqueue.producer.groups import grouped
from taskqueue.transactions import TransactionMiddleware
from taskqueue.wsgi import TaskQueueFilter

from .applications import make_stores
from .places import RefusedError, surround

PATIENCE_SECONDS = 15.0
LOOK_SECONDS = 0.02
LATE_LOOKS = 10  # then the operator comes
# Who died is missed so soon. Shorter than what a configuration may say, for the sake of many cycles.
LEASE, RENEW = 0.4, 0.05
SERVER = {"max_deaths": "1000", "min_backoff": "0.01 s", "conflict_backoff": "0.01 s"}
SETTLED = {Event.SETTLED, Event.TORN}
WORRYING = {
    Event.HELD,
    Event.WARNING,
    Event.CONSUMER_FAILED,
    Event.BACKEND_DOWN,
    Event.UNPUBLISHED,
    Event.UNREADABLE,
    Event.DEAD,
}
# What the servers of these tests do for speed, and what a local queue says of itself.
KNOWN = ("when the machine stops", "it is local")
UNSETTLED = ("staged", "held", "scheduled", "ready", "running")


class Site:
    """What a process of the application has: its stores, its queue, and its views. Made in the process itself."""

    def __init__(self, job):
        self.job = job
        self.is_local = job["queue"]["type"] == "local"
        self.folder = Path(job["folder"])
        self.stores = make_stores(job["application"], self.folder, job["sql_url"])

    def create(self, _says):
        """Make the stores, and the queue's tables."""
        for store in self.stores:
            store.create()
        self.open(consume="no")
        if isinstance(self.queue.backend, Migrating):
            self.queue.backend.migrate()
        process_keeper().hold_lease(self.queue, PATIENCE_SECONDS)  # as whoever consumes does first

    def open(self, **server):
        """Open the stores, and install the queue; no thread starts."""
        witnesses = [store.open() for store in self.stores]
        _break_product(self.job.get("broken"), witnesses)
        queue = {**self.job["queue"], "in_doubt": self.job.get("in_doubt", "hold")}
        if self.is_local:
            server["consume"] = "auto"  # only this process can
        read = configure.read_keywords({"default": queue}, {"default": {**SERVER, **server}})
        servers = tuple(replace(server, lease=LEASE, renew=RENEW) for server in read.servers)
        self.filter = TaskQueueFilter(self._opened, configuration=replace(read, servers=servers), program="proof")
        self.queue = self.filter.installation.queues["default"]
        self.marks = os.open(self.folder / "marks", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        notices.listen(self._note_torn)

    def close(self):
        """Stop the consumer, and close everything as a process does that ends well."""
        process_keeper().stop()
        self.filter.installation.close()
        for store in self.stores:
            store.close()

    def consume(self):
        """Start the consumer."""
        self.filter.installation.start(self.filter.replay)

    def _opened(self, environ, start_response):
        """The application: its requests have a transaction."""
        environ["proof.requests"] = []
        try:
            return TransactionMiddleware(self._view)(environ, start_response)
        finally:
            for request in environ["proof.requests"]:
                request.close()

    def _view(self, environ, start_response):
        """The view of the tasks: leaves a mark in a file at once, and an effect in each store if it commits."""
        task = environ["PATH_INFO"].rpartition("/")[2]
        os.write(self.marks, f"{task}\n".encode())
        for store in self.stores:
            request = store.join(environ["tm.manager"])
            environ["proof.requests"].append(request)
            request.note_effect(task)
        start_response("200 OK", [])
        return [b""]

    def _note_torn(self, notice):
        """Whichever process is told that a commit is torn, it is told once."""
        if notice.event is Event.TORN:
            urls = [taskqueue.get(task_id).url for task_id in notice.task_ids]
            os.write(self.marks, "".join(f"torn:{url.rpartition('/')[2]}\n" for url in urls).encode())


def _break_product(how, witnesses):
    """Break it on purpose: whoever counts has to notice."""
    if how == "no witness":
        for witness in witnesses:
            taskqueue.witnesses.unregister(witness)
    elif how == "nothing is staged":
        TaskDataManager._stage = lambda _self: None
    elif how == "nobody asks":
        doubts.Doubts.settle = lambda *_arguments: False
    elif how == "published in the vote":
        vote = TaskDataManager.tpc_vote
        TaskDataManager.tpc_vote = lambda self, current: (vote(self, current), self._publish_too_early())
        TaskDataManager._publish_too_early = lambda self: [
            queue.backend.publish(records, 1.0) for queue, records in grouped(self._entries)
        ]
    elif how == "no failpoints":
        failpoints.armed = lambda *_arguments: nullcontext()
    elif how == "done before it runs":
        consumer.ledger.Ledger.end = _settle_at_once(consumer.ledger.Ledger.end)


def _settle_at_once(end):
    """Hand in what was claimed as done, before it runs."""

    def end_and_settle(self):
        answer, wanted = end(self)
        done = [Settlement(id=each.id, claim_number=each.claim_number, state="done") for each in answer.claimed]
        if done:
            self._backend.exchange(self._keeper.owner_id, self._consumer, done, 0)
        return answer, wanted

    return end_and_settle


# ---- the processes of a cycle ------------------------------------------------------------------------------------


def add(site, cycle, way, tasks, trap):
    """A process that writes, adds tasks, and commits or not; ``tasks`` is how many the application will have noted."""
    site.open(consume="no")
    trap.set(site.stores)
    if site.is_local:
        site.consume()
    # As in a process that also consumes: its lease is the one of the consumer's settings.
    process_keeper().register_consumer(site.queue, "default", LEASE, RENEW)
    ids, settled = set(), threading.Event()
    notices.listen(lambda notice: settled.set() if notice.event in SETTLED and ids & {*notice.task_ids} else None)
    manager = transaction.manager
    manager.begin()
    numbers = iter(range(tasks))

    def add_one():
        ids.add(taskqueue.add(f"/effect/{cycle}-{next(numbers)}"))

    steps = [lambda: [store.join(manager).write(cycle, tasks) for store in site.stores]]
    steps += [add_one] * (tasks - (way == "adds late"))
    random.shuffle(steps)
    for step in steps:
        step()
    surround(trap, manager, way, add_one)
    if way == "aborts":
        manager.abort()
        return
    try:
        manager.commit()
    except RefusedError:
        manager.abort()
    if way == "fails in finish":
        settled.wait(PATIENCE_SECONDS)
    process_keeper().publisher.wait(PATIENCE_SECONDS)  # or be killed there


def consume_until_killed(site, trap):
    """A process that consumes until it is killed at some place."""
    site.open(concurrent_limit=random.choice((1, 3)))
    trap.set(site.stores, site.queue.backend)
    site.consume()
    threading.Event().wait(PATIENCE_SECONDS)


def recover(site, says, first, resolve_early):
    """A process that consumes until nothing is left to do; says what there is then."""
    told = []
    something = threading.Event()

    def listen(notice):
        told.append(notice)
        something.set()

    notices.listen(listen)
    site.open(concurrent_limit=random.choice((1, 3)))
    prepared = [(store, names) for store in site.stores if (names := store.prepared())]
    count = sum(len(names) for _, names in prepared)
    if resolve_early:
        _resolve(site, prepared)
    site.consume()
    deadline = time.monotonic() + site.job.get("patience", PATIENCE_SECONDS)
    looks = []
    while any(looks[-2:] or [True]) and time.monotonic() < deadline:  # twice nothing is nothing
        # What is prepared may still bring tasks.
        looks.append(_unsettled(site) or dict.fromkeys(["prepared"] if prepared else [], 1))
        something.clear()
        something.wait(LOOK_SECONDS)
        if prepared and len(looks) > LATE_LOOKS:
            _resolve(site, prepared)
    report = {**_report(site, first, told), "prepared": count, "looks": looks}
    site.close()
    os.write(says, json.dumps(report).encode())


def _resolve(site, prepared):
    """As an operator does it, who has the keeper look at what that decides."""
    while prepared:
        store, names = prepared.pop()
        store.resolve(names, random)
    process_keeper().look_into_doubts(site.queue)


def _unsettled(site):
    """How many tasks there are in each state in which none shall stay."""
    states = site.queue.backend.counts().states
    return {state: states[state] for state in UNSETTLED if states[state]}


def _report(site, first, told):
    found = {store.name: store.read(first) for store in site.stores}
    return {
        "written": {name: written for name, (written, _) in found.items()},
        "effects": {name: effects for name, (_, effects) in found.items()},
        "left": _unsettled(site),
        "warnings": [f"{notice.event.value}: {notice.detail}" for notice in told if _is_worrying(notice)],
    }


def _is_worrying(notice):
    """Whether it should not happen here."""
    return notice.event in WORRYING and not any(words in notice.detail for words in KNOWN)
