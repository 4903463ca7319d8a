"""How far one store carries, from what a task costs it: CPU of the server, and bytes while it waits. Arithmetic."""

from __future__ import annotations

from .contestants import Contestant
from .figures import short
from .results import Results
from .rounds import ADDING
from .servers import REDIS, SQLITE

HEADINGS = (
    "store",
    "adding: store's CPU, µs",
    "running: store's CPU, µs",
    "one core of the store carries, tasks/s",
    "bytes while it waits",
    "a consumer's CPU, µs",
    "one core of consumers runs, tasks/s",
)
MILLION = 1e6


def table(results: Results) -> list[tuple[str, ...]]:
    """One row for each server."""
    return [HEADINGS, *(_row(results, each) for each in ADDING if _is_known(results, each))]


def _is_known(results: Results, contestant: Contestant) -> bool:
    return (
        contestant.store != SQLITE
        and bool(results.get("store cpu", contestant.key))
        and bool(results.get("store cpu added", contestant.key))
    )


def _row(results: Results, contestant: Contestant) -> tuple[str, ...]:
    def middle(measure: str) -> float:
        spread = results.spread(measure, contestant.key)
        return 0.0 if spread is None else spread.median

    adding, running, consumer = middle("store cpu added") / 1000, middle("store cpu") / 1000, middle("cpu") / 1000
    carried = 1 / (adding + running) if adding + running else 0.0
    return (
        "Redis" if contestant.store == REDIS else "PostgreSQL",
        short(adding * MILLION),
        short(running * MILLION),
        f"{carried:,.0f}",
        f"{middle('store bytes'):,.0f}",
        short(consumer * MILLION),
        f"{1 / consumer:,.0f}" if consumer else "",
    )
