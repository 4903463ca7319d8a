"""One connection to a Redis server, and the only place where redis-py is used: it connects, logs in, and reads replies.

redis-py's own retries, timeouts and pools are left out. Every wait ends with the deadline that the caller gives; only
a reply that keeps coming may take longer. Whatever goes wrong becomes one of two errors: the server said no, or the
connection is lost and nobody knows what the server did.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.connection import Connection, SSLConnection, UnixDomainSocketConnection
from redis.exceptions import (
    AskError,
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    ClusterCrossSlotError,
    ClusterDownError,
    InvalidResponse,
    MasterDownError,
    MovedError,
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)
from redis.retry import Retry

from .deadlines import Deadline
from .redis_address import Address
from .redis_faults import LostError, RefusedError

OLDEST_VERSION = 7
Argument = bytes | str | int | float

# redis-py tells these by their classes, and most of them without the code.
_CODES: tuple[tuple[type[Exception], str], ...] = (
    (NoScriptError, "NOSCRIPT"),
    (OutOfMemoryError, "OOM"),
    (ReadOnlyError, "READONLY"),
    (NoPermissionError, "NOPERM"),
    (MovedError, "MOVED"),  # a kind of AskError to redis-py, and so before it
    (AskError, "ASK"),
    (TryAgainError, "TRYAGAIN"),
    (MasterDownError, "MASTERDOWN"),
    (ClusterDownError, "CLUSTERDOWN"),
    (ClusterCrossSlotError, "CROSSSLOT"),
    (BusyLoadingError, "LOADING"),
    (AuthorizationError, "NOPERM"),
    (InvalidResponse, "NOTREDIS"),
)


class Wire:
    """A connection that is used by one thread at a time. After an error other than RefusedError it is closed."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection  # redis-py's; it publishes types for half of its methods
        self.used_at = 0.0  # monotonic; kept by whoever lends it

    @classmethod
    def open(cls, address: Address, deadline: Deadline) -> Wire:
        """Connect and log in. To look up a host knows no timeout, so a thread does it, which may be left behind."""
        opened: Future[Wire] = Future()

        def connect() -> None:
            try:
                wire = cls(_connection(address, deadline))
                wire._greet(deadline)
            except Exception as error:  # noqa: BLE001  # raised below, in the thread that waits
                opened.set_exception(error)
                return
            opened.set_result(wire)

        _in_thread(connect)
        try:
            return opened.result(deadline.remaining())
        except FutureTimeoutError:
            hint = "; see that it speaks TLS on this port" if address.tls else ""
            raise LostError(f"it cannot be connected to in time{hint}") from None
        except Exception as error:  # noqa: BLE001  # whatever connecting raised, there is no connection
            raise _translated(error) from None
        finally:
            if not opened.done():  # nobody waits any more: it is closed when it comes
                opened.add_done_callback(lambda late: None if late.exception() else late.result().close())

    def call(self, arguments: Sequence[Argument], deadline: Deadline) -> Any:
        """Send one command, and return its reply, of bytes, integers, lists and None."""
        try:
            self._send(arguments, deadline)
            self._set_patience(deadline)
            return self._connection.read_response()
        except (RedisError, OSError, ValueError) as error:
            failed = _translated(error)
            if not isinstance(error, ResponseError):
                self.close()
            raise failed from None
        except BaseException:
            self.close()  # a reply may be under way, and must not answer the next call
            raise

    # ---- for whoever listens ----

    def send(self, arguments: Sequence[Argument], deadline: Deadline) -> None:
        """Send one command whose replies come when they come."""
        try:
            self._send(arguments, deadline)
        except (RedisError, OSError, ValueError) as error:
            self.close()
            raise _translated(error) from None

    def receive(self, deadline: Deadline) -> Any:
        """The next reply, None when none has come by then."""
        try:
            if not self.is_open:
                raise redis.ConnectionError("it was closed")
            if not self._connection.can_read(timeout=deadline.remaining()):
                return None
            self._set_patience(Deadline(deadline.remaining() + 1.0))  # it has begun to come
            return self._connection.read_response()
        except (RedisError, OSError, ValueError) as error:
            self.close()
            raise _translated(error) from None

    @property
    def is_open(self) -> bool:
        """Whether it can be used: redis-py closes it after some errors, and would open it again by itself."""
        return self._connection._sock is not None

    @property
    def is_stale(self) -> bool:
        """Whether there is something to be read although nothing was asked: the server has closed it, or worse."""
        try:
            return not self.is_open or bool(self._connection.can_read(timeout=0))
        except (RedisError, OSError, ValueError):
            return True

    def interrupt(self) -> None:
        """End the connection under a thread that uses it; that one gets an error, and closes it."""
        used: socket.socket | None = self._connection._sock  # as above
        if used is not None:
            with contextlib.suppress(OSError):
                used.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close it. In a forked child this closes the child's end only, and leaves the parent's as it is."""
        self._connection.disconnect()

    # ---- within ----

    def _send(self, arguments: Sequence[Argument], deadline: Deadline) -> None:
        packed = b"".join(self._connection.pack_command(*arguments))
        self._set_patience(deadline)
        # In one piece: the timeout of a socket counts for each piece.
        self._connection.send_packed_command([packed], check_health=False)

    def _set_patience(self, deadline: Deadline) -> None:
        found: socket.socket | None = self._connection._sock  # there is no public way to bound one call
        remaining = deadline.remaining()
        if found is None:
            raise redis.ConnectionError("it was closed")
        if remaining <= 0:
            raise redis.TimeoutError("its time has passed")
        found.settimeout(remaining)

    def _greet(self, deadline: Deadline) -> None:
        """See that the server is new enough. One that does not let us ask is taken as it is."""
        try:
            answer = self.call(["HELLO"], deadline)
        except RefusedError as error:
            if error.code == "NOPERM":
                return
            self.close()
            raise
        told = dict(zip(answer[::2], answer[1::2], strict=False)) if isinstance(answer, list) else {}
        version = bytes(told.get(b"version", b"")).decode("ascii", "replace")
        major = version.partition(".")[0]
        if not major.isdigit() or int(major) < OLDEST_VERSION:
            self.close()
            raise RefusedError("VERSION", version)


def _connection(address: Address, deadline: Deadline) -> Any:
    """A connection that is open and logged in."""
    options: dict[str, Any] = {
        "db": address.db,
        "username": address.user,
        "password": address.read_password(),
        "socket_timeout": max(0.001, deadline.remaining()),
        "socket_connect_timeout": max(0.001, deadline.remaining()),
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
    }
    kind: Any = Connection
    if address.path:
        kind = UnixDomainSocketConnection
        options |= {"path": address.path}
    else:
        options |= {"host": address.host, "port": address.port}
    if address.tls:
        kind = SSLConnection
        options |= {"ssl_ca_certs": address.tls_ca_file, "ssl_cert_reqs": "required", "ssl_check_hostname": True}
        options |= {"ssl_certfile": address.tls_cert_file, "ssl_keyfile": address.tls_key_file}
    connection = kind(**options)
    try:
        connection.connect()
    except BaseException:
        connection.disconnect()
        raise
    return connection


def _in_thread(action: Callable[[], None]) -> None:
    try:
        threading.Thread(target=action, name="taskqueue-redis-connect", daemon=True).start()
    except RuntimeError:
        action()  # the interpreter is ending, and starts no more threads


def _translated(error: Exception) -> RefusedError | LostError:
    if isinstance(error, (RefusedError, LostError)):
        return error
    if code := _code_of(error):
        return RefusedError(code, str(error).removeprefix(f"{code} "))
    if isinstance(error, (redis.TimeoutError, TimeoutError)):
        return LostError("it has not answered in time")
    return LostError(_words_of(error))


def _code_of(error: Exception) -> str:
    """The first word of the server's reply; empty when it is none of the server's."""
    code = next((code for kind, code in _CODES if isinstance(error, kind)), "")
    if isinstance(error, AuthenticationError):
        asks = any(words in str(error).lower() for words in ("required", "must be called"))
        code = "NOAUTH" if asks else "WRONGPASS"
    elif isinstance(error, ResponseError) and not code:
        word = str(error).partition(" ")[0]
        code = word if word.isupper() else "ERR"
    elif "max number of clients" in str(error):
        code = "MAXCLIENTS"
    return code


def _words_of(error: Exception) -> str:
    """What went wrong, in one line; redis-py wraps the error that says it best."""
    cause = error if isinstance(error, OSError) else error.__context__
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"its TLS certificate is not accepted ({cause.verify_message}); see tls_ca_file and host"
    if isinstance(cause, ssl.SSLError):
        return f"TLS fails ({cause.reason}); see tls, tls_cert_file, and whether it speaks TLS on this port"
    if isinstance(cause, OSError) and cause.strerror:
        file = f"{cause.filename}: " if cause.filename else ""
        return f"{file}{cause.strerror}; see that it runs, and that it can be reached from here"
    return f"{' '.join(str(error).split())[:200]}; see that it runs, and that it can be reached from here"
