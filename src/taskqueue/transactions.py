"""A transaction for each request, for frameworks that bring none. Knows WSGI and ``transaction``, and no task."""

from __future__ import annotations

import contextlib
import functools
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import transaction

from . import context
from .context import ACKNOWLEDGEMENT_KEY

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
Application = Callable[[Environ, StartResponse], Iterable[bytes]]

STREAM_KEY = "taskqueue.stream"  # set by an application whose response must not be spooled
SPOOL_BYTES = 1024 * 1024
ANSWER_BYTES = 4096  # of a body, for whoever is told before the commit what was answered
_END: Any = object()  # of a response; None is an application's mistake, and fails


def has_transaction(environ: Environ) -> bool:
    """Whether somebody looks after a transaction for this request already."""
    return "tm.active" in environ or "repoze.tm.active" in environ or environ.get("tm.manager") is not None


class TransactionMiddleware:
    """Gives each request a transaction, for frameworks that bring none.

    Commits when the application has answered, before the response leaves; aborts on an exception, a doomed
    transaction, or a status from 400 on. The body is spooled until then, to disk beyond 1 MiB; an application that
    streams sets ``environ["taskqueue.stream"]`` to a true value: its transaction ends before its first byte leaves.
    Does nothing where a transaction manager is already active.
    """

    def __init__(self, app: Application) -> None:
        self.app = app

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Serve a request in a transaction of its own."""
        if has_transaction(environ):
            return self.app(environ, start_response)
        manager = transaction.TransactionManager(explicit=True)
        environ["tm.active"] = True
        environ["tm.manager"] = manager
        origin = context.active_origin()
        if origin is not None:
            origin.live_environ["tm.manager"] = manager  # in case something between copied the environ
        try:
            return self._serve(environ, start_response, manager)
        finally:
            environ.pop("tm.active", None)

    def _serve(self, environ: Environ, start_response: StartResponse, manager: Any) -> Iterable[bytes]:
        held = _HeldResponse()
        begun = manager.begin()
        acknowledgement = environ.get(ACKNOWLEDGEMENT_KEY)
        if acknowledgement is not None:
            acknowledgement.join(begun, manager)
        try:
            iterable = self.app(environ, held.start_response)
            held.take(iterable, lambda: bool(environ.get(STREAM_KEY)))
            if acknowledgement is not None:
                head = held.head(ANSWER_BYTES) if acknowledgement.wants_answer else ()
                acknowledgement.answered(held.status_code, *head)
            self._finish(manager, held.status_code)
        except BaseException:
            _abort(manager)
            held.close()
            raise
        return held.send(start_response)

    @staticmethod
    def _finish(manager: Any, status_code: int) -> None:
        if status_code >= 400 or manager.isDoomed():
            manager.abort()
        else:
            manager.commit()


def _abort(manager: Any) -> None:
    with contextlib.suppress(transaction.interfaces.NoTransaction):  # a failed commit has already ended it
        manager.abort()


class _HeldResponse:
    """A response that waits for the end of its transaction."""

    def __init__(self) -> None:
        self._started: tuple[Any, ...] | None = None
        self._spool: Any = tempfile.SpooledTemporaryFile(SPOOL_BYTES)  # noqa: SIM115  # closed with the response
        self._iterable: Iterable[bytes] = ()
        self._rest: Iterator[bytes] | None = None

    @property
    def status_code(self) -> int:
        if self._started is None:
            raise AssertionError("the application returned a response without calling start_response")
        return int(self._started[0][:3])

    def start_response(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[..., Any]:
        if self._started is not None and exc_info is None:
            raise AssertionError("start_response was called twice, without exc_info")
        self._started = (status, headers, exc_info) if exc_info else (status, headers)
        return self._spool.write  # type: ignore[no-any-return]  # a file's write

    def take(self, iterable: Iterable[bytes], is_streamed: Callable[[], bool]) -> None:
        """Spool the body; of a streamed one no more than it takes to know its status."""
        self._iterable = iterable
        parts = iter(iterable)
        while not (self._started is not None and is_streamed()):
            part = next(parts, _END)
            if part is _END:
                return
            self._spool.write(part)
        self._rest = parts

    def head(self, limit: int) -> tuple[tuple[tuple[str, str], ...], bytes]:
        """The headers, and the first bytes of what is here of the body."""
        started = self._started or ("", [])
        self._spool.seek(0)
        body = self._spool.read(limit)
        self._spool.seek(0, os.SEEK_END)
        return tuple(started[1]), body

    def send(self, start_response: StartResponse) -> Iterable[bytes]:
        start_response(*(self._started or ()))
        self._spool.seek(0)
        return _Sent(self)

    def parts(self) -> Iterator[bytes]:
        yield from iter(functools.partial(self._spool.read, 64 * 1024), b"")
        if self._rest is not None:
            yield from self._rest

    def close(self) -> None:
        try:
            close = getattr(self._iterable, "close", None)
            if close is not None:
                close()
        finally:
            self._spool.close()


class _Sent:
    def __init__(self, held: _HeldResponse) -> None:
        self._held = held

    def __iter__(self) -> Iterator[bytes]:
        return self._held.parts()

    def close(self) -> None:
        self._held.close()
