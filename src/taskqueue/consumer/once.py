"""The end of a task in the very transaction of its view: ``acknowledge = with-transaction``.

A queue that shares the application's database is told there that the task is done. For any other queue a mark is left
with the witnesses, one for each claim; before a task runs again, they are asked about its earlier claims. Knows no
framework: a door says when the transaction is about to commit.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from .. import notices, witnesses
from ..errors import TaskQueueError
from ..interfaces import Record, Settlement, Testimony, Witness, WitnessMark
from ..notices import Event
from ..queues import Queue
from ..record import encode_part
from . import outcome
from .outcome import Answer

ASKED_CLAIMS = 20  # the latest ones: what is older has long committed, or never will
ASKING_SECONDS = 5.0


class ClaimLostError(TaskQueueError):
    """Another process has taken over the task while it ran here: this run must not commit."""


class Once:
    """What is done about one claim, so that its transaction commits once."""

    def __init__(self, record: Record, queue: Queue, consumer: str) -> None:
        self._record = record
        self._queue = queue
        self._consumer = consumer
        self._begun_at = time.monotonic()
        self.is_settled = False  # in the store, if the transaction commits

    # ---- before it runs ----

    def earlier_run(self) -> Testimony:
        """Whether an earlier claim has committed: "not yet" says that one still may, and that waiting helps."""
        if self._record.claim_number <= 1 or "joins" in self._queue.backend.capabilities:
            return "no"  # what has committed in the store's own database would not have been claimed
        latest = self._record.claim_number - 1
        keys = [self._key(number) for number in range(max(1, latest - ASKED_CLAIMS + 1), latest + 1)]
        said = [self._ask(witness, keys) for witness in witnesses.registered()]
        return next((each for each in ("yes", "not yet") if each in said), "no")

    def _ask(self, witness: Witness, keys: Sequence[str]) -> Testimony:
        """What one database says of all these claims together."""
        try:
            mark = WitnessMark(
                kind=witness.kind, database=witness.database, marked_at=self._record.first_claimed_at or 0.0
            )
            said = witness.testify(dict.fromkeys(keys, mark), ASKING_SECONDS).values()
        except Exception as error:  # noqa: BLE001  # somebody else's database may raise anything
            detail = f"the {witness.kind} witness could not be asked: {type(error).__name__}; the task waits"
            notices.tell(Event.WARNING, queue=self._queue.name, consumer=self._consumer, detail=detail)
            return "not yet"
        if "yes" in said:
            return "yes"
        return "not yet" if witness.fences and "not yet" in said else "no"

    # ---- while its transaction commits ----

    def before_commit(self, transaction: Any, transaction_manager: Any, answer: Answer | None) -> None:
        """Called in a before-commit hook. Raises ClaimLostError, and what a database raises: the commit fails then."""
        answer = answer or Answer(status=200)  # no door has told it
        if not 200 <= (answer.status or 0) < 300:
            return  # it commits, and the task has not succeeded all the same
        if "joins" in self._queue.backend.capabilities:
            self._finish(transaction, transaction_manager, answer)
            return
        company = witnesses.company(transaction)
        marking = witnesses.leave_marks(self._key(self._record.claim_number), transaction, company)
        if marking.strangers:
            names = ", ".join(marking.strangers)
            detail = f"acknowledge = with-transaction does nothing for {names}; see taskqueue.register_witness"
            notices.tell(Event.WARNING, queue=self._queue.name, consumer=self._consumer, detail=detail)

    def _finish(self, transaction: Any, transaction_manager: Any, answer: Answer) -> None:
        execute = witnesses.executor(transaction, transaction_manager)
        if execute is None:
            raise TaskQueueError(
                f"queue {self._queue.name!r} shares the application's database, and nobody knows its sessions: "
                "call taskqueue.register_witness(session_factory)"
            )
        duration = time.monotonic() - self._begun_at
        done = outcome.done_within(answer, self._record.attempts + 1, duration, time.time())
        settlement = Settlement(
            id=self._record.id,
            claim_number=self._record.claim_number,
            state="done",
            attempts=1,
            outcome=encode_part(done),
            wipe=True,
        )
        if not self._queue.backend.finish_within(settlement, execute):
            raise ClaimLostError(
                f"task {self._record.id} was taken over by another process while it ran here; this run does not commit"
            )
        self.is_settled = True

    def _key(self, claim_number: int) -> str:
        return f"done:{self._record.id}:{claim_number}"
