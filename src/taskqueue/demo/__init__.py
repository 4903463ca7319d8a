"""The first five minutes: ``taskqueue demo`` writes a small site, serves it, and shows its tasks change state.

``files`` is the site as a user would write one of their own; ``folder`` puts it where the user wants it, ``serving`` is
its web server, ``terminal`` what is said while it runs, ``rehearsal`` the same without a browser. All of it needs
nothing but the package itself.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from ..backends.redis import RedisQueue
from ..backends.redis_address import address_of
from ..errors import BackendError, ConfigurationError
from . import rehearsal, terminal
from .folder import prepare
from .serving import ServedSite

DEFAULT_DIRECTORY = "taskqueue-demo"
EXAMPLES = """\
examples:
  taskqueue demo                      write the site into ./taskqueue-demo and serve it on a free port
  taskqueue demo --port 8080          the same on a port of your choice
  taskqueue demo --redis redis://localhost:6379/0
                                      the same with its tasks on a Redis server
  taskqueue demo --once               no browser: do all of it in a temporary directory, and tell what happened
"""


def main(arguments: Sequence[str]) -> int:
    """Run the demo; the exit status is 0, 1 when something of ``--once`` did not happen, 2 when it cannot start."""
    logging.getLogger("taskqueue").addHandler(logging.NullHandler())  # what matters is said here, in fewer words
    try:
        options = _parser().parse_args(arguments)
        with _stop_signals():
            if options.redis:
                _refuse_silent_server(options.redis)
            if options.once:
                return rehearsal.run(options.directory, options.port, options.redis)
            return _serve(Path(options.directory or DEFAULT_DIRECTORY), options.port, options.redis)
    except ConfigurationError as error:
        print(f"taskqueue demo: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("taskqueue demo: stopped before its end", file=sys.stderr)
        return 1


def _serve(directory: Path, port: int, redis_url: str | None) -> int:
    """Serve the site until somebody stops it."""
    folder = prepare(directory, redis_url=redis_url)
    site = ServedSite(folder.ini, port)
    with terminal.telling():
        try:
            terminal.welcome(folder, site)
            site.start()
            terminal.invite(folder, site)
            while True:
                signal.pause()
        except KeyboardInterrupt:
            terminal.say("\nStopping: what runs may end; what waits, waits. Ctrl-C again leaves at once.")
        finally:
            site.stop()
    terminal.farewell(site)
    return 0


def _refuse_silent_server(redis_url: str) -> None:
    """Before anything is written that would have to be mended by hand."""
    queue = RedisQueue(name="default", url=redis_url)
    try:
        queue.counts()
    except BackendError as error:
        raise ConfigurationError(f"--redis: {error}; nothing was written") from None
    finally:
        queue.close()


@contextmanager
def _stop_signals() -> Iterator[None]:
    """SIGTERM does what Ctrl-C does, and the second of them ends the process as it stands."""
    previous: dict[int, Any] = {number: signal.signal(number, _interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _interrupt(signal_number: int, frame: FrameType | None) -> NoReturn:
    # At once, so that a second signal finds no moment in which it would be taken for the first.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _leave_at_once)
    raise KeyboardInterrupt


def _leave_at_once(signal_number: int, frame: FrameType | None) -> NoReturn:
    # No tidying up, which is what takes its time: what runs is run again, as after any sudden death.
    os._exit(1)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigurationError(f"{message}; see taskqueue demo --help")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="taskqueue demo",
        description="Write a small site with a task queue, serve it on this machine only, and say what to click. "
        "Files that are there already are never overwritten.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--once", action="store_true", help="without a browser: do all of it, tell what happened, and end"
    )
    parser.add_argument("--port", type=_port, default=0, help="the port to serve on (default: a free one)")
    parser.add_argument(
        "--directory",
        help=f"where the site is, or is written to (default: ./{DEFAULT_DIRECTORY}; a temporary one for --once)",
    )
    parser.add_argument(
        "--redis",
        metavar="URL",
        type=_redis_url,
        help="keep the tasks on this Redis server, in place of a file (it is written into demo.ini)",
    )
    return parser


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text[:6]) <= 65535):
        raise argparse.ArgumentTypeError(f"takes a number from 0 to 65535, not {text[:60]!r}")
    return int(text)


def _redis_url(text: str) -> str:
    if not text or not text.isascii() or not text.isprintable() or " " in text:  # it becomes a line of an ini file
        raise argparse.ArgumentTypeError("takes a URL such as redis://host:6379/0, with anything unusual as %XX")
    try:
        address_of({"url": text})
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text
