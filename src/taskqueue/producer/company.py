"""Who takes part in a transaction beside the tasks, and what the witnesses of those left in it. Knows no task."""

from __future__ import annotations

from typing import Any

from .. import witnesses


class Company:
    """The neighbours of one data manager in one transaction, as they were when the marks were left."""

    __slots__ = ("_has_marks_in_time", "_key", "_marked", "_transaction", "is_alone", "marking")

    def __init__(self, transaction: Any, key: str) -> None:
        self._transaction = transaction
        self._key = key
        self._marked: list[Any] = []  # the data managers that the marks account for
        self._has_marks_in_time = False
        self.marking = witnesses.Marking((), ())
        self.is_alone = False  # nothing durable takes part: our finish is the commit

    @property
    def is_known(self) -> bool:
        """Whether somebody was found when the marks were left."""
        return bool(self.marking.marks or self.marking.strangers)

    @property
    def tells_of_us(self) -> bool:
        """Whether a witness can say of this commit that it happened, and nobody takes part whom it does not know.

        A mark that was left in the vote may have come too late for a storage to keep it.
        """
        return self._has_marks_in_time and not self.marking.strangers

    def leave_marks(self) -> None:
        """Have the witnesses mark the transaction. What is staged already went with what was marked then."""
        company = witnesses.company(self._transaction)
        self.marking = witnesses.leave_marks(self._key, self._transaction, company)
        self._marked = company
        self._has_marks_in_time = bool(self.marking.marks)

    def take_newcomers_for_strangers(self) -> None:
        """Somebody may have joined since the marks were left, and commits without one. Nobody joins after the vote.

        What is staged already has an envelope that does not tell of them; it has marks or strangers of its own, and
        those decide: at worst a torn commit goes by what committed in the databases that were marked.
        """
        company = witnesses.company(self._transaction)
        if self._marked and not self.is_known:
            # Who only read when the hook was called may have written since.
            self.marking = witnesses.leave_marks(self._key, self._transaction, self._marked)
        known = {id(each) for each in self._marked}
        newcomers = [each for each in company if id(each) not in known]
        if newcomers:
            self.marking = self.marking.joined_by(newcomers)
        self.is_alone = not self.is_known

    @property
    def is_none(self) -> bool:
        """Whether nobody but our data manager takes part at all, so that nobody else can fail."""
        return self.is_alone and len(self._transaction._resources) == 1

    def has_prepared_before(self, sort_key: str) -> bool:
        """Whether such take part as have prepared their commits, or are about to, when our turn comes."""
        return any(each.sortKey() < sort_key and witnesses.is_fenced(each) for each in self._marked)
