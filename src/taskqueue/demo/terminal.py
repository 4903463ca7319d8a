"""What the demo says in the terminal: what to click, and a line for each end of an attempt."""

from __future__ import annotations

import shlex
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .. import notices
from ..notices import Event, Notice
from .folder import Folder
from .serving import ServedSite

CLICK = """
    {url}

Open it, and press its buttons:

    Succeeds          runs once, and is done
    Fails twice       is done on its third attempt
    Never succeeds    is dead after its last attempt
    Takes long        shows how far it is; add four, and two wait for the others
    Is aborted        is added in a transaction that aborts, and never runs

In another terminal:   {command} status {ini}
Ctrl-C stops the site; started again it goes on with what was waiting.
"""
ENDS_OF_ATTEMPTS = frozenset({Event.DONE, Event.RETRIED, Event.DEAD})
TROUBLES = frozenset(
    {
        Event.WARNING,
        Event.BACKEND_DOWN,
        Event.BACKEND_UP,
        Event.CONSUMER_FAILED,
        Event.DISCARDED,
        Event.HELD,
        Event.OVERDUE,
        Event.RECLAIMED,
        Event.UNPUBLISHED,
        Event.UNREADABLE,
    }
)


def say(text: str) -> None:
    """A line at once, into a pipe, too."""
    print(text, flush=True)


def welcome(folder: Folder, site: ServedSite) -> None:
    """Before it starts: what was written, what is somebody's own, and what waits."""
    if folder.written:
        say(f"Written into {folder.path}: {', '.join(folder.written)}")
    else:
        say(f"The site is in {folder.path}")
    for name in folder.changed:
        say(f"Left as you changed it: {name}")
    waiting = site.waiting()
    if waiting:
        say(f"It goes on with {_tasks(waiting)} that waited.")


def invite(folder: Folder, site: ServedSite) -> None:
    """What to open, and what to click."""
    say(CLICK.format(url=site.url, command=_command(), ini=shlex.quote(str(folder.ini))))


def farewell(site: ServedSite) -> None:
    """After it has stopped."""
    waiting = site.waiting()
    say(f"Stopped. {_tasks(waiting)} waiting: start the demo again." if waiting else "Stopped.")


@contextmanager
def telling() -> Iterator[None]:
    """Say what becomes of tasks as long as this lasts."""
    notices.listen(_tell)
    try:
        yield
    finally:
        notices.unlisten(_tell)


def _tell(notice: Notice) -> None:
    if notice.event in ENDS_OF_ATTEMPTS and notice.task is not None and notice.outcome is not None:
        outcome = notice.outcome
        said = f"{notice.task.path:<24} {notice.event.value:<8} attempt {outcome.attempt} {outcome.reason}"
    elif notice.event in TROUBLES:
        count = _tasks(len(notice.task_ids)) if notice.task_ids else ""
        said = f"{notice.event.value}: {', '.join(filter(None, (count, notice.detail)))}".rstrip(": ")
    else:
        return
    say(f"{time.strftime('%H:%M:%S')}  {said}")


def _command() -> str:
    """How to call the command line in this very installation, which need not be on the PATH."""
    if shutil.which("taskqueue"):
        return "taskqueue"
    script = Path(sys.argv[0])
    if script.name == "taskqueue":
        return shlex.quote(str(script))
    return f"{shlex.quote(sys.executable)} -m taskqueue"


def _tasks(count: int) -> str:
    return "1 task" if count == 1 else f"{count} tasks"
