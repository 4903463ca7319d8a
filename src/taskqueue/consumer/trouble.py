"""Trouble that goes on: told once at its beginning and once at its end, with longer and longer pauses in between."""

from __future__ import annotations

import random
import traceback

from .. import notices
from ..errors import BackendError, TaskQueueError
from ..notices import Event
from ..record import printable

FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 5.0
DETAIL_CHARACTERS = 300


class Trouble:
    """One kind of trouble of one consumer; used by one thread."""

    def __init__(self, queue: str, consumer: str) -> None:
        self._queue = queue
        self._consumer = consumer
        self._tries = 0
        self._was_told = False

    def __bool__(self) -> bool:
        return self._tries > 0

    def goes_on(self, error: BaseException, told_by_others: bool = False) -> float:
        """It failed, again perhaps; returns how many seconds to wait before the next try."""
        self._tries += 1
        if not self._was_told and not told_by_others:
            self._was_told = True
            event = Event.BACKEND_DOWN if isinstance(error, BackendError) else Event.CONSUMER_FAILED
            notices.tell(event, queue=self._queue, consumer=self._consumer, detail=describe(error))
        pause: float = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0 ** min(self._tries - 1, 10))
        return pause * random.uniform(0.5, 1.0)  # noqa: S311  # spreads consumers, guards nothing

    def is_over(self) -> None:
        """It works, again perhaps."""
        if self._was_told:
            notices.tell(Event.BACKEND_UP, queue=self._queue, consumer=self._consumer)
        self._tries = 0
        self._was_told = False


def describe(error: BaseException) -> str:
    """An error in one line: its text where it is one of ours, else its type and where it was raised.

    The text of other errors may hold anything.
    """
    if isinstance(error, TaskQueueError):
        return printable(str(error))[:DETAIL_CHARACTERS]
    frames = traceback.extract_tb(error.__traceback__)
    place = f" in {frames[-1].name}, {frames[-1].filename}:{frames[-1].lineno}" if frames else ""
    return printable(type(error).__name__ + place)[-DETAIL_CHARACTERS:]
