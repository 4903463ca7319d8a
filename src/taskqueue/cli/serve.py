"""``taskqueue serve``: a consuming instance without an HTTP port, until it is told to stop."""

from __future__ import annotations

import argparse
import configparser
import logging
import logging.config
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from .. import spelling
from ..errors import ConfigurationError
from ..wsgi import Lifecycle
from .screen import Screen
from .target import ini_file_of, load_target
from .verb import OK, Verb, no_arguments

LOG_FORMAT = "%(asctime)s %(levelname)-5s %(name)s: %(message)s"
SIGNALS = (signal.SIGTERM, signal.SIGINT)


def run(arguments: argparse.Namespace, screen: Screen) -> int:
    """Load the application, start its consumers, wait for a signal, stop them."""
    _set_up_log(ini_file_of(arguments.target))
    application, lifecycles = load_target(arguments.target)
    _refuse_if_idle(arguments.target, lifecycles)
    with _Signals() as signals:
        for lifecycle in lifecycles:
            lifecycle.start()
        _tell_started(screen, lifecycles)
        name = signals.wait()
        screen.note(f"{name}: stopping; what runs is finished first, and a second signal ends it at once")
        _stop(lifecycles)
    del application  # it had to live until here
    return OK


def _refuse_if_idle(target: str, lifecycles: Sequence[Lifecycle]) -> None:
    if not lifecycles:
        raise ConfigurationError(
            f"{target}: the application has no taskqueue filter: add `filter-with = taskqueue` to its section and a "
            "section [filter:taskqueue] with `use = egg:wsgi-taskqueue`, or, in Pyramid, "
            "config.include('taskqueue.pyramid') and settings taskqueue.queue.… and taskqueue.server.…"
        )
    if not any(lifecycle.installation.wants_to_consume for lifecycle in lifecycles):
        queues = lifecycles[0].installation.configuration.queues
        place = queues[0].place if queues else ""
        raise ConfigurationError(
            f"{target}: nothing to consume: there is no {spelling.consumers(place)}, or each says "
            f"{spelling.option(place, 'consume', 'no')}"
        )


def _tell_started(screen: Screen, lifecycles: Sequence[Lifecycle]) -> None:
    for lifecycle in lifecycles:
        for server in lifecycle.installation.servers:
            if server.consume != "no":
                kind = lifecycle.installation.queues[server.queue].type
                limit = f"{server.concurrent_limit} at a time"
                screen.line(f"consumer {server.name} takes from queue {server.queue} ({kind}), {limit}")
    sys.stdout.flush()  # whoever started us waits for these lines


def _stop(lifecycles: Sequence[Lifecycle]) -> None:
    """Side by side, so that the longest grace is the longest wait."""
    stoppers = [threading.Thread(target=each.installation.stop, name="taskqueue-stop") for each in lifecycles]
    for stopper in stoppers:
        stopper.start()
    for stopper in stoppers:
        stopper.join()


# ---- log ---------------------------------------------------------------------------------------------------------


def _set_up_log(file: Path | None) -> None:
    """As the ini file says, in the sections of Python's own logging; else everything from INFO on to standard error."""
    if file is None or not _has_log_sections(file):
        logging.basicConfig(level=logging.INFO, format=LOG_FORMAT, stream=sys.stderr)
        return
    defaults = {"here": str(file.resolve().parent), "__file__": str(file.resolve())}
    try:
        logging.config.fileConfig(
            str(file),
            {key: value.replace("%", "%%") for key, value in defaults.items()},
            disable_existing_loggers=False,
        )
    except Exception as error:  # noqa: BLE001  # whatever a handler's constructor raises
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ConfigurationError(f"{file}: the sections of logging cannot be used: {reason}") from None


def _has_log_sections(file: Path) -> bool:
    parser = configparser.RawConfigParser()
    try:
        parser.read_string(file.read_text("utf-8"), source=file.name)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise ConfigurationError(f"{file}: cannot be read: {reason}") from None
    except configparser.Error as error:
        raise ConfigurationError(f"{file.name}: {' '.join(str(error).split())}") from None
    return parser.has_section("loggers")


# ---- signals -----------------------------------------------------------------------------------------------------


class _Signals:
    """SIGTERM and SIGINT as something to wait for; the second one ends the process at once.

    Python writes the number of each signal to a pipe, from whatever thread the kernel chose to interrupt: handlers run
    in the main thread only, which sleeps on when another one was chosen, as after SIGSTOP and SIGCONT. Blocking the
    signals and ``sigwait`` would do as well here, but processes that a task starts would inherit the mask, and could
    not be stopped.
    """

    def __enter__(self) -> _Signals:
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        self._previous_writer = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        self._came = False
        self._previous: dict[int, Any] = {each: signal.signal(each, self._handle) for each in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, previous in self._previous.items():
            signal.signal(number, previous)
        signal.set_wakeup_fd(self._previous_writer)
        os.close(self._reader)
        os.close(self._writer)

    def wait(self) -> str:
        """The name of the first signal that came, or comes."""
        while (number := os.read(self._reader, 1)[0]) not in SIGNALS:
            pass  # of a handler of the application's own
        return signal.Signals(number).name

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if self._came:
            os._exit(128 + number)
        self._came = True


VERBS = (
    Verb(
        "serve",
        "consume: load the application and replay its tasks, without an HTTP port",
        run,
        no_arguments,
        description=(
            "SIGTERM or SIGINT stops it: what runs is finished within the grace of its consumer, the rest is given\n"
            "back. Its log goes where the ini file says, else to standard error."
        ),
        examples=("serve app.ini", "serve app.ini#worker", "serve myapp:app"),
        has_json=False,
        has_queue=False,
    ),
)
