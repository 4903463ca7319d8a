"""The consumer: worker threads replay the tasks of a queue, and one more does what has its time.

Its loop is five verbs: exchange, run, judge, wait, stop. In one exchange it hands in what became of earlier claims and
claims more. The workers do that themselves, while there is work and when a hint tells of some: a task that goes from
one thread to another costs up to a third more. While a server works at the answer, they run tasks. The fetching thread
begins, polls, looks after what runs too long, and mends what went wrong. Knows no framework.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from .. import notices
from ..errors import BackendError
from ..keeper import Keeper
from ..notices import Event
from ..queues import Queue
from ..settings import ServerSettings
from ..threads import BackgroundThread
from . import prefetch
from .attempt import Claim, Finished, attempt, give_back, give_up
from .ledger import LEASE_TIMEOUT, Ledger
from .pool import Pool
from .replay import Application
from .trouble import Trouble
from .upkeep import Upkeep
from .watch import Watch

ROUNDS = 2  # exchanges that a worker makes in a row, while others end what they run
EMPTY_HANDED_SECONDS = 2.0  # that it goes on asking a store what it may have handed out, with nothing to hand in
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
        self._is_shared = "shared" in queue.backend.capabilities
        self._application = application
        self._keeper = keeper
        self._pool: Pool[Claim] = Pool(
            f"taskqueue-{settings.name}", settings.concurrent_limit, self._perform, self._deal, self._keep_watch
        )
        self._upkeep = Upkeep(settings, queue, keeper)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stop_requested = threading.Event()
        self._stop_at = 0.0  # monotonic; how long to wait for what runs
        self._mean_seconds: float | None = None  # what a task takes; of two that end at once, one may be left out
        trouble = Trouble(queue.name, settings.name)
        self._watch = Watch(queue.backend, self._is_shared, trouble, self._stop_requested)
        # For whoever has the ledger's turn. The times are monotonic.
        self._ledger = Ledger(settings.name, queue, keeper)
        self._trouble = Trouble(queue.name, settings.name)
        self._ask_at = 0.0  # when the store is to be asked again, though nobody is out of work
        self._awake_at = 0.0  # until when the fetching thread waits

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
            self._thread = BackgroundThread(target=self._run, name=f"taskqueue-{self.name}-fetch")
            self._thread.start()

    def stop_claiming(self) -> None:
        """Claim no more, give back what has not started; does not wait. ``stop`` waits."""
        with self._lock:
            if not self._stop_requested.is_set():
                self._stop_at = time.monotonic() + self._settings.grace
                self._stop_requested.set()
            is_started = self._thread is not None
        if is_started:
            self._watch.call_all()

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
        if not self._ledger.holds_any:
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
        is_called = True
        while not self._stop_requested.is_set():
            has_failed = False
            with self._ledger.turn:
                try:
                    pause = self._look(is_called)
                except Exception as error:  # noqa: BLE001  # tasks wait for this loop: it outlives any error
                    pause, has_failed = self._trouble.goes_on(error), True
                self._awake_at = time.monotonic() + pause
            self._ledger.tell()
            is_called = self._is_more_to_do()
            if has_failed:
                self._stop_requested.wait(pause)
            elif pause and not is_called:
                is_called = self._watch.wait(pause)

    def _look(self, is_called: bool) -> float:
        """Look after the tasks, and ask the store if it is time to; returns how many seconds to wait then."""
        self._tend()
        if self._ledger.under_way is not None:
            self._end_exchange()
        if is_called or self._trouble or self._ledger.is_answer_lost or time.monotonic() >= self._ask_at:
            self._exchange(*self._appetite())
        self._trouble.is_over()
        return max(0.0, self._ask_at - time.monotonic())

    def _tend(self) -> None:
        """Look after tasks that run too long, and those that wait too long for them."""
        for claim in self._pool.replace_overdue(self._settings.deadline):
            ids = (claim.record.id,)
            notices.tell(Event.OVERDUE, queue=self._queue.name, consumer=self.name, task=claim.task, task_ids=ids)
        self._give_back(self._pool.withdraw(prefetch.patience(self._settings.prefetch)))

    def _is_more_to_do(self) -> bool:
        """Whether another exchange is to follow at once; asked by whoever has had the turn, when it is free again.

        Who ended something meanwhile has told nobody, since nobody had heeded what was told before, or has told in
        vain. Where there is more to start, the next one that ends will tell.
        """
        return not self._pool.heed() and self._ledger.has_finished and self._ledger.under_way is None

    # ---- dealing with the store; for whoever has the turn ----

    def _appetite(self) -> tuple[int, bool]:
        """How many to claim, and whether nothing else runs here. A suspect gets no neighbours."""
        if self._stop_requested.is_set():  # while this thread waited for its turn
            return 0, False
        jobs = self._pool.jobs()
        if self._ledger.suspects_wait:
            return (0, False) if jobs else (1, True)
        if any(claim.record.suspect for claim in jobs):
            return 0, False
        load = self._pool.load()
        return prefetch.wanted(self._pool.size, load.running, load.buffered, self._ahead()), not jobs

    def _ahead(self) -> int:
        busy = self._pool.load().all_busy_seconds
        return prefetch.ahead(self._pool.size, self._mean_seconds, busy, self._settings.prefetch)

    def _exchange(self, wanted: int, alone: bool) -> None:
        """Hand in what is finished, and claim, in one round trip."""
        if self._ledger.is_answer_lost:
            self._ledger.recover()
        if wanted or self._ledger.has_finished or self._trouble:
            self._ledger.begin(wanted, alone, at_once=True)
            self._end_exchange()
        else:
            self._ask_at = time.monotonic() + self._pause(None)

    def _end_exchange(self) -> None:
        answer, wanted = self._ledger.end()
        claims = [Claim(record) for record in answer.claimed]
        if self._stop_requested.is_set():
            self._give_back(claims)
        elif wanted:
            # Where there was no more, it is of no use to ask again after every task: there are hints.
            low_water = prefetch.low_water(self._ahead(), self._backend.begin_exchange_at)
            is_left = self._pool.submit(claims, low_water if len(claims) == wanted else 0)
            if is_left:
                self._watch.call_worker()
        is_more = len(claims) < wanted and prefetch.was_cut_short(answer)
        self._ask_at = time.monotonic() + (0.0 if is_more else self._pause(answer.next_due))

    def _pause(self, next_due: float | None) -> float:
        return prefetch.pause(
            self._pool.size, self._pool.load(), next_due, self._settings.prefetch, self._settings.deadline
        )

    def _give_back(self, claims: Sequence[Claim]) -> None:
        self._ledger.put_down(give_back(claim.record, self._queue, self._settings) for claim in claims)

    # ---- stopping, in this order: give back, wait for what runs, hand in, let go ----

    def _wind_down(self) -> None:
        with self._ledger.turn:
            self._give_back(self._pool.withdraw())
        self._tell_that_it_stops()
        empty_handed_until = time.monotonic() + EMPTY_HANDED_SECONDS
        while True:
            seen = self._pool.ended()
            pause = self._hand_in()
            left = self._stop_at - time.monotonic()
            # A worker puts down what it finished before its place is free: when nothing runs, all of it is there.
            is_idle = not self._pool.load().running and not self._ledger.has_finished
            if left <= 0 or (is_idle and (pause is None or time.monotonic() >= empty_handed_until)):
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
            with self._ledger.turn:
                try:
                    if self._ledger.under_way is not None:
                        self._end_exchange()
                    self._exchange(0, alone=False)
                except Exception as error:  # noqa: BLE001  # until the grace has passed it is tried again
                    return self._trouble.goes_on(error)
                self._trouble.is_over()
                return None
        finally:
            self._ledger.tell()

    def _close(self) -> None:
        left = self._ledger.close()
        if left and not self._trouble:
            self._hand_in_late(left)
        self._upkeep.stop()
        self._pool.stop()
        self._keeper.unregister_consumer(self._queue, self.name)
        notices.tell(Event.CONSUMER_STOPPED, queue=self._queue.name, consumer=self.name, detail=self._account())

    def _account(self) -> str:
        running = self._pool.load().running + self._pool.stuck_count()
        told = self._ledger.told
        return (
            f"{told[Event.DONE]} done, {told[Event.RETRIED]} retried, {told[Event.DEAD]} dead, "
            f"{told[Event.RETURNED]} given back, {running} still running"
        )

    # ---- the workers ----

    def _perform(self, claim: Claim) -> None:
        try:
            finished = attempt(claim, self._application, self._queue, self._settings)
        except BaseException as error:  # noqa: BLE001  # whatever went wrong, the claim must be settled
            finished = give_up(claim.record, self._queue, self._settings, error)
        seconds = finished.duration_seconds
        if seconds is not None:
            self._mean_seconds = prefetch.average(self._mean_seconds, seconds)
        if not self._ledger.put_down((finished,)):
            self._hand_in_late([finished])

    def _deal(self, is_idle: bool) -> None:
        """There are few left to start: a worker hands in and claims, unless another thread is at it.

        A queue in memory has no statement and no socket at which threads would have to take turns: there the fetching
        thread works while tasks are written, sent, or waited for. The worker stands aside until it has come; else it
        would ask for the interpreter during many tasks, and be woken in vain by each of their system calls.
        """
        if not self._is_shared:
            self._watch.stand_aside()
            return
        for _ in range(ROUNDS):
            if not self._ledger.turn.acquire(blocking=False):
                return
            is_needed, is_more = self._take_turn(lambda: self._make_progress(is_idle))
            if is_needed or not is_more:
                break
        if is_needed or is_more:
            self._watch.call()

    def _keep_watch(self) -> bool:
        """A worker that is idle waits for a hint, and asks the store; whether it should do so again."""
        if not self._watch.is_of_use:
            return False
        if self._watch.wait_idle(self._pool.has_jobs):
            self._ledger.turn.acquire()
            is_needed, is_more = self._take_turn(self._heed_hint)
            if is_needed or is_more:
                self._watch.call()
        return True

    def _take_turn(self, act: Callable[[], bool]) -> tuple[bool, bool]:
        """Deal with the store, and give back the turn. ``act`` tells whether the fetching thread is needed, and so does
        the answer, which tells as well whether there is more to do."""
        is_needed = True
        try:
            if self._stop_requested.is_set():  # that one may have had its last turn
                return False, False
            if not (self._trouble or self._ledger.is_answer_lost or self._ledger.suspects_wait):
                is_needed = act()
        except Exception as error:  # noqa: BLE001  # the fetching thread mends it
            self._trouble.goes_on(error)
        finally:
            self._ledger.turn.release()
        self._ledger.tell()
        return is_needed, self._is_more_to_do()

    def _heed_hint(self) -> bool:
        """Ask the store. An answer that is under way may be older than the hint."""
        if self._pool.has_jobs():  # somebody else was faster
            return False
        if self._ledger.under_way is not None:
            self._end_exchange()
        self._exchange(*self._appetite())
        return self._ask_at < self._awake_at

    def _make_progress(self, is_idle: bool) -> bool:
        """Begin an exchange, or end the one that is under way. Tells whether the fetching thread is needed.

        While the store works at it this thread runs what is left, and looks for the answer when half of that is left,
        and so on; only when nothing is left it waits.
        """
        if self._ledger.under_way is None:
            wanted, alone = self._appetite()
            if not (wanted or self._ledger.has_finished):
                return False
            if is_idle:
                self._watch.catch_up()
            self._ledger.begin(wanted, alone, at_once=is_idle)
        if not self._ledger.is_answer_here:
            left = self._pool.heed_half()
            if left or (self._pool.size == 1 and not is_idle):
                # Somebody has to read it, even if what is run now takes long.
                return self._awake_at > time.monotonic() + self._settings.prefetch
            if not is_idle:
                return True  # others may be idle
        self._end_exchange()
        return self._ask_at < self._awake_at

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
