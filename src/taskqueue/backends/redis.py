"""The backend ``redis``: tasks on a Redis server, shared by machines. Knows no connection's insides.

Each verb is one script on the server, so that it happens as a whole or not at all, and every one may be repeated. What
a task is stored as stands in ``redis_scripts``. Who is idle writes nothing but its lease.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from ..interfaces import (
    CLAIM_COUNT_LIMIT,
    Counts,
    Exchanged,
    Owner,
    OwnerStatus,
    PendingExchange,
    Reclaimed,
    Record,
    Settlement,
    TaskQueue,
    Verdict,
)
from ..record import STORED_STATES, State
from . import redis_records, rules
from .deadlines import Deadline
from .hints import Hints
from .redis_address import address_of
from .redis_link import DEFAULT_TIMEOUT, Link
from .redis_listener import Listener
from .redis_owners import RedisOverseer, understood
from .redis_records import encode_ids, encode_text, in_portions
from .redis_scripts import SCRIPTS, Keyspace
from .redis_server import Herald
from .trials import trial

PORTION = 500  # tasks that one call changes: no call keeps the server busy for long
FETCH_PORTION = 100  # whole records of one answer
TELLING_SECONDS = 0.5  # of a beat's time at most: a request may be waiting for it

_Read = TypeVar("_Read")


class RedisQueue(TaskQueue):
    """A queue on a Redis server, 7.0 or newer. ``url`` stands for host, port, db, user, password, socket and TLS;
    ``unix_socket_path`` wins over host and port.

    An owner is alive as long as it beats; who looks measures that by a clock of its own.
    """

    capabilities = frozenset({"durable", "shared"})

    def __init__(
        self,
        *,
        name: str,
        prefix: str = "taskqueue",
        length_limit: int | None = None,
        host: str | None = None,
        port: int | None = None,
        db: int | None = None,
        user: str | None = None,
        password: str | None = None,
        password_file: str | os.PathLike[str] | None = None,
        unix_socket_path: str | os.PathLike[str] | None = None,
        url: str | None = None,
        tls: bool = False,
        tls_ca_file: str | os.PathLike[str] | None = None,
        tls_cert_file: str | os.PathLike[str] | None = None,
        tls_key_file: str | os.PathLike[str] | None = None,
    ) -> None:
        self.name = name
        self.prefix = prefix
        self._length_limit = length_limit
        self._keyspace = Keyspace(prefix, name)
        self._link = Link(
            address_of(
                {
                    "host": host,
                    "port": port,
                    "db": db,
                    "user": user,
                    "password": password,
                    "password_file": password_file,
                    "unix_socket_path": unix_socket_path,
                    "url": url,
                    "tls": tls,
                    "tls_ca_file": tls_ca_file,
                    "tls_cert_file": tls_cert_file,
                    "tls_key_file": tls_key_file,
                }
            ),
            self._keyspace,
        )
        self._start()
        _queues.add(self)

    def __repr__(self) -> str:
        return f"<RedisQueue {self.name!r} at {self._link.address.where}>"

    def _start(self) -> None:
        self._hints = Hints()
        self._listener = Listener(self._link.address, self._keyspace.channel, self._hints)
        self._overseer = RedisOverseer(self._link, self.name)
        self._herald = Herald(self._link, self.name)
        self._end_of_listener = weakref.finalize(self, self._listener.stop)
        self._end_of_listener.atexit = False

    def _run(self, verb: str, *arguments: Any, timeout: float = DEFAULT_TIMEOUT, repeat: bool = False) -> Any:
        return self._link.run(SCRIPTS[verb], arguments, timeout, repeat=repeat)

    def _read(self, read: Callable[[Any], _Read], told: Any) -> _Read:
        return understood(self._link, self.name, read, told)

    # ---- the way in ----

    def stage(self, records: Sequence[Record], envelope: bytes, owner_id: str, timeout: float) -> None:
        arguments = redis_records.new_records(records)
        waiting = self._run("stage", owner_id, envelope, self._limit, *arguments, timeout=timeout, repeat=True)
        self._refuse_over_limit(waiting)

    def try_adding(self, timeout: float) -> None:
        given = trial()
        waiting = self._run("try_adding", self._limit, given.id, given.body, timeout=timeout, repeat=True)
        self._refuse_over_limit(waiting)

    @property
    def _limit(self) -> int | str:
        return "" if self._length_limit is None else self._length_limit

    def _refuse_over_limit(self, waiting: int) -> None:
        if waiting and self._length_limit is not None:
            rules.refuse_over_limit(self.name, waiting, self._length_limit)

    def publish(self, records: Sequence[Record], timeout: float) -> None:
        deadline = Deadline(timeout)
        for first in range(0, len(records), PORTION):
            self._publish(records[first : first + PORTION], deadline)
        self._hints.give()

    def _publish(self, records: Sequence[Record], deadline: Deadline) -> None:
        """Most are staged: their ids are enough. The whole records follow if not all of them were."""
        ids = encode_ids(record.id for record in records)
        published = self._run("settle", "publish", *ids, timeout=deadline.remaining(), repeat=True)
        if published < len(ids):
            arguments = redis_records.new_records(records)
            self._run("publish", *arguments, timeout=deadline.remaining(), repeat=True)

    def publish_in_time(self, records: Sequence[Record], max_age: float, timeout: float) -> None:
        deadline = Deadline(timeout)
        ids = encode_ids(record.id for record in records[:PORTION])
        if not self._run("publish_in_time", max_age, *ids, timeout=deadline.remaining(), repeat=True):
            raise rules.too_late(self.name)
        self.publish(records[PORTION:], deadline.remaining())

    def now(self, timeout: float) -> float:
        return self._read(float, self._run("clock", timeout=timeout, repeat=True))

    def discard(self, ids: Collection[str], timeout: float) -> None:
        self._forget("discard", ids, timeout, repeat=True)

    def _forget(self, verb: str, ids: Collection[str], timeout: float, *, repeat: bool = False) -> list[str]:
        deadline = Deadline(timeout)
        states = " ".join(rules.sources(verb))
        forgotten: list[str] = []
        for portion in in_portions(ids, PORTION):
            told = self._run("forget", states, *portion, timeout=deadline.remaining(), repeat=repeat)
            forgotten += redis_records.decode_ids(told)
        return forgotten

    # ---- in doubt ----

    def staged(self, limit: int = 100, after: str = "") -> Sequence[Record]:
        return self.list((State.STAGED.value, State.HELD.value), limit, after)

    def settle(self, ids: Collection[str], verdict: Verdict, timeout: float | None = None) -> int:
        deadline = Deadline(DEFAULT_TIMEOUT if timeout is None else timeout)
        if verdict == "discard":
            return len(self._forget("discard", ids, deadline.remaining()))
        changed = 0
        for portion in in_portions(ids, PORTION):
            changed += self._run("settle", verdict, *portion, timeout=deadline.remaining())
        if verdict == "publish":
            self._hints.give()
        return changed

    # ---- the way out ----

    def exchange(
        self, owner_id: str, consumer: str, settlements: Sequence[Settlement], wanted: int, alone: bool = False
    ) -> Exchanged:
        return self.begin_exchange(owner_id, consumer, settlements, wanted, alone).end()

    def begin_exchange(
        self, owner_id: str, consumer: str, settlements: Sequence[Settlement], wanted: int, alone: bool = False
    ) -> PendingExchange:
        arguments = [owner_id, consumer, min(wanted, CLAIM_COUNT_LIMIT), int(alone)]
        arguments += redis_records.settlements(settlements)
        call = self._link.begin(SCRIPTS["exchange"], arguments)
        gives_back = any(each.state in rules.RETURNED for each in settlements)

        def end() -> Exchanged:
            told = call.end()
            if gives_back:
                self._hints.give()
            return self._read(redis_records.exchanged, told)

        return PendingExchange(end, call.is_here)

    def release(self, owner_id: str, consumer: str, holding: Collection[str]) -> int:
        released = int(self._run("release", owner_id, consumer, *encode_ids(holding)))
        if released:
            self._hints.give()
        return released

    def wait(self, seen: int, timeout: float) -> int:
        self._listener.start()
        return self._hints.wait(seen, timeout)

    def wake(self) -> None:
        self._hints.give()

    # ---- upkeep ----

    def beat(self, owner: Owner, lease: float, timeout: float) -> None:
        deadline = Deadline(timeout)
        about = msgspec.json.encode(owner)
        with self._overseer.watch.beating():
            self._run("beat", owner.id, lease, about, timeout=deadline.remaining(), repeat=True)
        self._herald.tell(Deadline(min(TELLING_SECONDS, deadline.remaining())))

    def retire(self, owner_id: str, timeout: float | None = None) -> None:
        self._run("retire", owner_id, timeout=DEFAULT_TIMEOUT if timeout is None else timeout, repeat=True)

    def owners(self) -> Sequence[OwnerStatus]:
        return self._overseer.owners()

    def reclaim(self, max_deaths: int) -> Reclaimed:
        reclaimed = self._overseer.reclaim(max_deaths)
        if reclaimed.owners:
            self._hints.give()
        return reclaimed

    def promote(self) -> float | None:
        promoted, next_due = self._run("promote", repeat=True)
        if promoted:
            self._hints.give()
        return float(next_due) if next_due else None

    def prune(
        self, keep_done: float, keep_done_count: int, keep_dead: float | None, keep_secrets: float
    ) -> Mapping[str, int]:
        kept_dead = "" if keep_dead is None else keep_dead
        done, dead, wiped = self._run("prune", keep_done, keep_done_count, kept_dead, keep_secrets)
        return {"done": done, "dead": dead, "wiped": wiped}

    def warnings(self) -> Sequence[str]:
        """What about the server endangers tasks, in one line each."""
        return self._herald.warnings(Deadline(DEFAULT_TIMEOUT))

    # ---- looking and mending ----

    def __len__(self) -> int:
        states = self.counts().states
        return states[State.READY] + states[State.SCHEDULED]

    def counts(self) -> Counts:
        names = [state.value for state in STORED_STATES]
        *counted, age, paused = self._run("count", *names, repeat=True)
        states = dict(zip(names, counted, strict=True))
        return Counts(states=states, oldest_ready_age=float(age) if age else None, paused=bool(paused))

    def get(self, task_id: str) -> Record | None:
        return next(iter(self._fetch([encode_text(task_id)])), None)

    def _fetch(self, ids: Sequence[bytes]) -> Iterable[Record]:
        for first in range(0, len(ids), FETCH_PORTION):
            told = self._run("fetch", *ids[first : first + FETCH_PORTION], repeat=True)
            yield from self._read(redis_records.records, told)

    def list(
        self, states: Collection[str], limit: int = 100, after: str = "", newest_first: bool = False
    ) -> Sequence[Record]:
        known = [state.value for state in STORED_STATES if state.value in states]
        limit, edge = max(0, limit), encode_text(after)
        found: list[Record] = []
        while len(found) < limit:
            ids = self._list_ids(known, limit, edge, newest_first)
            # Some may have got into another state since; a page that is not full is taken for the last one.
            found += [record for record in self._fetch(ids) if record.state in states]
            if len(ids) < limit:
                break
            edge = ids[-1]
        return found[:limit]

    def _list_ids(self, states: Sequence[str], limit: int, edge: bytes, newest_first: bool) -> Sequence[bytes]:
        told = self._run("list", limit, edge, int(newest_first), *states, repeat=True)
        # Bytes sort as the store sorts them.
        ids = sorted(dict.fromkeys(told), reverse=newest_first)
        if edge:
            ids = [each for each in ids if (each < edge if newest_first else each > edge)]
        return ids[:limit]

    def requeue(self, ids: Collection[str]) -> Sequence[str]:
        requeued: list[str] = []
        for portion in in_portions(ids, PORTION):
            requeued += redis_records.decode_ids(self._run("requeue", *portion))
        if requeued:
            self._hints.give()
        return requeued

    def delete(self, ids: Collection[str]) -> Sequence[str]:
        return self._forget("delete", ids, DEFAULT_TIMEOUT)

    def purge(self, states: Collection[str]) -> int:
        chosen = sorted(rules.sources("delete").intersection(states))
        purged = 0
        while True:
            gone = int(self._run("purge", PORTION, *chosen))
            purged += gone
            if gone < PORTION:
                return purged

    def pause(self) -> None:
        self._run("set_paused", 1, repeat=True)

    def resume(self) -> None:
        self._run("set_paused", 0, repeat=True)
        self._hints.give()

    def erase(self) -> None:
        """Let all of it go, its tasks in every state, too. For queues that nobody uses any more."""
        self._run("erase", repeat=True)

    def close(self) -> None:
        """Close the connections, and stop listening; both begin again when needed."""
        self._listener.stop()
        self._link.close()

    def _start_in_child(self) -> None:
        self._end_of_listener.detach()  # its connection is the parent's
        self._link.start_in_child()
        self._start()


_queues: weakref.WeakSet[RedisQueue] = weakref.WeakSet()


def _start_in_child() -> None:
    # The locks may be held by threads that the child does not have, and the connections are the parent's.
    for queue in list(_queues):
        queue._start_in_child()


os.register_at_fork(after_in_child=_start_in_child)
