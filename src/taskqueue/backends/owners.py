"""Who holds a lease on a queue of a server, and how tasks are taken back from those that are gone. Knows no server."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ..interfaces import OwnerStatus, Reclaimed
from ..record import State
from .leases import RETIRED_WITH_NOTHING, Sight, Watch, decode_row

PORTION = 500  # tasks that one call takes back
ROUNDS = 100


class Taken(NamedTuple):
    """A task that was taken back: its id, the state in which it is now, and who had it."""

    id: str
    state: str
    owner: str


class Overseer(ABC):
    """Looks at the owners of one queue for one process, which judges by a clock of its own whether they live."""

    def __init__(self) -> None:
        self.watch = Watch()

    @abstractmethod
    def look(self) -> Sight:
        """Who beats, and who holds something."""

    @abstractmethod
    def take_back(self, lapsed: Sequence[str], sight: Sight, max_deaths: int) -> Iterable[Taken]:
        """Take from these owners so many tasks as one call may; nothing when there is no more."""

    def lapsed(self, sight: Sight) -> Sequence[str]:
        """Those whose lease has lapsed."""
        return self.watch.lapsed(sight, time.monotonic())

    def owners(self) -> Sequence[OwnerStatus]:
        """Everybody who holds or held a lease, oldest first."""
        return sorted(_statuses(self.look()), key=lambda status: (status.owner.started_at, status.owner.id))

    def reclaim(self, max_deaths: int) -> Reclaimed:
        """Take back all that is held by owners whose lease has lapsed."""
        now_in: dict[str, list[str]] = {State.READY: [], State.DEAD: [], State.HELD: []}
        owners: set[str] = set()
        for _ in range(ROUNDS):
            sight = self.look()
            lapsed = self.lapsed(sight)
            taken = list(self.take_back(lapsed, sight, max_deaths)) if lapsed else []
            if not taken:
                break
            for each in taken:
                now_in[each.state].append(each.id)
                owners.add(each.owner)
        return Reclaimed(
            ready=tuple(sorted(now_in[State.READY])),
            dead=tuple(sorted(now_in[State.DEAD])),
            held=tuple(sorted(now_in[State.HELD])),
            owners=tuple(sorted(owners)),
        )


def _statuses(sight: Sight) -> Sequence[OwnerStatus]:
    """Owners as people see them. Whether one is alive goes by the server's clock: nothing is decided by it."""
    rows = [row for row in map(decode_row, sight.rows.values()) if row.retired != RETIRED_WITH_NOTHING]
    return [
        OwnerStatus(
            owner=row.owner, alive=not row.retired and sight.now - row.seen_at <= row.lease, seen_at=row.seen_at
        )
        for row in rows
    ]
