"""The request and the task that are active here. Knows no server, no transaction and no framework.

The filter makes an ``Origin`` for each request and activates it; the consumer activates the task of a replay. Both are
kept in context variables, so each thread has its own. Doors to frameworks may register a finder for the innermost
request of their framework.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol

from .record import Principal, Task

# In the WSGI environ of a replay, where no HTTP client can put anything: a header's key begins with HTTP_.
TASK_KEY = "taskqueue.task"  # the record.Task
ACKNOWLEDGEMENT_KEY = "taskqueue.acknowledgement"  # what doors join to the transaction of the replay


class BodySource(Protocol):
    """The body of a request, read without taking it away from the application."""

    def whole(self, limit: int) -> bytes:
        """All of it. Raises TooLargeError over ``limit`` bytes, PayloadLostError when it cannot be had any more."""


class Origin:
    """One request as it was where replays re-enter.

    ``environ`` is a copy of the strings in the WSGI environ as they came in; ``live_environ`` is the mapping that
    the application got, in which others may have put their things since.
    """

    __slots__ = ("body", "environ", "joined", "live_environ", "queues", "task", "transaction_is_outside")

    def __init__(
        self,
        environ: dict[str, str],
        live_environ: dict[str, Any],
        body: BodySource | None,
        queues: Any = None,
        task: Task | None = None,
        transaction_is_outside: bool = False,
    ) -> None:
        self.environ = environ
        self.live_environ = live_environ
        self.body = body
        self.queues = queues  # the site's queues.Queues
        self.task = task  # in a replay
        self.transaction_is_outside = transaction_is_outside  # begun before the filter, so it ends after it
        self.joined: list[Any] = []  # the producer's data managers that this request caused to join


class InnermostRequest:
    """What a framework knows of its current request, found by its door.

    ``environ`` is the framework's own copy of the WSGI environ, where it makes one, by which a request that is given to
    ``add`` is known. ``origin`` is called where no filter has seen the request come in, and makes one of what is left.
    ``rehost`` makes the URL that leads where ``add`` was told, given the strings of the WSGI environ, for frameworks
    whose paths do not begin where the site does.
    """

    __slots__ = ("environ", "origin", "principal", "rehost", "transaction_manager")

    def __init__(
        self,
        transaction_manager: Any = None,
        principal: Principal | None = None,
        origin: Callable[[], Origin | None] | None = None,
        rehost: Callable[[Mapping[str, str], str], str] | None = None,
        environ: Mapping[str, Any] | None = None,
    ) -> None:
        self.transaction_manager = transaction_manager
        self.principal = principal
        self.origin = origin
        self.rehost = rehost
        self.environ = environ


_origin: ContextVar[Origin | None] = ContextVar("taskqueue.origin", default=None)
_finders: list[Callable[[], InnermostRequest | None]] = []


def active_origin() -> Origin | None:
    """The request that this thread serves or replays, None outside."""
    return _origin.get()


def activate(origin: Origin | None) -> Origin | None:
    """Make a request the active one; returns the one that was, to be activated again afterwards."""
    previous = _origin.get()
    _origin.set(origin)
    return previous


@contextmanager
def active(origin: Origin | None) -> Iterator[None]:
    """Activate a request for a block."""
    previous = activate(origin)
    try:
        yield
    finally:
        activate(previous)


def current_task() -> Task | None:
    """The task whose request this is, None outside of a replay."""
    origin = _origin.get()
    return origin.task if origin is not None else None


def register_finder(finder: Callable[[], InnermostRequest | None]) -> None:
    """Ask this door, too, for the innermost request; registering twice is registering once."""
    if finder not in _finders:
        _finders.append(finder)


def innermost_request() -> InnermostRequest | None:
    """The framework's current request, from the first door that knows of one."""
    for finder in _finders:
        found = finder()
        if found is not None:
            return found
    return None
