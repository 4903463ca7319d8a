"""Tables, listings and words in reStructuredText. Knows nothing of the package."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

Rows = Iterable[Sequence[str]]


def table(header: Sequence[str], rows: Rows, widths: str) -> str:
    """A list table."""
    lines = [".. list-table::", "   :header-rows: 1", f"   :widths: {widths}", ""]
    for row in (header, *rows):
        for index, cell in enumerate(row):
            lines.append(f"   {'* -' if index == 0 else '  -'} {cell}".rstrip())
    return "\n".join([*lines, ""])


def literal(lines: Iterable[str]) -> str:
    """Lines that stay as they are."""
    return "\n".join(["::", "", *(f"   {line}".rstrip() for line in lines), ""])


def code(text: object) -> str:
    """Text in a fixed width."""
    return f"``{text}``" if str(text).strip() else ""


def listed(words: Iterable[object]) -> str:
    """Words in a fixed width, separated by commas."""
    return ", ".join(code(word) for word in words)


def in_units(value: float, units: Sequence[tuple[str, float]]) -> str:
    """A quantity in the largest unit in which it is a whole number."""
    unit, factor = next(
        ((unit, factor) for unit, factor in units if value >= factor and value % factor == 0), units[-1]
    )
    return f"{round(value / factor)} {unit}"


def escaped(text: str) -> str:
    """Text in which nothing is markup."""
    return re.sub(r"([*`|\\]|_(?=\W|$))", r"\\\1", text)
