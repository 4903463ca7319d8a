"""Decisions that all backends share, as functions of values. Knows no store and no clock.

``record.TRANSITIONS`` says which steps there are; what is here says which of them is taken.
"""

from __future__ import annotations

import msgspec

from ..errors import BackendUnavailableError, QueueFullError
from ..interfaces import CLAIM_BYTES_LIMIT, Record
from ..record import TRANSITIONS, Outcome, State, encode_part

GONE_SECONDS = 3600.0  # how long the id of a forgotten task is remembered
PRUNE_LIMIT = 500  # records of one sort that one call of prune deletes or wipes
GONE_PRUNE_LIMIT = 4 * PRUNE_LIMIT  # ids are small, and all that prune and delete forget come together here
WAITING = (State.STAGED, State.HELD, State.SCHEDULED, State.READY)  # what a length limit counts
FINISHED = (State.DONE, State.DEAD)
RETURNED = (State.READY, State.SCHEDULED)  # a settlement to one of these gives others something to do


class Death(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of a task whose consumer died while it ran."""

    state: State
    deaths: int
    outcome: bytes | None  # None leaves the last one


def allows(state: State | None, verb: str, to: State) -> bool:
    """Whether the table has this step. ``state`` is None for a task that the store has never seen."""
    return to in TRANSITIONS.get((state, verb), ())


def sources(verb: str) -> frozenset[str]:
    """The states that a verb may lead out of."""
    return frozenset(state.value for state, word in TRANSITIONS if word == verb and state is not None)


def refuse_over_limit(name: str, waiting: int, length_limit: int) -> None:
    """Raise QueueFullError when more tasks would wait than may."""
    if waiting > length_limit:
        raise QueueFullError(
            f"queue {name!r} is full: its length_limit is {length_limit} tasks; let a consumer work them off, "
            "or raise the limit"
        )


def too_late(name: str) -> BackendUnavailableError:
    """What is raised where a commit came so late that its sender may have given it up."""
    return BackendUnavailableError(
        f"queue {name!r}: its store has stood still for too long, or has lost what was staged; nothing was added, "
        "try again later"
    )


def published_state(due: float, now: float) -> State:
    """Where a published record waits."""
    return State.SCHEDULED if due > now else State.READY


def after_death(suspect: bool, deaths: int, max_deaths: int, now: float) -> Death:
    """What becomes of a running task whose owner died.

    Only a suspect ran alone, so only its death is surely its own; any other may have died of its neighbours.
    """
    deaths += suspect
    if not suspect or deaths < max_deaths:
        return Death(state=State.READY, deaths=deaths, outcome=None)
    times = "once" if deaths == 1 else f"{deaths} times"
    outcome = Outcome(state=State.DEAD.value, reason=f"its consumer died while running it, {times}", finished_at=now)
    return Death(state=State.DEAD, deaths=deaths, outcome=encode_part(outcome))


def first_claim_after_return(first_claimed_at: float | None, claimed_at: float | None) -> float | None:
    """The time of the first claim, of a task that is given back before it started: such a claim does not count."""
    return None if first_claimed_at == claimed_at else first_claimed_at


def has_room(claimed_bytes: int, record: Record) -> bool:
    """Whether a record still goes into one exchange; the first always does."""
    return claimed_bytes == 0 or claimed_bytes + size(record) <= CLAIM_BYTES_LIMIT


def size(record: Record) -> int:
    """What a record counts for in an exchange, in bytes; one at least."""
    return max(1, len(record.body) + len(record.secrets or b""))


def comes_before(record: Record, other: Record) -> bool:
    """The order of claims: the higher priority, then the older id."""
    return (-record.priority, record.id) < (-other.priority, other.id)
