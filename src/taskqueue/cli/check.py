"""``taskqueue check``: what was understood of a configuration, and whether its stores are there and take tasks."""

from __future__ import annotations

import argparse
import contextlib
import os
import threading
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from .. import converters, spelling, witnesses
from ..configure import Installation, backend_options, register_witnesses
from ..errors import BackendError
from ..interfaces import Migrating
from ..queues import Queue
from ..record import is_secret_header
from ..settings import QUEUE_OPTIONS, SERVER_OPTIONS, Option, QueueSettings, ServerSettings
from . import wiring, zopeconf
from .newfile import why_not_made
from .screen import Screen, Word, duration, size
from .target import NO_TABLES, Target, ini_file_of, open_target, refuse_unloadable, zope_conf_of
from .trial import why_nothing_can_be_added
from .verb import FAILED, OK, Verb

REACH_SECONDS = 10.0
_KEY_FILE = "secret_file"  # read into ``secret``
_NOTHING = {"keep_dead": "for ever", "copy_headers": "all"}  # what None is written as; elsewhere it is "none"


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--strict", action="store_true", help="exit status 1 with warnings, too")


class _Reached(NamedTuple):
    """Why a store cannot be reached, or why no task can be added to it, or what to say of one that is well."""

    error: str | None = None
    add_error: str = ""
    words: str = ""

    @property
    def is_well(self) -> bool:
        return self.error is None and not self.add_error


def run(arguments: argparse.Namespace, screen: Screen) -> int:
    """Show it; the exit status is 1 when a store cannot be reached or takes no tasks, or there are warnings that
    count."""
    target = open_target(arguments.target)
    refuse_unloadable(arguments.target)
    zope_conf = zope_conf_of(arguments.target)
    unread = zopeconf.refuse_unstartable(zope_conf) if zope_conf is not None else ""
    installation = target.installation
    register_witnesses(installation.configuration)  # one that cannot be had keeps the site from starting
    reached = {queue.name: _reach(target, queue) for queue in installation.queues.values()}
    file = ini_file_of(arguments.target)
    warnings = (
        _warnings(installation)
        + _warnings_of_stores(installation, reached)
        + (wiring.warnings(file) if file is not None else [])
        + ([unread] if unread else [])
    )
    screen.document(_as_document(target, reached, warnings))
    _print(screen, target, reached, warnings)
    are_well = all(each.is_well for each in reached.values())
    return OK if are_well and not (arguments.strict and warnings) else FAILED


# ---- options -----------------------------------------------------------------------------------------------------


def _queue_options(queue: QueueSettings) -> list[tuple[Option, Any]]:
    own = [(option, _own_value(queue, option)) for option in backend_options(queue.type)]
    common = [(option, getattr(queue, option.name)) for option in QUEUE_OPTIONS if option.name != _KEY_FILE]
    return common[:1] + own + common[1:]


def _own_value(queue: QueueSettings, option: Option) -> Any:
    value = queue.backend_options[option.name]
    # A relative path is another one in another folder: whoever compares two instances sees it here.
    return os.path.abspath(value) if queue.type == "sqlite" and option.name == "path" else value


def _server_options(server: ServerSettings) -> list[tuple[Option, Any]]:
    return [(option, getattr(server, option.name)) for option in SERVER_OPTIONS]


def _is_changed(option: Option, value: Any) -> bool:
    return bool(value != option.default)


def _is_secret(option: Option) -> bool:
    # A backend of somebody else may have forgotten to say that its password is one.
    return option.secret or (option not in QUEUE_OPTIONS + SERVER_OPTIONS and is_secret_header(option.name))


def _shown(option: Option, value: Any) -> str:
    """A value as one would write it in the configuration."""
    if _is_secret(option):
        return "(set)" if value else "(not set)"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        value = [f"{left}={right}" for left, right in value.items()]
    if isinstance(value, (list, tuple, set, frozenset)):
        value = " ".join(sorted(map(str, value)))
    if value is None or value == "":
        return _NOTHING.get(option.name, "none")
    if option.convert is converters.size:
        return size(value)
    return duration(value) if isinstance(value, float) else str(value)


def _plain(option: Option, value: Any) -> Any:
    """A value for JSON: durations in seconds, sizes in bytes."""
    if _is_secret(option):
        return "(set)" if value else None
    if isinstance(value, Mapping):
        return {str(left): str(right) for left, right in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return sorted(map(str, value))
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


# ---- stores ------------------------------------------------------------------------------------------------------


def _reach(target: Target, queue: Queue) -> _Reached:
    if "shared" not in queue.backend.capabilities:
        if "durable" in queue.backend.capabilities:
            return _Reached(words="of one process at a time; it was not looked at, as that is the one that serves")
        return _Reached(words="in the memory of the process that serves; its tasks end with it")
    file = target.file_of(queue)
    if file is not None and not os.path.exists(file):
        return _Reached(why_not_made(file), words=f"{file} is not there yet; it will be made")
    return _asked_in_time(target.installation, queue)


def _asked_in_time(installation: Installation, queue: Queue) -> _Reached:
    answers: list[_Reached] = []

    def ask() -> None:
        try:
            answers.append(_ask(installation, queue))
        except Exception as error:  # noqa: BLE001  # a backend of somebody else may raise anything
            answers.append(_Reached(str(error) or type(error).__name__))

    asker = threading.Thread(target=ask, name="taskqueue-check", daemon=True)
    asker.start()
    asker.join(REACH_SECONDS)
    if not answers:
        return _Reached(f"it has not answered within {duration(REACH_SECONDS)}")
    return answers[0]


def _ask(installation: Installation, queue: Queue) -> _Reached:
    """What a store tells that answers. Where no tables are yet, any other question would make them."""
    if isinstance(queue.backend, Migrating) and not queue.backend.schema().found:
        return _Reached(words=f"reachable; {NO_TABLES}")
    queue.backend.counts()  # the first call connects, and may import a client
    began = time.monotonic()
    counts = queue.backend.counts()
    words = f"reachable, answered in {(time.monotonic() - began) * 1000:.0f} ms"
    return _Reached(add_error=why_nothing_can_be_added(installation, queue, counts), words=words)


def _warnings_of_stores(installation: Installation, reached: Mapping[str, _Reached]) -> list[str]:
    """What a backend that can be reached says of its server, where it has something to say."""
    found = []
    for name, queue in installation.queues.items():
        ask = getattr(queue.backend, "warnings", None)
        if ask is not None and reached[name].error is None and NO_TABLES not in reached[name].words:
            with contextlib.suppress(BackendError):  # it was there a moment ago
                found += [f"queue {name!r}: {warning}" for warning in ask()]
    return found


def _warnings(installation: Installation) -> list[str]:
    configuration = installation.configuration
    found = []
    if configuration.is_default:
        found.append("nothing is configured: one local queue and one consumer, both named default")
    places = {queue.queue: queue.place for queue in configuration.queues}
    for name, queue in installation.queues.items():
        written = partial(spelling.option, places[name])
        servers = [server for server in configuration.servers if server.queue == name]
        if not servers:
            cure = spelling.consumer(places[name], name)
            found.append(f"queue {name!r}: nobody consumes it here; add {cure}, or serve it elsewhere")
        elif all(server.consume == "no" for server in servers):
            found.append(f"queue {name!r}: nobody consumes it here, as its consumers say {written('consume', 'no')}")
        if "joins" in queue.backend.capabilities and not witnesses.registered():
            found.append(
                f"queue {name!r}: {written('shared', 'true')} needs the application's session factory, by the "
                "option witness or register_witness; none is registered here"
            )
        if "durable" not in queue.backend.capabilities and not configuration.is_default:
            found.append(
                f"queue {name!r}: it is {queue.type}, and its tasks end with the process; "
                f"{written('type', 'sqlite')} keeps them"
            )
    return found


# ---- showing -----------------------------------------------------------------------------------------------------


def _as_document(target: Target, reached: Mapping[str, _Reached], warnings: list[str]) -> dict[str, Any]:
    configuration = target.installation.configuration
    return {
        "target": target.text,
        "source": configuration.source,
        "queues": [
            {"name": queue.queue, **_options_document(_queue_options(queue))} | _reached_document(reached[queue.queue])
            for queue in sorted(configuration.queues, key=lambda each: each.queue)
        ],
        "consumers": [
            {"name": server.name, **_options_document(_server_options(server))} for server in configuration.servers
        ],
        "warnings": warnings,
    }


def _reached_document(reached: _Reached) -> dict[str, Any]:
    return {"reachable": reached.error is None, "error": reached.error, "add_error": reached.add_error or None}


def _options_document(options: Sequence[tuple[Option, Any]]) -> dict[str, Any]:
    return {
        "options": {option.name: _plain(option, value) for option, value in options},
        "changed": [option.name for option, value in options if _is_changed(option, value)],
    }


def _print(screen: Screen, target: Target, reached: Mapping[str, _Reached], warnings: Sequence[str]) -> None:
    configuration = target.installation.configuration
    screen.line(("read from ", "faint"), configuration.source, ("; * differs from the default", "faint"))
    for queue in sorted(configuration.queues, key=lambda each: each.queue):
        is_default = len(configuration.queues) > 1 and queue.queue == target.installation.queues[None].name
        _print_section(screen, f"queue {queue.queue}{' (default of add)' * is_default}", _queue_options(queue))
        screen.line("    ", _told_reached(reached[queue.queue]))
    for server in configuration.servers:
        _print_section(screen, f"consumer {server.name}", _server_options(server))
    if warnings:
        screen.line()
    for warning in warnings:
        screen.line(("warning: ", "yellow"), warning)


def _told_reached(reached: _Reached) -> Word:
    if reached.error is not None:
        return f"not reachable: {reached.error}", "red"
    if reached.add_error:
        return f"reachable, but {reached.add_error}", "red"
    return reached.words, "green"


def _print_section(screen: Screen, title: str, options: Sequence[tuple[Option, Any]]) -> None:
    screen.line()
    screen.line((title, "bold"))
    for option, value in options:
        is_changed = _is_changed(option, value)
        mark: Word = ("* ", "yellow") if is_changed else "  "
        text = f"{option.name:<18} {_shown(option, value)}"
        screen.line("  ", mark, text if is_changed else (text, "faint"))


VERBS = (
    Verb(
        "check",
        "what was understood of the configuration, and whether the stores can be reached and take tasks",
        run,
        _arguments,
        description=(
            "Each option is shown with its value; * marks those that differ from the default. Keys and passwords\n"
            "are shown as (set). Lines that begin with `warning:` tell what an application served from an ini file\n"
            "would lack, and what endangers tasks. Whether a store takes tasks is tried, where it is there already,\n"
            "by a write that leaves nothing behind. The exit status is 1 when a store cannot be reached, when no\n"
            "task can be added to it, or, with --strict, when there is a warning, and 2 when the configuration is\n"
            "wrong. Of a zope.conf all is read as Zope reads it."
        ),
        examples=("check app.ini", "check app.ini --json", "check app.ini --strict", "check myapp:app"),
        has_queue=False,
    ),
)
