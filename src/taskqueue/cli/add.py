"""``taskqueue add``: add a task from a shell, in a transaction of its own."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

import transaction

from .. import producer, queues
from ..converters import duration, whole_number
from ..producer.arguments import METHODS
from .screen import Screen
from .target import Target, open_target
from .verb import OK, FailedError, UsageError, Verb, setting


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("url", metavar="URL", help="a path inside the site, with or without a query")
    parser.add_argument("-X", "--method", default="GET", type=str.upper, choices=METHODS, help="of the request (GET)")
    parser.add_argument(
        "-p", "--param", action="append", default=[], type=_param, metavar="NAME=VALUE", help="appended to the query"
    )
    parser.add_argument(
        "-H", "--header", action="append", default=[], type=_header, metavar="'NAME: VALUE'", help="a header"
    )
    parser.add_argument("-d", "--payload", metavar="TEXT", help="the body; @FILE for a file, - for standard input")
    parser.add_argument("--delay", type=setting(duration()), help="not before so long from now, such as 30 s or 2 h")
    parser.add_argument("--priority", type=setting(_priority), default=0, help="higher ones run first (0)")
    parser.add_argument("--max-attempts", type=setting(whole_number(1)), help="in place of the consumer's limit")


def _priority(text: str) -> int:
    if not re.fullmatch(r"\s*[+-]?[0-9]{1,18}\s*", text):
        raise ValueError("a whole number, the higher the sooner")
    return int(text)


def _param(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise argparse.ArgumentTypeError("takes NAME=VALUE")  # the text may be a secret without its name
    return name, value


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise argparse.ArgumentTypeError("takes 'NAME: VALUE'")
    return name.strip(), value.strip()


def run(arguments: argparse.Namespace, screen: Screen) -> int:
    """Add it, commit, and tell its id."""
    target = open_target(arguments.target)
    queue = target.select(arguments.queue)[0]
    if "shared" not in queue.backend.capabilities:
        raise FailedError(target.out_of_reach(queue) or "")
    payload = _payload(arguments.payload, queue.payload_limit)
    task_id = _add(target, arguments, queue.name, payload)
    screen.document({"id": task_id, "queue": queue.name})
    screen.line(task_id)
    return OK


def _add(target: Target, arguments: argparse.Namespace, queue_name: str, payload: bytes | None) -> str:
    queues.install(target.installation.queues)
    manager = transaction.TransactionManager(explicit=True)
    with manager:
        return producer.add(
            arguments.url,
            method=arguments.method,
            params=arguments.param,
            headers=arguments.header,
            payload=payload,
            queue=queue_name,
            delay=arguments.delay,
            priority=arguments.priority,
            max_attempts=arguments.max_attempts,
            transaction_manager=manager,
        )


def _payload(text: str | None, limit: int) -> bytes | None:
    """The body: no more of it is read than is needed to see that it is too large."""
    if text == "-":
        return sys.stdin.buffer.read(limit + 1)
    if text is None or not text.startswith("@"):
        return text.encode("utf-8", "surrogateescape") if text is not None else None
    try:
        with Path(text[1:]).open("rb") as file:
            return file.read(limit + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a path"
        raise UsageError(f"add: --payload: {text[1:]}: cannot be read: {reason}") from None


VERBS = (
    Verb(
        "add",
        "add a task",
        run,
        _arguments,
        description=(
            "Prints the id of the task. There is no request whose headers could be copied, so it runs as nobody\n"
            "unless headers are given; the queue's base_url tells scheme and host."
        ),
        examples=(
            "add app.ini /reports/build --method POST --param month=2026-10",
            "add app.ini /import --method PUT --payload @data.json --header 'Content-Type: application/json'",
            "add app.ini /cleanup --queue nightly --delay '2 h'",
        ),
        queue_help="the queue to add to; without it the first by name, which `taskqueue check` marks",
    ),
)
