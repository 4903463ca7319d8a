"""What a worker thread does with one claim: read the record, replay it, judge the answer. Tells no store."""

from __future__ import annotations

import random
import time
from typing import Any

import msgspec

from .. import notices
from ..errors import BrokenSealError, RecordError, UnknownRecordError
from ..failpoints import reach
from ..interfaces import Record, Settlement
from ..notices import Event
from ..queues import Queue
from ..record import Outcome, Task, decode
from ..settings import ServerSettings
from . import outcome
from .once import Once
from .outcome import Judgement
from .replay import Application, replay
from .trouble import describe

WAIT_SECONDS = 5.0  # for an earlier run whose transaction is still open


# Nothing in these refers back to them, so the collector of cycles need not look at them.


class Claim(msgspec.Struct, eq=False, gc=False):
    """One claimed record; ``task`` is there once it was read."""

    record: Record
    task: Task | None = None


class Finished(msgspec.Struct, frozen=True, kw_only=True, eq=False, gc=False):
    """What is to be handed in for a claim, and what to tell when the store has it."""

    settlement: Settlement
    queue: str
    consumer: str
    event: Event | None = None  # None: it was told already
    task: Task | None = None
    task_ids: tuple[str, ...] = ()
    outcome: Outcome | None = None
    delay_seconds: float = 0.0
    duration_seconds: float | None = None  # None: it was not replayed
    is_settled: bool = False  # the store has it already, by the transaction of the replay

    def tell(self) -> None:
        """Tell whoever listens."""
        if self.event is not None:
            self._tell(self.event, self.task_ids)

    def tell_refused(self) -> None:
        """Tell that the store did not take it: somebody else has claimed the task."""
        self._tell(Event.REFUSED, (self.settlement.id,))

    def _tell(self, event: Event, task_ids: tuple[str, ...]) -> None:
        notices.tell(
            event,
            queue=self.queue,
            consumer=self.consumer,
            task=self.task,
            task_ids=task_ids,
            outcome=self.outcome,
            delay_seconds=self.delay_seconds,
        )


def attempt(claim: Claim, application: Application, queue: Queue, settings: ServerSettings) -> Finished:
    """Read, replay and judge. Raises nothing but what is an error of our own."""
    record = claim.record
    try:
        task = claim.task = _read(record, queue)
    except UnknownRecordError as error:
        return _leave(record, queue, settings, error)
    except RecordError as error:
        return _refuse(record, queue, settings, error)
    once = Once(record, queue, settings.name) if settings.acknowledge == "with-transaction" else None
    earlier = once.earlier_run() if once is not None else "no"
    if earlier == "not yet":
        return _wait(record, queue, settings)
    if earlier == "yes":
        return _finished(record, outcome.done_before(task, time.time()), queue, settings, task)
    if notices.is_heard(Event.STARTED):
        notices.tell(Event.STARTED, queue=queue.name, consumer=settings.name, task=task)
    reach("replay.begun")
    answer = replay(application, task, once.before_commit if once is not None else None)
    reach("replay.done")
    judgement = outcome.judge(answer, task, settings, time.time(), random.random())  # noqa: S311  # jitter
    is_settled = once is not None and once.is_settled and answer.committed is True
    return _finished(record, judgement, queue, settings, task, answer.duration_seconds, is_settled)


def give_back(record: Record, queue: Queue, settings: ServerSettings) -> Finished:
    """A claim that has not started: ready again, nothing spent."""
    return Finished(
        settlement=Settlement(id=record.id, claim_number=record.claim_number, state="ready", started=False),
        queue=queue.name,
        consumer=settings.name,
        event=Event.RETURNED,
        task_ids=(record.id,),
    )


def give_up(record: Record, queue: Queue, settings: ServerSettings, error: BaseException) -> Finished:
    """An error of our own came between: a retry, or dead when it was the last attempt."""
    answer = outcome.Answer(exception=error)
    task = Task(id=record.id, queue=queue.name, method="", url="", attempts=record.attempts)
    judgement = outcome.judge(answer, task, settings, time.time(), random.random())  # noqa: S311  # jitter
    ids: dict[str, Any] = {"queue": queue.name, "consumer": settings.name, "task_ids": (record.id,)}
    notices.tell(Event.CONSUMER_FAILED, **ids, detail=describe(error))
    return _finished(record, judgement, queue, settings)


def _read(record: Record, queue: Queue) -> Task:
    task = decode(record, queue.keyring)
    if queue.keyring and task.queue != queue.name:
        raise BrokenSealError("the record was added to another queue, and was moved in the store; delete it")
    if task.wiped:
        # Such a record cannot be checked, and would be another request than the one that was added.
        raise BrokenSealError("the record's payload and credentials are gone, so it cannot be run; add it again")
    return task


def _leave(record: Record, queue: Queue, settings: ServerSettings, error: UnknownRecordError) -> Finished:
    """Somebody else may know how to run it; it is offered again and again."""
    delay = outcome.UNKNOWN_RECORD_DELAY * random.uniform(0.9, 1.1)  # noqa: S311  # jitter
    notices.tell(
        Event.UNREADABLE,
        queue=queue.name,
        consumer=settings.name,
        task_ids=(record.id,),
        detail=f"{describe(error)}; again in {outcome.duration_in_words(delay)}",
    )
    return Finished(
        settlement=Settlement(id=record.id, claim_number=record.claim_number, state="scheduled", delay=delay),
        queue=queue.name,
        consumer=settings.name,
    )


def _refuse(record: Record, queue: Queue, settings: ServerSettings, error: RecordError) -> Finished:
    """Nobody may run it: dead, its secrets kept for whoever looks into it."""
    judgement = outcome.refuse(describe(error), record.attempts, time.time())
    ids: dict[str, Any] = {"queue": queue.name, "consumer": settings.name, "task_ids": (record.id,)}
    notices.tell(Event.UNREADABLE, **ids, detail=f"{describe(error)}; it is dead, and was not run")
    return _finished(record, judgement, queue, settings)


def _wait(record: Record, queue: Queue, settings: ServerSettings) -> Finished:
    """An earlier run may still commit: this one waits until that is known, and spends nothing."""
    detail = f"an earlier run of it may still commit; again in {WAIT_SECONDS:g} s"
    ids: dict[str, Any] = {"queue": queue.name, "consumer": settings.name, "task_ids": (record.id,)}
    notices.tell(Event.REMARK, **ids, detail=f"task {record.id}: {detail}")
    return Finished(
        settlement=Settlement(
            id=record.id, claim_number=record.claim_number, state="scheduled", delay=WAIT_SECONDS, started=False
        ),
        **ids,
    )


def _finished(
    record: Record,
    judgement: Judgement,
    queue: Queue,
    settings: ServerSettings,
    task: Task | None = None,
    duration_seconds: float | None = None,
    is_settled: bool = False,
) -> Finished:
    return Finished(
        settlement=judgement.settlement(record.id, record.claim_number),
        queue=queue.name,
        consumer=settings.name,
        event=judgement.event,
        task=task,
        task_ids=(record.id,) if task is None else (),
        outcome=judgement.outcome,
        delay_seconds=judgement.delay_seconds,
        duration_seconds=duration_seconds,
        is_settled=is_settled,
    )
