"""``taskqueue resolve``: what is held, with all that is known of it, and deciding it by hand."""

from __future__ import annotations

import argparse
import time
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from .. import doubts, witnesses
from ..configure import register_witnesses
from ..errors import RecordError
from ..interfaces import OwnerStatus, Record
from ..queues import Queue
from ..record import Envelope, decode_envelope
from . import describe
from .mend import UNDECIDED, agreed, change_ids, ids_argument, report
from .screen import Screen, age, counted, iso
from .target import PAGE_SIZE, Target, open_target
from .verb import FAILED, OK, FailedError, UsageError, Verb

ASKING_SECONDS = 5.0


def _arguments(parser: argparse.ArgumentParser) -> None:
    ids_argument(parser, "*")
    verdict = parser.add_mutually_exclusive_group()
    verdict.add_argument(
        "--publish", dest="verdict", action="store_const", const="publish", help="their transaction committed: run them"
    )
    verdict.add_argument(
        "--discard", dest="verdict", action="store_const", const="discard", help="it did not commit: forget them"
    )
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument("--all", action="store_true", help="all that are held, in place of ids; asks first")
    chosen.add_argument("--transaction", metavar="ID", help="those of one transaction, in place of ids")
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")


def run_resolve(arguments: argparse.Namespace, screen: Screen) -> int:
    """Show what is held, or decide it."""
    chosen = [arguments.ids, arguments.all, arguments.transaction]
    if sum(map(bool, chosen)) > 1:
        raise UsageError("resolve: takes ids of tasks, --all or --transaction, one of them")
    if any(chosen) != bool(arguments.verdict):
        raise UsageError(
            "resolve: takes ids of tasks together with --publish or --discard, or neither, to show what is held; "
            "in place of ids --all, or --transaction ID"
        )
    target = open_target(arguments.target)
    queues = target.reach(arguments.queue, screen, may_be_empty=not arguments.ids)
    owners = {queue.name: {each.owner.id: each for each in queue.backend.owners()} for queue in queues}
    if not any(chosen):
        return _show(target, queues, owners, screen)
    ids = arguments.ids or _chosen(queues, arguments.transaction)
    if arguments.transaction and not ids:
        raise FailedError(f"nothing is held of transaction {arguments.transaction!r}; its id is given in full")
    if arguments.all and not arguments.yes and ids:
        told = [f"{counted(len(ids), 'task')} held, in {', '.join(queue.name for queue in queues)}"]
        if not agreed(screen, "resolve", "decides over all", told, f"{arguments.verdict.capitalize()} them all?"):
            screen.note("nothing was decided")
            return FAILED
    if not ids:
        screen.line("nothing is held")

    def settle(queue: Queue, ids: Sequence[str]) -> Collection[str]:
        alive = {each for each, status in owners[queue.name].items() if status.alive}
        undecided = [task_id for task_id in ids if _is_undecided(queue.backend.get(task_id), alive)]
        queue.backend.settle(undecided, arguments.verdict)
        return [task_id for task_id in undecided if _is_settled(queue.backend.get(task_id))]

    return report(screen, "resolved", *change_ids(queues, ids, settle, _why_not_resolved))


# ---- deciding ----------------------------------------------------------------------------------------------------


def _chosen(queues: Sequence[Queue], transaction_id: str | None) -> list[str]:
    """What is held, of one transaction or of all."""
    found = []
    for queue in queues:
        for record in _in_doubt(queue):
            envelope = _envelope(record)
            if transaction_id is None or (envelope is not None and envelope.transaction_id == transaction_id):
                found.append(record.id)
    return found


def _is_undecided(record: Record | None, alive: Collection[str]) -> bool:
    """Held, or staged by a process that is gone: a living one still knows by itself how its transaction ends."""
    return record is not None and (record.state == "held" or (record.state == "staged" and record.owner not in alive))


def _is_settled(record: Record | None) -> bool:
    return record is None or record.state not in UNDECIDED


def _why_not_resolved(_queue: Queue, record: Record) -> str:
    if record.state == "staged":
        return "is staged by a process that is alive, whose transaction will decide"
    return f"is {record.state}: only held tasks are resolved"


# ---- showing -----------------------------------------------------------------------------------------------------


def _show(target: Target, queues: Sequence[Queue], owners: dict[str, dict[str, OwnerStatus]], screen: Screen) -> int:
    register_witnesses(target.installation.configuration)
    shown = [each for queue in queues for each in _held(queue, owners[queue.name])]
    screen.document(shown)
    for each in shown:
        _print(each, screen)
    if not shown:
        screen.line("nothing is held")
        return OK
    screen.note(
        f"decide with: taskqueue resolve {target.text} ID --publish, or --discard; --all in place of ID takes all"
    )
    return FAILED


def _held(queue: Queue, owners: dict[str, OwnerStatus]) -> Iterator[dict[str, Any]]:
    for record in _in_doubt(queue):
        described = describe.read(queue, record)
        envelope = _envelope(record)
        owner = owners.get(record.owner)
        yield {
            **{name: describe.brief(described)[name] for name in ("id", "queue", "method", "path", "user", "added_at")},
            "staged_at": iso(record.staged_at),
            "held_for_seconds": time.time() - record.staged_at if record.staged_at else None,
            "transaction": envelope.transaction_id if envelope is not None else None,
            "owner": record.owner,
            "process": f"{owner.owner.host}, pid {owner.owner.pid}" if owner is not None else None,
            "witnesses": [f"{mark.kind} {mark.database}" for mark in envelope.witnesses] if envelope else [],
            "cannot_be_asked": list(envelope.strangers or ()) if envelope else [],
            "why": _why(queue, envelope),
        }


def _in_doubt(queue: Queue) -> Iterator[Record]:
    """What is held, with its envelope, which a list leaves out."""
    after = ""
    while page := queue.backend.staged(PAGE_SIZE, after):
        yield from (record for record in page if record.state == "held")
        after = page[-1].id


def _envelope(record: Record) -> Envelope | None:
    try:
        return decode_envelope(record.envelope)
    except RecordError:
        return None


def _why(queue: Queue, envelope: Envelope | None) -> str:
    """What the witnesses that this process knows say of it. They are asked as the keeper asks them."""
    asked = () if envelope is None else envelope.witnesses
    known = [mark for mark in asked if witnesses.find(mark) is not None]
    if envelope is None or not known or envelope.strangers:
        return doubts.decide(envelope, [None] * len(asked), "hold").reason
    said, errors = witnesses.testify([(envelope.transaction_id, asked)], ASKING_SECONDS)
    return "; ".join([doubts.decide(envelope, said[0], queue.in_doubt).reason, *errors])


def _print(shown: dict[str, Any], screen: Screen) -> None:
    user = f" as {shown['user']}" if shown["user"] else ""
    screen.line((shown["id"], "bold"), f" of queue {shown['queue']}: {shown['method']} {shown['path']}{user}")
    for_so_long = f", {age(shown['held_for_seconds'])} ago" if shown["held_for_seconds"] is not None else ""
    by = shown["process"] or f"owner {shown['owner']}"
    screen.line(f"  staged {shown['staged_at']}{for_so_long}, by {by}, in transaction {shown['transaction']}")
    screen.line(f"  {shown['why']}")


VERBS = (
    Verb(
        "resolve",
        "tasks that are held, as nobody knows whether their transaction committed: show, and decide",
        run_resolve,
        _arguments,
        description=(
            "Without ids: what is held, since when, by whom, and what the witnesses say that the ini file names.\n"
            "The exit status is 1 when something is held. With ids: publish or discard them."
        ),
        examples=(
            "resolve app.ini",
            "resolve app.ini ID --publish",
            "resolve app.ini ID ID --discard",
            "resolve app.ini --transaction ID --publish",
            "resolve app.ini --all --discard --queue mail",
        ),
    ),
)
