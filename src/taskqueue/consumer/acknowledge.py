"""How a task learns whether the transaction of its replay committed.

A door joins the ``Acknowledgement`` of a replay to the transaction that it gives the application. It stores nothing and
votes for everything; it only remembers how the transaction ended. It is a data manager by its methods alone, and
imports nothing of the transaction library.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from ..record import Headers
from .outcome import Answer

TransactionEnd = Literal["committed", "aborted"]
# Called with the transaction, its manager and the answer, where a door tells them.
BeforeCommit = Callable[[Any, Any, "Answer | None"], None]
HOOK_ROUNDS = 5  # so often the hook steps behind those that were registered later


class Acknowledgement:
    """Remembers how the transaction that was joined last has ended; ``state`` is None until it has."""

    transaction_manager: Any = None
    # Not everybody who looks at the data managers of a transaction should take this one for a store.
    taskqueue_volatile = True

    # How each begins. There is one for every replay, and most are never joined.
    state: TransactionEnd | None = None
    # The conflict that ended the last transaction, where a framework makes an error page of it.
    conflict: BaseException | None = None
    # Whether a right was missing, where a framework sends whoever asks to a login.
    is_unauthorized = False
    refusal: str = ""
    _joined: Any = None
    _manager: Any = None
    _answer: Answer | None = None
    _hook_rounds = 0

    def __init__(self, before_commit: BeforeCommit | None = None) -> None:
        self._before_commit = before_commit

    def join(self, transaction: Any, transaction_manager: Any = None) -> None:
        """Watch this transaction. A framework that retries joins each of its transactions; the last one counts."""
        if transaction is self._joined and self.state is None:
            return
        self.state = None
        self.conflict = None
        self.is_unauthorized = False
        self.refusal = ""
        self._joined, self._manager, self._answer = transaction, transaction_manager, None
        transaction.join(self)
        if self._before_commit is not None:
            transaction.addBeforeCommitHook(self._prepare, (transaction,))

    @property
    def wants_answer(self) -> bool:
        """Whether anybody is told before the commit what was answered."""
        return self._before_commit is not None

    def answered(self, status: int, headers: Headers = (), body: bytes = b"") -> None:
        """The application has answered, and its transaction is about to end. ``body`` is the first of it, as far as it
        is there by now."""
        self._answer = Answer(status=status, headers=headers, body=body)

    @property
    def committed(self) -> bool | None:
        """Whether it committed; None where no door let us see it."""
        return None if self.state is None else self.state == "committed"

    def refuse(self, reason: str) -> None:
        """The task must not run, nor be tried again: dead for this reason, whatever a framework makes of it."""
        self.refusal = reason

    def lose(self) -> None:
        """What the replay added is lost, in a transaction that nobody ended: as bad as an abort."""
        if self.state is None:
            self.state = "aborted"

    def _prepare(self, transaction: Any) -> None:
        """Behind all other hooks, since they may change what takes part in the transaction."""
        *_, last = transaction.getBeforeCommitHooks()
        if last[0] != self._prepare and self._hook_rounds < HOOK_ROUNDS:
            self._hook_rounds += 1
            transaction.addBeforeCommitHook(self._prepare, (transaction,))
        elif self._before_commit is not None:
            self._before_commit(transaction, self._manager, self._answer)

    # ---- the transaction calls these ----

    def sortKey(self) -> str:  # noqa: N802  # the name that the transaction library asks for
        """Last of all: what sorts earlier and commits in its vote may still fail."""
        return "~~~taskqueue:acknowledge"

    def tpc_begin(self, transaction: Any) -> None:
        """Nothing to prepare."""

    def commit(self, transaction: Any) -> None:
        """Nothing to store."""

    def tpc_vote(self, transaction: Any) -> None:
        """Never objects."""

    def tpc_finish(self, transaction: Any) -> None:
        """Everybody before us has finished."""
        self._note(transaction, "committed")

    def tpc_abort(self, transaction: Any) -> None:
        """Somebody objected, or failed to finish."""
        self._note(transaction, "aborted")

    def abort(self, transaction: Any) -> None:
        """The application gave it up."""
        self._note(transaction, "aborted")

    def savepoint(self) -> _Savepoint:
        """A rollback to here changes nothing for us."""
        return _Savepoint()

    def _note(self, transaction: Any, state: TransactionEnd) -> None:
        # A transaction that was replaced by a retry may be cleaned up late, and an abort may follow a finish.
        if self._joined in (None, transaction) and self.state != "committed":
            self.state = state


class _Savepoint:
    def rollback(self) -> None:
        """Nothing to undo."""
