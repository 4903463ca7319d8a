"""The consumer: one fetching thread takes tasks from a queue, and worker threads replay them.

Its loop is five verbs: exchange, run, judge, wait, stop. In one exchange it hands in what became of earlier claims
and claims more. Settlements are kept until the store has answered; nothing is told before. Knows no framework.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Sequence

from .. import notices
from ..errors import BackendError
from ..failpoints import reach
from ..interfaces import CLAIM_BYTES_LIMIT, Exchanged
from ..keeper import Keeper
from ..notices import Event
from ..queues import Queue
from ..settings import ServerSettings
from . import prefetch
from .attempt import Claim, Finished, attempt, give_back, give_up
from .pool import Pool
from .replay import Application
from .trouble import Trouble
from .upkeep import Upkeep

POLL_SECONDS = 1.0  # hints may be missed
SHORTEST_WAIT_SECONDS = 0.005
LEASE_TIMEOUT = 5.0
CALL_SECONDS = 0.005  # so long a worker lets the fetching thread go first; the interpreter would have made it by then
STOP_MARGIN_SECONDS = 5.0  # beyond the grace, for calls to a backend that are under way


class Consumer:
    """Takes tasks from one queue in this process. Constructing it starts nothing.

    ``application`` is called with the environs of replays, which carry ``taskqueue.task`` and
    ``taskqueue.acknowledgement``. A consumer that was stopped stays stopped.
    """

    def __init__(self, settings: ServerSettings, queue: Queue, application: Application, keeper: Keeper) -> None:
        self.name = settings.name
        self._settings = settings
        self._queue = queue
        self._backend = queue.backend
        self._application = application
        self._keeper = keeper
        self._pool: Pool[Claim] = Pool(
            f"taskqueue-{settings.name}", settings.concurrent_limit, self._perform, self._call_fetcher
        )
        self._upkeep = Upkeep(settings, queue, keeper)
        self._trouble = Trouble(queue.name, settings.name)
        self._wait_trouble = Trouble(queue.name, settings.name)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stop_requested = threading.Event()
        self._fetcher_came = threading.Event()
        self._stop_at = 0.0  # monotonic; how long to wait for what runs
        # Shared with the workers, under the lock.
        self._finished: list[Finished] = []  # not yet handed in
        self._mean_seconds: float | None = None
        self._is_closed = False  # nobody hands in any more
        # The fetching thread's own.
        self._held: dict[str, int] = {}  # claim numbers of all that was claimed and is not yet settled
        self._in_limbo: set[tuple[str, int]] = set()  # handed in, but the answer was lost
        self._answer_lost = False
        self._suspects_wait = False
        self._told: Counter[Event] = Counter()

    def __repr__(self) -> str:
        return f"<Consumer {self.name!r} of queue {self._queue.name!r}>"

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended yet."""
        return self._thread is not None and self._thread.is_alive()

    def start(self) -> None:
        """Start the threads. Does nothing when it was started or stopped before."""
        with self._lock:
            if self._thread is not None or self._stop_requested.is_set():
                return
            self._thread = threading.Thread(target=self._run, name=f"taskqueue-{self.name}-fetch", daemon=True)
            self._thread.start()

    def stop_claiming(self) -> None:
        """Claim no more, give back what has not started; does not wait. ``stop`` waits."""
        with self._lock:
            if not self._stop_requested.is_set():
                self._stop_at = time.monotonic() + self._settings.grace
                self._stop_requested.set()
            is_started = self._thread is not None
        if is_started:
            self._wake()

    def stop(self, grace: float | None = None) -> None:
        """Stop, and wait until it has: ``grace`` seconds for what runs (None: as configured). May come twice."""
        self.stop_claiming()
        if grace is not None:
            self._stop_at = time.monotonic() + grace
            self._pool.interrupt()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(max(0.0, self._stop_at - time.monotonic()) + STOP_MARGIN_SECONDS)

    def let_go(self) -> None:
        """The process ends now, after ``stop``, and with it what still runs: ready again, nothing spent, no suspect.

        Left to the lease it would look like what killed the process; three restarts in the middle of a long task would
        be its death.
        """
        if not self._held:
            return
        try:
            count = self._backend.release(self._keeper.owner_id, self.name, ())
        except Exception as error:  # noqa: BLE001  # the lease decides, then
            Trouble(self._queue.name, self.name).goes_on(error)
            return
        if count:
            tasks = "a task that still runs is" if count == 1 else f"{count} tasks that still run are"
            detail = f"the process ends; {tasks} given back, to run again"
            notices.tell(Event.WARNING, queue=self._queue.name, consumer=self.name, detail=detail)

    # ---- the fetching thread ----

    def _run(self) -> None:
        try:
            if self._take_lease():
                self._pool.start()
                self._upkeep.start()
                notices.tell(
                    Event.CONSUMER_STARTED,
                    queue=self._queue.name,
                    consumer=self.name,
                    detail=f"{self._settings.concurrent_limit} at the same time",
                )
                self._serve()
                self._wind_down()
        finally:
            self._close()

    def _take_lease(self) -> bool:
        """Nothing is claimed by an owner without a lease. Returns False when it was stopped before it had one."""
        self._keeper.register_consumer(self._queue, self.name, self._settings.lease, self._settings.renew)
        trouble = Trouble(self._queue.name, self.name)
        while not self._stop_requested.is_set():
            try:
                self._keeper.hold_lease(self._queue, LEASE_TIMEOUT)
            except Exception as error:  # noqa: BLE001  # a dead backend at start does not stop the site
                told = isinstance(error, BackendError)  # by the keeper
                self._stop_requested.wait(trouble.goes_on(error, told_by_others=told))
            else:
                trouble.is_over()
                return True
        return False

    def _serve(self) -> None:
        hint = 0
        while not self._stop_requested.is_set():
            try:
                self._tend()
                answer = self._exchange(*self._appetite())
                self._trouble.is_over()
            except Exception as error:  # noqa: BLE001  # tasks wait for this loop: it outlives any error
                self._stop_requested.wait(self._trouble.goes_on(error))
            else:
                # What ended meanwhile has told nobody, since nobody had heeded what was told before.
                if not (_was_cut_short(answer) or (self._pool.heed() and self._finished)):
                    hint = self._wait(hint, self._pause_seconds(answer))

    def _tend(self) -> None:
        """Look after tasks that run too long, and those that wait too long for them."""
        for claim in self._pool.replace_overdue(self._settings.deadline):
            ids = (claim.record.id,)
            notices.tell(Event.OVERDUE, queue=self._queue.name, consumer=self.name, task=claim.task, task_ids=ids)
        self._give_back(self._pool.withdraw(prefetch.patience(self._settings.prefetch)))

    def _appetite(self) -> tuple[int, bool]:
        """How many to claim, and whether nothing else runs here. A suspect gets no neighbours."""
        jobs = self._pool.jobs()
        if self._suspects_wait:
            return (0, False) if jobs else (1, True)
        if any(claim.record.suspect for claim in jobs):
            return 0, False
        load = self._pool.load()
        return prefetch.wanted(self._pool.size, load.running, load.buffered, self._ahead()), not jobs

    def _ahead(self) -> int:
        busy = self._pool.load().all_busy_seconds
        return prefetch.ahead(self._pool.size, self._mean_seconds, busy, self._settings.prefetch)

    def _exchange(self, wanted: int, alone: bool) -> Exchanged:
        """Hand in what is finished, and claim."""
        if self._answer_lost:
            self._recover()
        elif not (wanted or self._finished or self._trouble):
            return Exchanged()
        answer = self._hand_over(wanted, alone)
        if wanted:  # one that only hands in does not ask for suspects
            # Alone, the suspect is here now, or others come before it.
            self._suspects_wait = answer.suspects_wait and not (alone and answer.claimed)
        return answer

    def _recover(self) -> None:
        """What was claimed in an answer that was lost is known to nobody: it goes back, before more is claimed.

        The lease comes first: the store may have been replaced by one that does not know this owner.
        What we had handed in goes in first. The store may have taken it and given us the same task again; that claim,
        too, is then not among those that we hold.
        """
        self._keeper.hold_lease(self._queue, LEASE_TIMEOUT)
        if self._in_limbo:
            self._hand_over(0, alone=False)
        self._backend.release(self._keeper.owner_id, self.name, tuple(self._held))
        self._answer_lost = False

    def _hand_over(self, wanted: int, alone: bool) -> Exchanged:
        """One round trip. What is handed in stays with us until the answer is here."""
        with self._lock:
            finished = tuple(self._finished)
        settlements = [each.settlement for each in finished]
        if finished:
            reach("settle.begun")
        try:
            answer = self._backend.exchange(self._keeper.owner_id, self.name, settlements, wanted, alone)
            if finished:
                reach("settle.done")
            if answer.claimed:
                reach("claim.taken")
        except Exception:
            self._answer_lost = True
            self._keeper.doubt_lease(self._queue)
            self._in_limbo.update((each.id, each.claim_number) for each in settlements)
            raise
        self._take_answer(finished, answer, wanted)
        return answer

    def _take_answer(self, finished: Sequence[Finished], answer: Exchanged, wanted: int) -> None:
        with self._lock:
            del self._finished[: len(finished)]
        self._held.update([(record.id, record.claim_number) for record in answer.claimed])
        claims = [Claim(record) for record in answer.claimed]
        if self._stop_requested.is_set():
            self._give_back(claims)
        elif wanted:
            # Where there was no more, it is of no use to ask again after every task: there are hints.
            self._pool.submit(claims, low_water=self._ahead() // 2 if len(claims) == wanted else 0)
        self._forget(finished, frozenset(answer.refused))

    def _forget(self, finished: Sequence[Finished], refused: frozenset[str]) -> None:
        """The store has these: tell what became of them."""
        held = self._held
        for each in finished:
            settlement = each.settlement
            task_id, claim_number = settlement.id, settlement.claim_number
            if held.get(task_id) == claim_number:  # else it was reclaimed meanwhile, and claimed by us again
                del held[task_id]
            if task_id in refused and (task_id, claim_number) not in self._in_limbo and not each.is_settled:
                each.tell_refused()
                continue
            if each.event is not None:
                each.tell()
                self._told[each.event] += 1
        self._in_limbo.clear()

    def _give_back(self, claims: Sequence[Claim]) -> None:
        with self._lock:
            self._finished.extend(give_back(claim.record, self._queue, self._settings) for claim in claims)

    def _pause_seconds(self, answer: Exchanged) -> float:
        load = self._pool.load()
        seconds = POLL_SECONDS
        if answer.next_due is not None:
            seconds = min(seconds, answer.next_due)
        if load.buffered:  # workers wake us when the buffer runs low; what they ended before shall not wait for it
            seconds = min(seconds, self._settings.prefetch)
        if load.running:
            seconds = min(seconds, self._settings.deadline - load.longest_seconds)
        return max(seconds, SHORTEST_WAIT_SECONDS)

    def _wait(self, hint: int, seconds: float) -> int:
        try:
            hint = self._backend.wait(hint, seconds)
            self._wait_trouble.is_over()
        except Exception as error:  # noqa: BLE001  # without hints there is polling
            self._wait_trouble.goes_on(error)
            self._stop_requested.wait(seconds)
        self._fetcher_came.set()
        return hint

    # ---- stopping, in this order: give back, wait for what runs, hand in, let go ----

    def _wind_down(self) -> None:
        self._give_back(self._pool.withdraw())
        self._tell_that_it_stops()
        while True:
            seen = self._pool.ended()
            pause = self._hand_in()
            left = self._stop_at - time.monotonic()
            # A worker puts down what it finished before its place is free: when nothing runs, all of it is there.
            is_idle = not self._pool.load().running and not self._finished
            if left <= 0 or (is_idle and pause is None):
                return
            self._pool.wait_for_end(seen, left if pause is None else min(left, pause))

    def _tell_that_it_stops(self) -> None:
        running = self._pool.load().running
        if running:
            seconds = max(0.0, self._stop_at - time.monotonic())
            detail = f"it waits for {running} that run, {seconds:.0f} s at most"
            notices.tell(Event.CONSUMER_STOPPING, queue=self._queue.name, consumer=self.name, detail=detail)

    def _hand_in(self) -> float | None:
        """Hand in what is finished. Returns None, or after how many seconds to try again."""
        try:
            self._exchange(0, alone=False)
        except Exception as error:  # noqa: BLE001  # until the grace has passed it is tried again
            return self._trouble.goes_on(error)
        self._trouble.is_over()
        return None

    def _close(self) -> None:
        with self._lock:
            self._is_closed = True
            left, self._finished = self._finished, []
        if left and not self._trouble:
            self._hand_in_late(left)
        self._upkeep.stop()
        self._pool.stop()
        self._keeper.unregister_consumer(self._queue, self.name)
        notices.tell(Event.CONSUMER_STOPPED, queue=self._queue.name, consumer=self.name, detail=self._account())

    def _account(self) -> str:
        running = self._pool.load().running + self._pool.stuck_count()
        return (
            f"{self._told[Event.DONE]} done, {self._told[Event.RETRIED]} retried, {self._told[Event.DEAD]} dead, "
            f"{self._told[Event.RETURNED]} given back, {running} still running"
        )

    # ---- the workers ----

    def _perform(self, claim: Claim) -> None:
        try:
            finished = attempt(claim, self._application, self._queue, self._settings)
        except BaseException as error:  # noqa: BLE001  # whatever went wrong, the claim must be settled
            finished = give_up(claim.record, self._queue, self._settings, error)
        seconds = finished.duration_seconds
        with self._lock:
            if seconds is not None:
                self._mean_seconds = prefetch.average(self._mean_seconds, seconds)
            if not self._is_closed:
                self._finished.append(finished)
                return
        self._hand_in_late([finished])

    def _hand_in_late(self, finished: Sequence[Finished]) -> None:
        """The fetching thread is gone, but the lease may go on: hand it in without it."""
        settlements = [each.settlement for each in finished]
        try:
            self._backend.exchange(self._keeper.owner_id, self.name, settlements, 0)
        except Exception as error:  # noqa: BLE001  # the lease decides when the process ends
            Trouble(self._queue.name, self.name).goes_on(error)
            return
        for each in finished:
            each.tell()

    def _call_fetcher(self) -> None:
        """There are few left to start: a worker calls for more.

        Where an exchange is nothing but work of this process, it stands aside until the fetching thread has come. Else
        that one would ask for the interpreter during many tasks, and be woken in vain by each of their system calls,
        which takes a tenth of a task's time. With a store to wait for, that would cost more than it saves.
        """
        if "shared" in self._backend.capabilities:
            self._wake()
            return
        self._fetcher_came.clear()
        self._wake()
        self._fetcher_came.wait(CALL_SECONDS)

    def _wake(self) -> None:
        with contextlib.suppress(Exception):  # a hint; polling goes on behind it
            self._backend.wake()


def _was_cut_short(answer: Exchanged) -> bool:
    """Whether an exchange may have left ready tasks because of the size of those that it claimed."""
    sizes = [len(record.body) + len(record.secrets or b"") for record in answer.claimed]
    return sum(sizes) > CLAIM_BYTES_LIMIT // 2
