"""What one consumer and its store have with each other: the claims that it holds, what became of them and is not yet
handed in, and the exchange that is under way.

Settlements are kept until the store has answered; nothing is told before. Knows no threads but the locks between them.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import NamedTuple

from .. import notices
from ..failpoints import reach
from ..interfaces import Exchanged, PendingExchange
from ..keeper import Keeper
from ..notices import Event
from ..queues import Queue
from .attempt import Finished

LEASE_TIMEOUT = 5.0


class UnderWay(NamedTuple):
    """An exchange that was begun, and what was handed in and asked for in it."""

    exchange: PendingExchange
    finished: Sequence[Finished]
    wanted: int
    alone: bool


class Ledger:
    """One thread at a time deals with the store, whichever it is: the one that holds ``turn``. Every method and
    attribute is for that thread alone, but for ``put_down`` and ``tell``."""

    def __init__(self, consumer: str, queue: Queue, keeper: Keeper) -> None:
        self.turn = threading.Lock()
        self.under_way: UnderWay | None = None
        self.suspects_wait = False
        self.is_answer_lost = False
        self.told: Counter[Event] = Counter()
        self._consumer = consumer
        self._queue = queue
        self._backend = queue.backend
        self._keeper = keeper
        self._held: dict[str, int] = {}  # claim numbers of all that was claimed and is not yet settled
        self._in_limbo: set[tuple[str, int]] = set()  # handed in, but the answer was lost
        self._untold: deque[Callable[[], None]] = deque()
        # Shared with those who put something down, under the lock.
        self._lock = threading.Lock()
        self._finished: list[Finished] = []  # not yet handed in
        self._is_closed = False  # nobody hands in any more

    def put_down(self, finished: Iterable[Finished]) -> bool:
        """Keep it until it is handed in; False when nobody will do that any more. Any thread may call this."""
        with self._lock:
            if not self._is_closed:
                self._finished.extend(finished)
            return not self._is_closed

    def tell(self) -> None:
        """Tell what the store has taken in since the last time. Any thread may call this, but none that has the turn:
        whoever listens may want the consumer to do something."""
        while self._untold:
            try:
                tell = self._untold.popleft()
            except IndexError:  # another thread was faster
                return
            tell()

    def close(self) -> list[Finished]:
        """Take nothing more; returns what is left."""
        with self._lock:
            self._is_closed = True
            left, self._finished = self._finished, []
        return left

    @property
    def has_finished(self) -> bool:
        """Whether there is something to be handed in."""
        return bool(self._finished)

    @property
    def holds_any(self) -> bool:
        """Whether anything is claimed and not yet settled."""
        return bool(self._held)

    # ---- exchanges ----

    def begin(self, wanted: int, alone: bool, at_once: bool = False) -> None:
        """Hand in what is finished, and ask for more; ``end`` is to follow, ``at_once`` when there is nothing to do
        meanwhile. What is handed in stays with us until the answer is here."""
        with self._lock:
            finished = tuple(self._finished)
        if finished:
            reach("settle.begun")
        settlements = [each.settlement for each in finished]
        asked = self._keeper.owner_id, self._consumer, settlements, wanted, alone
        try:
            exchange = (
                PendingExchange(partial(self._backend.exchange, *asked))
                if at_once
                else self._backend.begin_exchange(*asked)
            )
        except Exception:
            self._lose(finished)
            raise
        self.under_way = UnderWay(exchange, finished, wanted, alone)

    @property
    def is_answer_here(self) -> bool:
        """Whether ``end`` would wait for nobody."""
        return self.under_way is not None and self.under_way.exchange.is_here()

    def end(self) -> tuple[Exchanged, int]:
        """The answer to what was begun, and how many tasks were wanted."""
        assert self.under_way is not None  # noqa: S101  # whoever calls this has begun it, or seen that it is there
        exchange, finished, wanted, alone = self.under_way
        self.under_way = None
        try:
            answer = exchange.end()
            if finished:
                reach("settle.done")
            if answer.claimed:
                reach("claim.taken")
        except Exception:
            self._lose(finished)
            raise
        with self._lock:
            del self._finished[: len(finished)]
        if wanted:  # one that only hands in does not ask for suspects
            # Alone, the suspect is here now, or others come before it.
            self.suspects_wait = answer.suspects_wait and not (alone and answer.claimed)
        self._held.update([(record.id, record.claim_number) for record in answer.claimed])
        self._forget(finished, frozenset(answer.refused))
        return answer, wanted

    def recover(self) -> None:
        """What was claimed in an answer that was lost is known to nobody: it goes back, before more is claimed.

        The lease comes first: the store may have been replaced by one that does not know this owner.
        What we had handed in goes in first. The store may have taken it and given us the same task again; that claim,
        too, is then not among those that we hold.
        """
        self._keeper.hold_lease(self._queue, LEASE_TIMEOUT)
        if self._in_limbo:
            self.begin(0, alone=False, at_once=True)
            self.end()
        self._backend.release(self._keeper.owner_id, self._consumer, tuple(self._held))
        self.is_answer_lost = False

    def _lose(self, finished: Sequence[Finished]) -> None:
        self.is_answer_lost = True
        self._keeper.doubt_lease(self._queue)
        self._in_limbo.update((each.settlement.id, each.settlement.claim_number) for each in finished)

    def _forget(self, finished: Sequence[Finished], refused: frozenset[str]) -> None:
        """The store has these: what became of them can be told."""
        held = self._held
        for each in finished:
            settlement = each.settlement
            task_id, claim_number = settlement.id, settlement.claim_number
            if held.get(task_id) == claim_number:  # else it was reclaimed meanwhile, and claimed by us again
                del held[task_id]
            if task_id in refused and (task_id, claim_number) not in self._in_limbo and not each.is_settled:
                self._untold.append(each.tell_refused)
                continue
            if each.event is not None:
                self.told[each.event] += 1
                if notices.is_heard(each.event, each.outcome):
                    self._untold.append(each.tell)
        self._in_limbo.clear()
