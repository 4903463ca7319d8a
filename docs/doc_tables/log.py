"""The lines of the log, written by the log itself."""

from __future__ import annotations

import logging

from taskqueue.monitor import log
from taskqueue.notices import Event, Notice
from taskqueue.record import Outcome, Principal, Task

from .markup import code, escaped, table
from .told import SAMPLE_ID, notices_of

SAMPLE_TASK = Task(
    id=SAMPLE_ID,
    queue="default",
    method="POST",
    url="/reports/build?month=2026-10",
    principal=Principal("anna", "pyramid"),
)
SAMPLE_OUTCOMES = {
    Event.DONE: Outcome(state="done", reason="answered 200", status=200, attempt=1, duration_seconds=0.812),
    Event.RETRIED: Outcome(state="scheduled", reason="answered 500; again in 5.0 s", status=500, attempt=1),
    Event.DEAD: Outcome(
        state="dead", reason="answered 302", status=302, attempt=1, headers=(("Location", "https://example.org/login"),)
    ),
}
READ_FROM_THE_SOURCE = (Event.DISCARDED, Event.WARNING, Event.REMARK)  # each of their calls says something else
SAMPLE_DETAILS = {
    Event.UNREADABLE: "the record's seal is broken: …; it is dead, and was not run",
    Event.UNPUBLISHED: "/srv/site/var/tasks.db: database or disk is full; make room on its file system",
    Event.BACKEND_DOWN: "/srv/site/var/tasks.db: database or disk is full; make room on its file system",
    Event.CONSUMER_STARTED: "4 at the same time",
    Event.CONSUMER_FAILED: "RuntimeError: …",
    Event.CONSUMER_REFUSED: "uWSGI runs no threads in this process: …",
}


def samples(event: Event) -> list[Notice]:
    """Notices as they might be told."""
    return notices_of(event) if event in READ_FROM_THE_SOURCE else [_sample(event)]


def _sample(event: Event) -> Notice:
    about_consumers = {Event.CONSUMER_STARTED, Event.CONSUMER_STOPPING, Event.CONSUMER_STOPPED, Event.CONSUMER_FAILED}
    about_backends = {Event.BACKEND_DOWN, Event.BACKEND_UP, Event.CONSUMER_REFUSED}
    about_one = {Event.ADDED, Event.STARTED, Event.OVERDUE, *SAMPLE_OUTCOMES}
    about_many = set(Event) - about_consumers - about_backends - about_one
    return Notice(
        event=event,
        queue="default",
        consumer="default" if event in about_consumers else "",
        task=SAMPLE_TASK if event in about_one else None,
        task_ids=(SAMPLE_ID,) if event in about_many else (),
        outcome=SAMPLE_OUTCOMES.get(event),
        detail=SAMPLE_DETAILS.get(event, ""),
    )


def log_lines() -> str:
    """Each event with the lines that it is worth, written by the log itself."""
    rows = []
    for event in sorted(Event, key=lambda each: -lines_of(each)[-1].levelno):
        for line in lines_of(event):
            rows.append((line.levelname, code(line.name), escaped(line.getMessage())))
    return table(("Level", "Logger", "Line"), rows, "12 18 70")


class _Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.records: list[logging.LogRecord] = []

    def emit(self, line: logging.LogRecord) -> None:
        self.records.append(line)


def lines_of(event: Event) -> list[logging.LogRecord]:
    logger, lines = logging.getLogger("taskqueue"), _Lines()
    before = logger.level, logger.propagate
    logger.addHandler(lines)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    try:
        for each in samples(event):
            log.log_notice(each)
    finally:
        logger.removeHandler(lines)
        logger.setLevel(before[0])
        logger.propagate = before[1]
    return lines.records
