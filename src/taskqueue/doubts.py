"""What is in doubt: tasks whose transaction was cut short, and what the witnesses say of it.

A held record carries the marks that were left in its transaction. Whoever of this process can answer for them is asked,
and the answers decide. Knows no thread: the keeper says when to look.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Collection, Container, Iterable, Sequence
from typing import Any, NamedTuple, Protocol

from . import failpoints, notices, witnesses
from .errors import RecordError
from .interfaces import Record, Testimony, Verdict
from .notices import Event
from .queues import Queue
from .record import Envelope, State, decode_envelope

PAGE = 100
ASKING_SECONDS = 5.0  # of each witness for one page; and after so long a look is cut short, since leases wait for it
PATIENCE_SECONDS = 60.0  # so long a doubt may last before somebody is told


class Decision(NamedTuple):
    """What is to be done about a transaction, and why, in words for people."""

    verdict: Verdict | None  # None: ask again
    reason: str
    is_torn: bool = False


def decide(envelope: Envelope | None, answers: Sequence[Testimony | None], in_doubt: str) -> Decision:
    """What follows from the answers, which stand in the order of the envelope's marks; None: nobody here can answer.

    ``in_doubt`` is the option of the queue, for what can never be known.
    """
    if envelope is None or envelope.strangers is None:
        return _undecided("nothing is known of its transaction", in_doubt)
    names = [f"{mark.kind} {mark.database}" for mark in envelope.witnesses]
    said = dict(zip(names, answers, strict=True))
    if "yes" in said.values():
        return _committed(said)
    return _without_a_yes(said, envelope.strangers, in_doubt)


def _without_a_yes(said: dict[str, Testimony | None], strangers: Sequence[str], in_doubt: str) -> Decision:
    """While somebody may yet say yes, nothing is decided, whatever the others say."""

    def those_that_say(answer: Testimony | None) -> str:
        return ", ".join(name for name, each in said.items() if each == answer)

    noes = those_that_say("no")
    if absent := those_that_say(None):
        return Decision(None, f"nobody in this process can ask {absent}; see taskqueue.register_witness")
    if undecided := those_that_say("not yet"):
        return Decision(None, f"it may still commit in {undecided}; asked again")
    if strangers:
        return _undecided(_unasked(strangers), in_doubt)
    if unknown := ", ".join(name for name, each in said.items() if each != "no"):
        return _undecided(f"the history of {unknown} does not tell any more", in_doubt)
    if noes:
        return Decision("discard", f"its transaction did not commit in {noes}")
    return Decision("discard", "its transaction never finished, and nothing durable was in it")


def _committed(said: dict[str, Testimony | None]) -> Decision:
    ayes = ", ".join(name for name, answer in said.items() if answer == "yes")
    noes = ", ".join(name for name, answer in said.items() if answer == "no")
    reason = f"its transaction committed in {ayes}"
    if noes:
        reason += f", and not in {noes}: it is torn, mend what is missing there"
    return Decision("publish", reason, is_torn=bool(noes))


def _unasked(strangers: Sequence[str]) -> str:
    reason = f"a part of its transaction cannot be asked: {', '.join(strangers)}"
    if any(each.startswith("zope.sqlalchemy.") for each in strangers):
        reason += ", which taskqueue.register_witness(session_factory) lets be asked the next time"
    return reason


def _undecided(reason: str, in_doubt: str) -> Decision:
    if in_doubt == "publish":
        return Decision("publish", f"{reason}; in_doubt = publish decides")
    if in_doubt == "discard":
        return Decision("discard", f"{reason}; in_doubt = discard decides")
    return Decision("hold", reason)


class InFlightProducer(Protocol):
    """What the producer has in a transaction."""

    @property
    def may_commit(self) -> bool:
        """Whether it, or another part of the transaction, may still commit in this process."""


class InFlight:
    """Transactions of this process that have something staged, by id: nobody may decide for one that may still commit.

    None is kept alive by being here; a producer that is gone will commit nothing.
    """

    def __init__(self) -> None:
        self._producers: weakref.WeakValueDictionary[str, InFlightProducer] = weakref.WeakValueDictionary()

    def __contains__(self, transaction_id: object) -> bool:
        producer = self._producers.get(transaction_id) if isinstance(transaction_id, str) else None
        return producer is not None and producer.may_commit

    def __len__(self) -> int:
        return len(self._producers)

    def enter(self, transaction_id: str, producer: InFlightProducer) -> None:
        """Something is about to be staged."""
        self._producers[transaction_id] = producer

    def leave(self, transaction_id: str) -> None:
        """It is over."""
        self._producers.pop(transaction_id, None)


class Either:
    """What is in one of several places."""

    def __init__(self, *places: Container[object]) -> None:
        self._places = places

    def __contains__(self, task_id: object) -> bool:
        return any(task_id in place for place in self._places)


class Doubts:
    """What is held of one queue."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._seen_at: dict[str, float] = {}  # task id -> since when it is in doubt here, monotonic
        self._told: set[str] = set()
        self._told_errors: set[str] = set()
        self._after = ""  # where the last look was cut short
        self._seen: set[str] = set()  # ids, since the last one that began at the beginning
        self._met_errors: set[str] = set()  # the same

    def settle(self, in_flight: Container[str], unpublished: Container[str] = ()) -> bool:
        """Decide what can be decided; return whether something is to be asked again.

        ``in_flight`` are ids of transactions that this process has not ended yet, ``unpublished`` those of tasks that
        it has still to publish: nobody may decide for them. Lets out what the backend raises. A look that takes long
        is cut short, and the next one goes on from there.
        """
        begun_at, asks_again = time.monotonic(), False
        while True:
            page = self._queue.backend.staged(PAGE, self._after)
            held = [each for each in page if each.state == State.HELD.value and each.id not in unpublished]
            self._seen.update(record.id for record in held)
            asks_again |= self._settle_page(held, in_flight)
            if len(page) < PAGE:
                self._forget_what_is_not_there()
                return asks_again
            self._after = page[-1].id
            if time.monotonic() - begun_at >= ASKING_SECONDS:
                return True

    def _forget_what_is_not_there(self) -> None:
        self._seen_at = {task_id: at for task_id, at in self._seen_at.items() if task_id in self._seen}
        self._told &= self._seen
        self._told_errors &= self._met_errors
        self._after, self._seen, self._met_errors = "", set(), set()

    def _settle_page(self, held: Collection[Record], in_flight: Container[str]) -> bool:
        found = _by_transaction(held)
        transactions = [each for each in found if _id_of(each[0]) not in in_flight]
        asked = [(_id_of(envelope), () if envelope is None else envelope.witnesses) for envelope, _ in transactions]
        answers, errors = witnesses.testify(asked, ASKING_SECONDS)
        self._tell_errors(errors)
        failpoints.reach("doubt.asked")
        asks_again = len(transactions) < len(found)
        for (envelope, ids), said in zip(transactions, answers, strict=True):
            decision = decide(envelope, said, self._queue.in_doubt)
            asks_again |= decision.verdict is None
            self._carry_out(decision, ids)
        return asks_again

    def _carry_out(self, decision: Decision, ids: Sequence[str]) -> None:
        if decision.verdict is None or decision.verdict == "hold":
            self._tell_doubt(decision, ids)
            return
        about: dict[str, Any] = {"queue": self._queue.name, "task_ids": tuple(ids)}
        done = "published" if decision.verdict == "publish" else "discarded"
        if decision.is_torn:
            # Somebody has to mend it: better told twice than by nobody, should this process die in between.
            notices.tell(Event.TORN, **about, detail=f"{done}: {decision.reason}")
        changed = self._queue.backend.settle(ids, decision.verdict)
        failpoints.reach("doubt.settled")
        if changed:
            self._queue.backend.wake()
            if not decision.is_torn:
                notices.tell(Event.SETTLED, **about, detail=f"{done}: {decision.reason}")

    def _tell_errors(self, errors: Iterable[str]) -> None:
        """Each once, until a look at everything did not meet it."""
        self._met_errors.update(errors)
        for error in sorted(self._met_errors - self._told_errors):
            self._told_errors.add(error)
            notices.tell(Event.WARNING, queue=self._queue.name, detail=error)

    def _tell_doubt(self, decision: Decision, ids: Iterable[str]) -> None:
        """Once for each task; of what may be decided soon, only when it was not."""
        now = time.monotonic()
        patience = PATIENCE_SECONDS if decision.verdict is None else 0.0
        due = [each for each in ids if now - self._seen_at.setdefault(each, now) >= patience and each not in self._told]
        if due:
            self._told.update(due)
            advice = "; see taskqueue resolve" if decision.verdict == "hold" else ""
            notices.tell(Event.HELD, queue=self._queue.name, task_ids=tuple(due), detail=decision.reason + advice)


_Transaction = tuple[Envelope | None, list[str]]


def _by_transaction(held: Iterable[Record]) -> list[_Transaction]:
    """Envelopes with the ids of their tasks. What cannot be read stands by itself."""
    found: dict[str, _Transaction] = {}
    for record in held:
        try:
            envelope: Envelope | None = decode_envelope(record.envelope)
        except RecordError:
            envelope = None
        # Tasks of one transaction may differ in what took part when each was staged.
        key = record.id if envelope is None else repr(envelope)
        found.setdefault(key, (envelope, []))[1].append(record.id)
    return list(found.values())


def _id_of(envelope: Envelope | None) -> str:
    return envelope.transaction_id if envelope is not None else ""
