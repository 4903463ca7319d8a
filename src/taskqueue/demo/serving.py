"""The demo's web server: the site from its ini file, with a thread for each request, on this machine only.

What a production server such as waitress does better is nothing that a demo needs. Knows the site by its ini file only.
"""

from __future__ import annotations

import errno
import socketserver
import sys
import threading
from pathlib import Path
from typing import Any
from urllib.parse import quote
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from paste.deploy import loadapp

from ..errors import BackendError, ConfigurationError
from ..wsgi import Application, Lifecycle
from .folder import MODULE

HOST = "127.0.0.1"
IDLE_SECONDS = 10


class ServedSite:
    """The site, its port and its consumers. Constructing one loads the site and takes the port; ``start`` serves."""

    def __init__(self, ini: Path, port: int) -> None:
        self._server = _bind(port)
        try:
            application, self._lifecycles = _load(ini)
        except BaseException:
            self._server.server_close()
            raise
        self._server.set_app(application)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), name="demo-server", daemon=True)
        self._stopped = False

    @property
    def port(self) -> int:
        """The port that it serves on."""
        return self._server.server_port

    @property
    def url(self) -> str:
        """What to open in a browser."""
        return f"http://{HOST}:{self.port}/"

    @property
    def attempts_limit(self) -> int:
        """How many attempts its consumers give a task."""
        servers = [server for each in self._lifecycles for server in each.installation.servers]
        return max((server.retry_max_count for server in servers), default=0) + 1

    def waiting(self) -> int | None:
        """How many tasks wait in its queues; None when they cannot be reached."""
        try:
            queues = [queue for each in self._lifecycles for queue in each.installation.queues.values()]
            return sum(len(queue.backend) for queue in queues)
        except BackendError:
            return None

    def start(self) -> None:
        """Serve, and consume at once: what was waiting must not wait for the first request."""
        for each in self._lifecycles:
            if each.installation.wants_to_consume:
                each.start()
        self._thread.start()

    def stop_consuming(self) -> None:
        """Stop the consumers; the site is still served, and tasks can be added."""
        for each in self._lifecycles:
            each.installation.stop()

    def stop(self) -> None:
        """Serve no more, let what runs come to its end, and close. May come twice, or before ``start``."""
        if self._stopped:
            return
        self._stopped = True
        if self._thread.ident is not None:
            self._server.shutdown()
        self._server.server_close()
        for each in self._lifecycles:
            each.installation.close()


def _load(ini: Path) -> tuple[Application, list[Lifecycle]]:
    """The application from its ini file, and the lifecycles of the filters that it made."""
    if str(ini.parent) not in sys.path:
        sys.path.insert(0, str(ini.parent))
    sys.modules.pop(MODULE, None)  # as in a new process, where a site is loaded a second time
    before = Lifecycle.all()
    try:
        application = loadapp("config:" + quote(str(ini)))
    except ConfigurationError:
        raise
    except Exception as error:  # the user may have changed the site, and then anything may come out of it
        said = " ".join(str(error).split())
        raise ConfigurationError(f"{ini} cannot be loaded: {type(error).__name__}: {said}") from error
    return application, [each for each in Lifecycle.all() if each not in before]


def _bind(port: int) -> _Server:
    try:
        return _Server((HOST, port), _Handler)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise ConfigurationError(f"port {port} is in use; choose another --port, or none for a free one") from None
        raise ConfigurationError(f"port {port} cannot be used: {error.strerror or error}") from None


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def server_bind(self) -> None:
        """Bind, without asking the name service who 127.0.0.1 is."""
        socketserver.TCPServer.server_bind(self)
        self.server_name = HOST
        self.server_port = self.server_address[1]
        self.setup_environ()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that goes away, or opens a connection and says nothing, is no error."""
        if not isinstance(sys.exc_info()[1], (ConnectionError, TimeoutError)):
            super().handle_error(request, client_address)


class _Handler(WSGIRequestHandler):
    timeout = IDLE_SECONDS

    def log_message(self, *arguments: Any) -> None:
        """The page asks every second; nobody wants to read that."""
