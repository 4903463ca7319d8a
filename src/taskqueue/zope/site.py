"""This process, when it is Zope's: one installation of what zope.conf says, its gate, and when it starts.

ZCML has the functions here called in this order: ``database_opened`` when the database and all of ZCML are there,
``process_starting`` when Zope is complete, ``request_started`` with each request. The last step is PasteDeploy's: a
taskqueue filter in the pipeline takes the place of the gate that was made here.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from App.config import getConfiguration
from ZPublisher.httpexceptions import HTTPExceptionHandler
from ZPublisher.WSGIPublisher import publish_module

from .. import context, lifecycle, queues
from ..configure import Configuration, Installation, install, read_keywords
from ..context import TASK_KEY
from ..lifecycle import Lifecycle, running_program
from ..wsgi import SITE_KEY, TaskQueueFilter
from . import databases, utilities
from .publishing import cleanly
from .requests import find_request
from .sections import sections_of

SERVE_FILE = "Zope2/Startup/serve.py"


class _Site:
    """What there is one of in a process."""

    installation: Installation | None = None
    gate: TaskQueueFilter | None = None


def database_opened(event: Any) -> None:
    """IDatabaseOpenedWithRoot: also in scripts, which add."""
    databases.register_database(event)
    _Site.installation = install(_configuration())
    context.register_finder(find_request)
    queues.watch_installed(utilities.publish)


def _configuration() -> Configuration:
    sections = sections_of(getConfiguration())
    return read_keywords(None, None) if sections is None else sections.understand()


def process_starting(_event: Any) -> None:
    """IProcessStarting: also in zconsole, where nothing must start."""
    if _Site.installation is None:
        return
    program = "zconsole" if "Zope2.utilities.zconsole" in sys.modules else running_program()
    lifecycle.surround_replays(cleanly)
    gate = _Site.gate = _make_gate(_Site.installation, program)
    lifecycle.offer(gate.lifecycle)
    if program in lifecycle.SERVING_PROGRAMS:
        _mind_databases(_Site.installation)


def _make_gate(installation: Installation, program: str) -> TaskQueueFilter:
    """What consumers call where no filter takes its place. Its ``replay`` is the way in; nobody calls the rest."""
    application = HTTPExceptionHandler(publish_module)
    ready = _Readiness(program)
    gate = TaskQueueFilter(application, lifecycle=Lifecycle(installation, application, program, ready.is_reached))
    ready.has_gate = True
    return gate


def _mind_databases(installation: Installation) -> None:
    import Zope2  # noqa: PLC0415  # its DB is there only now

    for database in Zope2.opened:
        databases.close_after(database, lifecycle.stop_all)
    databases.warn_of_pool(Zope2.DB, installation.servers)


class _Readiness:
    """Whether the pipeline around Zope is complete, told by what the thread that builds it is doing."""

    def __init__(self, program: str) -> None:
        self.has_gate = False
        self._program = program
        self._builder = threading.get_ident()

    def is_reached(self) -> bool:
        """Whether the command has gone on from building to serving."""
        if not self.has_gate:
            return False
        if self._program == "runwsgi":
            return any(file.endswith(SERVE_FILE) and function == "serve" for file, function in self._calls())
        return not any("/paste/deploy/" in file and function == "loadapp" for file, function in self._calls())

    def _calls(self) -> Iterator[tuple[str, str]]:
        """The functions in which that thread is, by file and name."""
        frame = sys._current_frames().get(self._builder)
        while frame is not None:
            yield frame.f_code.co_filename, frame.f_code.co_name
            frame = frame.f_back


def load_application(zope_conf: Path) -> Any:
    """Start Zope as its commands do; returns its application."""
    from Zope2.Startup.run import make_wsgi_app  # noqa: PLC0415  # it imports most of Zope

    return make_wsgi_app({}, str(zope_conf))


def request_started(event: Any) -> None:
    """IPubStart of a request from outside, where no filter has seen it: do what the filter would."""
    environ = event.request.environ
    if SITE_KEY in environ or TASK_KEY in environ or _Site.gate is None:
        return
    _Site.gate.lifecycle.request_came()
    for key in [key for key in environ if key.upper().replace("-", "_").startswith("HTTP_X_TASK_")]:
        del environ[key]
