"""The outcome table, and the waits that follow from it."""

from __future__ import annotations

from taskqueue import settings
from taskqueue.consumer import outcome

from .markup import in_units, table

ENDINGS = {
    "aborted": "2xx, transaction aborted",
    "conflict": "a conflict",
    "exception": "an exception",
    "other": "anything else",
    "refused": "a refusal, in Zope",
}


def outcomes() -> str:
    """The outcome table."""
    rows = ((ENDINGS.get(row.ended_in, row.ended_in), row.action, attempts_of(row), row.why) for row in outcome.TABLE)
    return table(("The replay ended in", "Outcome", "Attempts", "Why"), rows, "20 12 28 40")


def attempts_of(row: outcome.Row) -> str:
    """How a row counts attempts."""
    if row.action != "retry":
        return ""
    told = ["one each"] if row.spends else [f"none in the first {in_units(outcome.FREE_SECONDS, (('h', 3600),))}"]
    if row.at_most is not None:
        told.append(f"{row.at_most} at most")
    if row.quick:
        told.append("the wait begins at ``conflict_backoff``")
    return "; ".join(told)


def backoff_steps() -> str:
    """The waits before each retry, with the defaults."""
    server = settings.ServerSettings()
    waits = [
        outcome.backoff(retry, server.min_backoff, server.max_backoff, server.max_doublings)
        for retry in range(1, server.retry_max_count + 1)
    ]
    return ", ".join(outcome.duration_in_words(wait) for wait in waits) + ".\n"
