"""The command line: ``taskqueue VERB TARGET …``. Uses the doors; nothing imports it.

A module for each group of verbs. ``verb`` is what a verb consists of, ``target`` what the first argument names,
``describe`` what may be shown of a task, ``screen`` what reaches the terminal. Here the verb is chosen, and whatever it
raises becomes one line and an exit status: 0 fine, 1 something is wrong, failed or not found, 2 misused or
misconfigured, 3 time-out of ``wait``.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import TextIO

from .. import demo
from ..errors import ConfigurationError, InvalidTaskError, TaskQueueError, UnknownQueueError
from . import add, check, look, mend, migrate, resolve, serve, status
from .screen import OutputError, Screen, flush
from .target import close_targets
from .verb import FAILED, MISUSED, OK, UsageError, Verb, did_you_mean

__all__ = ["main"]

DEMO_SUMMARY = "write a small site into ./taskqueue-demo, serve it, and say what to click"
INTERRUPTED = 130
PIPE_CLOSED = 141  # as a process that SIGPIPE has ended
_SILENCE = logging.NullHandler()  # one only: adding it again changes nothing

_VERBS: Mapping[str, Verb] = {
    verb.name: verb
    for verb in (
        *check.VERBS,
        *serve.VERBS,
        *status.VERBS,
        *look.VERBS,
        *add.VERBS,
        *mend.VERBS,
        *resolve.VERBS,
        *migrate.VERBS,
    )
}
_RUNNERS: Mapping[str, Callable[[Sequence[str]], int]] = {
    "demo": lambda arguments: demo.main(list(arguments)),
    **_VERBS,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; the exit status. Without ``arguments`` those of the process."""
    try:
        exit_status = _leave_with(list(sys.argv[1:] if arguments is None else arguments))
        flush()
    except BrokenPipeError:
        return _pipe_closed()
    except KeyboardInterrupt:
        Screen().clear_progress()
        return INTERRUPTED
    except (UsageError, ConfigurationError, InvalidTaskError, UnknownQueueError) as error:
        return _complain(error, MISUSED)
    except (TaskQueueError, OSError) as error:
        return _complain(error, FAILED)
    finally:
        close_targets()
    return exit_status


def _leave_with(arguments: Sequence[str]) -> int:
    try:
        return _run(arguments)
    except SystemExit as leaving:  # --help, and doors that have said their line themselves
        return leaving.code if isinstance(leaving.code, int) else OK if leaving.code is None else FAILED


def _run(arguments: Sequence[str]) -> int:
    _prepare_streams()
    if not arguments:
        raise UsageError(f"takes a verb: {', '.join(_RUNNERS)}; see taskqueue --help")
    first, *others = arguments
    if first in ("-h", "--help", "help"):
        sys.stdout.write(_help())
        return OK
    if first == "--version":
        sys.stdout.write(f"taskqueue {_version()}\n")
        return OK
    if first not in _RUNNERS:
        raise UsageError(_no_such_verb(first, others))
    return _RUNNERS[first](others)


def _prepare_streams() -> None:
    """No character of a task may end in an error of encoding, and no log line between the lines of a verb."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    for name in ("taskqueue", "txn"):  # the latter is the transaction package's: its errors are told once, by us
        logging.getLogger(name).addHandler(_SILENCE)


def _complain(error: Exception, exit_status: int) -> int:
    text = str(error) or type(error).__name__
    try:
        if isinstance(error, OutputError):
            _discard_output()
        sys.stdout.flush()
    except BrokenPipeError:
        return _pipe_closed()
    except OSError:
        _discard_output()
    try:
        Screen().note(text)
        sys.stderr.flush()
    except BrokenPipeError:
        return _pipe_closed()
    except OSError:
        _discard_output(sys.stderr)  # there is nowhere left to say it
    return exit_status


def _pipe_closed() -> int:
    """Whoever read our output has left."""
    _discard_output()
    return PIPE_CLOSED


def _discard_output(stream: TextIO | None = None) -> None:
    """The interpreter must not complain about what cannot be written when it flushes at its end."""
    with contextlib.suppress(OSError, ValueError):  # it may be no file here
        os.dup2(os.open(os.devnull, os.O_WRONLY), (stream or sys.stdout).fileno())


def _no_such_verb(word: str, others: Sequence[str]) -> str:
    swapped = next((other for other in others if other in _RUNNERS), None)
    if swapped is not None:
        return f"the verb comes first: taskqueue {swapped} {word}"
    near = did_you_mean(word, _RUNNERS)
    return f"there is no verb {word!r}{near or '; there are: ' + ', '.join(_RUNNERS)}"


def _help() -> str:
    lines = [
        "usage: taskqueue VERB TARGET …",
        "",
        "Tasks are requests that are made later. TARGET is an ini file (app.ini, or app.ini#name), or",
        "module:attribute of an application that is wrapped in taskqueue.wsgi.TaskQueueFilter.",
        "",
        f"  {'demo':<9} {DEMO_SUMMARY}",
        *(f"  {verb.name:<9} {verb.summary}" for verb in _VERBS.values()),
        "",
        "`taskqueue VERB --help` tells more, with examples. The exit status is 0 when all is well, 1 when something",
        "is wrong, failed or not found, 2 when the command line or the configuration is wrong, 3 when `wait` has",
        "waited long enough.",
    ]
    return "\n".join(lines) + "\n"


def _version() -> str:
    try:
        return version("wsgi-taskqueue")
    except PackageNotFoundError:
        return "(not installed)"
