"""The demo without a browser: adds every kind of task over HTTP, looks at the site's JSON, and tells what happened.

It believes what a visitor of the site can see, and nothing else; it knows of the site only how to start, stop and
remove it.
"""

from __future__ import annotations

import http.client
import io
import json
import logging
import shutil
import sys
import tempfile
import time
import urllib.parse
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from ..backends.redis import RedisQueue
from ..errors import BackendError, TaskQueueError
from .folder import Folder, prepare, redis_prefix
from .serving import HOST, ServedSite
from .terminal import say

PATIENCE_SECONDS = 40  # for everything together; stopping the site twice has its grace beside
LOOK_SECONDS = 0.05
REQUEST_SECONDS = 10
KINDS = ("succeeds", "fails-twice", "never-succeeds", "takes-long", "is-aborted")

Row = dict[str, Any]  # one task, as the site's JSON tells it


class DidNotHappenError(TaskQueueError):
    """What the demo promises did not happen; the text says what did."""


def run(directory: str | None, port: int, redis_url: str | None = None) -> int:
    """Do all of it; 0 if it all happened, else 1."""
    path = Path(directory) if directory else Path(tempfile.mkdtemp(prefix="taskqueue-demo-"))
    begun_at = time.monotonic()
    try:
        with _log_kept() as log:
            rehearsal = Rehearsal(prepare(path, quick=True, redis_url=redis_url), port, begun_at + PATIENCE_SECONDS)
            rehearsal.run()
    finally:
        if not directory:
            _remove(path, redis_url)
    if not directory:
        say(f"The site was in {path}; --directory keeps it.")
    if rehearsal.failures:
        sys.stderr.write(log.getvalue())
        print(f"taskqueue demo: did not happen as it should: {', '.join(rehearsal.failures)}", file=sys.stderr)
        return 1
    say(f"All of it happened, in {time.monotonic() - begun_at:.1f} s.")
    return 0


def _remove(path: Path, redis_url: str | None) -> None:
    """The site, and its queue on Redis, both of which nobody asked to keep."""
    shutil.rmtree(path, ignore_errors=True)
    if redis_url:
        queue = RedisQueue(name="default", url=redis_url, prefix=redis_prefix(path.absolute()))
        try:
            queue.erase()
        except BackendError as error:
            print(f"taskqueue demo: {error}; its keys that begin with {{{queue.prefix} are left", file=sys.stderr)
        finally:
            queue.close()


@contextmanager
def _log_kept() -> Iterator[io.StringIO]:
    """Keep the log, to be shown only where something has gone wrong."""
    log = io.StringIO()
    handler = logging.StreamHandler(log)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    handler.addFilter(
        lambda line: line.name != "taskqueue.application"
    )  # where the views that are to raise have raised
    logging.getLogger("taskqueue").addHandler(handler)
    try:
        yield log
    finally:
        logging.getLogger("taskqueue").removeHandler(handler)


class Rehearsal:
    """One run through everything; ``failures`` names what did not happen. ``deadline`` is monotonic."""

    def __init__(self, folder: Folder, port: int, deadline: float) -> None:
        self.failures: list[str] = []
        self._folder = folder
        self._port = port
        self._deadline = deadline
        self._ids: dict[str, str] = {}  # of the tasks that were added, by kind

    def run(self) -> None:
        """The whole story: every kind of task, then a task that waits while the site is down."""
        with self._served() as site:
            say(f"The site is in {self._folder.path}, at {site.url}")
            visitor = Visitor(site.port, self._deadline)
            self._scene("The page", lambda: self._add_every_kind(visitor))
            self._scene("Succeeds", lambda: self._ends(visitor, "succeeds", "done", runs=1))
            self._scene("Fails twice", lambda: self._ends(visitor, "fails-twice", "done", runs=3))
            limit = site.attempts_limit
            self._scene("Never succeeds", lambda: self._ends(visitor, "never-succeeds", "dead", runs=limit))
            self._scene("Takes long", lambda: self._tells_progress(visitor))
            site.stop_consuming()
            self._scene("Site stopped", lambda: self._waits(visitor))
        with self._served() as site:
            visitor = Visitor(site.port, self._deadline)
            self._scene("Started again", lambda: self._ends(visitor, "waits", "done", runs=1))
            # At the very end: by now it would have run, if anything could make it run.
            self._scene("Is aborted", lambda: self._never_ran(visitor))

    @contextmanager
    def _served(self) -> Iterator[ServedSite]:
        site = ServedSite(self._folder.ini, self._port)
        try:
            site.start()
            yield site
        finally:
            site.stop()

    def _scene(self, title: str, play: Callable[[], str]) -> None:
        try:
            verdict, said = "ok", play()
        except (DidNotHappenError, OSError, http.client.HTTPException) as error:
            verdict, said = "FAILED", str(error) or type(error).__name__
            self.failures.append(title)
        say(f"  {title:<16} {verdict:<8} {said}")

    # ---- scenes ----

    def _add_every_kind(self, visitor: Visitor) -> str:
        page = visitor.page()
        missing = [kind for kind in KINDS if f'value="{kind}"' not in page]
        if missing:
            raise DidNotHappenError(f"it has no button for {', '.join(missing)}")
        for kind in KINDS:
            self._ids[kind] = visitor.add(kind)
        return f"{len(KINDS)} buttons pressed"

    def _ends(self, visitor: Visitor, kind: str, state: str, runs: int) -> str:
        row = visitor.wait_for(self._id(kind), ("done", "dead", "gone"))
        said = f"{row['state']} after {_times(row['attempts'], 'attempt')}, its view ran {_times(row['runs'], 'time')}"
        if (row["state"], row["attempts"], row["runs"]) != (state, runs, runs):
            raise DidNotHappenError(f"{said}; expected: {state} after {runs}; {row['detail']}")
        return said

    def _tells_progress(self, visitor: Visitor) -> str:
        said = self._ends(visitor, "takes-long", "done", runs=1)
        seen = visitor.progress_seen.get(self._id("takes-long"), [])
        if len(seen) < 2:
            raise DidNotHappenError(f"{said}, but its progress was not seen on the way: {seen}")
        return f"{said}, seen at {seen[0]} %, {seen[1]} % … {seen[-1]} %"

    def _waits(self, visitor: Visitor) -> str:
        self._ids["waits"] = visitor.add("succeeds")
        row = visitor.look_at(self._ids["waits"])
        if (row["state"], row["runs"]) != ("ready", 0):
            raise DidNotHappenError(f"a task was added, and is {row['state']} after {_times(row['runs'], 'run')}")
        return "a task was added, and waits while nobody consumes"

    def _never_ran(self, visitor: Visitor) -> str:
        row = visitor.look_at(self._id("is-aborted"))
        if (row["state"], row["runs"]) != ("aborted", 0):
            raise DidNotHappenError(f"is {row['state']}, and ran {_times(row['runs'], 'time')}")
        return "never ran, and the queue has never heard of it"

    def _id(self, kind: str) -> str:
        if kind not in self._ids:
            raise DidNotHappenError("was not added")
        return self._ids[kind]


class Visitor:
    """Somebody who presses buttons and looks at the table. ``progress_seen`` collects what the bars showed."""

    def __init__(self, port: int, deadline: float) -> None:
        self.progress_seen: dict[str, list[int]] = {}
        self._port = port
        self._deadline = deadline

    def page(self) -> str:
        """The page, as it is without its script."""
        return self._request("GET", "/", 200)[1].decode()

    def add(self, kind: str) -> str:
        """Press a button; the id of the task, to which the answer leads."""
        location, _ = self._request("POST", "/add", 303, urllib.parse.urlencode({"kind": kind}))
        return urllib.parse.urlsplit(location).fragment

    def look_at(self, task_id: str) -> Row:
        """What the table shows of a task."""
        rows = {row["id"]: row for row in json.loads(self._request("GET", "/tasks.json", 200)[1])["tasks"]}
        for each, row in rows.items():
            seen = self.progress_seen.setdefault(each, [])
            if row["percent"] and row["percent"] not in seen:
                seen.append(row["percent"])
        if task_id not in rows:
            raise DidNotHappenError("the table does not show it")
        return dict(rows[task_id])

    def wait_for(self, task_id: str, states: Sequence[str]) -> Row:
        """The task's row once it is in one of these states, or as it is when patience is at its end."""
        while True:
            row = self.look_at(task_id)
            if row["state"] in states or time.monotonic() > self._deadline:
                return row
            time.sleep(LOOK_SECONDS)

    def _request(self, method: str, path: str, expected: int, body: str | None = None) -> tuple[str, bytes]:
        headers = {} if body is None else {"Content-Type": "application/x-www-form-urlencoded"}
        with closing(http.client.HTTPConnection(HOST, self._port, timeout=REQUEST_SECONDS)) as connection:
            connection.request(method, path, body, {**headers, "Origin": f"http://{HOST}:{self._port}"})
            response = connection.getresponse()
            content = response.read()
        if response.status != expected:
            raise DidNotHappenError(f"{method} {path} was answered {response.status}")
        return response.getheader("Location", ""), content


def _times(count: int, what: str) -> str:
    return f"{count} {what}" + ("" if count == 1 else "s")
