"""Calls that a thread of its own makes, while those who want their answers do other things.

The interpreter runs one thread at a time. Whoever goes on in Python keeps the thread that makes the call from running
for as long as it likes; so it goes on when that one says that it does not need the interpreter for a while. Knows no
tasks.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any

from ..threads import BackgroundThread
from .pending import PendingCall

IDLE_SECONDS = 60.0  # a thread that has had nothing to do for so long ends
PATIENCE_SECONDS = 0.003  # a call that waits for others first is not waited for


class Errands:
    """One thread for calls, made in their order. It is started with the first, and again when it is needed."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._calls: SimpleQueue[_Errand | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._is_served = False

    def begin(self, call: Callable[[Callable[[], None]], Any]) -> PendingCall:
        """Have ``call`` made. It is given a function to call when it leaves the interpreter to others for a while; then
        this returns."""
        errand = _Errand(call)
        with self._lock:
            if not self._is_served:
                self._thread = BackgroundThread(target=self._serve, args=(self._calls,), name=self._name)
                with suppress(RuntimeError):  # no more threads can be started
                    self._thread.start()
                    self._is_served = True
            is_served = self._is_served
            if is_served:
                self._calls.put(errand)
        if is_served:
            errand.wait_to_go_on()
        else:
            errand.make()
        return PendingCall(errand.end, errand.is_over)

    def close(self) -> None:
        """Wait until the calls that were begun are made, and end the thread. For later ones another comes."""
        with self._lock:
            thread = self._thread if self._is_served else None
            if thread is not None:
                self._calls.put(None)
                self._calls, self._is_served = SimpleQueue(), False
        if thread is not None:
            thread.join()

    def _serve(self, calls: SimpleQueue[_Errand | None]) -> None:
        while True:
            try:
                errand = calls.get(timeout=IDLE_SECONDS)
            except Empty:
                with self._lock:
                    if not calls.empty():
                        continue
                    self._is_served = False
                    return
            if errand is None:
                return
            errand.make()
            del errand  # while it waits, a thread keeps nothing of the last one alive


class _Errand:
    __slots__ = ("_answer", "_call", "_error", "_is_let_go", "_let_go", "_over")

    def __init__(self, call: Callable[[Callable[[], None]], Any]) -> None:
        self._call = call
        self._answer: Any = None
        self._error: BaseException | None = None
        self._is_let_go = False
        self._let_go, self._over = threading.Lock(), threading.Lock()  # held until it is so
        self._let_go.acquire()
        self._over.acquire()

    def make(self) -> None:
        try:
            self._answer = self._call(self.let_go)
        except BaseException as error:  # noqa: BLE001  # raised where the answer is wanted
            self._error = error
        del self._call  # which may be known by what went wrong in it
        self._over.release()
        self.let_go()

    def let_go(self) -> None:
        if not self._is_let_go:
            self._is_let_go = True
            self._let_go.release()

    def wait_to_go_on(self) -> None:
        self._let_go.acquire(timeout=PATIENCE_SECONDS)

    def is_over(self) -> bool:
        return not self._over.locked()

    def end(self) -> Any:
        with self._over:
            error, self._error = self._error, None
            try:
                if error is not None:
                    raise error
                return self._answer
            finally:
                del error  # it knows this frame
