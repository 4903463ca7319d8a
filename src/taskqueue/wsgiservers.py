"""gunicorn and uWSGI, seen from inside of their processes: who serves, and when. Imports neither of them.

Both load the application in processes that never serve: the master, from which the workers are forked. What is known
of them is read from what they leave behind in a process; where that cannot be read, nobody is taken for a worker, and
the first request tells. Knows no queues and no consumers.
"""

from __future__ import annotations

import os
import signal
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable
from types import FrameType, ModuleType
from typing import Any, ClassVar

from .threads import uwsgi_module


class Worker(ABC):
    """This process, as the one of a server that answers requests."""

    server: ClassVar[str]
    tells_its_end: ClassVar[bool]

    @abstractmethod
    def is_ready(self) -> bool:
        """Whether the application is loaded, and requests are taken."""

    @abstractmethod
    def is_ending(self) -> bool:
        """Whether no more requests are taken; never, where the server does not tell."""


def current_worker() -> Worker | None:
    """The worker that this process is; None in all others, also where it cannot be known."""
    return _GunicornWorker.current() or _UWSGIWorker.current()


def is_master() -> bool:
    """Whether this process seems to load the application for workers that it forks."""
    return current_worker() is None and ("gunicorn.arbiter" in sys.modules or uwsgi_module() is not None)


def call_in_workers(call: Callable[[Worker], None]) -> None:
    """Call this in every worker that is forked from this process, before it serves. Registering twice is registering
    once."""
    if call not in _calls:
        _calls.append(call)
    _UWSGIWorker.hook()


def call_at_exit(call: Callable[[], None]) -> None:
    """Call this when uWSGI ends the process: it may be told to skip what Python does then."""
    uwsgi = uwsgi_module()
    if uwsgi is not None:
        uwsgi.atexit = _in_a_row(getattr(uwsgi, "atexit", None), call)


def has_signals_of_its_own() -> bool:
    """Whether the server handles signals where Python does not see it; a handler of Python's would disable that."""
    return uwsgi_module() is not None


def why_no_threads() -> str:
    """Why no thread would run here, and what to do; empty where threads run."""
    uwsgi = uwsgi_module()
    if uwsgi is None or getattr(uwsgi, "has_threads", True):
        return ""
    return (
        "uWSGI runs no threads in this process: set enable-threads = true in its configuration; until then tasks are "
        "added here, and wait for another process to run them"
    )


_calls: list[Callable[[Worker], None]] = []


def _call_all(worker: Worker) -> None:
    for call in tuple(_calls):
        call(worker)


def _in_a_row(first: Callable[[], Any] | None, second: Callable[[], Any]) -> Callable[[], None]:
    def both() -> None:
        try:
            if first is not None:
                first()
        finally:
            second()

    return both


# ---- gunicorn ----------------------------------------------------------------------------------------------------


class _GunicornWorker(Worker):
    """Wraps the object that gunicorn has of a worker."""

    server = "gunicorn"
    tells_its_end = True

    def __init__(self, worker: Any) -> None:
        self._worker = worker

    @classmethod
    def current(cls) -> _GunicornWorker | None:
        """A worker handles SIGTERM with a method of its own. Its children inherit that, so the pid must be its, too."""
        worker: Any = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
        return cls(worker) if _is_gunicorn_worker(worker) and worker.pid == os.getpid() else None

    def is_ready(self) -> bool:
        return bool(self._worker.booted)

    def is_ending(self) -> bool:
        return not self._worker.alive


def _is_gunicorn_worker(found: Any) -> bool:
    module = sys.modules.get("gunicorn.workers.base")
    return module is not None and isinstance(found, module.Worker)


def _after_fork(caller: FrameType | None) -> None:
    """In the child. gunicorn's master forks in a function that has the worker to be in a variable; others who fork, in
    the master or in a worker, are not that function."""
    if not _calls or caller is None or caller.f_globals.get("__name__") != "gunicorn.arbiter":
        return
    worker = caller.f_locals.get("worker")
    if _is_gunicorn_worker(worker):
        _call_all(_GunicornWorker(worker))


os.register_at_fork(after_in_child=lambda: _after_fork(sys._getframe(1)))


# ---- uWSGI -------------------------------------------------------------------------------------------------------


class _UWSGIWorker(Worker):
    """Asks the module that exists only inside of uWSGI. Workers have numbers from 1 on, all other processes have 0."""

    server = "uWSGI"
    tells_its_end = False
    _hooked_pid: ClassVar[int | None] = None

    def __init__(self, uwsgi: ModuleType) -> None:
        self._uwsgi = uwsgi

    @classmethod
    def current(cls) -> _UWSGIWorker | None:
        uwsgi = uwsgi_module()
        return cls(uwsgi) if uwsgi is not None and uwsgi.worker_id() > 0 else None

    @classmethod
    def hook(cls) -> None:
        """Python's own hooks do not run when uWSGI forks; it has one of its own, for a single function."""
        uwsgi = uwsgi_module()
        if uwsgi is None or cls._hooked_pid == os.getpid():
            return
        cls._hooked_pid = os.getpid()
        decorators = sys.modules.get("uwsgidecorators")
        if decorators is not None:  # its functions share the hook
            decorators.postfork(cls._forked)
        else:
            uwsgi.post_fork_hook = _in_a_row(getattr(uwsgi, "post_fork_hook", None), cls._forked)

    @classmethod
    def _forked(cls) -> None:
        worker = cls.current()
        if worker is not None:
            _call_all(worker)

    def is_ready(self) -> bool:
        return any(each["id"] == self._uwsgi.worker_id() and each["apps"] for each in self._uwsgi.workers())

    def is_ending(self) -> bool:
        return False
