"""pgqueuer on PostgreSQL, with asyncpg and uvloop."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import asyncpg
import uvloop
from pgqueuer import PgQueuer
from pgqueuer.adapters.drivers.asyncpg import AsyncpgDriver
from pgqueuer.adapters.persistence.queries import Queries

from .given import PAYLOAD, leave_mark, setting, told, wait_seconds

_loop = uvloop.new_event_loop()
_queries: Queries | None = None
NUMBER_BYTES = 8


async def _connect() -> Queries:
    return Queries(AsyncpgDriver(await asyncpg.connect(told["postgresql"])))


def prepare() -> None:
    """Its schema."""

    async def install() -> None:
        await (await _connect()).install()

    _loop.run_until_complete(install())


def add(numbers: Iterable[int]) -> None:
    """One job each."""
    global _queries  # noqa: PLW0603  # one connection for all
    if _queries is None:
        _queries = _loop.run_until_complete(_connect())
    _loop.run_until_complete(_add(_queries, numbers))


async def _add(queries: Queries, numbers: Iterable[int]) -> None:
    rest = PAYLOAD[NUMBER_BYTES:].encode()
    for number in numbers:
        await queries.enqueue("mark", b"%08d%s" % (number, rest))


async def _work() -> None:
    worker = PgQueuer.from_asyncpg_connection(await asyncpg.connect(told["postgresql"]))

    @worker.entrypoint("mark")
    async def mark(job: object) -> None:
        payload = job.payload  # type: ignore[attr-defined]  # pgqueuer's Job has it
        leave_mark(int(payload[:NUMBER_BYTES]), payload)
        if wait_seconds():
            await asyncio.sleep(wait_seconds())

    await worker.run(**({"batch_size": setting["batch"]} if "batch" in setting else {}))


def work() -> None:
    """One process: by default it takes batches of ten."""
    _loop.run_until_complete(_work())
