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
from ..record import Task, decode
from ..settings import ServerSettings
from . import outcome
from .once import Once
from .outcome import Judgement
from .replay import Application, replay
from .trouble import describe

WAIT_SECONDS = 5.0  # for an earlier run whose transaction is still open


class Claim:
    """One claimed record; ``task`` is there once it was read."""

    __slots__ = ("record", "task")

    def __init__(self, record: Record) -> None:
        self.record = record
        self.task: Task | None = None


class Finished(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be handed in for a claim, and what to tell when the store has it."""

    settlement: Settlement
    event: Event | None = None  # None: it was told already
    notice: dict[str, Any]
    duration_seconds: float | None = None  # None: it was not replayed
    is_settled: bool = False  # the store has it already, by the transaction of the replay

    def tell(self) -> None:
        """Tell whoever listens."""
        if self.event is not None:
            notices.tell(self.event, **self.notice)


def attempt(claim: Claim, application: Application, queue: Queue, settings: ServerSettings) -> Finished:
    """Read, replay and judge. Raises nothing but what is an error of our own."""
    record = claim.record
    try:
        task = claim.task = _read(record, queue)
    except UnknownRecordError as error:
        return _leave(record, queue, settings, error)
    except RecordError as error:
        return _refuse(record, queue, settings, error)
    about: dict[str, Any] = {"queue": queue.name, "consumer": settings.name, "task": task}
    once = Once(record, queue, settings.name) if settings.acknowledge == "with-transaction" else None
    earlier = once.earlier_run() if once is not None else "no"
    if earlier == "not yet":
        return _wait(record, queue, settings)
    if earlier == "yes":
        return _finished(record, outcome.done_before(task, time.time()), about, None)
    notices.tell(Event.STARTED, **about)
    reach("replay.begun")
    answer = replay(application, task, once.before_commit if once is not None else None)
    reach("replay.done")
    judgement = outcome.judge(answer, task, settings, time.time(), random.random())  # noqa: S311  # jitter
    about["delay_seconds"] = judgement.delay_seconds
    return _finished(
        record,
        judgement,
        about,
        answer.duration_seconds,
        is_settled=once is not None and once.is_settled and answer.committed is True,
    )


def give_back(record: Record, queue: Queue, settings: ServerSettings) -> Finished:
    """A claim that has not started: ready again, nothing spent."""
    return Finished(
        settlement=Settlement(id=record.id, claim_number=record.claim_number, state="ready", started=False),
        event=Event.RETURNED,
        notice={"queue": queue.name, "consumer": settings.name, "task_ids": (record.id,)},
    )


def give_up(record: Record, queue: Queue, settings: ServerSettings, error: BaseException) -> Finished:
    """An error of our own came between: a retry, or dead when it was the last attempt."""
    answer = outcome.Answer(exception=error)
    task = Task(id=record.id, queue=queue.name, method="", url="", attempts=record.attempts)
    judgement = outcome.judge(answer, task, settings, time.time(), random.random())  # noqa: S311  # jitter
    ids: dict[str, Any] = {"queue": queue.name, "consumer": settings.name, "task_ids": (record.id,)}
    notices.tell(Event.CONSUMER_FAILED, **ids, detail=describe(error))
    return _finished(record, judgement, {**ids, "delay_seconds": judgement.delay_seconds}, None)


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
        notice={"queue": queue.name, "consumer": settings.name},
    )


def _refuse(record: Record, queue: Queue, settings: ServerSettings, error: RecordError) -> Finished:
    """Nobody may run it: dead, its secrets kept for whoever looks into it."""
    judgement = outcome.refuse(describe(error), record.attempts, time.time())
    ids: dict[str, Any] = {"queue": queue.name, "consumer": settings.name, "task_ids": (record.id,)}
    notices.tell(Event.UNREADABLE, **ids, detail=f"{describe(error)}; it is dead, and was not run")
    return _finished(record, judgement, ids, None)


def _wait(record: Record, queue: Queue, settings: ServerSettings) -> Finished:
    """An earlier run may still commit: this one waits until that is known, and spends nothing."""
    detail = f"an earlier run of it may still commit; again in {WAIT_SECONDS:g} s"
    ids: dict[str, Any] = {"queue": queue.name, "consumer": settings.name, "task_ids": (record.id,)}
    notices.tell(Event.REMARK, **ids, detail=f"task {record.id}: {detail}")
    return Finished(
        settlement=Settlement(
            id=record.id, claim_number=record.claim_number, state="scheduled", delay=WAIT_SECONDS, started=False
        ),
        notice=ids,
    )


def _finished(
    record: Record,
    judgement: Judgement,
    notice: dict[str, Any],
    duration_seconds: float | None,
    *,
    is_settled: bool = False,
) -> Finished:
    return Finished(
        settlement=judgement.settlement(record.id, record.claim_number),
        event=judgement.event,
        notice={**notice, "outcome": judgement.outcome},
        duration_seconds=duration_seconds,
        is_settled=is_settled,
    )
