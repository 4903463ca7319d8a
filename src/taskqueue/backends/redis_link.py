"""One queue's way to its Redis server: calls, repeated and redirected where that is sound, and what went wrong.

A call is one round trip. It ends with its deadline, connecting included. Whatever goes wrong becomes a
BackendUnavailableError of one line that names the server and what to do, and never a password. Knows no tasks.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from ..errors import BackendUnavailableError
from .deadlines import Deadline
from .pending import PendingCall
from .redis_address import Address
from .redis_faults import LostError, RefusedError, ServerRefusedError, explain
from .redis_pool import Pool, pool_of
from .redis_scripts import Keyspace, Script

if TYPE_CHECKING:
    from .redis_wire import Wire

DEFAULT_TIMEOUT = 5.0  # of calls that are given none
REDIRECTIONS = 3
# After these, the server is another one, or will be: nothing that is connected to it is worth keeping.
_FAREWELLS = frozenset({"READONLY", "LOADING", "MASTERDOWN", "CLUSTERDOWN"})


class Link:
    """The way to one server. All methods may be called from any thread; nothing is opened before the first call."""

    def __init__(self, address: Address, keyspace: Keyspace) -> None:
        self.address = address
        self._keyspace = keyspace
        self.start_in_child()

    def start_in_child(self) -> None:
        """Begin, or begin again in a forked child."""
        self._pool = pool_of(self.address)  # of another node, where a cluster keeps this queue there
        self._has_joined = False

    def run(
        self, script: Script, arguments: Sequence[Any] = (), timeout: float = DEFAULT_TIMEOUT, *, repeat: bool = False
    ) -> Any:
        """Run a script. ``repeat`` says that running it twice does no harm and answers the same: after a lost
        connection it is sent once more."""
        return self._call(*self._commands(script, arguments), Deadline(timeout), repeat)

    def begin(self, script: Script, arguments: Sequence[Any]) -> PendingCall:
        """Have a script run; its answer is read later."""
        command, in_full = self._commands(script, arguments)
        deadline = Deadline(DEFAULT_TIMEOUT)
        pool, wire = self._lend(deadline)
        try:
            wire.send(command, deadline)
        except LostError as error:
            pool.give_back(wire)
            self.forget_idle()
            raise self._trouble(str(error)) from None
        except BaseException:
            pool.give_back(wire)
            raise
        return PendingCall(partial(self._call, command, in_full, deadline, False, (pool, wire)), wire.has_answer)

    def _commands(self, script: Script, arguments: Sequence[Any]) -> tuple[Sequence[Any], Sequence[Any]]:
        """How a script is run that the server knows, and one that it does not know."""
        keys = self._keyspace.of(script)
        rest = (len(keys), *keys, *arguments)
        return ("EVALSHA", script.digest, *rest), ("EVAL", script.text, *rest)

    def ask(self, *command: Any, timeout: float = DEFAULT_TIMEOUT) -> Any:
        """One command that changes nothing. Raises ServerRefusedError when the server does not let us ask."""
        return self._call(command, None, Deadline(timeout), repeat=True)

    def close(self) -> None:
        """Close what is idle, if no other queue uses it; it opens again when needed."""
        self._pool.leave(self)
        self._has_joined = False

    def forget_idle(self) -> None:
        """Close what is idle, and look for the queue where the configuration says."""
        self._pool.forget_idle()
        self._use(self.address)

    def _use(self, address: Address) -> None:
        self._pool.leave(self)
        self._pool = pool_of(address)
        self._has_joined = False

    # ---- one call ----

    def _call(
        self,
        command: Sequence[Any],
        in_full: Sequence[Any] | None,
        deadline: Deadline,
        repeat: bool,
        begun: tuple[Pool, Wire] | None = None,
    ) -> Any:
        """``begun`` is where the command was sent already, if it was."""
        redirections = 0
        while True:
            is_sent = begun is not None
            pool, wire = begun or self._lend(deadline)
            begun = None
            try:
                return self._exchange(wire, command, in_full, deadline, is_sent)
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
            finally:
                pool.give_back(wire)

    def _exchange(
        self, wire: Wire, command: Sequence[Any], in_full: Sequence[Any] | None, deadline: Deadline, is_sent: bool
    ) -> Any:
        try:
            return wire.answer(deadline) if is_sent else wire.call(command, deadline)
        except RefusedError as error:
            if error.code != "NOSCRIPT" or in_full is None:
                raise
            # The server was restarted, or its scripts were flushed: the whole text makes it known again.
            return wire.call(in_full, deadline)

    def _lend(self, deadline: Deadline) -> tuple[Pool, Wire]:
        """A connection, and where it is to be given back."""
        pool = self._pool
        if not self._has_joined:
            pool.join(self)
            self._has_joined = True
        try:
            return pool, pool.borrow(deadline)
        except RefusedError as error:
            raise self._refusal(error) from None
        except LostError as error:
            self.forget_idle()
            raise self._trouble(str(error)) from None

    # ---- what went wrong ----

    def _move(self, text: str) -> None:
        """Go to the node of the cluster that has this queue: ``text`` is a slot and ``host:port``."""
        host, _, port = text.rpartition(" ")[2].rpartition(":")
        self._use(self.address.at_node(host.strip("[]"), int(port)) if port.isdigit() else self.address)

    def _refusal(self, error: RefusedError) -> BackendUnavailableError:
        if error.code in _FAREWELLS:
            self.forget_idle()
        message = f"Redis at {self.address.where}: {explain(error.code, error.text)}"
        return ServerRefusedError(message, error.code)

    def _trouble(self, text: str) -> BackendUnavailableError:
        return BackendUnavailableError(f"Redis at {self.address.where}: {text}")
