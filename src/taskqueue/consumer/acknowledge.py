"""How a task learns whether the transaction of its replay committed.

A door joins the ``Acknowledgement`` of a replay to the transaction that it gives the application. It stores nothing and
votes for everything; it only remembers how the transaction ended. It is a data manager by its methods alone, and
imports nothing of the transaction library.
"""

from __future__ import annotations

from typing import Any, Literal

TransactionEnd = Literal["committed", "aborted"]


class Acknowledgement:
    """Remembers how the transaction that was joined last has ended; ``state`` is None until it has."""

    transaction_manager: Any = None
    # Not everybody who looks at the data managers of a transaction should take this one for a store.
    taskqueue_volatile = True

    def __init__(self) -> None:
        self.state: TransactionEnd | None = None
        self._joined: Any = None

    def join(self, transaction: Any) -> None:
        """Watch this transaction. A framework that retries joins each of its transactions; the last one counts."""
        if transaction is self._joined and self.state is None:
            return
        self.state = None
        self._joined = transaction
        transaction.join(self)

    @property
    def committed(self) -> bool | None:
        """Whether it committed; None where no door let us see it."""
        return None if self.state is None else self.state == "committed"

    def lose(self) -> None:
        """What the replay added is lost, in a transaction that nobody ended: as bad as an abort."""
        if self.state is None:
            self.state = "aborted"

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
