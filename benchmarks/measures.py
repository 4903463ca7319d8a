"""What is timed, and beside which floors. Each measure is a site of its own with a fresh queue."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from statistics import fmean

from . import floors
from .figures import Figure, percentile
from .shop import MARK_PATH, Shop, ignore_response, request_environ
from .stores import Store

A_TRANSACTION = "a transaction"
A_WSGI_CALL = "a WSGI call"
A_HAND_OFF = "a hand-off"
WARM_FACTOR = 2  # so many times the tasks are there before: the lease is taken, and files have grown to their size
REST_SECONDS = 0.004  # before each task of an idle consumer
PERCENTILES = (50, 99)


@dataclass(frozen=True)
class Counts:
    """How much is measured in each round."""

    adds: int
    tasks: int
    samples: int


def add(store: Store, counts: Counts) -> Iterator[Figure]:
    """A request's transaction that adds one task: begin, ``add``, commit. One thread; nobody consumes meanwhile."""
    calls = {A_TRANSACTION: floors.empty_transaction(), **store.floors}
    beside = {name: fmean(floors.samples(call, counts.adds // 2)) for name, call in calls.items()}
    with Shop(store.fresh()) as shop:
        shop.feed(WARM_FACTOR * counts.adds)
        gc.collect()
        taken = [committed_at - begun_at for begun_at, committed_at in (shop.add_one() for _ in range(counts.adds))]
        shop.start()
        shop.await_all()
        marks = shop.finish()
    yield Figure(store.name, "add", fmean(taken), beside, len(marks))


def drain(threads: int) -> Callable[[Store, Counts], Iterator[Figure]]:
    """A full queue is emptied: from starting the consumer until the store has settled the last task, by task."""

    def measure(store: Store, counts: Counts) -> Iterator[Figure]:
        beside = {A_WSGI_CALL: _wsgi_call(counts.tasks)}
        if store.claim_floor is not None:
            beside[store.claim_floor] = fmean(floors.samples(store.floors[store.claim_floor], counts.adds // 2))
        with Shop(store.fresh(), threads) as shop:
            shop.feed(counts.tasks)
            gc.collect()
            begun_at = time.perf_counter()
            shop.start()
            shop.await_all()
            seconds = time.perf_counter() - begun_at
            marks = shop.finish()
        plural = "s" if threads > 1 else ""
        yield Figure(store.name, f"drain, {threads} thread{plural}", seconds / counts.tasks, beside, len(marks))

    return measure


def latency(store: Store, counts: Counts) -> Iterator[Figure]:
    """An idle consumer gets one task at a time: from the return of the commit until the task's view is entered."""
    beside = {A_HAND_OFF: floors.hand_offs(counts.samples, REST_SECONDS)}
    if store.claim_floor is not None:
        call = store.floors[store.claim_floor]
        beside[store.claim_floor] = floors.samples(call, counts.samples, REST_SECONDS)
    with Shop(store.fresh()) as shop:
        shop.start()
        committed = []
        for _ in range(counts.samples + 1):
            _, committed_at = shop.add_one()
            committed.append(committed_at)
            shop.await_all()
            time.sleep(REST_SECONDS)
        entered = shop.finish()
    # The first waited for the consumer's threads.
    taken = [entered[number] - committed_at for number, committed_at in enumerate(committed)][1:]
    for percent in PERCENTILES:
        at_least = {name: percentile(samples, percent) for name, samples in beside.items()}
        yield Figure(store.name, f"latency p{percent}", percentile(taken, percent), at_least, len(entered))


MEASURES: Mapping[str, Callable[[Store, Counts], Iterator[Figure]]] = {
    "add": add,
    "drain with 1 thread": drain(1),
    "drain with 4 threads": drain(4),
    "latency": latency,
}


def _wsgi_call(count: int) -> float:
    """Calling the application bare: nothing around it, and always the same environ."""
    shop = Shop({"type": "local"})
    environ = request_environ(MARK_PATH, "0")
    body = environ["wsgi.input"]

    def call() -> None:
        body.seek(0)
        b"".join(shop.application(environ, ignore_response))

    return fmean(floors.samples(call, count))
