"""The way in: ``add`` captures a request, and has a data manager deliver it if the transaction commits."""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from typing import Any

from .. import context, queues, record
from ..keeper import process_keeper
from . import datamanager
from .arguments import CURRENT, Current, Pairs, Payload
from .capture import capture, origin_of

__all__ = ["CURRENT", "add"]


def add(
    url: str,
    method: str = "GET",
    params: Pairs | None = None,
    headers: Pairs | None = None,
    payload: Payload | Current = CURRENT,
    queue: str | None = None,
    *,
    delay: float | timedelta | None = None,
    eta: datetime | None = None,
    priority: int = 0,
    max_attempts: int | None = None,
    request: Any = None,
    transaction_manager: Any = None,
) -> str:
    """Have a request made later, as the same user, if the transaction commits; return the task's id.

    :param url: a path inside the site, with or without a query: what follows the place where the taskqueue filter is
        mounted. A missing leading slash is added, several become one; what is not ASCII is percent-encoded as UTF-8.
    :param method: GET, HEAD, POST, PUT, PATCH or DELETE.
    :param params: a mapping or pairs, appended to the query; a list repeats its name, None is refused.
    :param headers: added to the active request's, or in place of them; None removes one. bool becomes true or false.
    :param payload: bytes, or str as UTF-8, for POST, PUT and PATCH; without it the active request's body is copied with
        its Content-Type. None for none.
    :param queue: its name; without it the alphabetically first.
    :param delay: not before so many seconds, or a timedelta, from now.
    :param eta: not before this datetime, which must have a time zone.
    :param priority: higher ones run first.
    :param max_attempts: this task's limit in place of the consumer's.
    :param request: copy this request, or this WSGI environ, in place of the active one.
    :param transaction_manager: its transaction delivers, in place of the one that is current for the request.

    Raises InvalidTaskError, and its children TooLargeError and PayloadLostError, for what cannot become a task;
    UnknownQueueError; BackendUnavailableError while the backend is known to be down; NoTransaction of the transaction
    package in explicit mode without a transaction; ValueError where it has ended, as in after-commit hooks.
    """
    active = context.active_origin()
    innermost = context.innermost_request()
    origin = active if request is None else _given_origin(request, active)
    known: queues.Queues = active.queues if active is not None and active.queues is not None else queues.installed()
    chosen = known[queue]
    task = capture(
        task_id=record.new_id(),
        now=time.time(),
        queue=chosen,
        origin=origin,
        url=url,
        method=method,
        params=params,
        given_headers=headers,
        payload=payload,
        delay=delay,
        eta=eta,
        priority=priority,
        max_attempts=max_attempts,
        # The framework's request is the active one; of another that was given, nobody knows the user.
        principal=innermost.principal if innermost is not None and origin is active else None,
        parent_id=active.task.id if active is not None and active.task is not None else None,
    )
    process_keeper().refuse_if_down(chosen)
    deliverer = datamanager.join(datamanager.find_manager(transaction_manager, innermost, origin), active)
    deliverer.append(chosen, record.encode(task, chosen.keyring), task)
    return task.id


def _given_origin(request: Any, active: context.Origin | None) -> context.Origin:
    """The origin of a request that was given; the active one when it is that request, since it knows more of it."""
    environ = getattr(request, "environ", request)
    if active is not None and environ is active.live_environ:
        return active
    return origin_of(request)
