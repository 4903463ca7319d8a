"""This process's connections to one Redis server: lent, bounded, thrown away after trouble, and renewed.

A call is one round trip. It ends with its deadline, connecting included. Whatever goes wrong becomes a
BackendUnavailableError of one line that names the server and what to do, and never a password. Knows no tasks.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..errors import BackendUnavailableError
from .deadlines import Deadline
from .redis_address import Address
from .redis_faults import LostError, RefusedError, ServerRefusedError, explain
from .redis_scripts import Keyspace, Script

if TYPE_CHECKING:
    from .redis_wire import Wire

DEFAULT_TIMEOUT = 5.0  # of calls that are given none
# A firewall may have dropped what was silent for long, without telling either end: it is not used again.
IDLE_SECONDS = 10.0
IDLE_CONNECTIONS = 8
REDIRECTIONS = 3
# After these, the server is another one, or will be: nothing that is connected to it is worth keeping.
_FAREWELLS = frozenset({"READONLY", "LOADING", "MASTERDOWN", "CLUSTERDOWN"})


class Link:
    """The way to one server. All methods may be called from any thread; nothing is opened before the first call."""

    def __init__(self, address: Address, keyspace: Keyspace) -> None:
        self.address = address
        self._keyspace = keyspace
        self._start()

    def _start(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[Wire] = []
        self._node: Address | None = None  # where the cluster keeps this queue

    def run(
        self, script: Script, arguments: Sequence[Any] = (), timeout: float = DEFAULT_TIMEOUT, *, repeat: bool = False
    ) -> Any:
        """Run a script. ``repeat`` says that running it twice does no harm and answers the same: after a lost
        connection it is sent once more."""
        keys = self._keyspace.of(script)
        rest = (len(keys), *keys, *arguments)
        return self._call(("EVALSHA", script.digest, *rest), timeout, ("EVAL", script.text, *rest), repeat)

    def ask(self, *command: Any, timeout: float = DEFAULT_TIMEOUT) -> Any:
        """One command that changes nothing. Raises ServerRefusedError when the server does not let us ask."""
        return self._call(command, timeout, None, repeat=True)

    def open(self, deadline: Deadline) -> Wire:
        """A connection of one's own."""
        from .redis_wire import Wire  # noqa: PLC0415  # redis-py is loaded when it is needed

        address = self._node or self.address
        try:
            return Wire.open(address, deadline)
        except RefusedError as error:
            raise self._refusal(error) from None
        except LostError as error:
            self.forget_idle()
            raise self._trouble(str(error)) from None

    def close(self) -> None:
        """Close what is idle; it opens again when needed."""
        self.forget_idle()

    def forget_idle(self) -> None:
        """Close what is idle, and look for the queue where the configuration says."""
        with self._lock:
            idle, self._idle, self._node = self._idle, [], None
        for wire in idle:
            wire.close()

    def start_in_child(self) -> None:
        """In a forked child: open connections of its own."""
        for wire in self._idle:
            wire.close()  # closes this process's end only
        self._start()

    # ---- one call ----

    def _call(self, command: Sequence[Any], timeout: float, in_full: Sequence[Any] | None, repeat: bool) -> Any:
        deadline = Deadline(timeout)
        redirections = 0
        while True:
            wire = self._borrow(deadline)
            try:
                return self._exchange(wire, command, in_full, deadline)
            except RefusedError as error:
                if error.code != "MOVED" or redirections >= REDIRECTIONS:
                    raise self._refusal(error) from None
                redirections += 1
                self._move(error.text)
            except LostError as error:
                self.forget_idle()
                if not repeat or not deadline.remaining():
                    raise self._trouble(str(error)) from None
                repeat = False

    def _exchange(self, wire: Wire, command: Sequence[Any], in_full: Sequence[Any] | None, deadline: Deadline) -> Any:
        try:
            return wire.call(command, deadline)
        except RefusedError as error:
            if error.code != "NOSCRIPT" or in_full is None:
                raise
            # The server was restarted, or its scripts were flushed: the whole text makes it known again.
            return wire.call(in_full, deadline)
        finally:
            self._give_back(wire)

    def _borrow(self, deadline: Deadline) -> Wire:
        oldest = time.monotonic() - IDLE_SECONDS
        while True:
            with self._lock:
                wire = self._idle.pop() if self._idle else None
            if wire is None:
                return self.open(deadline)
            if wire.used_at >= oldest and not wire.is_stale:
                return wire
            wire.close()

    def _give_back(self, wire: Wire) -> None:
        if not wire.is_open:
            return
        wire.used_at = time.monotonic()
        with self._lock:
            if len(self._idle) < IDLE_CONNECTIONS:
                self._idle.append(wire)
                return
        wire.close()

    # ---- what went wrong ----

    def _move(self, text: str) -> None:
        """Go to the node of the cluster that has this queue: ``text`` is a slot and ``host:port``."""
        host, _, port = text.rpartition(" ")[2].rpartition(":")
        self.forget_idle()
        if port.isdigit():
            with self._lock:
                self._node = self.address.at_node(host.strip("[]"), int(port))

    def _refusal(self, error: RefusedError) -> BackendUnavailableError:
        if error.code in _FAREWELLS:
            self.forget_idle()
        message = f"Redis at {self.address.where}: {explain(error.code, error.text)}"
        return ServerRefusedError(message, error.code)

    def _trouble(self, text: str) -> BackendUnavailableError:
        return BackendUnavailableError(f"Redis at {self.address.where}: {text}")
