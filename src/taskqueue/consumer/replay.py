"""The replay: calling the WSGI application with the request rebuilt from a task (PEP 3333).

Builds an environ from nothing for each attempt, plays the server's part of the protocol to its end, and reports what
came back as an ``Answer``. Judges nothing, and knows neither queue nor store.
"""

from __future__ import annotations

import contextvars
import functools
import io
import logging
import time
import traceback
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

from ..forks import held_back
from ..record import CACHED_CHARACTERS, CACHED_NAMES, Headers, Task, printable
from .acknowledge import Acknowledgement, BeforeCommit
from .outcome import BODY_BYTES, Answer, is_conflict

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
_ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]

USER_AGENT = "TaskQueueServer"
METHODS_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
# Of the caller's connection; anything else in a record is not believed.
CONNECTION_KEYS = frozenset(
    {"SERVER_NAME", "SERVER_PORT", "SERVER_PROTOCOL"}
    | {"REMOTE_ADDR", "REMOTE_HOST", "REMOTE_PORT", "REMOTE_USER", "AUTH_TYPE"}
)
# The replay says these itself, and a rebuilt body has no transfer coding.
OWN_KEYS = frozenset(
    {"HTTP_CONTENT_LENGTH", "HTTP_TRANSFER_ENCODING", "HTTP_USER_AGENT", "HTTP_IDEMPOTENCY_KEY", "HTTP_PROXY"}
)
# What every environ is given of its task.
_KEYS_OF_TASKS = (
    *("REQUEST_METHOD", "PATH_INFO", "QUERY_STRING", "wsgi.input", "wsgi.errors"),
    *("HTTP_X_TASK_ID", "HTTP_X_TASK_QUEUE", "HTTP_X_TASK_ATTEMPT", "HTTP_IDEMPOTENCY_KEY"),
    *("taskqueue.task", "taskqueue.acknowledgement"),
)
WORST_LINE_CHARACTERS = 8192
CACHED_SITES, CACHED_URL_CHARACTERS = 256, 256

# The keys of headers in an environ. The same few names come again and again, and a replay looks up each of its own, so
# this is a table and no lru_cache, which takes twice as long. One that is full of what somebody sent starts over.
_variables: dict[str, str] = {}

_log = logging.getLogger("taskqueue.application")


def replay(application: Application, task: Task, before_commit: BeforeCommit | None = None) -> Answer:
    """Make the task's request. Whatever the application raises is in the answer; nothing gets out.

    The response is read to its end and closed before this returns. The application runs in a fresh context (PEP
    567), so that nothing of one task is seen by the next.
    """
    acknowledgement = Acknowledgement(before_commit)
    response = _Response()
    begun_at = time.monotonic()
    try:
        environ = build_environ(task, acknowledgement)
        contextvars.Context().run(_call, application, environ, response)
        status = response.status_number()
    except BaseException as error:  # noqa: BLE001  # SystemExit, too: a task must not end the thread that replays it
        _log_stack(task, error)
        return Answer(
            exception=error.with_traceback(None),  # its frames would keep the request alive
            duration_seconds=time.monotonic() - begun_at,
            committed=acknowledgement.committed,
            refusal=acknowledgement.refusal,
        )
    return Answer(
        status=status,
        headers=response.headers,
        body=response.body_head,
        duration_seconds=time.monotonic() - begun_at,
        committed=acknowledgement.committed,
        refusal=acknowledgement.refusal,
    )


# ---- the environ -------------------------------------------------------------------------------------------------


def build_environ(task: Task, acknowledgement: Acknowledgement) -> dict[str, Any]:
    """A new environ for one attempt. Applications change theirs, so none is used twice."""
    base_url = task.base_url
    # A URL with a user in it may hold a password, which is not kept for longer than the task is.
    is_common = len(base_url) <= CACHED_URL_CHARACTERS and "@" not in base_url
    host, of_site = _of_common_site(base_url) if is_common else _of_site(base_url)
    environ = of_site.copy()
    _add_headers(environ, task.headers)
    environ.setdefault("HTTP_HOST", host)
    path, _, query = task.url.partition("?")
    environ["REQUEST_METHOD"] = task.method
    environ["PATH_INFO"] = _as_wsgi(path if path[:1] == "/" else "/" + path)
    environ["QUERY_STRING"] = query if query.isascii() else _native(query)
    for key, value in task.connection.items():
        if key in CONNECTION_KEYS:
            environ[key] = value if value.isascii() else _native(value)
    _add_body(environ, task)
    _add_own(environ, task)
    environ["taskqueue.acknowledgement"] = acknowledgement
    return environ


def _of_site(base_url: str) -> tuple[str, dict[str, Any]]:
    """The host, and what all environs of a site have in common. None of the values can be changed.

    It has all the keys that each environ will have, so that a copy need not grow.
    """
    base = urlsplit(base_url)
    scheme = base.scheme if base.scheme in {"http", "https"} else "http"
    host = base.netloc.rpartition("@")[2] or "localhost"
    return host, {
        "SCRIPT_NAME": _as_wsgi(base.path.rstrip("/")),
        "SERVER_NAME": base.hostname or "localhost",
        "SERVER_PORT": _port(host, scheme),
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scheme,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        "webob.is_body_seekable": True,  # else WebOb makes a copy of it first: a third of what its view costs
        "HTTP_USER_AGENT": USER_AGENT,
        **dict.fromkeys(_KEYS_OF_TASKS),
    }


# Requests name their host, so there may be as many as somebody likes to send.
_of_common_site = functools.lru_cache(maxsize=CACHED_SITES)(_of_site)


def _as_wsgi(path: str) -> str:
    """The bytes of a percent-encoded path as WSGI passes them: each as the character of that number."""
    return path if "%" not in path and path.isascii() else unquote_to_bytes(path).decode("latin-1")


def _native(text: str) -> str:
    """Text as a WSGI native string; what does not fit goes as the characters of its UTF-8 bytes."""
    if text.isascii():
        return text
    try:
        text.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass").decode("latin-1")
    return text


def _port(host: str, scheme: str) -> str:
    port = host.rpartition(":")[2]
    return port if port.isascii() and port.isdigit() and not host.endswith("]") else {"https": "443"}.get(scheme, "80")


def _add_headers(environ: dict[str, Any], headers: Headers) -> None:
    known = _variables.get
    for name, value in headers:
        key = known(name)
        if key is None:
            key = _variable(name)
            _remember_variable(name, key)
        if not key:
            continue
        native = value if value.isascii() else _native(value)
        if key in environ:  # the header came more than once
            native = environ[key] + ("; " if key == "HTTP_COOKIE" else ", ") + native
        environ[key] = native


def _remember_variable(name: str, key: str) -> None:
    if len(name) <= CACHED_CHARACTERS:
        if len(_variables) >= CACHED_NAMES:
            _variables.clear()
        _variables[name] = key


def _variable(name: str) -> str:
    """The key of a header in an environ; empty for one that is not believed."""
    key = "HTTP_" + name.upper().replace("-", "_")
    if key in OWN_KEYS or key.startswith("HTTP_X_TASK_"):
        return ""
    return "CONTENT_TYPE" if key == "HTTP_CONTENT_TYPE" else key


def _add_body(environ: dict[str, Any], task: Task) -> None:
    payload = task.payload or b""
    environ["wsgi.input"] = io.BytesIO(payload)  # seekable: frameworks that retry a request read it again
    if task.payload is not None or task.method in METHODS_WITH_BODY:
        environ["CONTENT_LENGTH"] = str(len(payload))


def _add_own(environ: dict[str, Any], task: Task) -> None:
    task_id = task.id
    environ["HTTP_X_TASK_ID"] = task_id
    environ["HTTP_X_TASK_QUEUE"] = task.queue
    environ["HTTP_X_TASK_ATTEMPT"] = str(task.attempts + 1)
    environ["HTTP_IDEMPOTENCY_KEY"] = task_id  # the same in every attempt
    environ["wsgi.errors"] = _ErrorStream(task_id)
    environ["taskqueue.task"] = task


# ---- the server's part of the protocol ---------------------------------------------------------------------------


def _call(application: Application, environ: dict[str, Any], response: _Response) -> None:
    iterable = application(environ, response.start_response)
    if type(iterable) is list:  # nothing of the application runs any more, and nothing has to be closed
        for part in iterable:
            response.take(part)
        response.require_start()
        return
    try:
        for part in iterable:
            response.take(part)
        response.require_start()
    finally:
        close = getattr(iterable, "close", None)
        if close is not None:
            close()


class _Response:
    """What comes back from the application: status, headers and the first of the body."""

    __slots__ = ("_sent", "_started", "body_head", "headers", "status")

    def __init__(self) -> None:
        self.status = ""
        self.headers: Headers = ()
        self.body_head = b""
        self._started = False
        self._sent = False

    def start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: _ExcInfo | None = None
    ) -> Callable[[bytes], None]:
        """Begin a response; once more only with an exception, and only as long as nothing of the body was sent."""
        if exc_info is not None:
            try:
                if self._sent:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None  # a frame that knows its own traceback is freed late
        elif self._started:
            raise AssertionError("start_response was called twice, without exc_info")
        if not isinstance(status, str):
            raise TypeError(f"the status is {type(status).__name__}, and must be str")
        self._started = True
        self.status = status
        self.headers = tuple([(str(name), str(value)) for name, value in headers])
        return self.take

    def take(self, part: bytes) -> None:
        """Some of the body, from the iterable or from ``write``."""
        if not isinstance(part, bytes):
            raise TypeError(f"the body yields {type(part).__name__}, and must yield bytes")
        if not part:
            return
        if not self._started:
            self.require_start()
        self._sent = True
        missing = BODY_BYTES - len(self.body_head)
        if missing > 0:
            self.body_head += part[:missing]

    def require_start(self) -> None:
        """Raise unless the application has begun a response."""
        if not self._started:
            raise AssertionError("the application did not call start_response")

    def status_number(self) -> int:
        """The three digits of the status."""
        if self.status == "200 OK":
            return 200
        number = self.status.partition(" ")[0]
        if len(number) == 3 and number.isascii() and number.isdigit():
            return int(number)
        raise ValueError(f"the status {self.status[:40]!r} does not begin with three digits")


# ---- what the application says beside ----------------------------------------------------------------------------


class _ErrorStream:
    """``wsgi.errors``: each line becomes a warning of the logger ``taskqueue.application``."""

    __slots__ = ("_line", "_task_id")

    def __init__(self, task_id: str) -> None:
        self._task_id = task_id
        self._line = ""

    def write(self, text: str) -> int:
        """Log the lines that are complete."""
        *lines, self._line = (self._line + text).split("\n")
        for line in lines:
            self._log(line)
        if len(self._line) > WORST_LINE_CHARACTERS:
            self.flush()
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """The same for several pieces."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Log what waits for its line end."""
        line, self._line = self._line, ""
        self._log(line)

    def _log(self, line: str) -> None:
        if not line.strip():
            return
        with held_back:
            _log.warning("task %s: %s", self._task_id, printable(line.rstrip()[:WORST_LINE_CHARACTERS]))


def _log_stack(task: Task, error: BaseException) -> None:
    """Where it was raised, for whoever has to mend it. Its text may hold anything, and is only in the outcome."""
    if is_conflict(error) or not _log.isEnabledFor(logging.ERROR):
        return
    stack = "".join(traceback.format_tb(error.__traceback__))
    with held_back:
        _log.error("task %s raised %s at\n%s", task.id, printable(type(error).__name__), stack.rstrip())
