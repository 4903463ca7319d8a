"""What a PostgreSQL server says of itself, and what about it endangers tasks or slows them down. Knows no tasks."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from .. import notices
from ..errors import BackendUnavailableError
from .deadlines import Deadline
from .postgresql_link import Link
from .postgresql_statements import ASK_SERVER

OLD_SECONDS = 300.0  # a transaction that is open for so long is told of


class Facts(NamedTuple):
    """The server's answer."""

    started_at: float
    fsync: str
    synchronous_commit: str
    full_page_writes: str
    is_standby: bool
    transaction_seconds: float | None  # of the oldest that is open, as far as this user may know
    prepared_seconds: float | None
    snapshot: str | None  # the oldest that is held: the same for as long as somebody holds it


class Herald:
    """Tells whoever listens to notices what endangers the tasks of a queue, once for as long as it lasts."""

    def __init__(self, link: Link, queue_name: str) -> None:
        self._link = link
        self._queue_name = queue_name
        self._lock = threading.Lock()
        self._told: frozenset[str] = frozenset()
        self._snapshot: tuple[str | None, float] = (None, 0.0)  # the oldest, and since when it is (monotonic)

    def warnings(self, deadline: Deadline) -> Sequence[str]:
        """What endangers tasks, in one line each."""
        with self._lock:
            return list(self._find(deadline).values())

    def tell(self, deadline: Deadline) -> None:
        """Tell what has not been told yet. Never raises."""
        if not self._lock.acquire(blocking=False):
            return  # another thread is about to
        try:
            found = self._find(deadline)
        except BackendUnavailableError:
            return  # the next beat tells
        finally:
            self._lock.release()
        for sort, text in found.items():
            if sort not in self._told:
                notices.tell(notices.Event.WARNING, queue=self._queue_name, detail=text)
        self._told = frozenset(found)

    def _find(self, deadline: Deadline) -> Mapping[str, str]:
        (row,) = self._link.run(ASK_SERVER, deadline.remaining(), repeat=True)
        facts = Facts(*row)
        now = time.monotonic()
        if facts.snapshot is None or facts.snapshot != self._snapshot[0]:
            self._snapshot = (facts.snapshot, now)
        found = warnings(facts, now - self._snapshot[1])
        return {sort: f"PostgreSQL at {self._link.address.where}: {text}" for sort, text in found.items()}


def warnings(facts: Facts, snapshot_seconds: float) -> Mapping[str, str]:
    """Judge a server's answer: texts by their sort. Its oldest snapshot has been the same for ``snapshot_seconds``."""
    found = {}
    if facts.fsync == "off":
        found["fsync"] = "its fsync is off, so that it loses tasks when the machine stops; set fsync = on"
    if facts.full_page_writes == "off":
        found["full_page_writes"] = (
            "its full_page_writes is off, so that its data may be damaged when the machine stops; "
            "set full_page_writes = on"
        )
    if facts.synchronous_commit == "off":
        found["synchronous_commit"] = (
            "its synchronous_commit is off, so that it loses the newest tasks when it stops; "
            "set synchronous_commit = on"
        )
    if facts.is_standby:
        found["standby"] = (
            "it is a standby, which takes no changes; name the primary, or add ?target_session_attrs=read-write"
        )
    if max(snapshot_seconds, facts.transaction_seconds or 0.0) >= OLD_SECONDS:
        found["transaction"] = (
            f"a transaction is open in it for more than {OLD_SECONDS / 60:g} minutes, so that it cannot clean up "
            "behind tasks that are done, and claims get slower; see pg_stat_activity (xact_start), and end it"
        )
    if (facts.prepared_seconds or 0.0) >= OLD_SECONDS:
        found["prepared"] = (
            f"a prepared transaction waits in it for more than {OLD_SECONDS / 60:g} minutes, and keeps its locks; "
            "see pg_prepared_xacts, and commit it or roll it back"
        )
    return found
