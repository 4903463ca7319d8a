"""``taskqueue status``: how full the queues are, who consumes them, what runs now, and whether anything is wrong.

It reads, but for one write that leaves nothing behind: a store that takes no tasks can still be read.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from ..errors import BackendError
from ..interfaces import Counts, OwnerStatus
from ..kept import DEFAULT_RENEW
from ..queues import Queue
from ..record import STORED_STATES
from ..settings import ServerSettings
from . import describe
from .describe import Described
from .screen import Screen, Word, age, counted, duration, iso
from .target import Target, every_record, open_target
from .trial import ADDING_SECONDS, why_nothing_can_be_added
from .verb import FAILED, OK, FailedError, Verb, no_arguments

SHOWN_STATES = ("ready", "scheduled", "running", "dead", "held", "staged", "done")
RUNNING_LIMIT = 1000
READY_LIMIT = 1000  # of the oldest, among which suspects are looked for: they have been claimed before
UNSEEN_RENEWALS = 3  # that may be late, or lost, until something is wrong


@dataclass(frozen=True)
class _QueueStatus:
    """One queue at one moment; ``error`` when it could not be looked at."""

    queue: Queue
    counts: Counts | None = None
    owners: Sequence[OwnerStatus] = ()
    running: Sequence[Described] = ()
    suspects: int = 0
    notes: list[str] = field(default_factory=list)  # what is worth a line, and is nothing wrong
    error: str = ""
    add_error: str = ""  # what an add would meet
    problems: list[str] = field(default_factory=list)

    def owner_of(self, described: Described) -> OwnerStatus | None:
        """Who runs a task, None when the store does not know."""
        return next((each for each in self.owners if each.owner.id == described.record.owner), None)

    def is_orphan(self, described: Described) -> bool:
        """Whether the owner of a running task is gone."""
        owner = self.owner_of(described)
        return owner is None or not owner.alive

    @property
    def consumers_alive(self) -> int:
        return sum(len(each.owner.consumers) for each in self.owners if each.alive)


def run(arguments: argparse.Namespace, screen: Screen) -> int:
    """Show it; the exit status is 1 when something is wrong."""
    target = open_target(arguments.target)
    chosen = target.select(arguments.queue)
    hidden = [queue for queue in chosen if "shared" not in queue.backend.capabilities]
    if len(hidden) == len(chosen):
        raise FailedError(target.out_of_reach(hidden[0]) or "" if hidden else f"{target.text}: no queue is configured")
    now = time.time()
    statuses = [_look(target, queue, now) for queue in chosen]
    problems = [problem for status in statuses for problem in status.problems]
    screen.document(_as_document(target, statuses, problems, now))
    _print(screen, statuses, problems, now)
    return FAILED if problems else OK


# ---- looking -----------------------------------------------------------------------------------------------------


def _look(target: Target, queue: Queue, now: float) -> _QueueStatus:
    reason = target.out_of_reach(queue)
    if reason is not None:
        return _QueueStatus(queue, error=reason)  # one in the memory of another process is as it should be
    try:
        missing = target.nothing_yet(queue)
        if missing is not None:
            return _look_at_nothing(target, queue, missing, now)
        running = [describe.read(queue, each) for each in islice(every_record(queue, ["running"]), RUNNING_LIMIT)]
        counts = queue.backend.counts()
        known = running + _oldest_ready(queue, counts)
        suspects = sum(each.record.suspect for each in known)
        owners, stores_now = queue.backend.owners(), queue.backend.now(ADDING_SECONDS)
        add_error = why_nothing_can_be_added(target.installation, queue, counts)
        status = _QueueStatus(queue, counts, owners, running, suspects, add_error=add_error)
    except BackendError as error:
        return _QueueStatus(queue, error=str(error), problems=[f"queue {queue.name!r}: {error}"])
    if add_error:
        status.problems.append(f"queue {queue.name!r}: {add_error}")
    status.problems.extend(_problems(target, status, counts, now))
    oldest = stores_now - UNSEEN_RENEWALS * max(DEFAULT_RENEW, *(each.renew for each in _servers(target, queue)))
    status.problems.extend(_told_unseen(queue, each, stores_now - each.seen_at) for each in _unseen(owners, oldest))
    if unreadable := [each for each in known if each.problem]:
        status.problems.append(_told_unreadable(target, queue, unreadable))
    orphans = [each for each in running if status.is_orphan(each)]
    if orphans:
        text, is_wrong = _told_orphans(target, status, orphans, now)
        (status.problems if is_wrong else status.notes).append(text)
    if counts.states.get("dead"):
        status.notes.append(_told_dead(target, queue, counts.states["dead"]))
    if suspects:
        status.notes.append(
            f"queue {queue.name!r}: {counted(suspects, 'suspect')}, which a process held when it died: "
            "such a task runs one at a time, while its consumer runs nothing else"
        )
    return status


def _look_at_nothing(target: Target, queue: Queue, missing: str, now: float) -> _QueueStatus:
    """A queue whose store has not been made yet is an empty one."""
    counts = Counts(states={state.value: 0 for state in STORED_STATES}, oldest_ready_age=None, paused=False)
    status = _QueueStatus(queue, counts, notes=[missing])
    status.problems.extend(_problems(target, status, counts, now))
    return status


def _oldest_ready(queue: Queue, counts: Counts) -> list[Described]:
    if not counts.states.get("ready"):
        return []
    return [describe.read(queue, each) for each in islice(every_record(queue, ["ready"]), READY_LIMIT)]


def _problems(target: Target, status: _QueueStatus, counts: Counts, now: float) -> list[str]:
    """What is wrong with a queue, in words."""
    name, states = status.queue.name, counts.states
    found = []
    if not status.consumers_alive:
        found.append(f"queue {name!r}: nobody alive consumes it{_waiting(counts)}")
    ready = states.get("ready", 0)
    if counts.paused and ready:
        found.append(
            f"queue {name!r} is paused, and {counted(ready, 'task')} {'waits' if ready == 1 else 'wait'}: "
            f"taskqueue resume {target.text}{_of_queue(target, status.queue)}"
        )
    if states.get("held"):
        found.append(
            f"queue {name!r}: {counted(states['held'], 'task')} held, as nobody knows whether their transaction "
            f"committed: see `taskqueue resolve {target.text}`"
        )
    for each in status.running:
        seconds, limit = _running_seconds(each, now), _deadline(target, each)
        if seconds > limit and not status.is_orphan(each):
            found.append(
                f"queue {name!r}: task {each.record.id} ({each.path}) is stuck: it has been running for "
                f"{age(seconds)}, and its deadline is {duration(limit)}"
            )
    return found


def _unseen(owners: Sequence[OwnerStatus], oldest: float) -> list[OwnerStatus]:
    """Consuming processes that live, and have not renewed their lease as every process does. One that only adds may be
    such that nothing of it runs between its requests."""
    return [each for each in owners if each.alive and each.owner.consumers and each.seen_at < oldest]


def _told_unseen(queue: Queue, unseen: OwnerStatus, seconds: float) -> str:
    owner = unseen.owner
    return (
        f"queue {queue.name!r}: owner {owner.id} ({owner.host}, process {owner.pid}) lives, and was seen last "
        f"{age(seconds)} ago: it stands still, or cannot write to the store; see its log"
    )


def _told_unreadable(target: Target, queue: Queue, unreadable: Sequence[Described]) -> str:
    first = unreadable[0]
    which = "it is" if len(unreadable) == 1 else "the first is"
    return (
        f"queue {queue.name!r}: {counted(len(unreadable), 'task')} cannot be read with this configuration; {which} "
        f"{first.record.id}: {first.problem}: see `taskqueue show {target.text} {first.record.id}`"
    )


def _told_dead(target: Target, queue: Queue, dead: int) -> str:
    what = "it stays until it is" if dead == 1 else "they stay until they are"
    return (
        f"queue {queue.name!r}: {counted(dead, 'task')} dead; {what} retried or deleted: "
        f"taskqueue list {target.text} --state dead{_of_queue(target, queue)}"
    )


def _of_queue(target: Target, queue: Queue) -> str:
    """What a command needs to be about one of several queues."""
    return f" --queue {queue.name}" if len(target.installation.queues) > 1 else ""


def _told_orphans(target: Target, status: _QueueStatus, orphans: Sequence[Described], now: float) -> tuple[str, bool]:
    """What to say of running tasks whose owner is gone, and whether a consumer should have taken them back by now."""
    name = status.queue.name
    one = len(orphans) == 1
    limit = _longest_until_reclaimed(target, status.queue)
    gone_for = max(_seconds_gone(status, each, now) for each in orphans)
    start = f"queue {name!r}: {counted(len(orphans), 'task')} running, and {'its' if one else 'their'} owner is gone"
    what = "it" if one else "they"
    if gone_for > limit:
        late = f"for {age(gone_for)}; {what} should have been taken back within {duration(limit)}"
        return f"{start} {late}: see that a consumer runs, and what its log says", True
    if not status.consumers_alive:
        return f"{start}; taken back once a consumer runs", False
    return f"{start}; taken back within {age(limit - gone_for)}", False


def _seconds_gone(status: _QueueStatus, orphan: Described, now: float) -> float:
    """Since its owner was seen last: when it died is not known."""
    owner = status.owner_of(orphan)
    return max(0.0, now - owner.seen_at) if owner is not None else _running_seconds(orphan, now)


def _longest_until_reclaimed(target: Target, queue: Queue) -> float:
    """A lease lapses, and consumers look every ``renew``."""
    return max(each.lease + each.renew for each in _servers(target, queue))


def _servers(target: Target, queue: Queue) -> list[ServerSettings]:
    """Those that consume it as far as this configuration tells, else one as it is without options."""
    return [each for each in target.installation.servers if each.queue == queue.name] or [ServerSettings()]


def _waiting(counts: Counts) -> str:
    ready = counts.states.get("ready", 0)
    if not ready:
        return ""
    verb = "waits" if ready == 1 else "wait"
    return f", and {counted(ready, 'task')} {verb}, the oldest for {age(counts.oldest_ready_age)}"


def _deadline(target: Target, described: Described) -> float:
    """The deadline of the consumer that runs it, else the longest of those that take from its queue."""
    servers = [each for each in target.installation.servers if each.queue == described.queue.name]
    own = [each.deadline for each in servers if each.name == described.record.consumer]
    return max(own or [each.deadline for each in servers] or [ServerSettings().deadline])


def _running_seconds(described: Described, now: float) -> float:
    claimed_at = described.record.claimed_at
    return max(0.0, now - claimed_at) if isinstance(claimed_at, (int, float)) else 0.0


# ---- showing -----------------------------------------------------------------------------------------------------


def _as_document(target: Target, statuses: Sequence[_QueueStatus], problems: list[str], now: float) -> dict[str, Any]:
    return {
        "target": target.text,
        "at": iso(now),
        "queues": [_queue_document(status) for status in statuses],
        "owners": [
            {
                "queue": status.queue.name,
                "id": each.owner.id,
                "host": each.owner.host,
                "pid": each.owner.pid,
                "consumers": list(each.owner.consumers),
                "alive": each.alive,
                "started_at": iso(each.owner.started_at),
                "seen_at": iso(each.seen_at),
            }
            for status in statuses
            for each in status.owners
        ],
        "running": [_running_document(status, each, now) for status in statuses for each in status.running],
        "problems": problems,
        "notes": [note for status in statuses for note in status.notes],
    }


def _running_document(status: _QueueStatus, each: Described, now: float) -> dict[str, Any]:
    owner = status.owner_of(each)
    return describe.brief(each) | {
        "host": owner.owner.host if owner is not None else None,
        "pid": owner.owner.pid if owner is not None else None,
        "owner_alive": not status.is_orphan(each),
        "running_seconds": round(_running_seconds(each, now), 3),
    }


def _queue_document(status: _QueueStatus) -> dict[str, Any]:
    counts = status.counts
    return {
        "name": status.queue.name,
        "type": status.queue.type,
        "counts": {state: counts.states.get(state, 0) for state in SHOWN_STATES} if counts is not None else None,
        "oldest_ready_age_seconds": counts.oldest_ready_age if counts is not None else None,
        "paused": counts.paused if counts is not None else None,
        "consumers_alive": status.consumers_alive if counts is not None else None,
        "suspects": status.suspects if counts is not None else None,
        "error": status.error or None,
        "add_error": status.add_error or None,
        "problems": status.problems,
    }


def _print(screen: Screen, statuses: Sequence[_QueueStatus], problems: Sequence[str], now: float) -> None:
    headings = ["QUEUE", "TYPE", *(state.upper() for state in SHOWN_STATES), "OLDEST READY", "CONSUMERS", ""]
    screen.table(headings, [_queue_row(status) for status in statuses])
    _print_owners(screen, statuses, now)
    running = [_running_row(status, each, now) for status in statuses for each in status.running]
    if running:
        screen.line()
        screen.table(["RUNNING", "QUEUE", "URL", "USER", "AGE", "HOST", "PID", ""], running)
    screen.line()
    for note in (note for status in statuses for note in status.notes):
        screen.line(("- ", "yellow"), note)
    for problem in problems:
        screen.line(("! ", "red"), problem)
    if not problems:
        has_dead = any(status.counts is not None and status.counts.states.get("dead") for status in statuses)
        screen.line(("nothing else is wrong", "yellow") if has_dead else ("nothing is wrong", "green"))


def _print_owners(screen: Screen, statuses: Sequence[_QueueStatus], now: float) -> None:
    owners = [(status, each) for status in statuses for each in status.owners]
    shown = [(status, each) for status, each in owners if each.alive or each.owner.consumers]
    if owners:
        screen.line()
    if shown:
        rows = [_owner_row(status, each, now) for status, each in shown]
        screen.table(["QUEUE", "OWNER", "HOST", "PID", "", "CONSUMERS", "AGE", "SEEN"], rows)
    if len(shown) < len(owners):
        screen.line((f"{counted(len(owners) - len(shown), 'owner')} gone that consumed nothing", "faint"))


def _queue_row(status: _QueueStatus) -> list[Word]:
    if status.counts is None:
        unseen = "not seen from here" if not status.problems else "unreachable"
        return [status.queue.name, status.queue.type, *("-" for _ in SHOWN_STATES), "-", "-", unseen]
    states = status.counts.states
    cells: list[Word] = [
        (str(states.get(state, 0)), "red" if state in ("dead", "held") and states.get(state) else "")
        for state in SHOWN_STATES
    ]
    oldest = age(status.counts.oldest_ready_age)
    paused: Word = ("paused", "yellow") if status.counts.paused else ""
    return [status.queue.name, status.queue.type, *cells, oldest, str(status.consumers_alive), paused]


def _owner_row(status: _QueueStatus, each: OwnerStatus, now: float) -> list[Word]:
    owner = each.owner
    alive: Word = ("alive", "green") if each.alive else ("gone", "faint")
    consumers = ", ".join(owner.consumers) or "adds only"
    ages = (age(now - owner.started_at), age(now - each.seen_at))
    return [status.queue.name, owner.id, owner.host, str(owner.pid), alive, consumers, *ages]


def _running_row(status: _QueueStatus, each: Described, now: float) -> list[Word]:
    owner = status.owner_of(each)
    place = [owner.owner.host, str(owner.owner.pid)] if owner is not None else ["-", "-"]
    seconds = age(_running_seconds(each, now))
    gone: Word = ("owner gone", "yellow") if status.is_orphan(each) else ""
    return [each.record.id, status.queue.name, each.path, each.user or "-", seconds, *place, gone]


VERBS = (
    Verb(
        "status",
        "how full the queues are, who consumes them, and what runs now",
        run,
        no_arguments,
        description=(
            "The exit status is 1 when a task is stuck or held, cannot be read, or its owner has been gone for too\n"
            "long, when nobody alive consumes a queue, or a process that does has not been seen for long, when one\n"
            "is paused and has tasks that wait, when one cannot be reached, or when no task can be added to it,\n"
            "as where it is full or read-only: that is tried by a write that leaves nothing behind. The lines that\n"
            "begin with ! say why. Dead tasks are told of in lines that begin with -, and\n"
            "do not change it.\n"
            "\n"
            "RUNNING are the tasks that consumers have claimed, also those that they claimed ahead and have not\n"
            "begun: up to `prefetch` of work, while tasks are short."
        ),
        examples=("status app.ini", "status app.ini --queue mail --json", "status myapp:app"),
    ),
)
