"""``taskqueue migrate``: raising what stores tasks to the schema of this release. Knows no backend's insides."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from ..errors import BackendError
from ..interfaces import Migrating
from ..queues import Queue
from .screen import Screen
from .target import open_target
from .verb import FAILED, OK, Verb


@dataclass(frozen=True)
class _Report:
    """What became of one queue's store. Versions are None where there is no schema, or it could not be read."""

    queue: str
    type: str
    found: int | None = None
    needed: int | None = None
    raised_to: Sequence[int] = ()
    error: str | None = None


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-n", "--dry-run", action="store_true", help="say what would be done, and change nothing")


def run(arguments: argparse.Namespace, screen: Screen) -> int:
    """Migrate, or tell what would be; the exit status is 1 when a store stays as this release cannot use it."""
    queues = open_target(arguments.target).select(arguments.queue)
    reports = [_migrate(queue, arguments.dry_run) for queue in queues]
    screen.document({"dry_run": arguments.dry_run, "queues": [asdict(report) for report in reports]})
    for report in reports:
        if report.error is not None:
            screen.note(f"{report.queue}: {report.error}")
        else:
            screen.line(f"{report.queue}: {_told(report, arguments.dry_run)}")
    return FAILED if any(report.error is not None for report in reports) else OK


def _migrate(queue: Queue, is_dry: bool) -> _Report:
    backend = queue.backend
    if not isinstance(backend, Migrating):
        return _Report(queue.name, queue.type)
    try:
        status = backend.schema()
    except BackendError as error:
        return _Report(queue.name, queue.type, error=str(error))
    found, needed = status.found, status.known
    if found > needed:
        newer = f"its schema is {found}, of a newer release, and this one needs {needed}: upgrade this instance"
        return _Report(queue.name, queue.type, found, needed, error=newer)
    if is_dry:
        return _Report(queue.name, queue.type, found, needed, tuple(range(found + 1, needed + 1)))
    try:
        return _Report(queue.name, queue.type, found, needed, tuple(backend.migrate()))
    except BackendError as failure:
        return _Report(queue.name, queue.type, found, needed, error=str(failure))


def _told(report: _Report, is_dry: bool) -> str:
    """One line on a store that is fine."""
    if report.found is None:
        return f"is {report.type}, which has no schema; nothing to do"
    would = "would be " if is_dry else ""
    if report.found == 0 and report.raised_to:
        return f"{would}created with schema {report.needed}"
    if report.raised_to:
        return f"{would}raised from schema {report.found} to {report.needed}"
    return f"has schema {report.needed}; nothing to do"


VERBS = (
    Verb(
        "migrate",
        "raise what stores tasks to the schema of this release, and create what is missing",
        run,
        _arguments,
        description=(
            "For SQLite files and PostgreSQL databases; other stores need nothing. Each version is a transaction: if\n"
            "it is interrupted, nothing is lost, and it can be run again. Older releases refuse what was raised, so\n"
            "upgrade all instances. A SQLite file that is created belongs to who runs this: be the site's user.\n"
            "The exit status is 1 when a store could not be raised, or has the schema of a newer release."
        ),
        examples=("migrate app.ini", "migrate app.ini --dry-run", "migrate app.ini --queue mail --json"),
    ),
)
