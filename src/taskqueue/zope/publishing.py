"""What a task's request needs of the publisher, and what it must not leave behind in its thread.

The publisher tells when it starts a request, each time that it tries again, and when it gives up. Knows no queues but
by the active request.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import transaction
from AccessControl.SecurityManagement import noSecurityManager
from transaction.interfaces import TransientError
from zExceptions import Unauthorized
from zope.component.hooks import setSite
from zope.globalrequest import clearRequest
from zope.interface import directlyProvidedBy, directlyProvides
from zope.security.management import endInteraction

from .. import context
from ..context import ACKNOWLEDGEMENT_KEY, TASK_KEY
from ..interfaces import ITaskQueueLayer
from ..record import Task

try:
    from plone.protect.interfaces import IDisableCSRFProtection
except ImportError:
    IDisableCSRFProtection = None

Application = Callable[..., Iterable[bytes]]
StartResponse = Callable[..., Any]


# ---- told by the publisher ---------------------------------------------------------------------------------------


def task_started(event: Any) -> None:
    """IPubStart, in each attempt of the publisher's, with a new transaction: mark a task's request, and watch it."""
    request = event.request
    task = request.environ.get(TASK_KEY)
    if not isinstance(task, Task):
        return
    marks = [ITaskQueueLayer]
    if IDisableCSRFProtection is not None and _is_csrf_exempt(task):
        marks.append(IDisableCSRFProtection)
    # In front of the skin, so that a view of this layer wins over everybody's view of the same name.
    directlyProvides(request, *marks, directlyProvidedBy(request))
    acknowledgement = request.environ.get(ACKNOWLEDGEMENT_KEY)
    if acknowledgement is not None:
        acknowledgement.join(transaction.get())


def _is_csrf_exempt(task: Task) -> bool:
    origin = context.active_origin()
    queue = origin.queues.get(task.queue) if origin is not None and origin.queues is not None else None
    return queue is None or bool(queue.csrf_exempt)


def task_failed(event: Any) -> None:
    """IPubFailure: the publisher gives up. A site may make an error page of a conflict, which then looks like a 500,
    and of a missing right a redirect to its login."""
    acknowledgement = event.request.environ.get(ACKNOWLEDGEMENT_KEY)
    error = event.exc_info[1]
    if acknowledgement is None or event.retry:
        return
    if isinstance(error, TransientError):
        acknowledgement.conflict = error
    acknowledgement.is_unauthorized = isinstance(error, Unauthorized)


# ---- around all that consumers call ------------------------------------------------------------------------------


def cleanly(application: Application) -> Application:
    """The application for consumers: each replay finds a clean thread, and leaves one."""

    def replay(environ: dict[str, Any], start_response: StartResponse) -> Iterator[bytes]:
        _clean_thread()
        try:
            response = application(environ, _without_login(environ, start_response))
            try:
                _raise_conflict(environ)
                yield from response
            finally:
                close = getattr(response, "close", None)
                if close is not None:
                    close()
        finally:
            _clean_thread()

    return replay


def _without_login(environ: dict[str, Any], start_response: StartResponse) -> StartResponse:
    """A task is sent to no login: a right that is missing is that, whichever plugin challenges for it."""

    def start(status: str, *rest: Any) -> Any:
        acknowledgement = environ.get(ACKNOWLEDGEMENT_KEY)
        if acknowledgement is not None and acknowledgement.is_unauthorized and status.startswith("3"):
            status = "401 Unauthorized"
        return start_response(status, *rest)

    return start


def _raise_conflict(environ: dict[str, Any]) -> None:
    """Whatever was made of it, a conflict is one: the queue tries again, and counts no attempt."""
    acknowledgement = environ.get(ACKNOWLEDGEMENT_KEY)
    if acknowledgement is not None and acknowledgement.conflict is not None and not acknowledgement.committed:
        raise acknowledgement.conflict


def _clean_thread() -> None:
    """No site, no user, no request and no transaction: the publisher leaves the last of each behind."""
    setSite(None)
    endInteraction()
    noSecurityManager()
    clearRequest()
    transaction.abort()
