"""What must be shown, what is aimed at, and what a run has reached. Reads results; measures nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from . import contestants as who
from .contestants import DRAINED, IDLE, KILLED, SURPRISED, WAITING, Contestant
from .figures import Spread
from .results import Results, quotient
from .servers import REDIS, SQLITE

Bounds = tuple[float | None, float | None]

MEBIBYTE = 1024 * 1024
LEASE_SECONDS = 60.0
KILL_MUST, KILL_AIM = 5.0, 1.0  # beyond the lease


@dataclass(frozen=True)
class Reached:
    """One row of the table. Without ``must`` it stands beside one that has it."""

    what: str
    reached: Spread
    must: float | None
    aim: float | None
    higher: bool = True  # is better
    unit: str = ""
    against: str = ""

    @property
    def verdict(self) -> str:
        """Whether it is reached, by the median."""
        if self.must is None or self.aim is None:
            return ""
        sign = 1 if self.higher else -1
        if sign * self.reached.median >= sign * self.aim:
            return "aim"
        return "must" if sign * self.reached.median >= sign * self.must else "missed"

    def bound(self, number: float | None) -> str:
        """A limit as it is printed."""
        if number is None:
            return ""
        return f"{'≥' if self.higher else '≤'} {number:g}{self.unit}"


def reached(results: Results) -> Iterator[Reached]:
    """All rows for which there is something."""
    yield from _drains(results)
    yield from _asked(results)
    yield from _adds(results)
    yield from _latencies(results)
    yield from _resources(results)
    yield from _kills(results)


def _drains(results: Results) -> Iterator[Reached]:
    for processes, must, aim in ((1, 3.0, 5.0), (2, 4.0, 8.0)):
        peers = [each for each in DRAINED if each.store == REDIS and each.processes == processes and not each.is_ours]
        best = results.best("rate", peers)
        for mine in (each for each in DRAINED if each.store == REDIS and each.processes == processes and each.is_ours):
            judged = "WebOb" in mine.about
            yield from _ratio(results, "rate", mine, best, (must, aim) if judged else None)
    for mine, other, must, aim in (
        (who.WEBOB_SQLITE, who.HUEY_SQLITE, 4.0, 7.0),
        (who.WEBOB_SQLITE_RELAXED, who.HUEY_SQLITE_RELAXED, 1.2, 2.0),
        (who.WEBOB_POSTGRESQL, who.PGQUEUER_10, 2.0, 3.0),
        (who.WEBOB_POSTGRESQL, who.PGQUEUER_100, 1.0, 1.3),
    ):
        yield from _ratio(results, "rate", mine, other, (must, aim))
    local = quotient(results.get("local", "task"), results.get("local", "call"))
    if local is not None:
        yield Reached("local drain, WebOb", local, 2.5, 1.8, higher=False, unit="×", against="the bare WSGI call")


def _ratio(
    results: Results, measure: str, mine: Contestant, other: Contestant | None, bounds: tuple[float, float] | None
) -> Iterator[Reached]:
    found = None if other is None else results.ratio(measure, mine.key, other.key)
    if found is not None and other is not None:
        must, aim = bounds or (None, None)
        yield Reached(f"{mine.store} drain, {mine.about}", found, must, aim, unit="×", against=_name(other))


def _name(contestant: Contestant) -> str:
    return f"{contestant.name}, {contestant.about}"


def _asked(results: Results) -> Iterator[Reached]:
    for mine, what, must, aim in (
        (who.WEBOB_REDIS, "round trips for a task, busy", 0.05, 0.02),
        (who.WEBOB_POSTGRESQL, "statements for a task, busy", 0.1, 0.03),
    ):
        found = results.spread("asked", mine.key)
        if found is not None:
            yield Reached(f"{mine.store}: {what}", found, must, aim, higher=False)


def _adds(results: Results) -> Iterator[Reached]:
    for mine in (who.WEBOB_REDIS, who.WEBOB_SQLITE, who.WEBOB_POSTGRESQL):
        one, ten = results.get("add one with", mine.key), results.get("add ten with", mine.key)
        found = quotient(one, ten, 10.0)
        if found is not None:
            yield Reached(f"{mine.store}: rate of ten tasks in a transaction", found, 4.0, 6.0, unit="×", against="one")
    for mine in (who.WEBOB_REDIS, who.WEBOB_SQLITE, who.WEBOB_POSTGRESQL):
        for label, words, must, aim in (
            ("witness", "with a witness", 2.2, 1.6),
            ("one", "without a witness", 3.2, 2.8),
        ):
            waits = [
                adding - bare
                for adding, bare in zip(
                    results.get(f"add {label} with", mine.key),
                    results.get(f"add {label} without", mine.key),
                    strict=True,
                )
            ]
            judged: Bounds = (must, aim) if mine.store == REDIS else (None, None)
            trips = (("trip", "bare round trips"), ("client trip", "round trips of redis-py"))
            for name, against in trips if mine.store == REDIS else (("trip", _trip_of(mine.store)),):
                found = quotient(waits, results.get(f"add {label} {name}", mine.key))
                if found is not None:
                    bounds: Bounds = judged if name == "trip" else (None, None)
                    what = f"{mine.store}: what add has a request wait for, {words}"
                    yield Reached(what, found, bounds[0], bounds[1], higher=False, unit="×", against=against)


def _trip_of(store: str) -> str:
    return "one INSERT that reaches the disk" if store == SQLITE else "SELECT 1 of psycopg"


def _latencies(results: Results) -> Iterator[Reached]:
    for mine, must, aim in (
        (who.WEBOB_REDIS, 1.0, 0.5),
        (who.WEBOB_SQLITE, None, None),
        (who.WEBOB_POSTGRESQL, 0.6, 0.5),
    ):
        found = results.spread("latency p50", mine.key)
        if found is None:
            continue
        peers = [each for each in SURPRISED if each.store == mine.store and not each.is_ours]
        best = results.best("latency p50", peers, lowest=True)
        what = f"{mine.store}: commit to start of an idle consumer's view, p50"
        if mine.store == SQLITE:
            yield Reached(what, found.times(1000), 1.0, 0.5, higher=False, unit=" ms")
        elif best is not None:
            theirs = results.spread("latency p50", best.key)
            limit = theirs.median * 1000 if theirs is not None else 0.0
            bounds = (round(limit * (must or 1), 3), round(limit * (aim or 1), 3))
            yield Reached(what, found.times(1000), bounds[0], bounds[1], higher=False, unit=" ms", against=_name(best))
    for mine in (each for each in WAITING if each.is_ours):
        found = results.spread("threads", mine.key)
        if found is not None:
            what = f"{mine.store}: sixteen threads, tasks that wait 10 ms"
            yield Reached(what, found, 1.08, 1.05, higher=False, unit="×", against="the ideal")


def _resources(results: Results) -> Iterator[Reached]:
    peers = [each for each in DRAINED if each.store == REDIS and not each.is_ours]
    best = results.best("cpu", peers, lowest=True)
    found = None if best is None else results.ratio("cpu", who.WEBOB_REDIS.key, best.key)
    if found is not None and best is not None:
        yield Reached("redis: CPU for 1,000 tasks", found, 0.333, 0.2, higher=False, unit="×", against=_name(best))
    pairs = zip(results.get("memory", who.WEBOB_REDIS.key), results.get("memory", who.HUEY_REDIS.key), strict=False)
    more = [(mine - theirs) / MEBIBYTE for mine, theirs in pairs]
    if more:
        yield Reached(
            "redis: memory of a consumer", Spread.of(more), 10.0, 5.0, higher=False, unit=" MiB more", against="huey"
        )
    for each in (each for each in IDLE if each.is_ours):
        idle = results.spread("idle", each.key)
        if idle is not None:
            must, aim = (0.2, 0.1) if "1 queue" in each.about else (1.0, 0.5)
            what = f"{each.store}: idle CPU of a consumer, {each.about}"
            yield Reached(what, idle.times(100), must, aim, higher=False, unit=" %")


def _kills(results: Results) -> Iterator[Reached]:
    for each in KILLED:
        found = results.spread("kill", each.key)
        if found is not None:
            lease = 0.0 if each.store == SQLITE else LEASE_SECONDS  # the kernel tells of a death in a file
            what = f"{each.store}: kill -9, all is back after"
            yield Reached(what, found, LEASE_SECONDS + KILL_MUST, lease + KILL_AIM, higher=False, unit=" s")
