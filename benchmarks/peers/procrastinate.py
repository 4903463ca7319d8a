"""Procrastinate on PostgreSQL, with psycopg."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

from procrastinate import App, PsycopgConnector

from .given import PAYLOAD, leave_mark, setting, told, wait_seconds

app = App(connector=PsycopgConnector(conninfo=told["postgresql"]))
_is_open = False


@app.task(name="mark")
async def mark(number: int, payload: str) -> None:
    """The task."""
    leave_mark(number, payload)
    if wait_seconds():
        await asyncio.sleep(wait_seconds())


def prepare() -> None:
    """Its schema."""
    with app.open() as opened:
        opened.schema_manager.apply_schema()


def add(numbers: Iterable[int]) -> None:
    """One job each."""
    global _is_open  # noqa: PLW0603  # one pool for all
    if not _is_open:
        app.open()
        _is_open = True
    for number in numbers:
        mark.defer(number=number, payload=PAYLOAD)


def work() -> None:
    """One process: by default one task at a time, and its row is kept."""
    logging.getLogger("procrastinate").setLevel(logging.ERROR)
    app.run_worker(**setting)
