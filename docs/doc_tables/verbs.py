"""The command line, in its own words."""

from __future__ import annotations

import contextlib
import io
import os
import re

from taskqueue import cli

from .markup import literal

HELP_COLUMNS = 110


def verbs() -> str:
    """Each verb with its own help."""
    parts = []
    for verb in verb_names():
        title = f"taskqueue {verb}"
        parts += [f".. _verb-{verb}:", "", title, "~" * len(title), "", literal(help_of(verb, "--help").splitlines())]
    return "\n".join(parts)


def verb_overview() -> str:
    """What ``taskqueue --help`` prints."""
    return literal(help_of("--help").splitlines())


def verb_names() -> list[str]:
    """The verbs, as the command line lists them."""
    return re.findall(r"^  ([a-z]+) {2,}\w", help_of("--help"), re.MULTILINE)


def help_of(*arguments: str) -> str:
    """What the command line prints, for a terminal that is wide enough."""
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = str(HELP_COLUMNS)  # argparse looks there
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            cli.main(arguments)
    finally:
        if before is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = before
    return printed.getvalue()
