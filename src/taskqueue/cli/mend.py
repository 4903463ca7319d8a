"""``taskqueue retry``, ``delete``, ``purge``, ``pause`` and ``resume``: changing tasks by hand.

Each verb that takes ids says of every one that it could not change why not, and changes the others.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import islice

from ..interfaces import Record
from ..queues import Queue
from .screen import Screen, counted
from .target import PAGE_SIZE, every_record, find_task, open_target, unknown_task
from .verb import FAILED, OK, UsageError, Verb, one_of

PURGEABLE = ("ready", "scheduled", "done", "dead")
PURGED_BY_DEFAULT = ("done", "dead")
UNDECIDED = ("staged", "held")

Change = Callable[[Queue, Sequence[str]], Collection[str]]
Explain = Callable[[Queue, Record], str]


# ---- changing what ids name --------------------------------------------------------------------------------------


def change_ids(
    queues: Sequence[Queue], ids: Iterable[str], change: Change, explain: Explain
) -> tuple[list[str], dict[str, str]]:
    """Change tasks wherever they are; returns the ids that were changed, and the others with the reason."""
    changed: list[str] = []
    refused: dict[str, str] = {}
    by_queue: dict[str, list[str]] = {queue.name: [] for queue in queues}
    for task_id in dict.fromkeys(ids):
        found = find_task(queues, task_id)
        if found is None:
            refused[task_id] = unknown_task(queues, task_id)
        else:
            by_queue[found[0].name].append(task_id)
    for queue in queues:
        done = set(_in_chunks(queue, by_queue[queue.name], change))
        changed += [task_id for task_id in by_queue[queue.name] if task_id in done]
        for task_id in by_queue[queue.name]:
            if task_id not in done:
                refused[task_id] = _why(queue, task_id, explain)
    return changed, refused


def _in_chunks(queue: Queue, ids: Sequence[str], change: Change) -> Iterable[str]:
    for start in range(0, len(ids), PAGE_SIZE):
        yield from change(queue, ids[start : start + PAGE_SIZE])


def _why(queue: Queue, task_id: str, explain: Explain) -> str:
    record = queue.backend.get(task_id)
    return f"task {task_id} {'is gone' if record is None else explain(queue, record)}"


def report(screen: Screen, done_word: str, changed: Sequence[str], refused: dict[str, str]) -> int:
    """Tell what was changed and what was not; the exit status."""
    screen.document({done_word: list(changed), "refused": [{"id": key, "reason": why} for key, why in refused.items()]})
    for task_id in changed:
        screen.line((done_word, "green"), f" {task_id}")
    for reason in refused.values():
        screen.note(reason)
    return FAILED if refused else OK


def ids_argument(parser: argparse.ArgumentParser, nargs: str = "+") -> None:
    """The ids that a verb takes."""
    parser.add_argument("ids", metavar="ID", nargs=nargs, help="ids of tasks, in full")


# ---- retry -------------------------------------------------------------------------------------------------------


def _retry_arguments(parser: argparse.ArgumentParser) -> None:
    ids_argument(parser, "*")
    parser.add_argument("--dead", action="store_true", help="all dead tasks, in place of ids")


def run_retry(arguments: argparse.Namespace, screen: Screen) -> int:
    """Make tasks ready at once."""
    if bool(arguments.ids) == arguments.dead:
        raise UsageError("retry: takes ids of tasks, or --dead for all that are dead; see taskqueue retry --help")
    queues = open_target(arguments.target).reach(arguments.queue, screen)
    if not arguments.dead:
        return report(screen, "retried", *change_ids(queues, arguments.ids, _requeue, _why_not_retried))
    changed: list[str] = []
    refused: dict[str, str] = {}
    for queue in queues:
        _retry_all_dead(screen, queue, changed, refused)
    if not changed and not refused:
        screen.line("no dead tasks")
    return report(screen, "retried", changed, refused)


def _retry_all_dead(screen: Screen, queue: Queue, changed: list[str], refused: dict[str, str]) -> None:
    records = every_record(queue, ["dead"])
    while page := list(islice(records, PAGE_SIZE)):
        done = set(_requeue(queue, [record.id for record in page]))
        changed += [record.id for record in page if record.id in done]
        for record in page:
            if record.id not in done:
                refused[record.id] = _why(queue, record.id, _why_not_retried)
        screen.progress(f"{queue.name}: {counted(len(changed), 'task')} retried")
    screen.clear_progress()


def _requeue(queue: Queue, ids: Sequence[str]) -> Collection[str]:
    return queue.backend.requeue(ids)


def _why_not_retried(_queue: Queue, record: Record) -> str:
    if record.state == "dead" and record.secrets is None:
        return "stays dead: its payload and credentials were wiped after keep_secrets; it must be added again"
    if record.state in UNDECIDED:
        return f"is {record.state}: decide with taskqueue resolve"
    return f"is {record.state}: only dead and scheduled tasks are retried"


# ---- delete ------------------------------------------------------------------------------------------------------


def _delete_arguments(parser: argparse.ArgumentParser) -> None:
    ids_argument(parser, "*")
    parser.add_argument("--dead", action="store_true", help=argparse.SUPPRESS)  # who knows `retry` tries it


def run_delete(arguments: argparse.Namespace, screen: Screen) -> int:
    """Forget tasks."""
    if arguments.dead or not arguments.ids:
        raise UsageError(
            f"delete: takes ids of tasks; all that are dead go with: taskqueue purge {arguments.target} --dead"
        )
    queues = open_target(arguments.target).reach(arguments.queue, screen)
    changed, refused = change_ids(
        queues, arguments.ids, lambda queue, ids: queue.backend.delete(ids), lambda _queue, record: _why_kept(record)
    )
    return report(screen, "deleted", changed, refused)


def _why_kept(record: Record) -> str:
    if record.state in UNDECIDED:
        return f"is {record.state}: discard it with taskqueue resolve --discard"
    return f"is {record.state}: only ready, scheduled, done and dead tasks are deleted"


# ---- purge -------------------------------------------------------------------------------------------------------


def _purge_arguments(parser: argparse.ArgumentParser) -> None:
    chosen = parser.add_mutually_exclusive_group()  # whoever gives both may mean fewer tasks than that
    chosen.add_argument(
        "-s",
        "--state",
        action="append",
        type=one_of(PURGEABLE),
        metavar="STATE",
        help=f"in place of done and dead; may come often: {', '.join(PURGEABLE)}",
    )
    chosen.add_argument(
        "--dead", dest="state", action="store_const", const=["dead"], help="those that are dead alone, as --state dead"
    )
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")


def run_purge(arguments: argparse.Namespace, screen: Screen) -> int:
    """Delete all tasks in some states, after asking."""
    queues = open_target(arguments.target).reach(arguments.queue, screen)
    states = list(dict.fromkeys(arguments.state or PURGED_BY_DEFAULT))
    if not arguments.yes:
        told = (f"{queue.name}: {_counts_in_words(queue, states)}" for queue in queues)
        if not agreed(screen, "purge", "deletes", told, "Delete them all?"):
            screen.note("nothing was deleted")
            return FAILED
    purged = {queue.name: queue.backend.purge(states) for queue in queues}
    screen.document({"purged": purged, "states": states})
    for name, number in purged.items():
        screen.line(f"{name}: {counted(number, 'task')} deleted")
    return OK


def _counts_in_words(queue: Queue, states: Sequence[str]) -> str:
    counts = queue.backend.counts().states
    return ", ".join(f"{counts.get(state, 0)} {state}" for state in states)


def agreed(screen: Screen, verb: str, does: str, told: Iterable[str], question: str) -> bool:
    """Tell what it is about, and ask whether to go on."""
    if sys.stdin is None or not sys.stdin.isatty():
        raise UsageError(f"{verb}: asks before it {does}, and there is no terminal to ask on; add --yes")
    for line in told:
        screen.note(line)
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


# ---- pause and resume --------------------------------------------------------------------------------------------


def _all_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--all", action="store_true", help="all queues, where there are several")


def run_pause(arguments: argparse.Namespace, screen: Screen) -> int:
    """Hand out no more tasks."""
    queues = _one_or_all(arguments, screen, "pause")
    for queue in queues:
        queue.backend.pause()
    return report(screen, "paused", [queue.name for queue in queues], {})


def run_resume(arguments: argparse.Namespace, screen: Screen) -> int:
    """Hand out tasks again."""
    queues = _one_or_all(arguments, screen, "resume")
    for queue in queues:
        queue.backend.resume()
    return report(screen, "resumed", [queue.name for queue in queues], {})


def _one_or_all(arguments: argparse.Namespace, screen: Screen, verb: str) -> list[Queue]:
    target = open_target(arguments.target)
    chosen = target.select(arguments.queue)
    if arguments.queue is not None and arguments.all:
        raise UsageError(f"{verb}: takes --queue or --all, not both")
    if len(chosen) > 1 and not arguments.all:
        names = ", ".join(queue.name for queue in chosen)
        raise UsageError(f"{verb}: there are several queues ({names}): name one with --queue, or add --all")
    return target.reach(arguments.queue, screen)


VERBS = (
    Verb(
        "retry",
        "run dead tasks again, and scheduled ones at once",
        run_retry,
        _retry_arguments,
        description=(
            "Their attempts, and the deaths of their consumers, are counted from zero again. What their last attempt\n"
            "came to stays, and `taskqueue show` tells it, until the next one ends."
        ),
        examples=("retry app.ini ID", "retry app.ini ID ID", "retry app.ini --dead --queue mail"),
    ),
    Verb(
        "delete",
        "forget tasks that do not run",
        run_delete,
        _delete_arguments,
        examples=("delete app.ini ID", "delete app.ini ID ID --json"),
    ),
    Verb(
        "purge",
        "delete all tasks that are done or dead",
        run_purge,
        _purge_arguments,
        description="Shows how many there are, and asks first.",
        examples=(
            "purge app.ini",
            "purge app.ini --dead",
            "purge app.ini --state done --yes",
            "purge app.ini --state ready --queue mail",
        ),
    ),
    Verb(
        "pause",
        "hand out no more tasks",
        run_pause,
        _all_argument,
        description="Whatever runs goes on, and adding goes on, until `taskqueue resume`.",
        examples=("pause app.ini", "pause app.ini --queue mail", "pause app.ini --all"),
    ),
    Verb(
        "resume",
        "hand out tasks again",
        run_resume,
        _all_argument,
        examples=("resume app.ini", "resume app.ini --queue mail", "resume app.ini --all"),
    ),
)
