"""The WSGI door: the filter around an application.

The filter is where a request enters and where its tasks re-enter. It remembers the request as it came in, for
``add`` to copy; takes away what only a task may carry; and looks after what the request leaves behind. Consumers
call the application through the same gate, from their own threads.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

import webob.exc

from . import context, notices
from .body import KnownBody, RecordedBody, SeekableBody
from .configure import Configuration, install, read_keywords
from .context import ACKNOWLEDGEMENT_KEY, TASK_KEY, Origin
from .errors import ConfigurationError
from .lifecycle import OTHER_PROGRAMS, SERVING_PROGRAMS, Lifecycle, running_program
from .producer.joining import discard_unfinished
from .queues import Queues, in_use
from .record import Task
from .transactions import TransactionMiddleware, has_transaction

__all__ = [
    "OTHER_PROGRAMS",
    "SERVING_PROGRAMS",
    "Lifecycle",
    "TaskQueueFilter",
    "TransactionMiddleware",
    "enter",
    "leave",
    "running_program",
    "task_only",
]

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
Application = Callable[[Environ, StartResponse], Iterable[bytes]]

LONGEST_LENGTH = 18  # digits; int() refuses thousands of them, and no body is that long
_X_BEGINNINGS = frozenset({"HTTP_X", "HTTP_x"})
SITE_KEY = "taskqueue.site"  # set while a filter serves the request, so that a second one inside stays out of the way


# ---- the gate ----------------------------------------------------------------------------------------------------


def enter(environ: Environ, queues: Queues) -> Origin:
    """Make the request of this environ the active one. What only a task may carry is taken away unless it is one."""
    queues = in_use(queues)
    task: Task | None = environ.get(TASK_KEY)
    if task is None:
        _take_away(environ)
    came_in = environ.copy()
    environ[SITE_KEY] = True
    return Origin(
        environ=came_in,
        live_environ=environ,
        body=_remember_body(environ, queues) if task is None else KnownBody(task.payload) if task.payload else None,
        queues=queues,
        task=task,
        transaction_is_outside=has_transaction(environ),
    )


def _take_away(environ: Environ) -> None:
    """Remove what only a task may carry."""
    suspicious = [key for key in environ if key[:6] in _X_BEGINNINGS]
    for key in suspicious:
        if _is_for_tasks(key):
            del environ[key]


def _is_for_tasks(key: str) -> bool:
    """Whether this is some spelling of a header ``X-Task-…``: applications may fold more than servers do."""
    return key.upper().replace("-", "_").startswith("HTTP_X_TASK_")


def leave(origin: Origin) -> None:
    """The request has ended: what it added to a transaction that is still open is discarded, and said."""
    if not origin.joined or origin.transaction_is_outside:
        return
    ids = discard_unfinished(origin)
    if ids:
        acknowledgement = origin.live_environ.get(ACKNOWLEDGEMENT_KEY)
        if acknowledgement is not None:
            acknowledgement.lose()  # a task is not done whose own tasks are lost
        notices.tell(
            notices.Event.DISCARDED,
            task_ids=ids,
            detail=f"the request {origin.environ.get('PATH_INFO', '')!r} ended, and its transaction has neither "
            "committed nor aborted: put a transaction manager inside of the taskqueue filter (pyramid_tm, or "
            "use = egg:wsgi-taskqueue#transaction, or taskqueue.wsgi.TransactionMiddleware)",
        )


def _remember_body(environ: Environ, queues: Queues) -> SeekableBody | RecordedBody | None:
    text = environ.get("CONTENT_LENGTH", "")
    length = int(text) if type(text) is str and text.isdecimal() and len(text) <= LONGEST_LENGTH else None
    stream = environ.get("wsgi.input")
    if length == 0 or stream is None:
        return None
    if length is None and not (environ.get("wsgi.input_terminated") or "HTTP_TRANSFER_ENCODING" in environ):
        return None  # a request without a body
    try:
        if stream.seekable():
            return SeekableBody(stream, length)
    except (AttributeError, OSError, ValueError):
        pass  # not one that can be read twice
    limit = max((queue.payload_limit for queue in queues.values()), default=0)
    body = RecordedBody(stream, length, limit)
    environ["wsgi.input"] = body
    return body


_END: Any = object()  # of a response; None is an application's mistake, for the server to tell


class _Response:
    """The application's response on its way out: while it works at it, and only then, the request is active.

    Whoever asked for it may do other things in between, and clients for tests do not always close it.
    """

    def __init__(self, iterable: Iterable[bytes], origin: Origin) -> None:
        self._iterable = iterable
        self._origin = origin

    def __iter__(self) -> Iterator[bytes]:
        with context.active(self._origin):
            parts = iter(self._iterable)
        while True:
            with context.active(self._origin):
                part = next(parts, _END)
            if part is _END:
                return
            yield part

    def close(self) -> None:
        try:
            close = getattr(self._iterable, "close", None)
            if close is not None:
                with context.active(self._origin):
                    close()
        finally:
            leave(self._origin)


class TaskQueueFilter:
    """A WSGI application around another one, whose views can add tasks, and which replays them.

    ``queues`` and ``servers`` map names to options, as in the sections of an ini file::

        app = TaskQueueFilter(app, queues={"default": {"type": "sqlite", "path": "/srv/shop/var/tasks.db"}},
                              servers={"default": {"concurrent_limit": 4}})

    A relative path begins where the process was started. Without both there are a ``local`` queue and a consumer, named
    ``default``. Raises ConfigurationError. Constructing it starts nothing; consumers start with the first request, or
    earlier where this process is known to serve.
    """

    def __init__(
        self,
        app: Application,
        queues: Mapping[str, Mapping[str, Any]] | None = None,
        servers: Mapping[str, Mapping[str, Any]] | None = None,
        *,
        configuration: Configuration | None = None,
        program: str = "",
        lifecycle: Lifecycle | None = None,
    ) -> None:
        _refuse_second(app)
        self.app = app
        self._has_warned = False
        if lifecycle is not None:  # of a door inside, which has read the configuration: tasks shall come in here
            self.installation, self.lifecycle = lifecycle.installation, lifecycle
            lifecycle.application = self.replay
            return
        self.installation = install(configuration or read_keywords(queues, servers))
        self.lifecycle = Lifecycle(self.installation, self.replay, program)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Serve a request from outside."""
        if SITE_KEY in environ:
            return self.app(environ, start_response)
        self.lifecycle.request_came()
        environ.pop(TASK_KEY, None)
        environ.pop(ACKNOWLEDGEMENT_KEY, None)
        if not self._has_warned and has_transaction(environ):
            self._warn_of_order()
        return self._serve(environ, start_response)

    def _warn_of_order(self) -> None:
        self._has_warned = True
        notices.tell(
            notices.Event.WARNING,
            detail="a transaction manager stands outside of the taskqueue filter: requests have a transaction, but "
            "their tasks, which re-enter at the filter, have none; put it inside",
        )

    def replay(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Serve a replay: consumers call this, and nobody else."""
        return self._serve(environ, start_response)

    def _serve(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        origin = enter(environ, self.installation.queues)
        previous = context.activate(origin)
        try:
            response = self.app(environ, start_response)
        except BaseException:
            context.activate(previous)
            leave(origin)
            raise
        context.activate(previous)
        if isinstance(response, (list, tuple)) or _is_file(environ, response):
            leave(origin)  # nothing of the application runs any more
            return response
        return _Response(response, origin)


def _refuse_second(app: Application) -> None:
    """Two sets of queues around one application: half of its tasks would go where nobody looks."""
    if hasattr(app, "taskqueue_source"):
        raise ConfigurationError(
            "queues are configured twice: by taskqueue.queue.… and taskqueue.server.… in the settings of the Pyramid "
            "application, and by the filter around it; keep one of them"
        )


def _is_file(environ: Environ, response: object) -> bool:
    """Whether it is the server's own file wrapper, which the server must see as it is in order to send it fast."""
    wrapper = environ.get("wsgi.file_wrapper")
    return isinstance(wrapper, type) and isinstance(response, wrapper)


# ---- views for tasks only ----------------------------------------------------------------------------------------

View = TypeVar("View", bound=Callable[..., Any])


def task_only(view: View) -> View:
    """Let nobody but tasks in: everybody else is answered 403.

    For views of Pyramid and Flask, which may return the answer, and for WSGI applications.
    """

    @functools.wraps(view)
    def guarded(*arguments: Any, **keywords: Any) -> Any:
        if context.current_task() is not None:
            return view(*arguments, **keywords)
        forbidden = webob.exc.HTTPForbidden("This address is for tasks only.")
        if len(arguments) == 2 and isinstance(arguments[0], dict) and "wsgi.input" in arguments[0]:
            return forbidden(*arguments)
        return forbidden

    with contextlib.suppress(TypeError, ValueError):  # some callables do not tell theirs
        # Pyramid looks at what a view takes, and does not look behind a decorator.
        guarded.__signature__ = inspect.signature(view)  # type: ignore[attr-defined]  # functions may have one
    return guarded  # type: ignore[return-value]  # it has the view's signature
