"""What the keeper knows of one queue. Values, and what follows from them: it does nothing, and asks nobody."""

from __future__ import annotations

import math
import time

from .doubts import Doubts
from .errors import BackendUnavailableError
from .interfaces import Record, Verdict
from .queues import Queue

DEFAULT_LEASE = 60.0
DEFAULT_RENEW = 15.0
DOUBT_SECONDS = 5.0  # how often the witnesses are asked again
PROBE_SECONDS = 1.0
FIRST_BEAT_SECONDS = 0.05


class Kept:
    """One queue that this process uses."""

    __slots__ = (
        "adding_failed",
        "beaten_at",
        "changes",
        "consumers",
        "doubts",
        "doubts_are_due",
        "down",
        "down_reports",
        "lease",
        "looked_at",
        "queue",
        "redo",
        "renew",
        "silent",
        "trouble",
        "verdicts",
    )

    def __init__(self, queue: Queue) -> None:
        self.queue = queue
        self.consumers: tuple[str, ...] = ()
        self.lease = DEFAULT_LEASE
        self.renew = DEFAULT_RENEW
        self.beaten_at: float | None = None  # monotonic; None before the first beat, and when another is due at once
        self.changes = 0  # of what a beat says
        self.down = False  # tasks are refused
        self.adding_failed = False  # since it is down: only a write such as an add makes says that it is up
        self.silent = False  # since it is down, nothing has been answered: nobody is to wait for it
        self.down_reports = 0  # what began before the last one says nothing against it
        self.trouble = ""  # an error of our own or of the backend's, told once
        self.redo: dict[str, Record] = {}
        self.verdicts: dict[str, Verdict] = {}  # by task id
        self.doubts = Doubts(queue)
        self.doubts_are_due = False
        self.looked_at: float | None = None  # for what is in doubt, monotonic

    def seconds_since_beat(self) -> float:
        beaten_at = self.beaten_at  # read once: other threads reset it
        return math.inf if beaten_at is None else time.monotonic() - beaten_at

    def change(self) -> None:
        """The next beat says something else than the last one: it is due at once."""
        self.changes += 1
        self.beaten_at = None

    def note_failure(self, error: BackendUnavailableError, adding: bool) -> bool:
        """It is down; tells whether that is news. ``adding`` says that it was the write of an add that failed."""
        was_down, self.down = self.down, True
        self.adding_failed = self.adding_failed or adding
        self.silent = not error.only_adding
        self.down_reports += 1
        return not was_down

    def note_answer(self, takes_tasks: bool) -> bool:
        """It has answered; tells whether it is up again by that."""
        self.silent = False
        if not takes_tasks:
            return False
        was_down, self.down, self.adding_failed = self.down, False, False
        return was_down

    def can_be_dropped(self) -> bool:
        """Whether it is let go without a call: it answers nothing, and there is nothing to catch up with."""
        return self.silent and not (self.redo or self.verdicts)

    def pause_seconds(self) -> float:
        """How long it can be left alone."""
        if self.down or self.redo or self.verdicts or self.trouble:
            return PROBE_SECONDS
        if self.beaten_at is None or self.doubts_are_due:
            return FIRST_BEAT_SECONDS
        rested = 0.0 if self.looked_at is None else time.monotonic() - self.looked_at
        return max(0.0, self.renew - max(self.seconds_since_beat(), rested))
