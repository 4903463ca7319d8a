"""When consumers start and stop: with the process that serves, in no other, and before it ends.

A process that loads the application may be a server's, a master's that forks servers, or a script's. Reading a
configuration starts nothing; each door makes a ``Lifecycle``, and here is decided what becomes of it. Knows no
requests.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
import weakref
from collections.abc import Callable, Iterable
from types import FrameType
from typing import ClassVar

from . import notices, wsgiservers
from .configure import Installation
from .keeper import process_keeper
from .queues import is_stood_in
from .threads import BackgroundThread
from .wsgiservers import Worker

Application = Callable[..., Iterable[bytes]]

# Programs that load an application and serve it, and programs that load it for something else.
SERVING_PROGRAMS = frozenset({"pserve", "runwsgi"})
OTHER_PROGRAMS = frozenset(
    {"prequest", "proutes", "pshell", "ptweens", "pviews", "pdistreport", "taskqueue", "alembic"}
    | {"zconsole", "addzopeuser", "mkwsgiinstance"}
    | {"pytest", "py.test", "unittest", "zope-testrunner", "trial", "tox"}
)
READY_POLL_SECONDS = 0.02  # while a worker loads the application
END_POLL_SECONDS = 0.1  # servers do not call anybody when a worker is told to end


def running_program() -> str:
    """The name of the command that runs here; of ``python -m name``, that name."""
    if "PYTEST_XDIST_WORKER" in os.environ and "xdist" in sys.modules:
        return "pytest"  # a process of a test run that several share, and not one that such a run has started
    path = sys.argv[0] if sys.argv else ""
    if path.endswith("/Zope2/Startup/serve.py"):
        return "runwsgi"  # which an instance of buildout calls by its file
    name = os.path.basename(path).removesuffix(".py")
    return os.path.basename(os.path.dirname(path)) if name == "__main__" else name


class Lifecycle:
    """Decides when the consumers of one installation start and stop, in this process and in forked ones.

    They start at once in a program that is known to serve, and when a worker of gunicorn or uWSGI is ready; anywhere
    else with the first request, or at once where the configuration says ``consume = yes``. A master never consumes.
    Where ``is_ready`` is given, "at once" is when that says that the application is complete.
    """

    _all: ClassVar[weakref.WeakSet[Lifecycle]] = weakref.WeakSet()

    def __init__(
        self,
        installation: Installation,
        application: Application,
        program: str = "",
        is_ready: Callable[[], bool] | None = None,
    ) -> None:
        self.installation = installation
        self.application = application
        self._program = program or running_program()
        self._is_ready = is_ready
        self.is_withdrawn = False
        self._served_pid: int | None = None
        self._followed_pid: int | None = None
        self._refused_pid: int | None = None
        Lifecycle._all.add(self)
        if installation.wants_to_consume and self._program not in OTHER_PROGRAMS:
            self._start_when_serving()

    def _start_when_serving(self) -> None:
        worker = wsgiservers.current_worker()
        if worker is not None:
            self._follow(worker)
        elif wsgiservers.is_master():
            wsgiservers.call_in_workers(_follow_all)
        elif self._program in SERVING_PROGRAMS or self.installation.must_consume:
            self._start_when_ready()
        else:
            _Stopper.handle_sigterm()  # the first request may come in a thread, which cannot

    def _start_when_ready(self) -> None:
        if self._is_ready is None:
            self.start()
            return
        _Stopper.handle_sigterm()  # the thread cannot
        BackgroundThread(target=self._wait_until_ready, args=(self._is_ready,), name="taskqueue-start").start()

    def _wait_until_ready(self, is_ready: Callable[[], bool]) -> None:
        pause = threading.Event()
        while not is_ready():
            pause.wait(READY_POLL_SECONDS)
        if not self.installation.is_started:
            self.start()

    def withdraw(self) -> None:
        """Another one takes the place of this, before it has started anything."""
        self.is_withdrawn = True

    def request_came(self) -> None:
        """A request from outside: this process serves, so it consumes."""
        if self._served_pid == os.getpid() or self._program in OTHER_PROGRAMS or is_stood_in() or self.is_withdrawn:
            return
        self._served_pid = os.getpid()
        if self.installation.wants_to_consume and not self.installation.is_started:
            self._start_because("with the first request of this process")
            worker = wsgiservers.current_worker()
            if worker is not None:
                self._follow(worker)

    def start(self) -> None:
        """Start the consumers, and see to it that they are stopped when the process ends. Does nothing in a test that
        captures tasks: a request outside of it starts them."""
        if self.is_withdrawn or is_stood_in() or _Stopper.has_stopped() or self._is_refused():
            return
        _Stopper.prepare()
        self.installation.start(_surrounded(self.application))

    def _start_because(self, occasion: str) -> None:
        if not wsgiservers.why_no_threads():
            notices.tell(notices.Event.REMARK, detail=f"consumers start now, {occasion}")
        self.start()

    def _is_refused(self) -> bool:
        """Whether no thread would run here; said once."""
        reason = wsgiservers.why_no_threads()
        if reason and self._refused_pid != os.getpid():
            self._refused_pid = os.getpid()
            notices.tell(notices.Event.CONSUMER_REFUSED, detail=reason)
        return bool(reason)

    # ---- workers of gunicorn and uWSGI ----

    def _follow(self, worker: Worker) -> None:
        """Start the consumers when the worker serves, and have them claim no more once it was told to end."""
        if self._followed_pid == os.getpid() or self._is_refused():
            return
        self._followed_pid = os.getpid()
        BackgroundThread(target=self._serve_with, args=(worker,), name=f"taskqueue-{worker.server}").start()

    def _serve_with(self, worker: Worker) -> None:
        pause = threading.Event()
        while not worker.is_ready():
            pause.wait(READY_POLL_SECONDS)
        if not (worker.is_ending() or self.installation.is_started):
            self._start_because(f"with this worker of {worker.server}")
        while worker.tells_its_end:
            if worker.is_ending():
                self.installation.stop_claiming()
                return
            pause.wait(END_POLL_SECONDS)

    @classmethod
    def all(cls) -> tuple[Lifecycle, ...]:
        """Those of this process, in no order."""
        return tuple(cls._all)


def _follow_all(worker: Worker) -> None:
    for lifecycle in Lifecycle.all():
        if lifecycle.installation.wants_to_consume and not lifecycle.is_withdrawn:
            lifecycle._follow(worker)


# ---- one door inside of another ----------------------------------------------------------------------------------


Around = Callable[[Application], Application]


class _Host:
    """What the framework whose process this is has to say to a filter that is built around its application later."""

    offered: Lifecycle | None = None
    around: Around | None = None


def offer(lifecycle: Lifecycle | None) -> None:
    """Let a filter that has no configuration of its own serve for this one."""
    _Host.offered = lifecycle


def offered() -> Lifecycle | None:
    """What a door inside has read and offers, None where there is none."""
    return _Host.offered


def surround_replays(around: Around | None) -> None:
    """Have all consumers of this process call their application through this."""
    _Host.around = around


def _surrounded(application: Application) -> Application:
    return application if _Host.around is None else _Host.around(application)


def stop_all() -> None:
    """The process ends: stop all consumers in good order, before what they work with is closed."""
    _Stopper.stop()


# ---- the end of the process --------------------------------------------------------------------------------------


class _Stopper:
    """Stops all consumers when the process ends, by SIGTERM, too, where nobody else handles it.

    A forked child inherits what is registered here: whatever is not this process's own is left alone.
    """

    _prepared_pid: int | None = None
    _stopped_pid: int | None = None

    @classmethod
    def has_stopped(cls) -> bool:
        """Whether the process is ending."""
        return cls._stopped_pid == os.getpid()

    @classmethod
    def prepare(cls) -> None:
        if cls._prepared_pid == os.getpid():
            return
        cls._prepared_pid = os.getpid()
        process_keeper()
        atexit.unregister(cls.stop)  # of the process that forked this one
        atexit.register(cls.stop)
        wsgiservers.call_at_exit(cls.stop)
        cls.handle_sigterm()

    @classmethod
    def handle_sigterm(cls) -> None:
        """Have SIGTERM end the process in good order. Until consumers start it ends as if we were not there."""
        is_main = threading.current_thread() is threading.main_thread()
        if is_main and not wsgiservers.has_signals_of_its_own() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            signal.signal(signal.SIGTERM, cls._leave)

    @classmethod
    def _leave(cls, signal_number: int, _frame: FrameType | None) -> None:
        # Nothing but this may happen here: the thread that was interrupted may hold any of our locks.
        if cls._prepared_pid != os.getpid():  # nothing runs here, or it is a forked child
            signal.signal(signal_number, signal.SIG_DFL)
            os.kill(os.getpid(), signal_number)
            return
        raise SystemExit(128 + signal_number)

    @classmethod
    def stop(cls) -> None:
        """Stop what runs here; may come twice."""
        if cls._prepared_pid != os.getpid():
            return
        cls._stopped_pid = os.getpid()
        installations = [each.installation for each in Lifecycle.all()]
        # All side by side, without threads: none can be started any more in a process that ends.
        for installation in installations:
            installation.stop_claiming()
        for installation in installations:
            installation.stop()
        for installation in installations:
            installation.let_go()
        # Last: the consumers need the lease until they have stopped. Python would do it, uWSGI may not let it.
        process_keeper().stop()
