"""Who holds a lease on a queue in PostgreSQL, and how tasks are taken back from those that are gone."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from ..interfaces import OwnerStatus, Reclaimed
from ..record import State
from . import postgresql_rows
from . import postgresql_statements as statements
from .leases import RETIRED_WITH_NOTHING, Sight, Watch, decode_row
from .postgresql_link import DEFAULT_TIMEOUT, Call, Link

PORTION = 500  # tasks that one transaction takes back
ROUNDS = 100


class Overseer:
    """Looks at the owners of one queue for one process, which judges by a clock of its own whether they live."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self.watch = Watch()

    def owners(self) -> Sequence[OwnerStatus]:
        """Everybody who holds or held a lease, oldest first."""
        return sorted(_statuses(self._look()), key=lambda status: (status.owner.started_at, status.owner.id))

    def reclaim(self, max_deaths: int) -> Reclaimed:
        """Take back all that is held by owners whose lease has lapsed."""
        now_in: dict[str, list[str]] = {State.READY: [], State.DEAD: [], State.HELD: []}
        owners: set[str] = set()
        for _ in range(ROUNDS):
            if not self._reclaim_some(max_deaths, now_in, owners):
                break
        return Reclaimed(
            ready=tuple(sorted(now_in[State.READY])),
            dead=tuple(sorted(now_in[State.DEAD])),
            held=tuple(sorted(now_in[State.HELD])),
            owners=tuple(sorted(owners)),
        )

    def _look(self) -> Sight:
        calls: Sequence[Call] = [(statements.SELECT_OWNERS, {}), (statements.SELECT_HOLDERS, {})]
        return postgresql_rows.sight(*self._link.run_all(calls, DEFAULT_TIMEOUT, repeat=True))

    def _reclaim_some(self, max_deaths: int, now_in: Mapping[str, list[str]], owners: set[str]) -> bool:
        """Take back so many as one call may; tell whether there may be more."""
        sight = self._look()
        lapsed = self.watch.lapsed(sight, time.monotonic())
        if not lapsed:
            return False
        held = self._link.run(statements.SELECT_HELD, DEFAULT_TIMEOUT, repeat=True, owners=lapsed, most=PORTION)
        judged = {task[0]: postgresql_rows.judge(task, max_deaths, sight.now) for task in held}
        given = {"owners": postgresql_rows.lapsed_rows(lapsed, sight)}
        tasks = {**given, "tasks": postgresql_rows.encode(list(judged.values()))}
        calls: Sequence[Call] = [(statements.SILENCE_OWNERS, given), (statements.RECLAIM, tasks)]
        _, taken = self._link.run_all(calls, DEFAULT_TIMEOUT)
        for (task_id,) in taken:
            now_in[judged[task_id]["state"]].append(task_id)
            owners.add(judged[task_id]["owner"])
        return bool(taken)


def _statuses(sight: Sight) -> list[OwnerStatus]:
    """Owners as people see them. Whether one is alive goes by the server's clock: nothing is decided by it."""
    rows = [row for row in map(decode_row, sight.rows.values()) if row.retired != RETIRED_WITH_NOTHING]
    return [
        OwnerStatus(
            owner=row.owner, alive=not row.retired and sight.now - row.seen_at <= row.lease, seen_at=row.seen_at
        )
        for row in rows
    ]
