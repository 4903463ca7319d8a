"""Which headers a task gets, which a replay has, which are secret."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module

from taskqueue import record
from taskqueue.consumer import replay
from taskqueue.producer import arguments, headers
from taskqueue.record import Task

from .markup import code, escaped, listed, table

capture = import_module("taskqueue.producer.capture")  # the package has a function of that name


def hop_by_hop() -> str:
    """Headers that speak of one connection."""
    return listed(_spelled(headers.HOP_BY_HOP)) + "\n"


def never_copied() -> str:
    """The other headers that are never copied."""
    prefixes = [f"{_spelling(prefix)}*" for prefix in headers._NEVER_COPIED_PREFIXES]
    return listed([*_spelled(headers._NEVER_COPIED - headers.HOP_BY_HOP), *prefixes]) + "\n"


def always_copied() -> str:
    """What ``copy_headers`` need not list."""
    return listed([*_spelled(headers._PLACE), f"{_spelling(headers._PLACE_PREFIX)}*"]) + "\n"


def secret_headers() -> str:
    """What the names of headers hold that are kept apart, and wiped."""
    return listed(record.SECRET_HEADER_PARTS) + "\n"


def captured() -> str:
    """What of the connection is kept."""
    return listed(capture.CONNECTION_VARIABLES) + "\n"


def methods() -> str:
    """The methods that a task can have."""
    return listed(arguments.METHODS) + "\n"


def made_by_the_replay() -> str:
    """The headers of a replay that no request brought along, from a replay."""
    task = Task(id="<the task's id>", queue="<its queue>", method="GET", url="/")
    environ = replay.build_environ(task, replay.Acknowledgement())
    rows = (
        (code(_spelling(key[5:])), escaped(str(value)))
        for key, value in environ.items()
        if key.startswith("HTTP_") and key != "HTTP_HOST"
    )
    return table(("Header", "Value"), rows, "40 60")


def _spelled(names: Iterable[str]) -> list[str]:
    return sorted(_spelling(name) for name in names)


def _spelling(name: str) -> str:
    return "-".join(part.capitalize() for part in name.replace("_", "-").split("-"))
