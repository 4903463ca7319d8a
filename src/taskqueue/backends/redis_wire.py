"""One connection to a Redis server, and the only place where redis-py is used: it connects and logs in.

From then on its socket is used as it is: one call is one ``send``, and one ``recv`` if the reply is short. Every wait
ends with the deadline that the caller gives; only a reply that keeps coming may take longer. Whatever goes wrong
becomes one of two errors: the server said no, or the connection is lost and nobody knows what the server did.
"""

from __future__ import annotations

import contextlib
import math
import select
import socket
import ssl
import struct
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

from ..threads import BackgroundThread
from .deadlines import Deadline
from .redis_address import Address
from .redis_faults import LostError, RefusedError
from .redis_replies import Argument, NoReplyError, pack, replies

OLDEST_VERSION = 7
FIRST_BYTES = 16 * 1024  # most replies are shorter
MORE_BYTES = 256 * 1024
PATIENCE_STEP_SECONDS = 0.02  # a wait may end so much after its deadline

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


def timeval(seconds: float) -> bytes:
    """Seconds, above zero, as the kernel takes them: whole ones and microseconds, of which it takes no million."""
    return struct.pack("ll", *divmod(int(seconds * 1e6) + 1, 1_000_000))


class Wire:
    """A connection that is used by one thread at a time. After an error other than RefusedError it is closed."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection  # redis-py's; it publishes types for half of its methods
        self._socket: socket.socket = connection._sock  # there is no public way to have it
        self._is_encrypted = isinstance(self._socket, ssl.SSLSocket)
        self._patience = 0.0  # seconds, as the socket knows it
        self._replies = replies()
        self._was_long = False  # the last reply; each piece less is a wait for the GIL less
        self.is_open = True
        self.used_at = 0.0  # monotonic; kept by whoever lends it
        if not self._is_encrypted:
            self._socket.settimeout(None)

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
        self.send(arguments, deadline)
        return self.answer(deadline)

    def send(self, arguments: Sequence[Argument], deadline: Deadline) -> None:
        """Send one command whose replies come when they come."""
        try:
            self._send(arguments, deadline)
        except (OSError, NoReplyError) as error:
            self.close()
            raise _translated(error) from None
        except BaseException:
            self.close()  # some of it may have been sent
            raise

    def answer(self, deadline: Deadline) -> Any:
        """The reply to the one command that was sent."""
        try:
            reply = self._receive(deadline)
        except (OSError, NoReplyError) as error:
            self.close()
            raise _translated(error) from None
        except BaseException:
            self.close()  # a reply may be under way, and must not answer the next call
            raise
        if isinstance(reply, RefusedError):
            raise reply
        return reply

    def has_answer(self) -> bool:
        """Whether a reply has begun to come. Never waits."""
        try:
            return self._has_come(Deadline(0), None)
        except (OSError, ValueError):
            return True  # it is broken, as who reads the reply is told

    # ---- for whoever listens ----

    def receive(self, deadline: Deadline, waker: socket.socket | None = None) -> Any:
        """The next reply, None when none has come by then, or when there is something to be read from ``waker``."""
        try:
            reply = self._replies.gets()
            if reply is False:
                if not self._has_come(deadline, waker):
                    return None
                reply = self._receive(Deadline(deadline.remaining() + 1.0))  # it has begun to come
        except (OSError, NoReplyError) as error:
            self.close()
            raise _translated(error) from None
        if isinstance(reply, RefusedError):
            raise reply
        return reply

    @property
    def is_stale(self) -> bool:
        """Whether there is something to be read although nothing was asked: the server has closed it, or worse."""
        try:
            if self._replies.gets() is not False:
                return True
            if self._is_encrypted:
                self._patience = 0.0
                return bool(self._connection.can_read(timeout=0))
            self._socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except (RedisError, OSError, ValueError, NoReplyError):
            return True
        return True

    def interrupt(self) -> None:
        """End the connection under a thread that uses it; that one gets an error, and closes it."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close it. In a forked child this closes the child's end only, and leaves the parent's as it is."""
        self.is_open = False
        self._connection.disconnect()

    # ---- within ----

    def _send(self, arguments: Sequence[Argument], deadline: Deadline) -> None:
        packed = pack(arguments)
        self._set_patience(deadline)
        # In one piece: the timeout of a socket counts for each piece.
        self._socket.sendall(packed)

    def _receive(self, deadline: Deadline) -> Any:
        size = MORE_BYTES if self._was_long else FIRST_BYTES
        received = 0
        while (reply := self._replies.gets()) is False:
            if not deadline.remaining() and self._has_come(deadline, None):
                deadline = Deadline(PATIENCE_STEP_SECONDS)  # it came in time, and only this thread had no turn
            self._set_patience(deadline)
            data = self._socket.recv(size)
            if not data:
                raise ConnectionResetError(0, "Connection closed by server")
            self._replies.feed(data)
            received += len(data)
            size = MORE_BYTES
            deadline = Deadline(max(deadline.remaining(), 1.0))
        self._was_long = received > FIRST_BYTES
        return reply

    def _has_come(self, deadline: Deadline, waker: socket.socket | None) -> bool:
        if self._is_encrypted and self._socket.pending():  # type: ignore[attr-defined]  # it is an SSLSocket
            return True
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        if waker is not None:
            poll.register(waker, select.POLLIN)
        ready = [number for number, _ in poll.poll(math.ceil(deadline.remaining() * 1000))]
        return self._socket.fileno() in ready

    def _set_patience(self, deadline: Deadline) -> None:
        remaining = deadline.remaining()
        if not self.is_open:
            raise ConnectionResetError(0, "it was closed")
        if remaining <= 0:
            raise TimeoutError
        if remaining <= self._patience <= remaining + PATIENCE_STEP_SECONDS:
            return
        if self._is_encrypted:
            self._socket.settimeout(remaining)
            return
        # The kernel's own timeout: with Python's there would be a poll before each send and each recv.
        self._patience = remaining + PATIENCE_STEP_SECONDS / 2
        words = timeval(self._patience)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, words)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, words)

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
        BackgroundThread(target=action, name="taskqueue-redis-connect").start()
    except RuntimeError:
        action()  # the interpreter is ending, and starts no more threads


def _translated(error: Exception) -> RefusedError | LostError:
    if isinstance(error, (RefusedError, LostError)):
        return error
    if isinstance(error, NoReplyError):
        return RefusedError("NOTREDIS", str(error))
    if code := _code_of(error):
        return RefusedError(code, str(error).removeprefix(f"{code} "))
    if isinstance(error, (redis.TimeoutError, TimeoutError, BlockingIOError)):
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
