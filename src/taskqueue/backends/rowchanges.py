"""What an exchange changes, and the one statement that changes it. Works in an open session.

With each statement, and with each row of an answer, the module ``sqlite3`` lets the other threads of its process take a
turn, and while those work an exchange waits for them. So all of it is one statement; triggers of the connection do it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from functools import cache
from itertools import chain
from typing import NamedTuple

from .sessions import Session
from .statements import load

_CHANGE = load("change")
_EXCHANGE = load("exchange")
_CAME_TOO_LATE = "a settlement came too late"


class Change(NamedTuple):
    """A row of the view ``change``; ``exchange.sql`` tells what its columns are."""

    kind: str
    queue: int
    now: float
    given: str | int | None = None
    tasks: int = 0
    state: str | None = None
    attempts: int = 0
    wipe: bool = False
    started: bool = False
    outcomes: bytes | None = None
    bytes: int = 0
    owner: str = ""
    consumer: str = ""


class CameTooLateError(Exception):
    """A settlement came too late; nothing was changed."""


def set_up(session: Session) -> None:
    """Make what ``change_all`` needs; nobody else sees it."""
    session.connection.executescript(_EXCHANGE)


def change_all(session: Session, changes: Sequence[Change]) -> None:
    """Make the changes in their order, all or none. Raises CameTooLateError."""
    try:
        session.connection.execute(_statement(len(changes)), list(chain.from_iterable(changes)))
    except sqlite3.IntegrityError as error:
        if str(error) != _CAME_TOO_LATE:
            raise
        raise CameTooLateError from error


@cache
def _statement(count: int) -> str:
    places = ", ".join("?" * len(Change._fields))
    return _CHANGE.format(rows=", ".join([f"({places})"] * count))
