"""The options, from the tables that read them."""

from __future__ import annotations

from collections.abc import Iterable

from taskqueue import settings
from taskqueue.settings import Option

from .markup import code, escaped, in_units, table

PROBES = ("\0", "")  # no option takes both of these, and what it says then is what it takes


def options(given: Iterable[Option]) -> str:
    """Name, default, and what it is."""
    rows = ((code(option.name), default(option), explained(option)) for option in given)
    return table(("Option", "Default", "What it is"), rows, "20 15 65")


def explained(option: Option) -> str:
    """The line of help, and what values are taken."""
    return f"{escaped(option.help)}. *Takes* {escaped(takes(option))}."


def takes(option: Option) -> str:
    """What values an option takes, in the words of its errors."""
    for probe in PROBES:
        try:
            option.convert(probe)
        except ValueError as error:
            return str(error).replace(" (not text)", "")
    raise AssertionError(f"{option.name} takes everything")


def default(option: Option) -> str:
    """The default as it would be written in an ini file."""
    if option.default is settings.REQUIRED:
        return "must be given"
    written = written_default(option)
    return code(written) if written else "none"


def written_default(option: Option) -> str:
    """The same without marks; empty when nothing is to be written."""
    value, allowed = option.default, takes(option)
    if value is None:
        return next(word for word in ("for ever", "none", "all") if word in allowed)
    if isinstance(value, bool):
        return "true" if value else "false"
    if allowed.startswith("a duration"):
        return in_units(value, (("h", 3600), ("min", 60), ("s", 1), ("ms", 0.001)))
    if allowed.startswith("a size"):
        return in_units(value, (("MiB", 1024**2), ("KiB", 1024), ("B", 1)))
    return str(value or "") if not isinstance(value, int) else str(value)
