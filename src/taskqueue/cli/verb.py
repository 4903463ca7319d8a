"""A verb of the command line: its name, its arguments, its help with examples, and what runs it.

Mistakes in its use become errors of one line, with the near word where one was misspelt.
"""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeVar

from ..errors import TaskQueueError
from .screen import Screen

OK, FAILED, MISUSED, TIMED_OUT = 0, 1, 2, 3

TARGET_HELP = "an ini file (app.ini, app.ini#name), a zope.conf, or module:attribute of a wrapped application"

Value = TypeVar("Value")


class UsageError(TaskQueueError):
    """The command line itself is wrong; the one-line text says what it takes."""


class FailedError(TaskQueueError):
    """What was asked for could not be done, or is not there; one line says why."""


class Parser(argparse.ArgumentParser):
    """A parser whose errors are exceptions of one line."""

    def error(self, message: str) -> NoReturn:
        """Raise in place of printing the usage."""
        message = message.removeprefix("argument ")
        raise UsageError(f"{self.prog.partition(' ')[2]}: {message}{self._near(message)}; see {self.prog} --help")

    def _near(self, message: str) -> str:
        unknown = message.partition("unrecognized arguments: ")[2].partition(" ")[0].partition("=")[0]
        return did_you_mean(unknown, self._option_string_actions) if unknown.startswith("--") else ""


@dataclass(frozen=True)
class Verb:
    """One verb. ``run`` gets the parsed arguments and a screen, and returns the exit status."""

    name: str
    summary: str
    run: Callable[[argparse.Namespace, Screen], int]
    add_arguments: Callable[[argparse.ArgumentParser], None]
    description: str = ""
    examples: Sequence[str] = field(default=())
    has_json: bool = True
    has_queue: bool = True
    queue_help: str = "this queue only"

    def parser(self) -> Parser:
        """The parser of this verb's arguments."""
        parser = Parser(
            prog=f"taskqueue {self.name}",
            description=f"{self.summary[0].upper()}{self.summary[1:]}.\n{self.description}",
            epilog="examples:\n" + "\n".join(f"  taskqueue {example}" for example in self.examples),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        parser.add_argument("target", metavar="TARGET", help=TARGET_HELP)
        self.add_arguments(parser)
        if self.has_queue:
            parser.add_argument("-q", "--queue", metavar="NAME", help=self.queue_help)
        if self.has_json:
            parser.add_argument("--json", action="store_true", help="one JSON document in place of text")
        return parser

    def __call__(self, arguments: Sequence[str]) -> int:
        """Parse and run. What goes by ids has found them all, or says which it has not; anything else is incomplete
        without the stores that it could not reach."""
        parsed = self.parser().parse_intermixed_args(list(arguments))
        screen = Screen(as_json=getattr(parsed, "json", False))
        exit_status = self.run(parsed, screen)
        by_id = getattr(parsed, "id", None) or getattr(parsed, "ids", None)
        return FAILED if exit_status == OK and screen.is_partial and not by_id else exit_status


def no_arguments(_parser: argparse.ArgumentParser) -> None:
    """For verbs that take a target only."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``; did you mean …?`` when there is a near one, else nothing."""
    near = difflib.get_close_matches(word.lower(), list(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]}?" if near else ""


def one_of(words: Sequence[str]) -> Callable[[str], str]:
    """An argument that is one of these words."""

    def convert(text: str) -> str:
        word = text.strip().lower()
        if word not in words:
            raise argparse.ArgumentTypeError(f"takes {', '.join(words)}, not {text!r}{did_you_mean(word, words)}")
        return word

    return convert


def setting(convert: Callable[[Any], Value]) -> Callable[[str], Value]:
    """An argument that is read as a setting of the configuration is, its error included."""

    def converted(text: str) -> Value:
        try:
            return convert(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"takes {error}, not {text[:60]!r}") from None

    return converted
