"""``taskqueue list``, ``show`` and ``wait``: looking at tasks, changing nothing."""

from __future__ import annotations

import argparse
import heapq
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import Any

from ..converters import duration_or_for_ever, whole_number
from ..queues import Queue
from ..record import STORED_STATES
from . import describe
from .describe import Described
from .screen import STATE_COLOURS, Screen, Word, age, counted, duration, escaped
from .target import PAGE_SIZE, Target, every_record, find_task, is_id, open_target, unknown_task
from .verb import FAILED, OK, TIMED_OUT, FailedError, Verb, one_of, setting

STATES = tuple(state.value for state in STORED_STATES)
NOT_DONE = tuple(state for state in STATES if state != "done")
ENDS = ("done", "dead")
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.05, 1.0
LAST_WIDTH = 160  # the last column: nothing behind it is pushed aside


# ---- list --------------------------------------------------------------------------------------------------------


def _list_arguments(parser: argparse.ArgumentParser) -> None:
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument(
        "-s",
        "--state",
        action="append",
        type=one_of(STATES),
        metavar="STATE",
        help="in this state only; may come often: " + ", ".join(STATES),
    )
    chosen.add_argument("--all", action="store_true", help="in any state, done ones too")
    parser.add_argument("-n", "--limit", type=setting(whole_number(1)), default=100, help="so many at most (100)")
    parser.add_argument("--after", metavar="ID", default="", help="go on after this task")
    order = parser.add_mutually_exclusive_group()
    order.add_argument("--oldest", action="store_true", help="the oldest first")
    order.add_argument("--newest", action="store_true", help=argparse.SUPPRESS)  # as it is; somebody will say it


def run_list(arguments: argparse.Namespace, screen: Screen) -> int:
    """List tasks by age."""
    queues = open_target(arguments.target).reach(arguments.queue, screen, may_be_empty=True)
    _refuse_unknown_start(queues, arguments.after)
    states = arguments.state or (STATES if arguments.all else NOT_DONE)
    merged = _merged(queues, states, arguments.after, not arguments.oldest, arguments.limit + 1)
    found = list(islice(merged, arguments.limit + 1))
    shown = found[: arguments.limit]
    screen.document([describe.brief(each) for each in shown])
    now = time.time()
    headings = ["ID", "QUEUE", "STATE", "AGE", "TRIED", "USER", "METHOD", "PATH", "LAST"]
    if shown:
        screen.table(headings, [_list_row(each, now) for each in shown])
    else:
        screen.line("no tasks")
    if len(found) > len(shown):
        screen.note(f"there are more: add --after {shown[-1].record.id}")
    if states is NOT_DONE and not screen.as_json:
        _tell_of_done(screen, queues)
    return OK


def _refuse_unknown_start(queues: Sequence[Queue], task_id: str) -> None:
    """What has the form of an id may have been deleted since: whoever reads page by page goes on there."""
    if task_id and queues and not is_id(task_id) and find_task(queues, task_id) is None:
        raise FailedError(f"--after: {unknown_task(queues, task_id)}")


def _tell_of_done(screen: Screen, queues: Sequence[Queue]) -> None:
    """Who looks for a task that is done must not believe that it never was."""
    done = sum(queue.backend.counts().states.get("done", 0) for queue in queues)
    if done:
        screen.note(f"not shown: {counted(done, 'task')} done: add --all, or --state done")


def _merged(
    queues: Sequence[Queue], states: Sequence[str], after: str, newest: bool, wanted: int
) -> Iterator[Described]:
    def stream(queue: Queue) -> Iterator[Described]:
        for record in every_record(queue, states, after, newest, min(wanted, PAGE_SIZE)):
            yield describe.read(queue, record)

    return heapq.merge(*map(stream, queues), key=lambda each: each.record.id, reverse=newest)


def _list_row(each: Described, now: float) -> list[Word]:
    record, task = each.record, each.task
    return [
        record.id,
        each.queue.name,
        (describe.state(record), STATE_COLOURS.get(record.state, "")),
        age(now - task.added_at) if task is not None else "-",
        str(record.attempts),
        each.user or "-",
        task.method if task is not None else "-",
        each.path,
        each.told(LAST_WIDTH),
    ]


# ---- show --------------------------------------------------------------------------------------------------------


def _show_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", metavar="ID", help="the task's id, in full")


def run_show(arguments: argparse.Namespace, screen: Screen) -> int:
    """Show everything that is known of one task."""
    target = open_target(arguments.target)
    described = _find(target, arguments, screen)
    shown = describe.everything(described)
    screen.document(shown)
    for name, value in shown.items():
        if value not in (None, "", [], {}):
            _print_value(screen, name, value)
    return OK


def _find(target: Target, arguments: argparse.Namespace, screen: Screen) -> Described:
    queues = target.reach(arguments.queue, screen)
    found = find_task(queues, arguments.id)
    if found is None:
        raise FailedError(unknown_task(queues, arguments.id))
    return describe.read(*found)


def _print_value(screen: Screen, name: str, value: Any, indent: str = "") -> None:
    label: Word = (f"{indent}{name.replace('_', ' '):<18} ", "bold")
    if isinstance(value, Mapping):
        screen.line(label)
        for inner, each in value.items():
            if each not in (None, "", [], {}):
                _print_value(screen, str(inner), each, indent + "  ")
    elif name == "headers":
        screen.line(label)
        for header, each in value:
            screen.line(f"{indent}  {header}: {each}")
    elif name == "body":
        screen.line(label)
        for line in str(value).rstrip("\n").split("\n"):
            screen.line(f"{indent}  | {line.rstrip(chr(13))}")
    else:
        screen.line(label, _told(name, value))


def _told(name: str, value: Any) -> str:
    if name == "due" or name.endswith("_at"):
        seconds = time.time() - datetime.fromisoformat(str(value).replace("Z", "+00:00")).timestamp()
        return f"{value} ({age(seconds)} ago)" if seconds >= 0 else f"{value} (in {age(-seconds)})"
    if name.endswith("_seconds"):
        return f"{value:.3f} s"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


# ---- wait --------------------------------------------------------------------------------------------------------


def _wait_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", metavar="ID", help="the task's id, in full")
    parser.add_argument(
        "--timeout",
        type=setting(duration_or_for_ever),
        default=60.0,
        help="a duration such as 30 s or 5 min, or: for ever (60 s)",
    )


def run_wait(arguments: argparse.Namespace, screen: Screen) -> int:
    """Wait until a task ends."""
    target = open_target(arguments.target)
    described = _find(target, arguments, screen)
    began, pause = time.monotonic(), FIRST_PAUSE_SECONDS
    never = threading.Event()
    while described.record.state not in ENDS:
        waited = time.monotonic() - began
        left = float("inf") if arguments.timeout is None else arguments.timeout - waited
        if left <= 0:
            return _time_out(screen, described, arguments.timeout)
        screen.progress(
            f"{described.path}  {described.record.state}, {described.record.attempts} attempts, {age(waited)}"
        )
        never.wait(min(pause, left))
        pause = min(pause * 1.5, LONGEST_PAUSE_SECONDS)
        described = _look_again(described)
    screen.clear_progress()
    return _tell_end(screen, described)


def _look_again(described: Described) -> Described:
    record = described.queue.backend.get(described.record.id)
    if record is None:
        raise FailedError(
            f"task {described.record.id} is gone: deleted, discarded, or no longer kept since it was done"
        )
    return describe.read(described.queue, record)


def _time_out(screen: Screen, described: Described, timeout: float) -> int:
    screen.clear_progress()
    screen.document(describe.brief(described) | {"timed_out": True})
    screen.note(
        f"task {described.record.id} is {described.record.state} after {duration(timeout)}: not waiting any longer"
    )
    return TIMED_OUT


def _tell_end(screen: Screen, described: Described) -> int:
    record = described.record
    screen.document(describe.brief(described) | {"timed_out": False})
    colour = "red" if record.state == "dead" else "green"
    told = described.told()
    why = f": {told}" if told else ""
    tries = f" after {record.attempts} attempts" if record.attempts > 1 else ""
    screen.line(f"task {record.id} ({escaped(described.path)}) is ", (record.state, colour), f"{tries}{why}")
    return OK if record.state == "done" else FAILED


VERBS = (
    Verb(
        "list",
        "tasks that are not done, the newest first",
        run_list,
        _list_arguments,
        description=(
            "Those that are done are shown with --all, or --state done. --json lists the same tasks, in the same\n"
            "order. Of the URLs only the paths are shown."
        ),
        examples=(
            "list app.ini",
            "list app.ini --state dead --queue mail",
            "list app.ini --state ready --oldest --limit 20",
            "list app.ini --all --json",
        ),
    ),
    Verb(
        "show",
        "everything known of one task",
        run_show,
        _show_arguments,
        description="Credentials, payload and the values of the query are not shown.",
        examples=("show app.ini 01988c1e-7d9f-7a3b-8000-5f0c6f5f1d2e", "show app.ini ID --json"),
    ),
    Verb(
        "wait",
        "wait until a task ends",
        run_wait,
        _wait_arguments,
        description="The exit status is 0 when it is done, 1 when it is dead or unknown, 3 when the time is over.",
        examples=("wait app.ini ID", "wait app.ini ID --timeout '5 min'"),
    ),
)
