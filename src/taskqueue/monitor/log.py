"""The log: the one file that makes lines of notices.

The logger ``taskqueue`` tells what somebody may have to look after, ``taskqueue.access`` has one line for each replay.
Query strings, header values and payloads never appear, and nothing from a request or a store can end a line.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Mapping

from .. import notices
from ..notices import Event, Notice
from ..record import Outcome, Task, printable

SHOWN_IDS = 10
QUIET_SECONDS = 60.0  # a backend that stays down is said again after so long, by whoever meets it

_log = logging.getLogger("taskqueue")
_access_log = logging.getLogger("taskqueue.access")


def install() -> None:
    """Log what happens from now on. Twice is once."""
    _down.clear()
    notices.listen(log_notice)


class _LogNotice:
    """The listener of this file."""

    def hears(self, event: Event, outcome: Outcome | None) -> bool:
        """Whether a notice could make a line by the levels of now. Whose backend is down is noted in any case."""
        if event in _BACKEND_EVENTS or _log.isEnabledFor(_LINES[event][0]):
            return True
        return event in _REPLAYED and (_is_redirect(outcome) or _access_log.isEnabledFor(logging.INFO))

    def __call__(self, notice: Notice) -> None:
        """Write the lines of one notice."""
        if notice.event in _REPLAYED:
            _log_access(notice)
            _log_redirect(notice)
        level, text = _LINES[notice.event]
        if notice.event in _BACKEND_EVENTS:
            level = _down.level(notice, level)
        if _log.isEnabledFor(level):
            _log.log(level, "%s", text(notice))


log_notice = _LogNotice()


# ---- one line each -----------------------------------------------------------------------------------------------


def _task_line(notice: Notice) -> str:
    """What a task came to, with all that is needed to find it."""
    outcome = notice.outcome
    reason = printable(outcome.reason) if outcome is not None else ""
    if notice.task is None:
        return f"{_ids(notice)} {notice.event.value}: {reason}".rstrip(": ")
    attempt = f", attempt {outcome.attempt}" if outcome is not None and outcome.attempt else ""
    return f"{_describe(notice.task)}{attempt} {notice.event.value}: {reason}".rstrip(": ")


def _ids_line(said: str) -> Callable[[Notice], str]:
    def line(notice: Notice) -> str:
        detail = f": {printable(notice.detail)}" if notice.detail else ""
        return f"{_ids(notice)} {said}{detail}"

    return line


def _queue_line(said: str) -> Callable[[Notice], str]:
    def line(notice: Notice) -> str:
        detail = f": {printable(notice.detail)}" if notice.detail else ""
        return f"{_place(notice)} {said}{detail}"

    return line


def _detail_line(notice: Notice) -> str:
    return (
        f"{_place(notice)}: {printable(notice.detail)}" if notice.queue or notice.consumer else printable(notice.detail)
    )


def _overdue_line(notice: Notice) -> str:
    described = _describe(notice.task) if notice.task is not None else _ids(notice)
    return f"{described} is stuck: it runs past its deadline; its place was filled"


_LINES: Mapping[Event, tuple[int, Callable[[Notice], str]]] = {
    Event.ADDED: (logging.DEBUG, _task_line),
    Event.DISCARDED: (logging.ERROR, _ids_line("discarded")),
    Event.STARTED: (logging.DEBUG, _task_line),
    Event.DONE: (logging.DEBUG, _task_line),
    Event.RETRIED: (logging.WARNING, _task_line),
    Event.DEAD: (logging.ERROR, _task_line),
    Event.RETURNED: (logging.INFO, _ids_line("given back before it started")),
    Event.REFUSED: (
        logging.WARNING,
        _ids_line("settled too late: it had been taken back meanwhile, and may run twice"),
    ),
    Event.UNREADABLE: (logging.ERROR, _ids_line("cannot be run")),
    Event.OVERDUE: (logging.ERROR, _overdue_line),
    Event.RECLAIMED: (logging.WARNING, _ids_line("taken back from a process that is gone; ready again")),
    Event.HELD: (logging.WARNING, _ids_line("held, since nobody knows whether the transaction committed")),
    Event.SETTLED: (logging.INFO, _ids_line("settled after its process or its commit was cut short")),
    Event.TORN: (logging.ERROR, _ids_line("settled, and their transaction is torn")),
    Event.UNPUBLISHED: (logging.ERROR, _ids_line("committed, but could not be published yet; it is tried again")),
    Event.PUBLISHED_LATE: (logging.INFO, _ids_line("published at last")),
    Event.BACKEND_DOWN: (logging.ERROR, _queue_line("is unavailable")),
    Event.BACKEND_UP: (logging.WARNING, _queue_line("is available again")),
    Event.CONSUMER_STARTED: (logging.INFO, _queue_line("started")),
    Event.CONSUMER_STOPPING: (logging.INFO, _queue_line("is stopping")),
    Event.CONSUMER_STOPPED: (logging.INFO, _queue_line("stopped")),
    Event.CONSUMER_FAILED: (logging.ERROR, _queue_line("had an error, and goes on")),
    Event.CONSUMER_REFUSED: (logging.ERROR, _queue_line("starts no consumers here")),
    Event.REMARK: (logging.INFO, _detail_line),
    Event.WARNING: (logging.WARNING, _detail_line),
}
_REPLAYED = frozenset({Event.DONE, Event.RETRIED, Event.DEAD, Event.REFUSED})
_BACKEND_EVENTS = frozenset({Event.BACKEND_DOWN, Event.BACKEND_UP, Event.CONSUMER_STOPPED})


def _log_access(notice: Notice) -> None:
    """Queue, id, method, path, status, attempt, duration, and what it came to."""
    task, outcome = notice.task, notice.outcome
    if task is None or outcome is None or not outcome.attempt or not _access_log.isEnabledFor(logging.INFO):
        return
    _access_log.info(
        "%s %s %s %s %s attempt=%d %.3fs %s",
        _word(notice.queue or task.queue),
        _word(task.id),
        _word(task.method),
        _word(task.path),
        outcome.status if outcome.status is not None else "-",
        outcome.attempt,
        outcome.duration_seconds,
        notice.event.value,
    )


def _log_redirect(notice: Notice) -> None:
    """A redirect is not followed; where it leads to, without its query, tells what went wrong."""
    task, outcome = notice.task, notice.outcome
    if task is None or outcome is None or not _is_redirect(outcome):
        return
    if _log.isEnabledFor(logging.WARNING):
        location = next((value for name, value in outcome.headers if name.lower() == "location"), "-")
        shown = _word(_without_secrets(location))
        _log.warning("%s", f"{_describe(task)} answered {outcome.status}, not followed; Location: {shown}")


def _is_redirect(outcome: Outcome | None) -> bool:
    return outcome is not None and outcome.status is not None and 300 <= outcome.status < 400


# ---- a backend that is down is said once ---------------------------------------------------------------------------


class _Down:
    """Which queues are known to be down: of all who meet it, the first says so, and the last says that it is over."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reporters: dict[str, set[str]] = {}
        self._said_at: dict[str, float] = {}

    def clear(self) -> None:
        with self._lock:
            self._reporters.clear()
            self._said_at.clear()

    def level(self, notice: Notice, level: int) -> int:
        """The level for a notice that a backend is down or up, or that a reporter is gone: DEBUG for what was said."""
        with self._lock:
            reporters = self._reporters.setdefault(notice.queue, set())
            if notice.event is not Event.BACKEND_DOWN:
                reporters.discard(notice.consumer)
                return logging.DEBUG if reporters and notice.event is Event.BACKEND_UP else level
            now = time.monotonic()
            was_said = bool(reporters) and now - self._said_at.get(notice.queue, now) < QUIET_SECONDS
            reporters.add(notice.consumer)
            if was_said:
                return logging.DEBUG
            self._said_at[notice.queue] = now
            return level


_down = _Down()


def _forget_in_child() -> None:
    global _down  # noqa: PLW0603  # the parent's lock may be held by a thread that the child does not have
    _down = _Down()


os.register_at_fork(after_in_child=_forget_in_child)


# ---- what may stand in a line --------------------------------------------------------------------------------------


def _describe(task: Task) -> str:
    user = f" as {_word(task.principal.user_id)}" if task.principal is not None else ""
    return f"task {_word(task.id)} of queue {_word(task.queue)} ({_word(task.method)} {_word(task.path)}{user})"


def _place(notice: Notice) -> str:
    words = [f"consumer {_word(notice.consumer)}"] if notice.consumer else []
    words += [f"queue {_word(notice.queue)}"] if notice.queue else []
    return " of ".join(words) or "taskqueue"


def _ids(notice: Notice) -> str:
    ids = notice.task_ids or ((notice.task.id,) if notice.task is not None else ())
    shown = ", ".join(_word(task_id) for task_id in ids[:SHOWN_IDS])
    more = f" and {len(ids) - SHOWN_IDS} more" if len(ids) > SHOWN_IDS else ""
    where = f" of queue {_word(notice.queue)}" if notice.queue else ""
    return f"{'task' if len(ids) == 1 else 'tasks'} {shown}{more}{where}"


def _without_secrets(url: str) -> str:
    """A URL without query, fragment and user."""
    url = url.partition("?")[0].partition("#")[0]
    scheme, separator, rest = url.partition("//")
    authority, slash, path = rest.partition("/")
    return f"{scheme}{separator}{authority.rpartition('@')[2]}{slash}{path}" if separator else url


def _word(text: str) -> str:
    """Text that stays one word of its line."""
    return printable(text).replace(" ", "\\x20") or "-"
