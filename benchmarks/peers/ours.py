"""taskqueue itself: a site with the filter, as a process that serves nothing and consumes.

``setting`` has ``queue`` and ``server`` (their options), and ``view``: ``webob`` or ``pyramid``.
"""

from __future__ import annotations

import io
import signal
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import transaction

import taskqueue
from taskqueue.wsgi import TaskQueueFilter

from .given import PAYLOAD, setting
from .views import MARK_PATH, pyramid_application, webob_application

BODY = PAYLOAD.encode()
STARTS_NOTHING = "taskqueue"  # a program whose requests start no consumers
TASKS_IN_A_TRANSACTION = 100  # where adding is not what is measured

View = Callable[[], None]


def make_site(consume: str = "auto") -> Site:
    """The site of this run's setting; with ``consume`` "yes" its consumers start at once, else when told to."""
    return Site(setting.get("queue", {}), {**setting.get("server", {}), "consume": consume}, setting.get("queues", 1))


class Site:
    """An application behind the filter, which can be asked to run a view of the moment."""

    def __init__(self, queue: dict[str, Any], server: dict[str, Any], queues: int = 1) -> None:
        names = [f"queue{number:02}" for number in range(queues)]
        self._tasks = pyramid_application() if setting.get("view") == "pyramid" else webob_application
        self.manager = transaction.TransactionManager(explicit=True)
        self._view: View = lambda: None
        self.filter = TaskQueueFilter(
            self._application,
            queues={name: dict(queue) for name in names},
            servers={name: {"queue": name, **server} for name in names},
            program="" if server.get("consume") == "yes" else STARTS_NOTHING,
        )

    def _application(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"] == MARK_PATH:
            return self._tasks(environ, start_response)
        environ["tm.manager"] = self.manager
        self._view()
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"done"]

    def request(self, view: View) -> None:
        """Have a request run this view."""
        self._view = view
        self.filter(request_environ(), ignore_response)

    def add(self, urls: Sequence[str], **options: Any) -> None:
        """Have a request add these tasks, in one transaction."""

        def view() -> None:
            self.manager.begin()
            for url in urls:
                taskqueue.add(url, method="POST", payload=BODY, **options)
            self.manager.commit()

        self.request(view)


def request_environ(path: str = "/", query: str = "") -> dict[str, Any]:
    """A request as a browser sends it, with a form of 1 KB."""
    return {
        "REQUEST_METHOD": "POST",
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "SERVER_NAME": "shop.example",
        "SERVER_PORT": "443",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "192.0.2.7",
        "CONTENT_TYPE": "application/x-www-form-urlencoded",
        "CONTENT_LENGTH": str(len(BODY)),
        "HTTP_HOST": "shop.example",
        "HTTP_ACCEPT": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
        "HTTP_ACCEPT_ENCODING": "gzip, deflate, br",
        "HTTP_ACCEPT_LANGUAGE": "en-GB,en;q=0.7,de;q=0.3",
        "HTTP_COOKIE": "session=4f9c2d1e8b7a6f5e4d3c2b1a09f8e7d6; theme=dark",
        "HTTP_ORIGIN": "https://shop.example",
        "HTTP_REFERER": "https://shop.example/basket",
        "HTTP_USER_AGENT": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
        "HTTP_X_FORWARDED_FOR": "198.51.100.4",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "https",
        "wsgi.input": io.BytesIO(BODY),
        "wsgi.errors": io.StringIO(),
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }


def ignore_response(_status: str, _headers: list[tuple[str, str]], _exc_info: Any = None) -> Callable[[bytes], object]:
    return len


_site: Site | None = None


def add(numbers: Iterable[int]) -> None:
    """One task in a transaction when it is one, else many."""
    global _site  # noqa: PLW0603  # one for all calls
    _site = _site or make_site()
    urls = [f"{MARK_PATH}?{number}" for number in numbers]
    for first in range(0, len(urls), TASKS_IN_A_TRANSACTION):
        _site.add(urls[first : first + TASKS_IN_A_TRANSACTION])


def work() -> None:
    """Consume until the process is told to end."""
    make_site(consume="yes")
    while True:
        signal.pause()
