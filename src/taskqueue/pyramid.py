"""The Pyramid door: ``config.include("taskqueue.pyramid")``.

Under a taskqueue filter it adds what only Pyramid knows: tasks pass the CSRF check, a task's outcome sees whether
pyramid_tm's transaction committed, views can be for tasks only. Without a filter it does the filter's work as well,
with the settings ``taskqueue.queue.NAME.OPTION`` and ``taskqueue.server.NAME.OPTION``.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from typing import Any

import transaction
import webob
from pyramid.config import PHASE1_CONFIG, PHASE2_CONFIG
from pyramid.events import ApplicationCreated
from pyramid.interfaces import IDefaultCSRFOptions
from pyramid.settings import asbool
from pyramid.threadlocal import get_current_request
from pyramid.tweens import INGRESS

from . import context, notices, witnesses
from .configure import Configuration, install, read_settings
from .context import ACKNOWLEDGEMENT_KEY, TASK_KEY, InnermostRequest
from .errors import ConfigurationError
from .record import Principal
from .transactions import ANSWER_BYTES
from .wsgi import SITE_KEY, Lifecycle, enter, leave, running_program

Handler = Callable[[Any], Any]

SCRIPTS = frozenset({"pserve", "prequest", "proutes", "pshell", "ptweens", "pviews"})
CSRF_ORDER = (PHASE1_CONFIG + PHASE2_CONFIG) // 2  # after the application's own options, before its views


def includeme(config: Any) -> None:
    """Read the settings, and add tweens, a view predicate and the exemption from the CSRF check."""
    settings = config.registry.settings
    site = _Site(_read(settings))
    config.registry["taskqueue.site"] = site
    config.add_subscriber(site.application_created, ApplicationCreated)
    config.add_tween("taskqueue.pyramid.site_tween_factory", under=INGRESS)
    config.add_tween("taskqueue.pyramid.acknowledge_tween_factory", under=("pyramid_tm.tm_tween_factory", INGRESS))
    config.add_view_predicate("task_only", TaskOnlyPredicate)
    config.add_response_adapter(_as_it_is, webob.Response)  # what taskqueue.task_only answers with
    if asbool(settings.get("taskqueue.csrf_exempt", True)):
        config.action("taskqueue.csrf_exempt", _exempt_tasks, args=(config.registry,), order=CSRF_ORDER)
    context.register_finder(find_request)


def _as_it_is(response: Any) -> Any:
    return response


def _read(settings: Any) -> Configuration:
    try:
        return read_settings(settings)
    except ConfigurationError as error:
        if running_program() not in SCRIPTS:
            raise
        sys.stderr.write(f"taskqueue: {error}\n")  # they would print a traceback over the one line that matters
        raise SystemExit(2) from None


# ---- doing the filter's work -------------------------------------------------------------------------------------


class _Site:
    """The filter's part where there is no filter. Nothing is installed before it is known that there is none."""

    def __init__(self, configuration: Configuration) -> None:
        self._configuration = configuration
        self._application: Any = None
        self._lifecycle: Lifecycle | None = None

    def application_created(self, event: Any) -> None:
        self._application = event.app
        for database in getattr(event.app.registry, "_zodb_databases", {}).values():  # pyramid_zodbconn's
            witnesses.register(database)
        if not self._configuration.is_default:
            event.app.taskqueue_source = self._configuration.source  # for a filter, which would be a second one
            self.lifecycle()

    def lifecycle(self) -> Lifecycle:
        """The installation's, made when it is first needed."""
        if self._lifecycle is None:
            self._lifecycle = Lifecycle(install(self._configuration), self._application)
            if self._configuration.is_default:
                notices.tell(
                    notices.Event.WARNING,
                    detail="no taskqueue filter stands around this Pyramid application, and its settings name no "
                    "queue (taskqueue.queue.NAME.type): its tasks go to a local queue; "
                    "if its ini file has [taskqueue:…] sections, add filter-with = taskqueue to its [app:…] section",
                )
        return self._lifecycle


def site_tween_factory(handler: Handler, registry: Any) -> Handler:
    """The outermost tween: what the filter does, unless a filter has done it."""
    site: _Site = registry["taskqueue.site"]

    def site_tween(request: Any) -> Any:
        environ = request.environ
        if SITE_KEY in environ:
            return handler(request)
        lifecycle = site.lifecycle()
        if TASK_KEY not in environ:
            lifecycle.request_came()
        origin = enter(environ, lifecycle.installation.queues)
        try:
            with context.active(origin):
                return handler(request)
        finally:
            environ.pop(SITE_KEY, None)  # the environ of a request that is retried comes in again
            leave(origin)

    return site_tween


# ---- what only Pyramid knows -------------------------------------------------------------------------------------


def acknowledge_tween_factory(handler: Handler, registry: Any) -> Handler:
    """Joins the acknowledging data manager to the transaction of each attempt at a task, inside of pyramid_tm."""

    def acknowledge_tween(request: Any) -> Any:
        acknowledgement = request.environ.get(ACKNOWLEDGEMENT_KEY)
        manager = request.environ.get("tm.manager")
        if acknowledgement is None or manager is None:
            return handler(request)
        # The application may have taken this request out of pyramid_tm.
        with contextlib.suppress(transaction.interfaces.NoTransaction):
            acknowledgement.join(manager.get(), manager)
        response = handler(request)
        head = (tuple(response.headerlist), _first_of_body(response)) if acknowledgement.wants_answer else ()
        acknowledgement.answered(response.status_int, *head)
        return response

    return acknowledge_tween


def _first_of_body(response: Any) -> bytes:
    """As far as it is there: what is made while it is sent is not asked for early."""
    parts = response.app_iter
    return b"".join(parts)[:ANSWER_BYTES] if isinstance(parts, (list, tuple)) else b""


def find_request() -> InnermostRequest | None:
    """Pyramid's current request, for ``add``: its transaction manager and its user."""
    request = get_current_request()
    if request is None:
        return None
    user_id = getattr(request, "authenticated_userid", None)
    principal = None if user_id is None else Principal(str(user_id), "pyramid")
    return InnermostRequest(request.environ.get("tm.manager") or getattr(request, "tm", None), principal)


def _exempt_tasks(registry: Any) -> None:
    """Wrap the application's CSRF options, so that a task, which nobody outside can forge, needs no token."""
    options = registry.queryUtility(IDefaultCSRFOptions)
    if options is None:
        return
    asked = options.callback

    def callback(request: Any) -> bool:
        return TASK_KEY not in request.environ and (asked is None or bool(asked(request)))

    options.callback = callback


class TaskOnlyPredicate:
    """``task_only=True``: the view exists for tasks only; ``False``: for everybody else only."""

    def __init__(self, value: bool, _info: Any) -> None:
        self._value = value

    def text(self) -> str:
        return f"task_only = {self._value}"

    phash = text

    def __call__(self, _context: Any, request: Any) -> bool:
        return (TASK_KEY in request.environ) == self._value
