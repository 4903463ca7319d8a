"""Threads of our own: in the background, and out of the way of what a server does with signals.

uWSGI handles signals in C, in whichever thread the kernel has chosen, and a worker that is told to end ends right
there: if that is one of ours, in the middle of a task. So these are blocked in ours from their birth, as they are in
uWSGI's own threads. SIGTERM is not: processes that a task starts inherit what is blocked, and could not be stopped.
Elsewhere Python runs handlers in the main thread, whichever was interrupted, and nothing is blocked. Knows no tasks.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import Any

# Those for which a worker of uWSGI has a handler.
KEPT_OUT = frozenset({signal.SIGHUP, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2})


class BackgroundThread(threading.Thread):
    """A daemon: the process does not wait for it when it ends."""

    def __init__(self, **keywords: Any) -> None:
        super().__init__(daemon=True, **keywords)
        self.kept_out: frozenset[signal.Signals] = frozenset()  # what is blocked for us alone

    def start(self) -> None:
        """Start it. Raises RuntimeError where no thread can be started."""
        if uwsgi_module() is None:
            super().start()
            return
        # A thread inherits what is blocked; if it did that itself, a signal could come before.
        previous = signal.pthread_sigmask(signal.SIG_BLOCK, KEPT_OUT)
        current = threading.current_thread()
        already = current.kept_out if isinstance(current, BackgroundThread) else frozenset()
        self.kept_out = KEPT_OUT.difference(previous) | already
        try:
            super().start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, previous)


def uwsgi_module() -> Any:
    """uWSGI's module, None outside of its processes: what else can be imported by this name has no workers."""
    module = sys.modules.get("uwsgi")
    return module if hasattr(module, "worker_id") else None


def _let_in_again() -> None:
    """In a forked child, whose only thread this is."""
    thread = threading.current_thread()
    if isinstance(thread, BackgroundThread):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, thread.kept_out)


os.register_at_fork(after_in_child=_let_in_again)
