"""A durable store beside the tasks: its data managers, its witness, and a backend one call of which fails."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from transaction.interfaces import ISavepointDataManager
from zope.interface import implementer

from taskqueue.backends.local import LocalQueue
from taskqueue.backends.sqlite import SQLiteQueue
from taskqueue.interfaces import Testimony, Witness, WitnessMark


class Store:
    """What is durable: the data of transactions, and the keys that were marked in those."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.data: set[str] = set()
        self.keys: set[str] = set()
        self.open: list[StoreManager] = []


@implementer(ISavepointDataManager)
class StoreManager:
    """Writes one thing, and makes it durable in its finish or in its vote, as storages or one-phase databases do.

    ``faults`` are raised once, in a phase, before or after it has done its part there.
    """

    def __init__(
        self, transaction: Any, store: Store, sort_key: str, commits_in: str, pass_by: Callable[[], object]
    ) -> None:
        self.transaction = transaction
        self.store = store
        self.sort_key = sort_key
        self.commits_in = commits_in
        self.pass_by = pass_by
        self.keys: set[str] = set()
        self.faults: dict[tuple[str, str], BaseException] = {}
        store.open.append(self)
        transaction.join(self)

    @property
    def may_commit(self) -> bool:
        """Whether its transaction has not failed yet."""
        return self.transaction.status in ("Active", "Committing")

    def _pass(self, phase: str, act: Callable[[], object] = lambda: None) -> None:
        self.pass_by()
        self._fail(phase, "before")
        act()
        self._fail(phase, "after")
        self.pass_by()

    def _fail(self, phase: str, when: str) -> None:
        error = self.faults.pop((phase, when), None)
        if error is not None:
            raise error

    def _make_durable(self) -> None:
        if self in self.store.open:
            self.store.open.remove(self)
            self.store.data.add("data")
            self.store.keys |= self.keys

    def close(self) -> None:
        """What is not durable by now never will be."""
        if self in self.store.open:
            self.store.open.remove(self)

    def sortKey(self) -> str:  # noqa: N802  # the name is IDataManager's
        return self.sort_key

    def savepoint(self) -> StoreManager:
        self._pass("savepoint")
        return self

    def rollback(self) -> None:
        self._pass("rollback")

    def tpc_begin(self, transaction: Any) -> None:
        self._pass("tpc_begin")

    def commit(self, transaction: Any) -> None:
        self._pass("commit")

    def tpc_vote(self, transaction: Any) -> None:
        self._pass("tpc_vote", self._make_durable if self.commits_in == "vote" else lambda: None)

    def tpc_finish(self, transaction: Any) -> None:
        self._pass("tpc_finish", self._make_durable)

    def tpc_abort(self, transaction: Any) -> None:
        self._pass("tpc_abort", self.close)

    def abort(self, transaction: Any) -> None:
        self._pass("abort", self.close)


class StoreWitness(Witness):
    """Says of a store what is true, and notes when it is asked too early."""

    kind = "store"

    def __init__(self, store: Store) -> None:
        self._store = store
        self.asked_too_early: list[str] = []
        self.is_of_another_process = False  # then it may be asked at any time

    @property
    def database(self) -> str:
        return self._store.name

    def recognises(self, data_manager: Any) -> bool:
        return getattr(data_manager, "store", None) is self._store

    def mark(self, key: str, transaction: Any, data_managers: Sequence[Any]) -> WitnessMark:
        for each in data_managers:
            each.keys.add(key)
        return WitnessMark(kind=self.kind, database=self.database)

    def testify(self, marks: Mapping[str, WitnessMark], timeout: float) -> Mapping[str, Testimony]:
        return {key: self._say(key) for key in marks}

    def _say(self, key: str) -> Testimony:
        if key in self._store.keys:
            return "yes"
        holders = [each for each in self._store.open if key in each.keys]
        if any(each.may_commit for each in holders) and not self.is_of_another_process:
            self.asked_too_early.append(key)
        if holders:
            return "not yet"
        return "no"


class _OneFault:
    """One call of one verb fails, before or after it has done what it was asked to."""

    fault: tuple[str, str, BaseException] | None = None

    def _do(self, verb: str, act: Callable[[], Any]) -> Any:
        if self.fault is None or self.fault[0] != verb:
            return act()
        _, when, error = self.fault
        self.fault = None
        if when == "after":
            act()
        raise error

    def stage(self, *arguments: Any) -> None:
        self._do("stage", lambda: super(_OneFault, self).stage(*arguments))  # type: ignore[misc]  # of a backend

    def publish(self, *arguments: Any) -> None:
        self._do("publish", lambda: super(_OneFault, self).publish(*arguments))  # type: ignore[misc]  # the same

    def deliver(self, *arguments: Any) -> None:
        self._do("deliver", lambda: super(_OneFault, self).deliver(*arguments))  # type: ignore[misc]  # the same

    def discard(self, *arguments: Any) -> None:
        self._do("discard", lambda: super(_OneFault, self).discard(*arguments))  # type: ignore[misc]  # the same

    def settle(self, *arguments: Any) -> Any:
        return self._do("settle", lambda: super(_OneFault, self).settle(*arguments))  # type: ignore[misc]  # the same

    def state(self, task_id: str) -> str | None:
        """Where a task is; None when it is unknown or gone."""
        record = self.get(task_id)  # type: ignore[attr-defined]  # of a backend
        return record.state if record is not None else None


class FaultyLocal(_OneFault, LocalQueue):
    """In memory."""


class FaultySQLite(_OneFault, SQLiteQueue):
    """In a file."""
