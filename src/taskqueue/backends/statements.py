"""The SQL statements of this package: one a file in ``sql/``, named by verb, read once. Knows no connection."""

from __future__ import annotations

from importlib.resources import files


def load(verb: str) -> str:
    """The statement of that name, without the comment that stands above it."""
    text = files(__package__).joinpath("sql", f"{verb}.sql").read_text("utf-8")
    return "\n".join(line for line in text.splitlines() if not line.startswith("--")).strip()


def load_all(name: str) -> tuple[str, ...]:
    """The statements of a file that holds several; none of them has a semicolon within."""
    return tuple(each.strip() for each in load(name).split(";") if each.strip())
