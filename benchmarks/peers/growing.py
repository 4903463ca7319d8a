"""What ``benchmarks.growth`` has a process of ours do: fill a queue, claim from it, schedule, add for minutes."""

from __future__ import annotations

import itertools
import json
import secrets
import struct
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import taskqueue
from benchmarks.figures import percentile
from taskqueue.interfaces import Owner, Record, Settlement
from taskqueue.queues import Queue

from .given import now, told
from .ours import BODY, TASKS_IN_A_TRANSACTION, Site, make_site
from .views import FAIL, MARK_PATH

CLAIM = 10  # tasks of one claim
REFILL = 10  # claims, before as many are added again
LEASE_SECONDS = 60.0
FAILING = 20  # one of so many tasks fails once
ADDED = struct.Struct("<QQ")  # the number of a task, and when its commit had returned


def fill(first: str, count: str) -> None:
    """Add so many tasks, many in a transaction."""
    site = make_site()
    for numbers in _portions(int(first), int(count)):
        site.add([f"{MARK_PATH}?{number}" for number in numbers])


def _portions(first: int, count: int, size: int = TASKS_IN_A_TRANSACTION) -> Iterable[range]:
    for start in range(first, first + count, size):
        yield range(start, min(start + size, first + count))


def claims(count: str) -> None:
    """Print p50 and p99 of the seconds of a claim, each of which settles what the last one claimed."""
    site = make_site()
    queue = next(iter(site.filter.installation.queues.values()))
    owner = Owner(id=secrets.token_hex(8), host="", pid=0, started_at=time.time(), consumers=("claims",))
    queue.backend.beat(owner, LEASE_SECONDS, LEASE_SECONDS)
    held: Sequence[Record] = ()
    taken = []
    for number in range(int(count)):
        if number % REFILL == 0:  # as many wait all the time
            site.add([f"{MARK_PATH}?0"] * CLAIM * REFILL)
        begun = time.perf_counter()
        held = queue.backend.exchange(owner.id, "claims", _done(held), CLAIM).claimed
        taken.append(time.perf_counter() - begun)
        if len(held) < CLAIM:
            raise RuntimeError("the queue has run empty")
    _give_back(queue, owner)
    print(json.dumps({"p50": percentile(taken, 50), "p99": percentile(taken, 99)}))


def _done(records: Iterable[Record]) -> list[Settlement]:
    return [Settlement(id=each.id, claim_number=each.claim_number, state="done", attempts=1) for each in records]


def _give_back(queue: Queue, owner: Owner) -> None:
    queue.backend.release(owner.id, "claims", ())
    queue.backend.retire(owner.id)


def schedule(count: str, rate: str, lead_seconds: str) -> None:
    """Add tasks of which so many come due in each second, the first after ``lead_seconds``; print when that is, by the
    clock of the marks."""
    site = make_site()
    first_due = now() / 1e9 + float(lead_seconds)
    for numbers in _portions(0, int(count)):

        def view(numbers: range = numbers) -> None:
            site.manager.begin()
            for number in numbers:
                delay = first_due + number / float(rate) - now() / 1e9
                taskqueue.add(f"{MARK_PATH}?{number}", method="POST", payload=BODY, delay=delay)
            site.manager.commit()

        site.request(view)
    if now() / 1e9 > first_due:
        raise RuntimeError("the first came due before the last was added; give more lead_seconds")
    print(json.dumps(first_due))


def spread(count: str) -> None:
    """Add tasks to all queues in turn."""
    site = make_site()
    names = itertools.cycle(site.filter.installation.queues)
    for number in range(int(count)):
        site.add([f"{MARK_PATH}?{number}"], queue=next(names))


def soak(seconds: str, rate: str) -> None:
    """Add at a steady rate, one in a transaction; note when each was there, in the file beside the marks. Some fail."""
    site = make_site()
    total = int(float(seconds) * float(rate))
    begun = time.monotonic()
    with Path(f"{told['marks']}.added").open("wb", buffering=0) as file:
        for number in range(total):
            _keep_pace(begun + number / float(rate))
            _add_one(site, number)
            file.write(ADDED.pack(number, now()))


def _keep_pace(moment: float) -> None:
    wait = moment - time.monotonic()
    if wait > 0:
        time.sleep(wait)


def _add_one(site: Site, number: int) -> None:
    failing = f"{FAIL}1" if number % FAILING == 0 else ""
    site.add([f"{MARK_PATH}?{number}{failing}"])
