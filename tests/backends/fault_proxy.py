"""A TCP proxy between a client and a server that does to the traffic what networks do.

What it is told holds from then on for what passes and for connections that come, until ``mend``. One thread of its own
does everything to sockets; tests leave it actions.
"""

import contextlib
import queue
import re
import select
import socket
import struct
import threading
import time

_SYNC = b"S\0\0\0\4"  # PostgreSQL: the end of what is to be done together
_ABOUT_TASKS = re.compile(rb"taskqueue_(task|stage|publish|settle|claim|promote)")
STEP_SECONDS = 0.01  # of a slow line
DEADLINE = 20.0


def runs_a_script(said):
    """Whether what was said to Redis is a command that matters; what connects and logs in passes."""
    return b"EVALSHA" in said


def commits_tasks(said):
    """Whether what was said to PostgreSQL ends a transaction that matters; what finds the queue, and hints, pass."""
    is_hint = b"pg_notify" in said or b"taskqueue_hint" in said
    matters = _ABOUT_TASKS.search(said) is not None or (b"taskqueue_" in said and not is_hint)
    return matters and said.endswith(_SYNC) and b"taskqueue_meta" not in said


class FaultProxy:
    """Listens on ``port``, and passes everything on to another one.

    ``matters`` judges what a client has said since the server's last answer: whether it is a command now.
    """

    def __init__(self, server_port, matters=runs_a_script):
        self._server_port = server_port
        self._matters = matters
        self._pairs = []
        self._actions = queue.SimpleQueue()
        self._woken, self._wakes = socket.socketpair()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.done = 0  # lost replies and reset commands
        self._mend()
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="fault-proxy", daemon=True)
        self._thread.start()

    @property
    def address(self):
        """The options with which a queue finds it."""
        return {"host": "127.0.0.1", "port": self.port}

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self._do(self._end)
        self._thread.join(DEADLINE)

    # ---- what it can do ----

    def mend(self):
        """Do nothing to what passes."""
        self._do(self._mend)

    def lose_next_reply(self):
        """Let the server answer the next command, and close the connection in place of the answer."""
        self._do(lambda: setattr(self, "_loses_reply", True))

    def reset_next_command(self):
        """Pass on the first half of the next command, and reset both connections."""
        self._do(lambda: setattr(self, "_resets_command", True))

    def stall(self):
        """Pass nothing on, and keep all connections open."""
        self._do(lambda: setattr(self, "_flows", False))

    def throttle(self, bytes_per_second):
        """Pass so much on, in all."""
        self._do(lambda: setattr(self, "_bytes_per_second", bytes_per_second))

    def refuse(self):
        """Shut the door, and reset all that came through it."""
        self._do(self._refuse)

    def open_again(self):
        """Open the door again."""
        self._do(self._open)

    def swallow(self):
        """From now on nothing passes on the connections that there are, and nobody is told; new ones are fine."""
        self._do(lambda: [setattr(pair, "is_swallowed", True) for pair in self._pairs])

    def drop_all(self):
        """Close all connections."""
        self._do(self._drop_all)

    def _do(self, action):
        done = threading.Event()
        self._actions.put((action, done))
        self._wakes.send(b"!")
        assert done.wait(DEADLINE), "the proxy does not react"

    # ---- in its thread ----

    def _mend(self):
        self._loses_reply = self._resets_command = False
        self._bytes_per_second = None
        self._flows = True

    def _refuse(self):
        self._listener.close()
        self._drop_all(reset=True)

    def _open(self):
        self._listener = socket.create_server(("127.0.0.1", self.port))

    def _drop_all(self, *, reset=False):
        for pair in tuple(self._pairs):
            self._part(pair, reset=reset)

    def _part(self, pair, *, reset=False):
        if pair in self._pairs:
            self._pairs.remove(pair)
            pair.close(reset=reset)

    def _end(self):
        self._is_closed = True
        self._drop_all()
        self._listener.close()

    def _run(self):
        spoken_at = time.monotonic()
        while not self._is_closed:
            readable, writable = self._wait()
            now = time.monotonic()
            left = None if self._bytes_per_second is None else int(self._bytes_per_second * (now - spoken_at)) + 1
            spoken_at = now
            for sock in writable:
                left = self._pass_on(sock, left)
            for sock in readable:
                if sock is self._woken:
                    self._react()
                elif sock is self._listener:
                    self._accept()
                else:
                    self._hear(sock)

    def _wait(self):
        readers = [self._woken] + [self._listener] * (self._listener.fileno() >= 0)
        writers = []
        if self._flows:
            readers += [sock for pair in self._pairs for sock in (pair.client, pair.server)]
            writers = [sock for pair in self._pairs for sock in (pair.client, pair.server) if pair.waiting[sock]]
        slow = self._bytes_per_second is not None
        if slow:
            select.select([self._woken], [], [], STEP_SECONDS)
        readable, writable, _ = select.select(readers, writers, [], STEP_SECONDS if slow else 1.0)
        return readable, writable

    def _react(self):
        self._woken.recv(1)
        action, done = self._actions.get()
        action()
        done.set()

    def _accept(self):
        client, _ = self._listener.accept()
        try:
            server = socket.create_connection(("127.0.0.1", self._server_port))
        except OSError:
            client.close()
        else:
            self._pairs.append(_Pair(client, server))

    def _pair_of(self, sock):
        return next((pair for pair in self._pairs if sock in (pair.client, pair.server)), None)

    def _hear(self, sock):
        pair = self._pair_of(sock)
        if pair is None:
            return
        try:
            chunk = sock.recv(65536)
        except OSError:
            chunk = b""
        if pair.is_swallowed and chunk:
            return
        if not chunk:
            self._part(pair)
        elif sock is pair.client:
            self._hear_command(pair, chunk)
        elif pair.loses_reply:
            self.done += 1
            self._part(pair)
        else:
            pair.said.clear()
            pair.waiting[pair.client] += chunk

    def _hear_command(self, pair, chunk):
        pair.said += chunk
        if self._resets_command and self._matters(pair.said):
            self._resets_command = False
            self.done += 1
            pair.server.sendall(chunk[: len(chunk) // 2])
            self._part(pair, reset=True)
            return
        if self._loses_reply and self._matters(pair.said):
            self._loses_reply = False
            pair.loses_reply = True
        pair.waiting[pair.server] += chunk

    def _pass_on(self, sock, left):
        pair = self._pair_of(sock)
        if pair is None or left == 0:
            return left
        waiting = pair.waiting[sock]
        try:
            sent = sock.send(waiting if left is None else waiting[:left])
        except OSError:
            self._part(pair)
            return left
        del waiting[:sent]
        return None if left is None else left - sent


class _Pair:
    def __init__(self, client, server):
        self.client, self.server = client, server
        for sock in (client, server):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # no delay that both ends have not
        self.waiting = {client: bytearray(), server: bytearray()}  # what is to be passed on to each
        self.said = bytearray()  # by the client, since the server's last answer
        self.loses_reply = self.is_swallowed = False

    def close(self, *, reset):
        for sock in (self.client, self.server):
            with contextlib.suppress(OSError):
                if reset:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.close()
