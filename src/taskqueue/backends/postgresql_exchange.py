"""The exchange of the backend ``postgresql``: which statements it runs, and what their rows say. Knows no connection's
insides."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..interfaces import CLAIM_BYTES_LIMIT, CLAIM_COUNT_LIMIT, Exchanged, PendingExchange, Settlement
from . import postgresql_rows, rules
from . import postgresql_statements as statements
from .pending import PendingCall
from .postgresql_link import Call, Link

PROMOTE_LIMIT = 1000  # tasks that are made ready in one transaction


@dataclass(frozen=True)
class Exchange:
    """What a consumer hands in and wants. ``notify`` is called when others may claim something of it."""

    link: Link
    notify: Callable[[], None]
    owner_id: str
    consumer: str
    settlements: Sequence[Settlement]
    wanted: int
    alone: bool

    def begin(self) -> PendingExchange:
        """Send it.

        What is due comes first, but mostly nothing is, and to find that out by a statement of its own takes a server
        that was idle as long as the claim. So a claim that comes alone looks itself, and claims nothing then.
        """
        promotes = bool(self.settlements) or self.wanted <= 0
        call = self._send(promotes)

        def end() -> Exchanged:
            answer = self._answer(call.end())
            is_held_up = not promotes and answer.next_due == 0.0
            return self._answer(self._send(promotes=True).end()) if is_held_up else answer

        return PendingExchange(end, call.is_here)

    def _send(self, promotes: bool) -> PendingCall:
        claim = {
            "owner": self.owner_id,
            "consumer": self.consumer,
            "wanted": min(self.wanted, CLAIM_COUNT_LIMIT),
            "suspects": int(self.alone),
            "most_bytes": CLAIM_BYTES_LIMIT,
            "after_promotion": promotes,
        }
        looked: Call = (statements.CLAIM, claim) if self.wanted > 0 else (statements.LOOK, {})
        return self.link.begin([self._take_in(), looked] if promotes else [looked])

    def _take_in(self) -> Call:
        """The statement that takes in settlements, and makes ready what is due."""
        if not self.settlements:
            return statements.PROMOTE, {"most": PROMOTE_LIMIT}
        given = postgresql_rows.encode_settlements(self.settlements)
        return statements.SETTLE_CLAIMS, {"settlements": given, "most": PROMOTE_LIMIT}

    def _answer(self, answers: Sequence[Sequence[Any]]) -> Exchanged:
        """What the rows of the statements say."""
        settled, claimed = answers[0], answers[-1]
        if any(each.state in rules.RETURNED for each in self.settlements):
            self.notify()
        paused, suspects_wait, next_due, *_ = claimed[0]
        return Exchanged(
            claimed=tuple(postgresql_rows.in_order_of_claims(claimed)) if self.wanted > 0 else (),
            refused=postgresql_rows.select_refused(self.settlements, settled) if self.settlements else (),
            suspects_wait=suspects_wait,
            next_due=None if next_due is None else max(0.0, next_due),
            paused=paused,
        )
