"""Publishing outside of requests: where a witness can tell of a transaction, its request need not wait for that.

What is handed over is staged, and its transaction has committed: should the process die before it is published, the
witness is asked. One thread publishes in the order in which it was handed over, as much of a queue at a time as has
come meanwhile. Knows no lease and no error: whoever makes a publisher says how to publish.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence

from .interfaces import Record
from .queues import Queue
from .threads import BackgroundThread, uwsgi_module

# After each call; what comes meanwhile is the next one. Requests that follow each other closely lose more by sharing
# the interpreter with a call for each of them than by making it. After a rest, the first one is published at once.
PAUSE_SECONDS = 0.002
BATCH = 100  # records of one call: as many as can be expected to be stored within its time

Publish = Callable[[Queue, list[Record]], None]


class Publisher:
    """The thread of one process, started with the first task. All methods may be called from any thread."""

    def __init__(self, publish: Publish) -> None:
        self._publish = publish  # never raises
        self._changed = threading.Condition()
        self._waiting: dict[str, tuple[Queue, Record]] = {}  # by task id, in the order in which they came
        self._come = self._gone = 0  # how many did
        self._thread: threading.Thread | None = None
        self._waiters = 0
        self._is_idle = False
        self._is_stopped = False

    def hand_over(self, queue: Queue, records: Sequence[Record]) -> bool:
        """Have these published soon; False where no thread would do it: then it is the caller's to do."""
        with self._changed:
            if self._is_stopped or (self._thread is None and not self._start()):
                return False
            for record in records:
                self._waiting[record.id] = (queue, record)
            self._come += len(records)
            if self._is_idle:
                self._changed.notify_all()
        return True

    def __contains__(self, task_id: object) -> bool:
        """Whether a task was handed over, and is still to be published."""
        return task_id in self._waiting

    def __len__(self) -> int:
        return len(self._waiting)

    def wait(self, timeout: float) -> bool:
        """Until all is published that has been handed over by now, or given to the keeper; False when time is up."""
        if not self._waiting or threading.current_thread() is self._thread:
            return True
        with self._changed:
            come = self._come
            self._waiters += 1
            try:
                return self._changed.wait_for(lambda: self._gone >= come, timeout)
            finally:
                self._waiters -= 1

    def stop(self, timeout: float) -> Iterator[tuple[Queue, list[Record]]]:
        """Take nothing more, publish what is there, and stop; what is left then."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify_all()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)
        with self._changed:
            return _by_queue(list(self._waiting.values()))

    def _start(self) -> bool:
        if not getattr(uwsgi_module(), "has_threads", True):
            return False  # uWSGI may be told to let none run between requests
        thread = BackgroundThread(target=self._run, name="taskqueue-publisher")
        try:
            thread.start()
        except RuntimeError:
            return False  # the interpreter is ending
        self._thread = thread
        return True

    def _run(self) -> None:
        while batch := self._next_batch():
            for queue, records in _by_queue(batch):
                self._publish(queue, records)
            with self._changed:
                for _, record in batch:
                    self._waiting.pop(record.id, None)
                self._gone += len(batch)
                if self._waiters:
                    self._changed.notify_all()
            time.sleep(PAUSE_SECONDS)

    def _next_batch(self) -> list[tuple[Queue, Record]]:
        """Nothing when it is to stop."""
        with self._changed:
            self._is_idle = True
            self._changed.wait_for(lambda: self._waiting or self._is_stopped)
            self._is_idle = False
            return list(itertools.islice(self._waiting.values(), BATCH))


def _by_queue(batch: Sequence[tuple[Queue, Record]]) -> Iterator[tuple[Queue, list[Record]]]:
    found: dict[int, tuple[Queue, list[Record]]] = {}
    for queue, record in batch:
        found.setdefault(id(queue), (queue, []))[1].append(record)
    return iter(found.values())
