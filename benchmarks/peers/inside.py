"""What is timed inside of a process of ours: a local queue, and what a request waits for when it adds."""

from __future__ import annotations

import gc
import io
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import psycopg
import redis

import taskqueue
from benchmarks.floors import PATIENCE_SECONDS, RoundTrip, SyncedInsert, samples
from benchmarks.marks import Marks
from taskqueue.interfaces import Testimony, Witness, WitnessMark

from .given import told
from .ours import BODY, TASKS_IN_A_TRANSACTION, Site, ignore_response, make_site, request_environ
from .views import MARK_PATH, webob_application

LOOK_SECONDS = 0.005
WARM_TRANSACTIONS = 20


def local(count: str) -> None:
    """Print the seconds of a task of a local queue, and those of calling its application bare."""
    tasks = int(count)
    marks = Marks(Path(told["marks"]))
    site = make_site()
    for first in range(0, tasks, TASKS_IN_A_TRANSACTION):
        site.add([f"{MARK_PATH}?{number}" for number in range(first, min(first + TASKS_IN_A_TRANSACTION, tasks))])
    gc.collect()
    site.filter.installation.start(site.filter.replay)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while len(marks) < tasks:
        if time.monotonic() > deadline:
            raise TimeoutError(f"only {len(marks)} of {tasks} tasks were run")
        time.sleep(LOOK_SECONDS)
    site.filter.installation.stop()
    entered = sorted(marks.check(tasks).values())
    call = bare_call(tasks)
    print(json.dumps({"task": (entered[-1] - entered[0]) / 1e9 / (tasks - 1), "call": call}))


def bare_call(tasks: int) -> float:
    """The seconds of calling the application with nothing around it but a fresh environ."""
    environ = request_environ(MARK_PATH)
    begun = time.perf_counter()
    for number in range(tasks):
        called = {**environ, "QUERY_STRING": str(tasks + number), "wsgi.input": io.BytesIO(BODY)}
        b"".join(webob_application(called, ignore_response))
    return (time.perf_counter() - begun) / tasks


def time_adds(count: str, tasks_in_each: str, company: str) -> None:
    """Print what a transaction takes with tasks and without, and what a bare round trip takes; seconds, medians.

    ``company`` is ``alone``, or ``witness``: then somebody durable takes part who costs nothing, and who is a witness.
    """
    site = make_site()
    if company == "witness":
        taskqueue.register_witness(FreeWitness())
    neighbour = Neighbour if company == "witness" else None
    transactions = int(count)
    bare = _timed(site, transactions, (), neighbour)
    trip, client_trip = _trips(transactions)
    urls = [f"{MARK_PATH}?{number}" for number in range(int(tasks_in_each))]
    adding = _timed(site, transactions, urls, neighbour)
    print(json.dumps({"with": adding, "without": bare, "trip": trip, "client trip": client_trip}))
    site.filter.installation.close()


def _timed(site: Site, count: int, urls: Sequence[str], neighbour: Callable[[], Any] | None) -> float:
    taken = []

    def view() -> None:
        begun = time.perf_counter()
        current = site.manager.begin()
        if neighbour is not None:
            current.join(neighbour())
        for url in urls:
            taskqueue.add(url, method="POST", payload=BODY)
        site.manager.commit()
        taken.append(time.perf_counter() - begun)

    for _ in range(WARM_TRANSACTIONS + count):
        site.request(view)
    return median(taken[WARM_TRANSACTIONS:])


def _trips(count: int) -> tuple[float, float]:
    """A bare round trip of the store, without its client library and with it."""
    if "redis" in told:
        bare = RoundTrip("127.0.0.1", told["redis"]["port"], b"PING")
        client = redis.Redis(port=told["redis"]["port"])
        return median(samples(bare, count)), median(samples(client.ping, count))
    if "postgresql" in told:
        with psycopg.connect(told["postgresql"], autocommit=True) as connection:
            found = median(samples(lambda: connection.execute("SELECT 1").fetchall(), count))
        return found, found
    insert = SyncedInsert(Path(f"{told['sqlite']}-floor"))
    found = median(samples(insert, count))
    insert.close()
    return found, found


class Neighbour:
    """Takes part in a transaction as something durable would, and does nothing."""

    transaction_manager: Any = None

    def sortKey(self) -> str:  # noqa: N802  # the name that the transaction library asks for
        """First of all."""
        return "neighbour"

    def _ignore(self, _transaction: Any) -> None:
        """Costs nothing."""

    tpc_begin = commit = tpc_vote = tpc_finish = tpc_abort = abort = _ignore


class FreeWitness(Witness):
    """Knows the neighbour, and is never asked since nobody dies here."""

    kind = "benchmark"
    database = "none"

    def recognises(self, data_manager: Any) -> bool:
        """Its own neighbours."""
        return isinstance(data_manager, Neighbour)

    def mark(self, key: str, transaction: Any, data_managers: Sequence[Any]) -> WitnessMark | None:
        """A mark that costs nothing."""
        return WitnessMark(kind=self.kind, database=self.database)

    def testify(self, marks: Mapping[str, WitnessMark], timeout: float) -> Mapping[str, Testimony]:
        """It knows nothing."""
        return dict.fromkeys(marks, "unknown")
