"""The way in: ``add`` captures a request, and has a data manager deliver it if the transaction commits."""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from typing import Any

from msgspec import structs

from .. import context, queues, record
from ..errors import BackendUnavailableError
from ..failpoints import reach
from ..keeper import process_keeper
from .arguments import CURRENT, Current, Pairs, Payload
from .capture import capture, origin_of
from .joining import find_manager, join

__all__ = ["CURRENT", "add"]

ASKING_SECONDS = 1.0  # for the time; whoever gets no answer in that is refused at once, and not made to wait again


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
    :param queue: its name; without it the one named "default", or else the alphabetically first.
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
    if active is None and innermost is not None and innermost.origin is not None:
        current = innermost.origin()
    else:
        current = active
    origin = current if request is None else _given_origin(request, current, innermost)
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
        principal=innermost.principal if innermost is not None and origin is current else None,
        parent_id=active.task.id if active is not None and active.task is not None else None,
        rehost=innermost.rehost if innermost is not None and origin is not None else None,
    )
    process_keeper().refuse_if_down(chosen)
    if delay is not None and task.due:
        # By the clock that will judge it. An eta is a moment that the caller has named, whoever's clock is wrong.
        task = structs.replace(task, due=task.due + _seconds_ahead(chosen))
    deliverer = join(find_manager(transaction_manager, innermost, origin), active)
    deliverer.append(chosen, record.encode(task, chosen.keyring), task)
    reach("add.joined")
    return task.id


def _seconds_ahead(queue: queues.Queue) -> float:
    """By how much the clock of the backend is ahead of this process's. Raises BackendUnavailableError."""
    asked_at = time.time()  # before the call: what that takes may make a task late, and never early
    try:
        return queue.backend.now(ASKING_SECONDS) - asked_at
    except BackendUnavailableError as error:
        process_keeper().report_down(queue, error)
        raise


def _given_origin(
    request: Any, active: context.Origin | None, innermost: context.InnermostRequest | None
) -> context.Origin:
    """The origin of a request that was given; the active one when it is that request, since it knows more of it."""
    environ = getattr(request, "environ", request)
    if active is not None and (environ is active.live_environ or (innermost and environ is innermost.environ)):
        return active
    return origin_of(request)
