"""Clocks that jump by an hour: nothing is lost, no lease lapses, and nothing runs early.

When a delayed task is due is judged by the backend's clock, which is the server's. With ``sqlite`` it is the machine's,
and there it moves for all processes at once. When that clock itself jumps ahead over a task's time, the task is due.
"""

import contextlib
import tempfile
import time
from pathlib import Path

import pytest

from ..backends import postgresql_server, redis_server
from .faketime import HOUR, Clock
from .faults import LONG, Effects, Gate, Site, open_queue, wait_until

EARLY_SECONDS = 1.0
DELAY = 1.5
LEASE = {"lease": 2.0, "renew": 0.25}
BOTH_WAYS = [{who: hours} for who in ("adds", "consumes", "stores") for hours in (1, -1)]
JUMPS = BOTH_WAYS if LONG else [{"adds": -1, "consumes": 1}, {"stores": 1}, {"stores": -1}]


class Clocks:
    """Of the process that adds, the one that consumes, and the store. One machine has one clock."""

    def __init__(self, folder, kind):
        names = ("adds", "consumes", "stores")
        if kind == "sqlite":
            self._clocks = dict.fromkeys(names, Clock(folder / "clock"))
        else:
            self._clocks = {name: Clock(folder / f"clock-{name}") for name in names}

    def move(self, **hours):
        """So many hours from the true time; those that are not named are right."""
        for clock in set(self._clocks.values()):
            clock.move(0)
        for who, each in hours.items():
            self._clocks[who].move(each * HOUR)

    def environ(self, who):
        """What a process needs to have that clock."""
        return self._clocks[who].environ

    def of_store(self, kind):
        """What a site is told, where the store's clock is one that is injected."""
        if kind != "redis":
            return {}
        offset = self.environ("stores")["FAKETIME_TIMESTAMP_FILE"]
        return {"redis_clock": offset, "true_minus_monotonic": time.time() - time.monotonic()}


@contextlib.contextmanager
def store_by(kind, folder, environ, monkeypatch):
    """A queue whose server goes by another clock."""
    if kind == "sqlite":
        yield {"type": "sqlite", "path": str(folder / "tasks.db")}
    elif kind == "redis":
        with redis_server.Server(appendonly="yes") as server:
            yield {"type": "redis", **server.address}
    else:
        environment = postgresql_server.environment
        server = postgresql_server.Server()
        monkeypatch.setattr(postgresql_server, "environment", lambda: {**environment(), **environ})
        with server:
            options = {"type": "postgresql", "url": server.create_database()}
            with open_queue(options) as queue:
                queue.migrate()
            yield options


@pytest.fixture
def folder():
    """One that a server's user can read."""
    with tempfile.TemporaryDirectory(prefix="taskqueue-clocks-") as made:
        Path(made).chmod(0o755)
        yield Path(made)


@pytest.mark.timeout(180)
@pytest.mark.parametrize("kind", ["sqlite", "redis", "postgresql"] if LONG else ["sqlite", "redis"])
def test_a_clock_that_jumps_by_an_hour_loses_nothing_and_runs_nothing_early(kind, folder, monkeypatch, say):
    clocks = Clocks(folder, kind)
    jumps = [{"stores": 1}, {"stores": -1}] if kind == "sqlite" else JUMPS
    early = []
    with contextlib.ExitStack() as stack:
        queue = stack.enter_context(store_by(kind, folder, clocks.environ("stores"), monkeypatch))
        gate = stack.enter_context(contextlib.closing(Gate(folder)))
        job = clocks.of_store(kind)
        adding = stack.enter_context(Site(folder, queue, clocks.environ("adds"), **job))
        job = {**job, **LEASE, "server": {"concurrent_limit": 3}}
        consuming = stack.enter_context(Site(folder, queue, clocks.environ("consumes"), **job))
        seen = stack.enter_context(open_queue(queue))
        effects = Effects(folder)
        consuming.consume()
        # With such a clock a process is slow to load its client, and that may use up the time of its first request.
        wait_until(lambda: adding.ask("add", path="/effect/first")["status"] == 200)
        effects.wait_for("first")
        long = adding.add("/block/long")
        effects.wait_for("long", "began")
        names = ["first"]
        for number, hours in enumerate(jumps):
            name = str(number)
            clocks.move(**hours)
            for who, site in (("adds", adding), ("consumes", consuming)):
                moved = hours["stores"] if kind == "sqlite" else hours.get(who, 0)
                assert abs(time.time() + moved * HOUR - site.ask("time")["time"]) < 60
            at = adding.ask("time")["monotonic"]
            adding.add(f"/effect/{name}")
            adding.add(f"/effect/{name}-later", delay=DELAY)
            ran_at = effects.wait_for(f"{name}-later")
            effects.wait_for(name)
            early.append(at + DELAY - ran_at)
            names += [name, f"{name}-later"]
        clocks.move()
        gate.open()
        effects.wait_for("long")
        wait_until(lambda: seen.counts().states["done"] == len(names) + 1, lambda: str(seen.counts()))
        record = seen.get(long)
        assert "taken back" not in consuming.log
        ran = sorted(line[1] for line in effects.read() if line[0] == "done")
    say(
        f"{kind}, clocks by an hour: {len(jumps)} jumps, {len(ran)} tasks done, "
        f"a delayed one {max(0.0, *early):.2f} s before its time at worst, and {-min(early):.2f} s after it"
    )
    assert ran == sorted([*names, "long"])
    assert (record.claim_number, record.deaths) == (1, 0)
    assert max(early) <= EARLY_SECONDS


@pytest.mark.parametrize("kind", ["sqlite", "redis", "postgresql"] if LONG else ["sqlite"])
def test_a_task_that_waits_when_the_clock_goes_back_runs_when_the_clock_says_so(kind, folder, monkeypatch):
    clocks = Clocks(folder, kind)
    with contextlib.ExitStack() as stack:
        queue = stack.enter_context(store_by(kind, folder, clocks.environ("stores"), monkeypatch))
        job = {**clocks.of_store(kind), **LEASE}
        site = stack.enter_context(Site(folder, queue, clocks.environ("consumes"), **job))
        seen = stack.enter_context(open_queue(queue))
        effects = Effects(folder)
        site.consume()
        wait_until(lambda: site.ask("add", path="/effect/first")["status"] == 200)
        waiting = site.add("/effect/waiting", delay=DELAY)
        clocks.move(stores=-1)
        site.add("/effect/ready")
        effects.wait_for("ready")
        assert seen.get(waiting).state == "scheduled"
        clocks.move()
        effects.wait_for("waiting")
        later = site.add("/effect/later", delay=HOUR / 2)
        assert seen.get(later).state == "scheduled"
        clocks.move(stores=1)
        effects.wait_for("later")  # it is due, by the clock that counts
