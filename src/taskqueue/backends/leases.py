"""Whether owners on other machines still live, told from their beats. Knows no connection.

A lease lapses when no beat has been seen for as long as it lasts, by this process's own monotonic clock. The clock of
the server, or of any other machine, may jump: no lease lapses of that. Time in which nobody could look, while the
server was away or this process stood still, counts only a little, so that the living can beat before they are judged.
Time in which this process could look and not beat itself, as the store takes no changes, counts for nothing.
A process that has just begun to look has to look for almost as long as the lease lasts.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager

import msgspec

from ..errors import BackendUnavailableError
from ..interfaces import Owner

# Of an owner that the store does not know: its row was lost, together with what the server had not saved.
UNKNOWN_OWNER_LEASE = 60.0
# What a row says of an owner that left nothing behind: people are not told of it any more.
RETIRED_WITH_NOTHING = 2
# The part of a lease that may pass unwatched, and still counts.
UNWATCHED_PART = 0.25


class Row(msgspec.Struct, frozen=True, array_like=True):
    """An owner as the store has it."""

    beats: int
    seen_at: float  # by the server's clock
    lease: float
    retired: int  # 0 while it lives
    about: str  # JSON

    @property
    def owner(self) -> Owner:
        """What people want to know."""
        return msgspec.json.decode(self.about, type=Owner)


class Sight(msgspec.Struct, frozen=True):
    """What was seen in one look."""

    now: float  # by the server's clock
    rows: Mapping[str, bytes]  # of all owners
    holders: Collection[str]  # in whose name something is staged or running


_row_decoder = msgspec.msgpack.Decoder(Row)


def decode_row(row: bytes) -> Row:
    """A row of an owner. Raises msgspec.MsgspecError for what is none."""
    return _row_decoder.decode(row)


class Watch:
    """For how long each owner has been silent, as far as this process could see."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._silent: dict[str, tuple[bytes, float]] = {}  # owner -> its row, seconds of silence
        self._looked_at: float | None = None  # monotonic
        self._is_barred = False  # from beating

    @contextmanager
    def beating(self) -> Iterator[None]:
        """Around a beat of this process: where its own fails, the others cannot be expected to beat."""
        try:
            yield
        except BackendUnavailableError:
            self._is_barred = True
            raise
        self._is_barred = False

    def lapsed(self, sight: Sight, now: float) -> list[str]:
        """The owners whose lease has lapsed, or who have retired and still hold something. ``now`` is monotonic."""
        with self._lock:
            elapsed = 0.0 if self._looked_at is None or self._is_barred else now - self._looked_at
            self._looked_at = now
            owners = sorted({*sight.rows, *sight.holders})
            before, self._silent = self._silent, {}
            return [owner for owner in owners if self._has_lapsed(owner, sight, before.get(owner), elapsed)]

    def _has_lapsed(self, owner: str, sight: Sight, before: tuple[bytes, float] | None, elapsed: float) -> bool:
        raw = sight.rows.get(owner, b"")
        row = decode_row(raw) if raw else None
        lease = row.lease if row is not None else UNKNOWN_OWNER_LEASE
        if before is not None:
            silent = 0.0 if before[0] != raw else before[1] + _counted(elapsed, lease)
        else:
            silent = 0.0 if row is None else _counted(sight.now - row.seen_at, lease)
        self._silent[owner] = (raw, silent)
        if row is not None and row.retired:
            return owner in sight.holders
        return silent >= lease


def _counted(seconds: float, lease: float) -> float:
    return min(max(0.0, seconds), lease * UNWATCHED_PART)
