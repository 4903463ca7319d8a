"""This process's named queues: each a backend with what the configuration says of it."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from .context import active_origin
from .errors import BackendError, UnknownQueueError
from .interfaces import TaskQueue
from .record import Keyring, Task, decode


@dataclass(frozen=True)
class Queue:
    """One queue as this process uses it."""

    name: str
    backend: TaskQueue
    type: str = "local"
    payload_limit: int = 1024 * 1024  # bytes
    header_limit: int = 32 * 1024  # bytes
    base_url: str = ""  # for tasks that are added outside a request
    copy_headers: frozenset[str] | None = None  # folded names; None copies all
    copy_remote_user: bool = False
    auth: str = "copy"  # or "principal": no credentials are stored
    csrf_exempt: bool = True
    in_doubt: str = "hold"
    keyring: Keyring = field(default_factory=Keyring)


class Queues(Mapping[str, Queue]):
    """Queues by name. The one named "default" is what its name says, else the alphabetically first is."""

    def __init__(self, queues: Mapping[str, Queue]) -> None:
        self._queues = dict(sorted(queues.items()))
        self._default = self._queues.get("default") or next(iter(self._queues.values()), None)

    def __getitem__(self, name: str | None) -> Queue:
        """The queue of that name, the default for None. Raises UnknownQueueError."""
        if name is None and self._default is not None:
            return self._default
        try:
            return self._queues[name]  # type: ignore[index]  # None without any queue is not found either
        except (KeyError, TypeError):
            known = ", ".join(self._queues) or "none"
            near = difflib.get_close_matches(str(name), self._queues, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise UnknownQueueError(f"there is no queue {name!r}; configured are: {known}{hint}") from None

    def get(self, name: str | None, default: Any = None) -> Any:
        """The queue of that name or ``default``. Mapping's own expects KeyError."""
        return self[name] if name in self._queues else default

    def __contains__(self, name: object) -> bool:
        return name in self._queues

    def __iter__(self) -> Iterator[str]:
        return iter(self._queues)

    def __len__(self) -> int:
        return len(self._queues)


StandIn = Callable[[Queues | None], Queues]
Watcher = Callable[[Queues | None], None]


class _Installed:
    """What the process uses where no request says which site it is in: the last one configured."""

    queues: Queues | None = None
    stand_in: StandIn | None = None
    watcher: Watcher | None = None


def install(queues: Queues | None) -> None:
    """Make these the queues of code that runs outside of a request."""
    _Installed.queues = queues
    if _Installed.watcher is not None:
        _Installed.watcher(queues)


def watch_installed(watcher: Watcher | None) -> None:
    """Tell this one which queues are installed, now and at each change, in place of the one that was told before."""
    _Installed.watcher = watcher
    if watcher is not None:
        watcher(_Installed.queues)


def installed() -> Queues:
    """The queues for code outside of a request. Raises UnknownQueueError when nothing was configured."""
    if _Installed.stand_in is not None:
        return _Installed.stand_in(_Installed.queues)
    if _Installed.queues is None:
        raise UnknownQueueError(
            "no queue is configured in this process: a script loads the site first (paste.deploy.loadapp, "
            "pyramid.paster.bootstrap); a site wraps its application in taskqueue.wsgi.TaskQueueFilter, "
            "names egg:wsgi-taskqueue as a filter in its ini file, or calls config.include('taskqueue.pyramid')"
        )
    return _Installed.queues


@contextmanager
def stood_in(replacement: StandIn) -> Iterator[None]:
    """Have other queues used than those that are configured, for a block: what the tests of an application need.

    ``replacement`` is called with the queues of a request's site or, outside of a request, with those that are
    installed, None when there are none. Meanwhile no consumer starts, and what is installed is forgotten afterwards.
    """
    before = _Installed.queues, _Installed.stand_in
    _Installed.stand_in = replacement
    try:
        yield
    finally:
        _Installed.queues, _Installed.stand_in = before


def is_stood_in() -> bool:
    """Whether other queues are used than those that are configured."""
    return _Installed.stand_in is not None


def in_use(queues: Queues) -> Queues:
    """The queues that a request of this site adds to: these, unless others stand in for them."""
    return queues if _Installed.stand_in is None else _Installed.stand_in(queues)


_before_looking: list[Callable[[], object]] = []


def before_looking(act: Callable[[], object]) -> None:
    """Have something done before ``get`` looks: what this process still has under way shall be seen."""
    _before_looking.append(act)


def get(task_id: str, queue: str | None = None) -> Task | None:
    """The task of that id, in one queue or wherever it is; None when it is unknown or gone.

    Raises UnknownQueueError, BackendUnavailableError when it is in no queue that can be reached, and RecordError when
    it is there but cannot be read.
    """
    for act in _before_looking:
        act()
    origin = active_origin()
    known: Queues = origin.queues if origin is not None and origin.queues is not None else installed()
    unreachable: BackendError | None = None
    for each in [known[queue]] if queue is not None else known.values():
        try:
            record = each.backend.get(task_id)
        except BackendError as error:
            unreachable = error
            continue
        if record is not None:
            return decode(record, None)
    if unreachable is not None:
        raise unreachable
    return None
