"""The owners of a queue in PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from . import postgresql_rows
from . import postgresql_statements as statements
from .leases import Sight
from .owners import PORTION, Overseer, Taken
from .postgresql_link import DEFAULT_TIMEOUT, Call, Link


class PostgreSQLOverseer(Overseer):
    """Looks at the owners, and takes back in one transaction at a time."""

    def __init__(self, link: Link) -> None:
        super().__init__()
        self._link = link

    def look(self) -> Sight:
        """Who beats, and who holds something."""
        calls: Sequence[Call] = [(statements.SELECT_OWNERS, {}), (statements.SELECT_HOLDERS, {})]
        return postgresql_rows.sight(*self._link.run_all(calls, DEFAULT_TIMEOUT, repeat=True))

    def take_back(self, lapsed: Sequence[str], sight: Sight, max_deaths: int) -> Iterator[Taken]:
        """What is still held by these, as their rows were when they were seen to be silent."""
        held = self._link.run(statements.SELECT_HELD, DEFAULT_TIMEOUT, repeat=True, owners=list(lapsed), most=PORTION)
        judged = {task[0]: postgresql_rows.judge(task, max_deaths, sight.now) for task in held}
        given = {"owners": postgresql_rows.lapsed_rows(lapsed, sight)}
        tasks = {**given, "tasks": postgresql_rows.encode(list(judged.values()))}
        calls: Sequence[Call] = [(statements.SILENCE_OWNERS, given), (statements.RECLAIM, tasks)]
        _, taken = self._link.run_all(calls, DEFAULT_TIMEOUT)
        for (task_id,) in taken:
            yield Taken(task_id, judged[task_id]["state"], judged[task_id]["owner"])
