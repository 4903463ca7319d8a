"""What a Redis server says of itself, and what about it endangers tasks. Knows no tasks."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

from .. import notices
from ..errors import BackendUnavailableError
from .deadlines import Deadline
from .redis_faults import ServerRefusedError
from .redis_link import Link

INFO = ("INFO", "server", "memory", "persistence")
CONFIG = ("CONFIG", "GET", "save")


class Herald:
    """Tells whoever listens to notices what endangers the tasks of a queue, and when its server is another one."""

    def __init__(self, link: Link, queue_name: str) -> None:
        self._link = link
        self._queue_name = queue_name
        self._lock = threading.Lock()
        self._told: set[str] = set()
        self._run_id: str | None = None  # of the server as it was told of last; empty when it does not tell

    def warnings(self, deadline: Deadline) -> Sequence[str]:
        """What endangers tasks, in one line each."""
        return self._judge(self._ask(INFO, deadline), deadline)

    def tell(self, deadline: Deadline) -> None:
        """Tell it once, and each time that the server is another one than before. Never raises."""
        if self._run_id == "" or not self._lock.acquire(blocking=False):
            return  # it does not let us ask, or another thread is about to
        try:
            self._tell(deadline)
        except BackendUnavailableError:
            pass  # the next beat tells
        finally:
            self._lock.release()

    def _tell(self, deadline: Deadline) -> None:
        info = self._ask(INFO, deadline)
        found, before = run_id(info), self._run_id
        if found == before:
            return
        for each in self._judge(info, deadline):
            if each not in self._told:
                self._told.add(each)
                notices.tell(notices.Event.WARNING, queue=self._queue_name, detail=each)
        if before is not None:
            self._tell_of_successor(before, found)
        self._run_id = found

    def _tell_of_successor(self, before: str, found: str) -> None:
        detail = (
            f"Redis at {self._link.address.where} was started anew, or another one took its place "
            f"(run_id {found[:8]}, before {before[:8]}): what was not saved by then is lost"
        )
        notices.tell(notices.Event.WARNING, queue=self._queue_name, detail=detail)

    def _judge(self, info: Any, deadline: Deadline) -> Sequence[str]:
        save = self._ask(CONFIG, deadline)
        return [f"Redis at {self._link.address.where}: {each}" for each in warnings(info, save)]

    def _ask(self, command: Sequence[str], deadline: Deadline) -> Any:
        try:
            return self._link.ask(*command, timeout=deadline.remaining())
        except ServerRefusedError as error:
            if error.code not in {"NOPERM", "ERR"}:  # some providers take the command away
                raise
            return None


def run_id(info: Any) -> str:
    """What is another one after each restart and failover; empty when the server does not tell."""
    return _facts(info).get("run_id", "")[:40]


def warnings(info: Any, save: Any) -> Sequence[str]:
    """Judge the server's answers to ``INFO`` and ``CONFIG``; each is None when it does not let us ask."""
    if info is None:
        return ["whether it may evict tasks, and whether it saves them, is not known: this user may not ask for INFO"]
    facts = _facts(info)
    return [*_about_memory(facts), *_about_disk(facts, save)]


def _facts(info: Any) -> Mapping[str, str]:
    lines = bytes(info or b"").decode("utf-8", "replace").splitlines()
    return dict(line.partition(":")[::2] for line in lines if ":" in line)


def _about_memory(facts: Mapping[str, str]) -> Sequence[str]:
    policy = facts.get("maxmemory_policy", "noeviction")
    if policy == "noeviction":
        return []
    return [f"its maxmemory-policy is {policy[:40]}, so that it may evict tasks; set maxmemory-policy noeviction"]


def _about_disk(facts: Mapping[str, str], save: Any) -> Sequence[str]:
    appends = facts.get("aof_enabled", "1") == "1"
    found = []
    if not appends and save is None:
        found.append("it appends to no file, and this user may not ask whether it saves snapshots; set appendonly yes")
    elif not appends and not _save_points(save):
        found.append("it saves nothing to disk, so that tasks end with it; set appendonly yes")
    if "err" in {facts.get("aof_last_write_status"), facts.get("aof_last_bgrewrite_status")}:
        found.append("its last write to its append-only file failed; see its log")
    if facts.get("rdb_last_bgsave_status") == "err":
        found.append("its last snapshot failed; see its log")
    return found


def _save_points(save: Any) -> bytes:
    return bytes(save[1]) if isinstance(save, list) and len(save) > 1 else b""
