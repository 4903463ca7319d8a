"""What the verbs have in common: one lock, the records in memory, and the one place where they change."""

import threading
import time
from contextlib import contextmanager
from pathlib import Path

from msgspec.structs import replace

from taskqueue.backends import rules
from taskqueue.backends.hints import Hints
from taskqueue.converters import boolean, text
from taskqueue.interfaces import Record, TaskQueue
from taskqueue.record import State
from taskqueue.settings import REQUIRED, Option

from .journal import Journal


class Store(TaskQueue):
    capabilities = frozenset({"certain", "durable"})
    options = (
        Option("folder", text, REQUIRED, "where the files are; created when it is missing"),
        Option("sync", boolean, True, "have every change wait for the disk"),
    )

    def __init__(self, *, name, folder, sync=True, prefix="taskqueue", length_limit=None):
        self.name = name
        self.prefix = prefix
        self._length_limit = length_limit
        self._path = Path(folder).absolute() / prefix / f"{name}.journal"
        self._journal = Journal(self._path, sync)
        self._hints = Hints()
        self._lock = threading.Lock()
        self._records = {}
        self._before = {}  # of the records that the verb under way has changed
        self._owners = {}  # those that have beaten in this process

    @contextmanager
    def _verb(self):
        """Yields the time that the verb goes by. At its end all that it changed is in the file, or nothing changed."""
        self._journal.refuse_in_child()  # before the lock, which may be held by a thread that a child does not have
        with self._lock:
            stored = self._journal.open()
            if stored is not None:
                self._records = stored
            self._before = {}
            try:
                yield time.time()
                if self._before:
                    self._journal.append([self._records[task_id] for task_id in self._before])
            except BaseException:
                for task_id, record in self._before.items():
                    self._put_back(task_id, record)
                raise

    def _put_back(self, task_id, record):
        if record is None:
            del self._records[task_id]
        else:
            self._records[task_id] = record

    def _change(self, record, **changes):
        self._before.setdefault(record.id, self._records.get(record.id))
        self._records[record.id] = replace(record, **changes)

    def _step(self, record, verb, to, now, **changes):
        """One step from state to state; False when there is none."""
        before = self._state(record.id, now)
        if not rules.allows(before, verb, to):
            return False
        if before is None:  # what the caller says of its progress is not believed
            known = Record(
                id=record.id, body=record.body, secrets=record.secrets, priority=record.priority, due=record.due
            )
        else:
            known = self._records[record.id]
        if to is State.GONE:
            known = Record(id=record.id, body=b"", finished_at=now)  # only that there was one
        self._change(known, state=to.value, **changes)
        return True

    def _state(self, task_id, now):
        found = self._records.get(task_id)
        if found is None or (found.state == State.GONE and now - found.finished_at >= rules.GONE_SECONDS):
            return None
        return State(found.state)

    def _publish(self, record, verb, now):
        due = record.due if self._state(record.id, now) is None else self._records[record.id].due
        return self._step(record, verb, rules.published_state(due, now), now, envelope=b"", owner="", published_at=now)

    def _forget(self, records, verb, now):
        return [each.id for each in records if self._step(each, verb, State.GONE, now)]

    def _select(self, *states):
        """Records in these states by id."""
        return sorted((each for each in self._records.values() if each.state in states), key=lambda each: each.id)

    def _known(self, ids):
        return [self._records[task_id] for task_id in dict.fromkeys(ids) if task_id in self._records]
