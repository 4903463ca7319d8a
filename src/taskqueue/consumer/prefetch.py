"""How many tasks to claim: what the free threads take now, and a little ahead while tasks are short; and when to look
again. Arithmetic."""

from __future__ import annotations

from ..interfaces import CLAIM_BYTES_LIMIT, CLAIM_COUNT_LIMIT, Exchanged
from .pool import Load

WEIGHT = 0.2  # of the newest duration in the average
PATIENCE_FACTOR = 10
PATIENCE_SECONDS = 1.0
POLL_SECONDS = 1.0  # hints may be missed
SHORTEST_PAUSE_SECONDS = 0.005
AHEAD_LIMIT = 2 * CLAIM_COUNT_LIMIT  # while one half is run, the other is claimed in one whole exchange


def average(before: float | None, seconds: float) -> float:
    """The moving average of durations after one more."""
    return seconds if before is None else before + WEIGHT * (seconds - before)


def ahead(threads: int, mean_seconds: float | None, all_busy_seconds: float | None, prefetch_seconds: float) -> int:
    """How many tasks to hold beside those that run: as many as take ``prefetch_seconds`` by their average.

    None while tasks are longer than that, were never seen, or when no thread has come free for that long
    (``all_busy_seconds``; None: some thread is free): what waits in one process is missing in all others.
    """
    if mean_seconds is None or mean_seconds > prefetch_seconds:
        return 0
    if all_busy_seconds is not None and all_busy_seconds > prefetch_seconds:
        return 0
    return min(AHEAD_LIMIT, int(prefetch_seconds * threads / max(mean_seconds, 1e-6)))


def wanted(threads: int, running: int, buffered: int, ahead_count: int) -> int:
    """How many tasks to claim now."""
    return max(0, min(CLAIM_COUNT_LIMIT, threads + ahead_count - running - buffered))


def low_water(ahead_count: int, begin_at: int) -> int:
    """With how many tasks left to start the next exchange begins."""
    return min(ahead_count // 2, begin_at)


def patience(prefetch_seconds: float) -> float:
    """So long a claimed task may wait for a thread before it is given back."""
    return max(PATIENCE_SECONDS, PATIENCE_FACTOR * prefetch_seconds)


def was_cut_short(answer: Exchanged) -> bool:
    """Whether an exchange may have left ready tasks because of the size of those that it claimed."""
    sizes = [len(record.body) + len(record.secrets or b"") for record in answer.claimed]
    return sum(sizes) > CLAIM_BYTES_LIMIT // 2


def pause(
    threads: int, load: Load, next_due_seconds: float | None, prefetch_seconds: float, deadline_seconds: float
) -> float:
    """Seconds until somebody is to look, though no thread comes free."""
    seconds = POLL_SECONDS
    if next_due_seconds is not None:
        seconds = min(seconds, next_due_seconds)
    if load.buffered > threads - load.running:  # the rest is begun at once
        # Workers deal with the store when few are left; what they ended before shall not wait for it.
        seconds = min(seconds, prefetch_seconds)
    if load.running or load.buffered:
        seconds = min(seconds, deadline_seconds - load.longest_seconds)
    return max(seconds, SHORTEST_PAUSE_SECONDS)
