"""The application under test, behind the filter: a view that adds, and one whose tasks leave marks."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any

import transaction

import taskqueue
from taskqueue import notices
from taskqueue.notices import Event, Notice
from taskqueue.wsgi import TaskQueueFilter

from .floors import PATIENCE_SECONDS, PAYLOAD
from .marks import BenchmarkError, Marks

Environ = dict[str, Any]
StartResponse = Callable[..., Any]

MARK_PATH = "/mark"
# Its requests shall not start consumers: here that is said when it is time to.
STARTS_BY_ITSELF = "taskqueue"
TASKS_IN_A_TRANSACTION = 100  # where adding is not what is measured
# Told of tasks that go their road without a stumble; anything else spoils the figure.
_SMOOTH = frozenset(
    {Event.ADDED, Event.STARTED, Event.DONE, Event.REMARK, Event.WARNING}
    | {Event.CONSUMER_STARTED, Event.CONSUMER_STOPPING, Event.CONSUMER_STOPPED}
)


def request_environ(path: str = "/", query: str = "") -> Environ:
    """A request as a browser sends it, with a form of 1 KB."""
    return {
        "REQUEST_METHOD": "POST",
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "SERVER_NAME": "shop.example",
        "SERVER_PORT": "443",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "192.0.2.7",
        "CONTENT_TYPE": "application/x-www-form-urlencoded",
        "CONTENT_LENGTH": str(len(PAYLOAD)),
        "HTTP_HOST": "shop.example",
        "HTTP_ACCEPT": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
        "HTTP_ACCEPT_ENCODING": "gzip, deflate, br",
        "HTTP_ACCEPT_LANGUAGE": "en-GB,en;q=0.7,de;q=0.3",
        "HTTP_COOKIE": "session=4f9c2d1e8b7a6f5e4d3c2b1a09f8e7d6; theme=dark",
        "HTTP_ORIGIN": "https://shop.example",
        "HTTP_REFERER": "https://shop.example/basket",
        "HTTP_USER_AGENT": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
        "HTTP_X_FORWARDED_FOR": "198.51.100.4",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "https",
        "wsgi.input": io.BytesIO(PAYLOAD),
        "wsgi.errors": io.StringIO(),
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }


def ignore_response(_status: str, _headers: list[tuple[str, str]], _exc_info: Any = None) -> Callable[[bytes], object]:
    """A ``start_response`` that keeps nothing."""
    return len


class Shop:
    """One site with one queue and one consumer, which ``start`` starts. Its tasks are numbered from 0."""

    def __init__(self, queue_options: Mapping[str, Any], threads: int = 1) -> None:
        self.marks = Marks()
        self._view: Callable[[], None] = lambda: None
        self._manager = transaction.TransactionManager(explicit=True)
        self._added = 0
        self._done = 0
        self._awaited = -1
        self._trouble = ""
        self._reached = threading.Event()
        self._filter = TaskQueueFilter(
            self.application,
            queues={"default": queue_options},
            servers={"default": {"concurrent_limit": threads}},
            program=STARTS_BY_ITSELF,
        )

    def __enter__(self) -> Shop:
        notices.listen(self._listen)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._filter.installation.close()
        notices.unlisten(self._listen)

    # ---- the application ----

    def application(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Leave the mark of a task, or do what the request is for."""
        entered_at = time.perf_counter()
        if environ["PATH_INFO"] == MARK_PATH:
            if environ["wsgi.input"].read() != PAYLOAD:
                raise ValueError("the payload is not the one that was added")
            self.marks.leave(int(environ["QUERY_STRING"]), entered_at)
        else:
            environ["tm.manager"] = self._manager
            self._view()
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"done"]

    # ---- what its views do ----

    def add_one(self) -> tuple[float, float]:
        """Have a request add one task; when its transaction began, and when its commit had returned."""
        return self._request(1)

    def feed(self, count: int) -> None:
        """Have requests add so many tasks, many in a transaction."""
        for first in range(0, count, TASKS_IN_A_TRANSACTION):
            self._request(min(TASKS_IN_A_TRANSACTION, count - first))

    def _request(self, count: int) -> tuple[float, float]:
        times = []

        def view() -> None:
            times.append(time.perf_counter())
            self._manager.begin()
            for number in range(self._added, self._added + count):
                taskqueue.add(f"{MARK_PATH}?{number}", method="POST", payload=PAYLOAD)
            self._manager.commit()
            times.append(time.perf_counter())

        self._view = view
        self._filter(request_environ(), ignore_response)
        self._added += count
        return times[0], times[1]

    # ---- the consumer ----

    def start(self) -> None:
        """Start consuming."""
        self._filter.installation.start(self._filter.replay)

    def await_all(self) -> None:
        """Wait until the store has settled every task. Raises BenchmarkError for any that stumbled."""
        self._reached.clear()
        self._awaited = self._added
        if self._done < self._added and not self._trouble and not self._reached.wait(PATIENCE_SECONDS):
            self._trouble = f"after {PATIENCE_SECONDS:g} s only {self._done} of {self._added} tasks were done"
        if self._trouble:
            raise BenchmarkError(self._trouble)

    def finish(self) -> dict[int, float]:
        """Stop consuming and count the marks; when each task was entered. Raises BenchmarkError."""
        self._filter.installation.stop()
        counts = self._filter.installation.queues["default"].backend.counts().states
        left = {state: number for state, number in counts.items() if number and state != "done"}
        if left or counts["done"] != self._added or self._trouble:
            raise BenchmarkError(self._trouble or f"of {self._added} tasks the store says {dict(counts)}")
        return self.marks.check(self._added)

    def _listen(self, notice: Notice) -> None:
        if notice.event is Event.DONE:
            self._done += 1  # only the fetching thread tells of these
            if self._done == self._awaited:
                self._reached.set()
        elif notice.event not in _SMOOTH:
            self._trouble = f"a task did not go its road smoothly: {notice.event.value} {notice.detail}".rstrip()
            self._reached.set()
