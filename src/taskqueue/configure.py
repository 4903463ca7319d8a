"""The only place where the parts meet: what was configured becomes queues and consumers.

Knows the backends by their types, and makes an ``Installation`` of a ``Configuration``. Both are inert: no thread
starts and no connection opens before ``Installation.start``.
"""

from __future__ import annotations

import difflib
import os
import re
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module
from typing import Any
from weakref import WeakSet

from zope.interface.exceptions import Invalid
from zope.interface.verify import verifyObject

from . import notices, queues, readers, witnesses
from .consumer import Consumer
from .errors import ConfigurationError
from .interfaces import ITaskQueue, TaskQueue
from .keeper import process_keeper
from .monitor import log
from .queues import Queue, Queues
from .readers import Configuration
from .record import Keyring
from .settings import BACKEND_OPTIONS, QUEUE_OPTIONS, Option, QueueSettings, Section, ServerSettings, one_line

__all__ = [
    "Configuration",
    "Installation",
    "backend_options",
    "install",
    "read_ini",
    "read_keywords",
    "read_sections",
    "read_settings",
    "register_witnesses",
]

Application = Callable[..., Iterable[bytes]]

# Imported when a queue is of that type: a process needs no memory for the others.
BACKENDS: Mapping[str, str] = {
    "local": "taskqueue.backends.local.LocalQueue",
    "sqlite": "taskqueue.backends.sqlite.SQLiteQueue",
    "redis": "taskqueue.backends.redis.RedisQueue",
    "postgresql": "taskqueue.backends.postgresql.PostgreSQLQueue",
}
# What every constructor takes beside the options that its class declares.
CONSTRUCTOR_WORDS = frozenset({"name", "prefix", "length_limit"})


# ---- readers -----------------------------------------------------------------------------------------------------


def read_ini(path: str | os.PathLike[str], variables: Mapping[str, str] | None = None, app: str = "") -> Configuration:
    """The sections ``[taskqueue:NAME]`` and ``[taskqueue-server:NAME]`` of an ini file.

    Without any, the settings ``taskqueue.queue.…`` and ``taskqueue.server.…`` of its section ``[app:NAME]`` for
    ``app``, or else of the first ``[app:…]`` that has such. ``variables`` are interpolated beside ``here``,
    ``__file__`` and those of ``[DEFAULT]``. Raises ConfigurationError.
    """
    return readers.read_ini(path, backend_options, variables, app)


def read_settings(settings: Mapping[str, Any], source: str = "settings") -> Configuration:
    """Pyramid's settings: ``taskqueue.queue.NAME.OPTION`` and ``taskqueue.server.NAME.OPTION``."""
    return readers.read_settings(settings, backend_options, source)


def read_keywords(
    queue_options: Mapping[str, Mapping[str, Any]] | None, server_options: Mapping[str, Mapping[str, Any]] | None
) -> Configuration:
    """Keyword arguments: options by name of queue, and by name of consumer."""
    return readers.read_keywords(queue_options, server_options, backend_options)


def read_sections(queue_sections: Sequence[Section], server_sections: Sequence[Section], source: str) -> Configuration:
    """Sections that a door has read from a file of its own kind. Raises ConfigurationError."""
    return readers.read_sections(queue_sections, server_sections, source, backend_options)


# ---- types of queues ---------------------------------------------------------------------------------------------


def backend_options(kind: str) -> Sequence[Option]:
    """The options of a type of queue. Raises ValueError for one that is not known, or cannot be used."""
    if kind in BACKENDS:
        return BACKEND_OPTIONS[kind]
    declared = getattr(_backend_class(kind), "options", ())
    try:
        options = tuple(option if isinstance(option, Option) else Option(*option) for option in declared)
    except TypeError:
        raise ValueError(f"the options of {kind} are not of the kind taskqueue.settings.Option") from None
    taken = {option.name for option in QUEUE_OPTIONS} | CONSTRUCTOR_WORDS
    for option in options:
        if option.name in taken:
            raise ValueError(f"{kind} declares an option {option.name!r}, which every queue has; takes another name")
    return options


def _backend_class(kind: str) -> Callable[..., TaskQueue]:
    if kind in BACKENDS:
        return _import(BACKENDS[kind])  # type: ignore[no-any-return]  # they are what they are called
    if not re.fullmatch(r"\w+([.:]\w+)+", kind):
        near = difflib.get_close_matches(kind.lower(), BACKENDS, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(f"takes {', '.join(BACKENDS)} or the dotted path of a class, not {kind[:60]!r}{hint}")
    try:
        found = _import(kind)
    except Exception as error:  # noqa: BLE001  # importing somebody else's module may raise anything
        reason = f"{type(error).__name__}: {error}"
        raise ValueError(f"takes the dotted path of a class; {kind[:100]} cannot be had: {reason}") from None
    if not isinstance(found, type):
        raise ValueError(f"takes the dotted path of a class; {kind[:100]} is none")
    missing = sorted(verb for verb in TaskQueue.__abstractmethods__ if not callable(getattr(found, verb, None)))
    missing = missing or sorted(getattr(found, "__abstractmethods__", ()))
    if missing:
        raise ValueError(
            f"takes a class that provides taskqueue.interfaces.ITaskQueue; {kind} lacks {', '.join(missing)}"
        )
    return found


def _make_queue(settings: QueueSettings) -> Queue:
    place = settings.place or f"queue {settings.queue}"
    try:
        backend = _backend_class(settings.type)(
            name=settings.queue,
            prefix=settings.prefix,
            length_limit=settings.length_limit,
            **settings.backend_options,
        )
        verifyObject(ITaskQueue, backend)
    except Invalid as error:
        raise ConfigurationError(one_line(f"{place}: {settings.type} is not a queue: {error}")) from None
    except (TypeError, ValueError, OSError) as error:
        raise ConfigurationError(one_line(f"{place}: {settings.type} cannot be made: {error}")) from error
    return Queue(
        name=settings.queue,
        backend=backend,
        type=settings.type,
        payload_limit=settings.payload_limit,
        header_limit=settings.header_limit,
        base_url=settings.base_url,
        copy_headers=settings.copy_headers,
        copy_remote_user=settings.copy_remote_user,
        auth=settings.auth,
        csrf_exempt=settings.csrf_exempt,
        in_doubt=settings.in_doubt,
        keyring=Keyring(settings.secret),
    )


# ---- the installation --------------------------------------------------------------------------------------------


class Installation:
    """What one configuration came to in this process: its queues, and its consumers once they are started."""

    def __init__(self, configuration: Configuration) -> None:
        self.configuration = configuration
        self.queues = Queues({settings.queue: _make_queue(settings) for settings in configuration.queues})
        self._lock = threading.Lock()
        self._stopped: list[Consumer] = []
        self._consumers: list[Consumer] = []
        self._pid: int | None = None
        _installations.add(self)

    def __repr__(self) -> str:
        return f"<Installation from {self.configuration.source}: {', '.join(self.queues) or 'no queues'}>"

    @property
    def servers(self) -> tuple[ServerSettings, ...]:
        """The consumers that are configured."""
        return self.configuration.servers

    @property
    def wants_to_consume(self) -> bool:
        """Whether some consumer is to run here if this process serves."""
        return any(server.consume != "no" for server in self.servers)

    @property
    def must_consume(self) -> bool:
        """Whether some consumer is to run here whatever this process seems to be."""
        return any(server.consume == "yes" for server in self.servers)

    @property
    def is_started(self) -> bool:
        """Whether the consumers of this process have been started, by itself and not by the process that forked it."""
        return self._pid == os.getpid()

    def start(self, application: Application) -> None:
        """Start the consumers; once in a process, later calls do nothing."""
        with self._lock:
            if self.is_started:
                return
            keeper = process_keeper()
            self._consumers = [
                Consumer(server, self.queues[server.queue], application, keeper)
                for server in self.servers
                if server.consume != "no"
            ]
            self._pid = os.getpid()
            consumers = list(self._consumers)
        for queue in self.queues.values():
            if queue.type == "local":
                notices.tell(
                    notices.Event.WARNING,
                    queue=queue.name,
                    detail="it is local: its tasks live in this process's memory only, and end with it",
                )
        for consumer in consumers:
            consumer.start()

    def stop_claiming(self) -> None:
        """Have the consumers claim no more, and give back what has not started; does not wait. ``stop`` waits."""
        if self.is_started:
            for consumer in tuple(self._consumers):
                consumer.stop_claiming()

    def stop(self) -> None:
        """Stop the consumers, side by side, each within its grace. May come twice, or before ``start``."""
        with self._lock:
            consumers, self._consumers = self._consumers, []
            is_ours, self._pid = self.is_started, None
            if not is_ours:
                return
            self._stopped = consumers
        for consumer in consumers:
            consumer.stop_claiming()
        for consumer in consumers:
            consumer.stop()

    def let_go(self) -> None:
        """The process ends after ``stop``: give back what still runs, so that nobody takes it for a cause of death."""
        stopped, self._stopped = self._stopped, []
        for consumer in stopped:
            consumer.let_go()

    def close(self) -> None:
        """Stop, and close what the backends have open; the tasks stay where they are."""
        self.stop()
        keeper = process_keeper()
        for queue in self.queues.values():
            keeper.forget(queue)
            queue.backend.close()


def install(configuration: Configuration) -> Installation:
    """Make an installation, and make its queues those of code that runs outside of a request."""
    log.install()
    installation = Installation(configuration)
    register_witnesses(configuration)
    queues.install(installation.queues)
    return installation


def register_witnesses(configuration: Configuration) -> None:
    """Register what the option ``witness`` of its queues names. Raises ConfigurationError."""
    for settings in configuration.queues:
        for dotted_name in settings.witness:
            _register_witness(settings, dotted_name)


def _register_witness(settings: QueueSettings, dotted_name: str) -> None:
    before, of_type, after = settings.place.rpartition("type")
    place = f"{before}witness{after}: {dotted_name}" if of_type else f"queue {settings.queue}: witness {dotted_name}"
    try:
        found = _import(dotted_name)
    except Exception as error:  # noqa: BLE001  # importing somebody else's module may raise anything
        reason = f"{type(error).__name__}: {error}"
        raise ConfigurationError(one_line(f"{place} cannot be had: {reason}")) from None
    try:
        witnesses.register(found)
    except ConfigurationError as error:
        raise ConfigurationError(one_line(f"{place}: {error}")) from None


def _import(dotted_name: str) -> Any:
    module_name, _, attribute = dotted_name.replace(":", ".").rpartition(".")
    return getattr(import_module(module_name), attribute)


_installations: WeakSet[Installation] = WeakSet()


def _renew_locks_in_child() -> None:
    for installation in list(_installations):
        installation._lock = threading.Lock()  # the parent's may be held by a thread that the child does not have


os.register_at_fork(after_in_child=_renew_locks_in_child)
