"""Runs the jobs of the kill cycles in zygotes of their own, side by side, and makes a table of what they counted."""

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

from tests.backends import postgresql_server, redis_server

from . import places

ROOT = Path(__file__).parents[2]
LONG = os.environ.get("TASKQUEUE_PROOF") == "long"
WORKERS = 4  # they wait for leases more than they work
ONE_PHASE, TWO_PHASE = "SQL one-phase", "SQL two-phase"
APPLICATIONS = ("ZODB", ONE_PHASE, TWO_PHASE, "ZODB + SQL one-phase")
BACKENDS = ("sqlite", "redis", "postgresql")
SHARED = "postgresql shared"
ORDER = list(dict.fromkeys([word for cell in places.ALL_CELLS for word in cell]))
COLUMNS = ("cycles", "committed", "aborted", "lost", "phantom", "torn", "duplicates")


@contextlib.contextmanager
def servers():
    """A Redis server and a PostgreSQL server, for as long as a block takes."""
    with redis_server.Server(appendonly="yes", appendfsync="no") as redis, postgresql_server.Server() as postgresql:
        yield redis, postgresql


class Jobs:
    """Makes jobs: each has a folder, and what it needs of the servers, to itself."""

    def __init__(self, folder, redis, postgresql):
        self._folder = Path(folder)
        self._redis = redis
        self._postgresql = postgresql
        self._made = 0

    def make(self, backend, application, rounds=1, **options):
        """A job: a backend, an application, and how many cycles each cell gets."""
        self._made += 1
        folder = self._folder / f"job{self._made}"
        url = self._postgresql.create_database() if "postgresql" in backend or application == TWO_PHASE else ""
        sql_url = url.replace("postgresql:", "postgresql+psycopg:") or f"sqlite:///{folder}/application.db"
        queues = {
            "local": {"type": "local"},
            "sqlite": {"type": "sqlite", "path": f"{folder}/tasks.db"},
            "redis": {"type": "redis", "prefix": f"job{self._made}", **self._redis.address},
            "postgresql": {"type": "postgresql", "url": url},
            SHARED: {"type": "postgresql", "url": url, "shared": True},
        }
        job = {"backend": backend, "queue": queues[backend], "application": application, "sql_url": sql_url}
        return {**job, "folder": str(folder), "rounds": rounds, "seed": self._made, **options}


def run(jobs):
    """Run jobs in zygotes, side by side; their reports, in the order in which they end."""
    waiting, done = queue.SimpleQueue(), queue.SimpleQueue()
    for job in jobs:
        waiting.put(job)
    threads = [threading.Thread(target=_work, args=(waiting, done), daemon=True) for _ in range(WORKERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    reports = [done.get_nowait() for _ in range(done.qsize())]
    assert len(reports) == len(jobs), "a zygote ended before its jobs"
    return reports


def _work(waiting, done):
    command = [sys.executable, "-m", "tests.proof.cycles"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as zygote:
        with contextlib.suppress(queue.Empty):
            while True:
                job = waiting.get_nowait()
                print(json.dumps(job), file=zygote.stdin, flush=True)
                line = zygote.stdout.readline()
                if not line:
                    return
                done.put(json.loads(line))
        zygote.stdin.close()


def total(reports):
    """All counts of some reports together."""
    counted = Counter()
    for report in reports:
        for _way, _place, counts in report["cells"]:
            counted.update(counts)
    return counted


def faults(reports):
    """All that was wrong, in words."""
    return [f"{_name(report)}: {fault}" for report in reports for fault in report["faults"]]


def _name(report):
    return f"{report['job']['backend']} with {report['job']['application']}"


def _in_order(cell):
    way, place, _ = cell
    return (ORDER.index(way), ORDER.index(place))


def table(reports):
    """One line for each cell, in which places and ways stand in their order; then the sums, and all that was wrong."""
    lines = [f"{'':58}" + "".join(f"{column:>11}" for column in COLUMNS)]
    for report in reports:
        lines.append(f"{_name(report)}, {report['seconds']:.0f} s, {report['prepared']} prepared transactions resolved")
        for way, place, counts in sorted(report["cells"], key=_in_order):
            lines.append(f"  {way:26}{place:30}" + "".join(f"{counts.get(column, 0):>11}" for column in COLUMNS))
    counted = total(reports)
    lines.append(f"{'all':58}" + "".join(f"{counted[column]:>11}" for column in COLUMNS))
    return "\n".join([*lines, *faults(reports)])
