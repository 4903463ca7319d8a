"""The request and the task that are active here. Knows no server, no transaction and no framework.

The filter makes an ``Origin`` for each request and activates it; the consumer activates the task of a replay. Both are
kept in context variables, so each thread has its own. Doors to frameworks may register a finder for the innermost
request of their framework.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
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

    ``environ`` has the strings of the WSGI environ as they came in: it is made from a copy, which is given here.
    ``live_environ`` is the mapping that the application got, in which others may have put their things since.
    """

    __slots__ = (
        *("_came_in", "_strings", "body", "captured", "joined", "live_environ", "queues", "task"),
        "transaction_is_outside",
    )

    def __init__(
        self,
        environ: Mapping[str, Any],
        live_environ: dict[str, Any],
        body: BodySource | None,
        queues: Any = None,
        task: Task | None = None,
        transaction_is_outside: bool = False,
    ) -> None:
        self._came_in = environ
        self._strings: dict[str, str] | None = None
        self.live_environ = live_environ
        self.body = body
        self.queues = queues  # the site's queues.Queues
        self.task = task  # in a replay
        self.transaction_is_outside = transaction_is_outside  # begun before the filter, so it ends after it
        self.captured: dict[Any, Any] = {}  # the producer's: what tasks of this request have in common
        self.joined: list[Any] = []  # the producer's data managers that this request caused to join

    @property
    def environ(self) -> dict[str, str]:
        """The strings as they came in; looked for when somebody asks, since most requests add nothing."""
        if self._strings is None:
            self._strings = {key: value for key, value in self._came_in.items() if type(value) is str}
        return self._strings


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


class _Active:
    """The block of ``active``: a generator would cost each request more than all that is done here."""

    __slots__ = ("_origin", "_previous")

    def __init__(self, origin: Origin | None) -> None:
        self._origin = origin

    def __enter__(self) -> None:
        self._previous = activate(self._origin)

    def __exit__(self, *_raised: object) -> None:
        _origin.set(self._previous)


def active(origin: Origin | None) -> _Active:
    """Activate a request for a block."""
    return _Active(origin)


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
