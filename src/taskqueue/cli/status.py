"""``taskqueue status``: how full the queues are, who consumes them, what runs now, and whether anything is wrong."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from ..errors import BackendError
from ..interfaces import Counts, OwnerStatus
from ..queues import Queue
from ..settings import ServerSettings
from . import describe
from .describe import Described
from .screen import Screen, Word, age, counted, duration, iso
from .target import Target, every_record, open_target
from .verb import FAILED, OK, FailedError, Verb, no_arguments

SHOWN_STATES = ("ready", "scheduled", "running", "dead", "held", "staged", "done")
RUNNING_LIMIT = 1000


@dataclass(frozen=True)
class _QueueStatus:
    """One queue at one moment; ``error`` when it could not be looked at."""

    queue: Queue
    counts: Counts | None = None
    owners: Sequence[OwnerStatus] = ()
    running: Sequence[Described] = ()
    error: str = ""
    problems: list[str] = field(default_factory=list)

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
        # A queue in the memory of another process is as it should be; a file that is not there is not.
        is_wrong = "shared" in queue.backend.capabilities
        return _QueueStatus(queue, error=reason, problems=[reason] if is_wrong else [])
    try:
        running = [describe.read(queue, each) for each in islice(every_record(queue, ["running"]), RUNNING_LIMIT)]
        counts = queue.backend.counts()
        status = _QueueStatus(queue, counts, queue.backend.owners(), running)
    except BackendError as error:
        return _QueueStatus(queue, error=str(error), problems=[f"queue {queue.name!r}: {error}"])
    status.problems.extend(_problems(target, status, counts, now))
    return status


def _problems(target: Target, status: _QueueStatus, counts: Counts, now: float) -> list[str]:
    """What is wrong with a queue, in words."""
    name, states = status.queue.name, counts.states
    found = []
    if not status.consumers_alive:
        found.append(f"queue {name!r}: nobody alive consumes it{_waiting(counts)}")
    if states.get("held"):
        found.append(
            f"queue {name!r}: {counted(states['held'], 'task')} held, as nobody knows whether their transaction "
            f"committed: look with `taskqueue list {target.text} --state held`, decide with `taskqueue resolve`"
        )
    for each in status.running:
        seconds, limit = _running_seconds(each, now), _deadline(target, each)
        if seconds > limit:
            found.append(
                f"queue {name!r}: task {each.record.id} ({each.path}) is stuck: it has been running for "
                f"{age(seconds)}, and its deadline is {duration(limit)}"
            )
    return found


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


def _host(status: _QueueStatus, described: Described) -> str | None:
    return next((each.owner.host for each in status.owners if each.owner.id == described.record.owner), None)


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
        "running": [
            describe.brief(each)
            | {"host": _host(status, each), "running_seconds": round(_running_seconds(each, now), 3)}
            for status in statuses
            for each in status.running
        ],
        "problems": problems,
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
        "error": status.error or None,
        "problems": status.problems,
    }


def _print(screen: Screen, statuses: Sequence[_QueueStatus], problems: Sequence[str], now: float) -> None:
    headings = ["QUEUE", "TYPE", *(state.upper() for state in SHOWN_STATES), "OLDEST READY", "CONSUMERS", ""]
    screen.table(headings, [_queue_row(status) for status in statuses])
    _print_owners(screen, statuses, now)
    running = [_running_row(status, each, now) for status in statuses for each in status.running]
    if running:
        screen.line()
        screen.table(["RUNNING", "QUEUE", "URL", "USER", "AGE", "HOST"], running)
    screen.line()
    for problem in problems:
        screen.line(("! ", "red"), problem)
    if not problems:
        screen.line(("nothing is wrong", "green"))


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
    host = _host(status, each) or "-"
    seconds = age(_running_seconds(each, now))
    return [each.record.id, status.queue.name, each.path, each.user or "-", seconds, host]


VERBS = (
    Verb(
        "status",
        "how full the queues are, who consumes them, and what runs now",
        run,
        no_arguments,
        description=(
            "The exit status is 1 when a task is stuck or held, when nobody alive consumes a queue, or when a queue\n"
            "cannot be reached; the last lines say why."
        ),
        examples=("status app.ini", "status app.ini --queue mail --json", "status myapp:app"),
    ),
)
