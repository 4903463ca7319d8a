"""A site of one page: its buttons add tasks, and its table shows what becomes of them.

A task is a request that is made later, so the code of a task is a view like any other. ``@taskqueue.task_only`` keeps
everybody else out of it. Where the tasks wait, and who runs them, is said in ``demo.ini``.
"""

from __future__ import annotations

import contextlib
import html
import json
import secrets
import shlex
import sqlite3
import string
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from webob import Request, Response
from webob.exc import HTTPBadRequest, HTTPForbidden, HTTPNotFound, HTTPSeeOther

import taskqueue

PAGE = string.Template(Path(__file__).with_name("page.html").read_text("utf-8"))
BUTTON = string.Template("""\
      <li><button name="kind" value="$kind" aria-describedby="about-$kind">$title</button>
        <span id="about-$kind">$about</span></li>""")
ROW = string.Template("""\
      <tr id="$id" data-state="$state">
        <th scope="row" data-field="title">$title</th>
        <td><span class="state" data-field="state">$state</span></td>
        <td class="number" data-field="attempts">$attempts</td>
        <td><span data-field="detail">$detail</span>
          <progress max="100" value="$value" aria-label="progress"$hidden></progress></td>
        <td class="added"><time data-field="added">$added</time></td>
      </tr>""")

# What can be added: the title of its button, and what it is going to do.
KINDS = {
    "succeeds": ("Succeeds", "Runs once, and is done."),
    "fails-twice": (
        "Fails twice",
        "Two attempts raise an exception, the third is done. Watch the waits between them grow.",
    ),
    "never-succeeds": ("Never succeeds", "Every attempt raises an exception. After the last one the task is dead."),
    "takes-long": ("Takes long", "Works for some seconds, and tells how far it is. Add four: two run at a time."),
    "is-aborted": ("Is aborted", "The task is added, then the transaction aborts. It never runs."),
}
# The page loads nothing from anywhere, and runs no script and no style but its own.
PAGE_POLICY = string.Template(
    "default-src 'none'; style-src 'nonce-$nonce'; script-src 'nonce-$nonce'; img-src data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
LONG_STEPS = 10
SHOWN_TASKS = 30


def make_app(global_conf: Mapping[str, str], journal: str, long_seconds: str = "5") -> Site:
    """The application, from its section in ``demo.ini``."""
    return Site(Journal(Path(journal)), float(long_seconds), global_conf.get("__file__", "demo.ini"))


class Site:
    """The views, each found by method and path."""

    def __init__(self, journal: Journal, long_seconds: float, ini: str) -> None:
        self.journal = journal
        self.long_seconds = long_seconds
        self.ini = ini
        self.views: dict[tuple[str, str], Callable[[Request], Response]] = {
            ("GET", "/"): self.page,
            ("GET", "/tasks.json"): self.tasks,
            ("POST", "/add"): self.add,
            ("POST", "/tasks/succeeds"): self.succeeds,
            ("POST", "/tasks/fails-twice"): self.fails_twice,
            ("POST", "/tasks/never-succeeds"): self.never_succeeds,
            ("POST", "/tasks/takes-long"): self.takes_long,
            ("POST", "/tasks/is-aborted"): self.succeeds,
        }

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer one request, be it of a browser or of a task."""
        request = Request(environ)
        view = self.views.get((request.method, environ.get("PATH_INFO", "")))
        response: Response
        if not is_from_here(request):
            response = HTTPForbidden("Only this site's own page may do that.")
        elif view is None:
            response = HTTPNotFound()
        else:
            response = view(request)
        response.headers.update(
            {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin"}
        )
        response.headers.setdefault("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
        return response(environ, start_response)  # type: ignore[no-any-return]  # webob publishes no types

    # ---- adding a task ----

    def add(self, request: Request) -> Response:
        """Add a task. It runs if the transaction of this request commits, and not before."""
        kind = request.POST.get("kind", "")
        if kind not in KINDS:
            return HTTPBadRequest("There is no such kind of task.")
        task_id = taskqueue.add(f"/tasks/{kind}", method="POST", payload=None)
        self.journal.added(task_id, kind)
        if kind == "is-aborted":
            request.environ["tm.manager"].doom()  # as if something had gone wrong later in this request
        return HTTPSeeOther(location=f"{request.application_url}/#{task_id}")

    # ---- what tasks do ----

    @taskqueue.task_only
    def succeeds(self, request: Request) -> Response:
        """The code of a task: whatever a view can do."""
        self.journal.run_begins()
        return Response("done")

    @taskqueue.task_only
    def fails_twice(self, request: Request) -> Response:
        """An exception, or a 5xx answer, lets a task be tried again."""
        self.journal.run_begins()
        task = taskqueue.current_task()
        if task is None or task.attempts < 2:  # so many are behind it
            raise RuntimeError("the mail server does not answer")
        return Response("done at last")

    @taskqueue.task_only
    def never_succeeds(self, request: Request) -> Response:
        """Dead tasks stay where they are, with their last answer, until somebody looks into it."""
        self.journal.run_begins()
        raise RuntimeError("this address does not exist")

    @taskqueue.task_only
    def takes_long(self, request: Request) -> Response:
        """Progress goes to the journal at once, so that it is seen before the transaction of this request ends."""
        run = self.journal.run_begins(percent=0)
        for step in range(1, LONG_STEPS + 1):
            time.sleep(self.long_seconds / LONG_STEPS)
            self.journal.run_is_at(run, percent=100 * step // LONG_STEPS)
        return Response("done after all")

    # ---- looking at tasks ----

    def page(self, request: Request) -> Response:
        """The page, complete without its script, which only saves reloading it."""
        nonce = secrets.token_urlsafe(16)
        ini = shlex.quote(self.ini)
        page = PAGE.substitute(
            nonce=nonce,
            buttons="\n".join(
                BUTTON.substitute(kind=kind, title=html.escape(title), about=html.escape(about))
                for kind, (title, about) in KINDS.items()
            ),
            rows="\n".join(render_row(row) for row in self.rows()),
            blank_row=render_row({"id": "", "state": "", "percent": None}),
            status_command=html.escape(f"taskqueue status {ini}"),
            retry_command=html.escape(f"taskqueue retry {ini} --dead"),
        )
        response = Response(page)
        response.headers["Content-Security-Policy"] = PAGE_POLICY.substitute(nonce=nonce)
        return response

    def tasks(self, request: Request) -> Response:
        """The same for the script on the page."""
        return Response(json.dumps({"tasks": self.rows()}), content_type="application/json", charset="utf-8")

    def rows(self) -> list[dict[str, Any]]:
        """The newest tasks: what the journal knows of them, and what the queue does."""
        return [self.row(**entry) for entry in self.journal.newest(SHOWN_TASKS)]

    def row(self, task_id: str, kind: str, added_at: float, runs: int, percent: int | None) -> dict[str, Any]:
        """One task for the page and for the script."""
        state, attempts, detail = progress_of(task_id, kind)
        return {
            "id": task_id,
            "kind": kind,
            "title": KINDS.get(kind, (kind, ""))[0],
            "state": state,
            "attempts": attempts,
            "runs": runs,
            "percent": percent,
            "detail": detail,
            "added": time.strftime("%H:%M:%S", time.localtime(added_at)),
        }


def progress_of(task_id: str, kind: str) -> tuple[str, int, str]:
    """State, attempts and a few words about a task, from the queue."""
    task = taskqueue.get(task_id)
    if task is None and kind == "is-aborted":
        return "aborted", 0, "its transaction aborted: it never runs"
    if task is None:
        return "gone", 0, "the queue does not have it (any more)"
    last = task.last_outcome
    if task.state == "running":
        detail = f"attempt {task.attempts + 1} runs"
    elif task.state == "ready" or last is None:
        detail = f"attempt {task.attempts + 1} waits for a free thread"
    else:
        detail = f"attempt {last.attempt} {last.reason}" + (f" ({last.error})" if last.error else "")
    return task.state, task.attempts, detail


def render_row(row: Mapping[str, Any]) -> str:
    """A row of the table; everything in it is escaped."""
    shown = {"title": "", "attempts": "", "detail": "", "added": "", **row}
    escaped = {field: html.escape(str(value)) for field, value in shown.items()}
    percent = row["percent"]
    return ROW.substitute(escaped, value=int(percent or 0), hidden=" hidden" if percent is None else "")


def is_from_here(request: Request) -> bool:
    """Whether this request was meant for us, and is no click that another page has forged.

    Another name in ``Host`` is that of a foreign page which leads to this machine. In ``Origin`` a browser says which
    page sends a form.
    """
    if request.domain not in {"127.0.0.1", "localhost"}:
        return False
    return request.method == "GET" or bool(request.headers.get("Origin", request.host_url) == request.host_url)


class Journal:
    """The site's own notes: which tasks were added, and each run of one, in a file of its own.

    They are written at once and outside of any transaction. So they show what has really happened, even where the
    transaction of a request took everything else back.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        with self.connection() as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS added (task_id TEXT PRIMARY KEY, kind TEXT, added_at REAL)")
            connection.execute("CREATE TABLE IF NOT EXISTS run (id INTEGER PRIMARY KEY, task_id TEXT, percent INTEGER)")
            connection.execute("CREATE INDEX IF NOT EXISTS run_of_task ON run (task_id)")

    @contextlib.contextmanager
    def connection(self) -> Iterator[sqlite3.Connection]:
        """A connection for a few statements, committed at the end."""
        with contextlib.closing(sqlite3.connect(self.path, timeout=10)) as connection, connection:
            yield connection

    def added(self, task_id: str, kind: str) -> None:
        """A request has added a task; its transaction is still open."""
        with self.connection() as connection:
            connection.execute("INSERT INTO added VALUES (?, ?, ?)", (task_id, kind, time.time()))

    def run_begins(self, percent: int | None = None) -> int:
        """The task of this request runs; returns the number of its run."""
        task = taskqueue.current_task()
        with self.connection() as connection:
            inserted = connection.execute(
                "INSERT INTO run (task_id, percent) VALUES (?, ?)", (task.id if task else "", percent)
            )
            return inserted.lastrowid or 0

    def run_is_at(self, run: int, percent: int) -> None:
        """That run has come so far."""
        with self.connection() as connection:
            connection.execute("UPDATE run SET percent = ? WHERE id = ?", (percent, run))

    def newest(self, limit: int) -> list[dict[str, Any]]:
        """The tasks that were added last, the newest first, with how often each has run and how far it has come."""
        with self.connection() as connection:
            connection.row_factory = sqlite3.Row
            rows = connection.execute(
                "SELECT task_id, kind, added_at,"
                " (SELECT count(*) FROM run WHERE run.task_id = added.task_id) AS runs,"
                " (SELECT percent FROM run WHERE run.task_id = added.task_id ORDER BY id DESC LIMIT 1) AS percent"
                " FROM added ORDER BY task_id DESC LIMIT ?",
                (limit,),
            )
            return [dict(row) for row in rows]
