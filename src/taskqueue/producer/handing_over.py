"""What a data manager asks of a store beyond the protocol, and what it leaves to the keeper."""

from __future__ import annotations

import time
from collections.abc import Callable

from ..errors import BackendError, BackendUnavailableError
from ..interfaces import Record, Verdict
from ..keeper import process_keeper
from ..queues import Queue
from ..record import State
from .budget import Budget, SpentError

ASK_SECONDS = 2.0  # that a request waits to learn what became of its commit, when the answer was lost


def joins(queue: Queue) -> bool:
    """Whether its tasks are added in the application's own transaction."""
    return "joins" in queue.backend.capabilities


def is_durable(queue: Queue) -> bool:
    """Whether its tasks outlive the process: otherwise they are lost with it, whatever a witness knows."""
    return "durable" in queue.backend.capabilities


def is_certain(queue: Queue) -> bool:
    """Whether a call of it that fails has changed nothing, and will not."""
    return "certain" in queue.backend.capabilities


# ---- calls -----------------------------------------------------------------------------------------------------------


def publish(queue: Queue, records: list[Record], budget: Budget) -> None:
    """Make them runnable. Lets out what the backend raises."""
    process_keeper().refuse_if_silent(queue)
    with budget as seconds_left:
        queue.backend.publish(records, seconds_left())


def publish_in_time(queue: Queue, records: list[Record], budget: Budget, staged_at: float) -> None:
    """Make runnable what the store confirmed at ``staged_at``, monotonic, as staged; once there is no time left, the
    store does not either. Lets out what the backend raises."""
    process_keeper().refuse_if_silent(queue)
    with budget as seconds_left:
        timeout = seconds_left()
        queue.backend.publish_in_time(records, time.monotonic() + timeout - staged_at, timeout)


def deliver(queue: Queue, records: list[Record], budget: Budget) -> None:
    """Store them and make them runnable. Lets out what the backend raises."""
    try:
        with budget as seconds_left:
            queue.backend.deliver(records, seconds_left())
    except BackendUnavailableError as error:
        report(queue, error, adding=True)
        raise


def commit_by(
    call: Callable[[Queue, list[Record], Budget], None], queue: Queue, records: list[Record], budget: Budget
) -> BaseException | None:
    """Make the call that is the commit. Lets out what it raises, if nothing was committed.

    Else its answer was lost, or an interrupt came, and it was the commit all the same; returns the interrupt.
    """
    try:
        call(queue, records, budget)
    except BaseException as error:
        report(queue, error)
        if not is_published(queue, records):
            raise
        redo(queue, records)
        return None if isinstance(error, Exception) else error
    return None


def decide(queue: Queue, records: list[Record], verdict: Verdict, budget: Budget) -> None:
    """Within the budget, and without an error: an abort has its own reason, which must not be hidden."""
    keeper = process_keeper()
    ids = [record.id for record in records]
    try:
        keeper.refuse_if_silent(queue)
        with budget as seconds_left:
            if verdict == "discard":
                queue.backend.discard(ids, seconds_left())
            else:
                queue.backend.settle(ids, verdict, seconds_left())
    except Exception as error:  # noqa: BLE001  # whatever a backend raises, the keeper tries again
        keeper.settle_later(queue, ids, verdict)  # first: a probe that knows nothing of them would find the backend up
        report(queue, error)


# ---- what became of them ---------------------------------------------------------------------------------------------


def is_published(queue: Queue, records: list[Record]) -> bool:
    """Whether the store has begun to publish them. One that cannot be asked has not.

    Where a call may still be on its way, the first is discarded first. That waits for whatever has begun, and nothing
    comes of what begins later, so that the answer is final.
    """
    first = records[0].id
    try:
        if not is_certain(queue):
            queue.backend.discard([first], ASK_SECONDS)
        found = queue.backend.get(first)
    except Exception:  # noqa: BLE001  # whatever it raises, nothing is known
        return False
    return found is not None and found.state not in (State.STAGED.value, State.HELD.value)


def see_that_they_are_there(queue: Queue, records: list[Record]) -> None:
    """The lease may have lapsed meanwhile; then others have discarded what was staged, and it stays discarded."""
    try:
        missing = [record.id for record in records if queue.backend.get(record.id) is None]
    except Exception:  # noqa: BLE001  # whatever it raises, nothing says that anything is missing
        return
    if missing:
        raise BackendError(
            f"queue {queue.name!r}: this process stood still for so long that others took it for dead, and "
            f"{len(missing)} of its tasks were discarded; add them again"
        )


# ---- for the keeper --------------------------------------------------------------------------------------------------


def report(queue: Queue, error: BaseException, *, adding: bool = False) -> None:
    """Have the keeper refuse further tasks, if this error says that the backend is down, or that none can be added."""
    if isinstance(error, BackendUnavailableError) and not isinstance(error, SpentError):
        process_keeper().report_down(queue, error, adding=adding)


def redo(queue: Queue, records: list[Record]) -> None:
    process_keeper().redo(queue, records, BackendError("publishing was interrupted"))


def discard_later(queue: Queue, records: list[Record]) -> None:
    process_keeper().settle_later(queue, [record.id for record in records], "discard")


def hold_later(queue: Queue, records: list[Record]) -> None:
    process_keeper().settle_later(queue, [record.id for record in records], "hold")
