"""Who takes part, with which settings, and how much each has to do. A table; measures nothing.

Each peer runs as it does by default and in the best setting that is known of it. ``tasks`` is what it drains in a
round: some seconds of work, so that the fast ones do more.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .environments import python_of
from .servers import LOCAL, POSTGRESQL, REDIS, SQLITE

OURS = "taskqueue"


@dataclass(frozen=True)
class Contestant:
    """One setting of one program. ``in_one`` and ``in_two`` say whether it is compared as one process, or as two."""

    name: str
    store: str
    about: str
    tasks: int
    setting: Mapping[str, Any] = field(default_factory=dict)
    processes: int | None = 1  # None: as many as it starts by default
    copies: int = 1  # so often it is started, where processes are the operator's to start
    source: str = ""  # of ours, where another tree's code is imported from

    @property
    def key(self) -> str:
        """A name for it among all."""
        return f"{self.store}: {self.name}, {self.about}"

    @property
    def is_ours(self) -> bool:
        """Whether it is taskqueue."""
        return self.name == OURS

    @property
    def script(self) -> str:
        """Its module in ``peers``."""
        return "ours" if self.is_ours else self.name

    def python(self) -> str:
        """Its interpreter. Raises MissingError."""
        return sys.executable if self.is_ours else python_of(self.name)

    def told(self, store: Mapping[str, Any]) -> dict[str, Any]:
        """What its script is told, beside the file of the marks: where the store is, and its setting."""
        setting = dict(self.setting)
        if self.is_ours:
            setting["queue"] = {**_where(self.store, store), **setting.get("queue", {})}
        return {**store, "setting": setting, "source": self.source}


def _where(kind: str, store: Mapping[str, Any]) -> dict[str, Any]:
    if kind == REDIS:
        return {"type": kind, "port": store["redis"]["port"]}
    if kind == POSTGRESQL:
        return {"type": kind, "url": store["postgresql"]}
    return {"type": kind, "path": store["sqlite"]} if kind == SQLITE else {"type": LOCAL}


def ours(store: str, about: str, tasks: int, **options: Any) -> Contestant:
    """taskqueue with a view of WebOb, unless the setting says otherwise; one process with one thread by default."""
    copies = options.pop("copies", 1)
    setting = {"view": "webob", **options}
    return Contestant(OURS, store, about, tasks, setting, processes=copies, copies=copies)


PYRAMID = {"view": "pyramid"}
RELAXED = {"queue": {"synchronous": "normal"}}
SIMPLE = "rq.worker.SimpleWorker"

WEBOB_REDIS = ours(REDIS, "WebOb", 20_000)
WEBOB_REDIS_2 = ours(REDIS, "WebOb, 2 processes", 40_000, copies=2)
WEBOB_SQLITE = ours(SQLITE, "WebOb", 20_000)
WEBOB_SQLITE_RELAXED = ours(SQLITE, "WebOb, synchronous normal", 20_000, **RELAXED)
WEBOB_POSTGRESQL = ours(POSTGRESQL, "WebOb", 20_000)
WEBOB_LOCAL = ours(LOCAL, "WebOb", 20_000)
HUEY_REDIS = Contestant("huey", REDIS, "default", 4_000)
HUEY_SQLITE = Contestant("huey", SQLITE, "default", 4_000)
HUEY_SQLITE_RELAXED = Contestant("huey", SQLITE, "sync off", 10_000, {"fsync": False})
PGQUEUER_10 = Contestant("pgqueuer", POSTGRESQL, "default, batch 10", 8_000)
PGQUEUER_100 = Contestant("pgqueuer", POSTGRESQL, "batch 100", 10_000, {"batch": 100})
DRAMATIQ_1 = Contestant(
    "dramatiq", REDIS, "1 process × 8 threads, prefetch 1000", 8_000, {"processes": 1, "threads": 8, "prefetch": 1000}
)
TASKIQ_1 = Contestant("taskiq", REDIS, "1 process", 5_000, {"processes": 1})

DRAINED = (
    WEBOB_REDIS,
    Contestant("dramatiq", REDIS, "default", 8_000, processes=None),
    DRAMATIQ_1,
    HUEY_REDIS,
    Contestant("huey", REDIS, "unix socket", 4_000, {"socket": True}),
    TASKIQ_1,
    Contestant("celery", REDIS, "default", 1_500, processes=None),
    Contestant("celery", REDIS, "solo, unix socket", 2_000, {"pool": "solo", "socket": True}),
    Contestant("rq", REDIS, "default", 100),
    Contestant("rq", REDIS, "SimpleWorker, unix socket", 700, {"worker": SIMPLE, "socket": True}),
    ours(REDIS, "Pyramid", 10_000, **PYRAMID),
    WEBOB_REDIS_2,
    Contestant(
        "dramatiq", REDIS, "2 × 8 threads, prefetch 1000", 8_000, {"processes": 2, "threads": 8, "prefetch": 1000}, 2
    ),
    Contestant("huey", REDIS, "2 processes, unix socket", 6_000, {"processes": 2, "socket": True}, 2),
    Contestant("taskiq", REDIS, "default, 2 processes", 8_000, processes=2),
    Contestant("celery", REDIS, "prefork 2, unix socket", 2_000, {"processes": 2, "socket": True}, 2),
    Contestant("rq", REDIS, "pool of 2 SimpleWorkers", 1_000, {"processes": 2, "worker": SIMPLE, "socket": True}, 2),
    ours(REDIS, "Pyramid, 2 processes", 20_000, copies=2, **PYRAMID),
    WEBOB_SQLITE,
    HUEY_SQLITE,
    WEBOB_SQLITE_RELAXED,
    HUEY_SQLITE_RELAXED,
    ours(SQLITE, "Pyramid", 10_000, **PYRAMID),
    WEBOB_POSTGRESQL,
    PGQUEUER_10,
    PGQUEUER_100,
    Contestant("procrastinate", POSTGRESQL, "default", 800),
    Contestant(
        "procrastinate", POSTGRESQL, "16 at a time, delete", 1_500, {"concurrency": 16, "delete_jobs": "always"}
    ),
    ours(POSTGRESQL, "Pyramid", 10_000, **PYRAMID),
)

# One task at a time, to a consumer that is idle.
SURPRISED = (
    WEBOB_REDIS,
    DRAMATIQ_1,
    HUEY_REDIS,
    TASKIQ_1,
    Contestant("celery", REDIS, "solo", 0, {"pool": "solo"}),
    Contestant("rq", REDIS, "SimpleWorker", 0, {"worker": SIMPLE}),
    WEBOB_SQLITE,
    HUEY_SQLITE,
    WEBOB_POSTGRESQL,
    PGQUEUER_10,
    Contestant("procrastinate", POSTGRESQL, "default", 0),
)

# Tasks that wait, in sixteen threads or at sixteen at a time.
THREADS = 16
WAITING = (
    ours(REDIS, "16 threads", 3_200, server={"concurrent_limit": THREADS}),
    Contestant("dramatiq", REDIS, "1 × 16 threads", 1_600, {"processes": 1, "threads": THREADS}),
    Contestant("huey", REDIS, "16 threads", 1_600, {"threads": THREADS}),
    ours(SQLITE, "16 threads", 3_200, server={"concurrent_limit": THREADS}),
    ours(POSTGRESQL, "16 threads", 3_200, server={"concurrent_limit": THREADS}),
)

# Idle for a while, all at the same time: each is asked what it cost by itself.
IDLE_QUEUES = 16
IDLE = (
    *(ours(store, "1 queue", 0) for store in (REDIS, SQLITE, POSTGRESQL)),
    *(ours(store, "16 queues", 0, queues=IDLE_QUEUES) for store in (REDIS, SQLITE, POSTGRESQL)),
    Contestant("huey", REDIS, "default", 0),
    Contestant("dramatiq", REDIS, "1 process × 8 threads", 0, {"processes": 1, "threads": 8}),
)
KILLED = tuple(ours(store, "4 threads", 400, server={"concurrent_limit": 4}) for store in (REDIS, SQLITE, POSTGRESQL))
