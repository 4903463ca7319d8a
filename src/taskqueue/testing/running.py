"""Running: replays what was captured through the consumer's own code, one after the other, until none is left."""

from __future__ import annotations

import concurrent.futures
import threading
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, TypeVar

import msgspec

from ..consumer.attempt import Claim, attempt
from ..queues import Queue
from ..record import State, Task, decode
from ..wsgi import Application, Environ, StartResponse
from .asserting import not_committed
from .capturing import ALL, Captured, Place, Site, innermost
from .entering import consumer_settings, way_in
from .showing import listing, shown

OWNER = "testing"
WAITING = (State.READY.value, State.SCHEDULED.value)

Result = TypeVar("Result")


def run_all(
    app: Any = None,
    *,
    delayed: bool = False,
    retry: bool = False,
    check: bool = True,
    limit: int = 1000,
    timeout: float = 60.0,
) -> list[Task]:
    """Replay what was added, one after the other, each in another thread, and what these add, until none is left.

    A queue hands out as it does to a consumer: the higher priority first, then the older task; of several queues, the
    one with the oldest task. Returns a task for each replay, as it was after it: ``last_outcome`` tells how it ended.

    :param app: the WSGI application; without it, the one in whose requests the tasks were added.
    :param delayed: when nothing else is left, let the time come of those with ``delay`` or ``eta``.
    :param retry: when nothing else is left, let the time come of those that are to be retried, until done or dead.
    :param check: fail with AssertionError when a task ends in anything but done (and, with ``retry``, a retry), and
        when nothing ran, since what this thread added is not committed.
    :param limit: fail when there is more to do after so many replays, as with a task that adds itself.
    :param timeout: fail when one replay takes longer, in seconds.
    """
    __tracebackhide__ = True
    tasks = innermost()
    ran: list[Task] = []
    while (place := _oldest(tasks) or _let_time_come(tasks, delayed, retry)) is not None:
        if len(ran) >= limit:
            raise AssertionError(f"after {limit} replays there is more to do:{listing(tasks.in_states(WAITING))}")
        task, error = _run_next(tasks, *place, app, timeout)
        ran.append(task)
        if check and not (task.state == State.DONE or (retry and task.state == State.SCHEDULED)):
            raise AssertionError(_failure(task)) from error
    if check and not ran and (still_open := not_committed()):
        raise AssertionError(f"nothing to run; {still_open}; commit it, or abort it, before run_all")
    return ran


def _oldest(tasks: Captured) -> Place | None:
    """The queue of the task that is ready and was added first."""
    found: dict[str, Place] = {}
    for site, queue in tasks.places():
        queue.backend.promote()
        found.update((record.id, (site, queue)) for record in queue.backend.list((State.READY.value,), 1))
    return found[min(found)] if found else None


def _let_time_come(tasks: Captured, delayed: bool, retry: bool) -> Place | None:
    """Make ready what is due first, among the scheduled tasks that are to run; returns its queue."""
    due = [
        (record.due, record.id, record.attempts, place)
        for place in tasks.places()
        for record in place[1].backend.list((State.SCHEDULED.value,), ALL)
        if (retry if record.claim_number else delayed)
    ]
    if not due:
        return None
    _, task_id, attempts, place = min(due, key=lambda each: each[:2])
    tasks.attempts_before[task_id] = attempts  # the backend starts over with it, and would never see it dead
    place[1].backend.requeue([task_id])
    return place


def _run_next(tasks: Captured, site: Site, queue: Queue, app: Any, timeout: float) -> tuple[Task, BaseException | None]:
    """Claim, replay and settle one task of a queue; returns it, and what the application raised."""
    application, settings = way_in(site, app), consumer_settings(site, queue.name, app)
    [record] = queue.backend.exchange(OWNER, settings.name, [], 1).claimed
    before = tasks.attempts_before.pop(record.id, 0)
    claim = Claim(msgspec.structs.replace(record, attempts=record.attempts + before))
    watched = _Watched(application)
    try:
        finished = _in_another_thread(lambda: attempt(claim, watched, queue, settings), timeout)
    except concurrent.futures.TimeoutError:
        raise AssertionError(
            f"{shown(decode(record, queue.keyring))}: has not ended within {timeout:g} s. Does it wait for a lock that "
            "the test's own transaction holds? Commit or abort it before run_all"
        ) from None
    # A consumer would have the payload wiped now; here it stays to be looked at.
    spent = finished.settlement.attempts + before
    settlement = msgspec.structs.replace(finished.settlement, attempts=spent, wipe=False)
    queue.backend.exchange(OWNER, settings.name, [settlement], 0)
    finished.tell()
    return decode(queue.backend.get(record.id) or record, queue.keyring), watched.error()


def _in_another_thread(work: Callable[[], Result], timeout: float) -> Result:
    """As a consumer would: nothing of this thread is seen there, no transaction and no request."""
    future: concurrent.futures.Future[Result] = concurrent.futures.Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001  # raised again in the thread that waits
            future.set_exception(error)

    thread = threading.Thread(target=run, name="taskqueue-testing", daemon=True)
    thread.start()
    result = future.result(timeout)
    thread.join()
    return result


def _failure(task: Task) -> str:
    outcome = task.last_outcome
    told = "was not run" if outcome is None else outcome.reason + (f" ({outcome.error})" if outcome.error else "")
    return f"{shown(task)}: {told}. With check=False, run_all returns it, and its last_outcome has the response"


class _Watched:
    """An application that remembers what it raised and where, which a replay forgets."""

    def __init__(self, application: Application) -> None:
        self._application = application
        self._raised: tuple[BaseException, TracebackType | None] | None = None

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        try:
            return self._application(environ, start_response)
        except BaseException as error:
            self._raised = error, error.__traceback__
            raise

    def error(self) -> BaseException | None:
        return self._raised and self._raised[0].with_traceback(self._raised[1])
