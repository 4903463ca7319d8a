"""The keeper: this process's own upkeep, wherever tasks are added or consumed.

It makes the process an owner, renews its lease on every queue that it uses, publishes again what could not be
published after a commit, has what is in doubt settled, and tells ``add`` at once that a backend is down instead of
letting each request wait for it. After a fork the child has another keeper, with another owner and an empty list. Of a
transaction it knows its id, and whether it is over.
"""

from __future__ import annotations

import atexit
import itertools
import os
import secrets
import socket
import threading
import time
from collections.abc import Collection, Sequence

from . import notices, queues, witnesses
from .doubts import Either, InFlight
from .errors import BackendError, BackendUnavailableError, QueueFullError
from .failpoints import reach
from .interfaces import Owner, Record, Verdict
from .kept import DEFAULT_LEASE, DEFAULT_RENEW, DOUBT_SECONDS, PROBE_SECONDS, Kept
from .notices import Event
from .publisher import Publisher
from .queues import Queue
from .threads import BackgroundThread

__all__ = ["DEFAULT_LEASE", "DEFAULT_RENEW", "Keeper", "process_keeper"]

PROBE_TIMEOUT = 2.0
PATIENCE_PART = 6  # of its lease that a renewal may take; threads that hold the interpreter may keep it from going on
LAST_TRY_SECONDS = 2.0
LOOKING_SECONDS = 1.0  # that whoever looks for a task waits for what is being published
TIDY_SECONDS = 3600.0
REDO_BATCH = 100  # records of one call: as many as can be expected to be stored within its time


class Keeper:
    """The upkeep of one process. All methods may be called from any thread."""

    def __init__(self) -> None:
        self.owner_id = secrets.token_hex(8)
        self._pid = os.getpid()
        self._started_at = time.time()
        self._changed = threading.Condition()
        self._kept: dict[int, Kept] = {}
        self._tended: Kept | None = None  # by the thread, now
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._tidied_at = time.monotonic()
        self.in_flight = InFlight()
        self.publisher = Publisher(self._publish_now)

    # ---- called by the producer, inside requests ----

    def refuse_if_down(self, queue: Queue) -> None:
        """Raise at once while tasks cannot be added: one request waited for the backend, no other has to."""
        kept = self._kept.get(id(queue))
        if kept is not None and kept.down:
            raise _unavailable(queue)

    def refuse_if_silent(self, queue: Queue) -> None:
        """The same for what is no adding: a backend that is full takes no new tasks, and may do all the rest."""
        kept = self._kept.get(id(queue))
        if kept is not None and kept.silent:
            raise _unavailable(queue)

    def hold_lease(self, queue: Queue, timeout: float) -> float:
        """Make sure that this process has a lease on the queue; the first call beats, later ones cost nothing.

        Returns until when, monotonic, nobody can take this process for dead, even if nobody renews the lease.
        """
        kept = self._keep(queue)
        if kept.seconds_since_beat() >= kept.lease:
            reports = kept.down_reports
            self._beat(kept, timeout)
            self._report_answer(kept, reports, takes_tasks=not kept.adding_failed)
        return time.monotonic() - kept.seconds_since_beat() + kept.lease

    def report_down(self, queue: Queue, error: BackendUnavailableError, *, adding: bool = False) -> None:
        """A call failed, ``adding`` if it was the write of an add: refuse at once from now on, until a probe succeeds,
        which then writes as well."""
        self._mark_down(self._keep(queue), error, adding)

    def _mark_down(self, kept: Kept, error: BackendUnavailableError, adding: bool = False) -> None:
        """What is not kept any more is not kept again for that."""
        with self._changed:
            is_news = kept.note_failure(error, adding)
            self._changed.notify_all()
        if is_news:
            notices.tell(Event.BACKEND_DOWN, queue=kept.queue.name, detail=str(error))

    def _publish_now(self, queue: Queue, records: list[Record]) -> None:
        """What was handed over to the publisher's thread; what fails is done again."""
        try:
            self.refuse_if_silent(queue)
            queue.backend.publish(records, LAST_TRY_SECONDS)
            reach("finish.published")
        except BackendUnavailableError as error:
            self.redo(queue, records, error)  # first: a probe that knows nothing of them would find the backend up
            self.report_down(queue, error)
        except BaseException as error:  # noqa: BLE001  # the thread must outlive any error: the tasks are committed
            self.redo(queue, records, BackendError(f"publishing failed: {error!r}"))

    def redo(self, queue: Queue, records: Sequence[Record], error: BackendError) -> None:
        """These are committed and could not be published: do it again until it succeeds."""
        with self._changed:
            kept = self._keep(queue)
            kept.redo.update((record.id, record) for record in records)
            self._changed.notify_all()
        ids = tuple(record.id for record in records)
        notices.tell(Event.UNPUBLISHED, queue=queue.name, task_ids=ids, detail=str(error))

    def settle_later(self, queue: Queue, ids: Collection[str], verdict: Verdict) -> None:
        """These are staged, and could not be settled in their request's time: do it until it succeeds."""
        with self._changed:
            kept = self._keep(queue)
            kept.verdicts.update(dict.fromkeys(ids, verdict))
            self._changed.notify_all()

    def look_into_doubts(self, queue: Queue) -> None:
        """Something is held, and the witnesses may know what is to become of it: ask them soon."""
        with self._changed:
            self._keep(queue).doubts_are_due = True
            self._changed.notify_all()

    # ---- called by consumers ----

    def register_consumer(self, queue: Queue, consumer: str, lease: float, renew: float) -> None:
        """A consumer of this process takes from the queue; its lease is taken with the next beat."""
        with self._changed:
            kept = self._keep(queue)
            kept.consumers = (*(name for name in kept.consumers if name != consumer), consumer)
            kept.lease = lease if len(kept.consumers) == 1 else max(lease, kept.lease)
            kept.renew = min(renew, kept.renew)
            kept.change()
            self._changed.notify_all()

    def unregister_consumer(self, queue: Queue, consumer: str) -> None:
        """That consumer has stopped, and runs nothing any more."""
        with self._changed:
            kept = self._keep(queue)
            kept.consumers = tuple(name for name in kept.consumers if name != consumer)
            kept.change()
            self._changed.notify_all()

    def doubt_lease(self, queue: Queue) -> None:
        """A call failed, and the store may be another one since: take the lease again before the next claim."""
        with self._changed:
            self._keep(queue).change()
            self._changed.notify_all()

    # ---- the thread ----

    def stop(self) -> None:
        """Try once more to publish what is left, end the leases, and stop. May come twice."""
        if self._pid != os.getpid():
            return  # a forked child has inherited this one: the lease is its parent's
        with self._changed:
            already, self._stopping = self._stopping, True
            self._changed.notify_all()
            thread = self._thread
        if already:
            return
        for queue, records in self.publisher.stop(LAST_TRY_SECONDS):
            self.redo(queue, records, BackendError("the process ends"))
        if thread is not None and thread is not threading.current_thread():
            thread.join(PROBE_TIMEOUT + LAST_TRY_SECONDS)
        for kept in list(self._kept.values()):
            self._part(kept)

    def forget(self, queue: Queue) -> None:
        """This process uses the queue no more: publish what is left, end the lease."""
        self.publisher.wait(LAST_TRY_SECONDS)
        with self._changed:
            kept = self._kept.pop(id(queue), None)
            if kept is None:
                return
            if threading.current_thread() is not self._thread:  # it would beat once more, behind the end of the lease
                self._changed.wait_for(
                    lambda: self._tended is not kept or kept.can_be_dropped(), PROBE_TIMEOUT + LAST_TRY_SECONDS
                )
        self._part(kept)

    def unpublished(self) -> int:
        """How many committed tasks wait in this process to be published."""
        return len(self.publisher) + sum(len(kept.redo) for kept in list(self._kept.values()))

    def _keep(self, queue: Queue) -> Kept:
        kept = self._kept.get(id(queue))
        if kept is not None and self._thread is not None:
            return kept
        with self._changed:
            kept = self._kept.setdefault(id(queue), Kept(queue))
            if self._thread is None and not self._stopping:
                thread = BackgroundThread(target=self._run, name="taskqueue-keeper")
                thread.start()
                self._thread = thread
            return kept

    def _run(self) -> None:
        while not self._stopping:
            self._tend_all()
            self._tidy()
            with self._changed:
                if not self._stopping:
                    self._changed.wait(self._pause_seconds())

    def _tend_all(self) -> None:
        """One after the other, but for those that are forgotten meanwhile."""
        for kept in list(self._kept.values()):
            with self._changed:
                if self._kept.get(id(kept.queue)) is not kept:
                    continue
                self._tended = kept
            try:
                self._tend(kept)
            finally:
                with self._changed:
                    self._tended = None
                    self._changed.notify_all()

    def _tend(self, kept: Kept) -> None:
        """Renew the lease, catch up, and tell what that showed: a backend that is down or up again, or trouble."""
        reports, is_renewed, trouble = kept.down_reports, False, ""
        was_silent, takes_tasks = kept.silent, not kept.adding_failed
        try:
            self._renew(kept)
            is_renewed = True
            self._publish_again(kept)
            self._settle_again(kept)
            if not (was_silent or kept.silent):
                self._settle_doubts(kept)
            takes_tasks = takes_tasks or self._takes_tasks(kept)
        except BackendUnavailableError as error:
            self._mark_down(kept, error)
            return
        except Exception as error:  # noqa: BLE001  # the keeper must outlive any error: leases depend on it
            trouble = repr(error)
        if is_renewed:
            self._report_answer(kept, reports, takes_tasks)
        if trouble and trouble != kept.trouble:
            notices.tell(Event.CONSUMER_FAILED, queue=kept.queue.name, consumer="keeper", detail=trouble)
        kept.trouble = trouble

    def _renew(self, kept: Kept) -> None:
        if kept.down or kept.redo or kept.verdicts or kept.seconds_since_beat() >= kept.renew:
            self._beat(kept, PROBE_TIMEOUT if kept.down else max(PROBE_TIMEOUT, kept.lease / PATIENCE_PART))

    def _part(self, kept: Kept) -> None:
        """Do what can be done at once, and let go. The queue is not kept any more: errors are told, and that is all."""
        if kept.can_be_dropped():
            return  # the lease lapses by itself; a process that ends waits for nothing that is down
        for action in (self._publish_again, self._settle_again, self._retire):
            try:
                action(kept)
            except Exception as error:  # noqa: BLE001  # the next one may succeed
                self._tell_what_is_left(kept, error)

    def _retire(self, kept: Kept) -> None:
        kept.beaten_at = None  # whoever adds from now on needs another lease
        kept.queue.backend.retire(self.owner_id, LAST_TRY_SECONDS)

    def _tell_what_is_left(self, kept: Kept, error: Exception) -> None:
        ids = tuple(kept.redo)
        detail = f"{error}; this process lets go of the queue"
        if ids:
            detail += ". What it could not publish stays staged: see taskqueue resolve"
        notices.tell(Event.WARNING, queue=kept.queue.name, task_ids=ids, detail=detail)

    def _beat(self, kept: Kept, timeout: float) -> None:
        with self._changed:
            changes, lease, consumers = kept.changes, kept.lease, kept.consumers
        owner = Owner(
            id=self.owner_id,
            host=socket.gethostname(),
            pid=self._pid,
            started_at=self._started_at,
            consumers=consumers,
        )
        now = time.monotonic()
        try:
            kept.queue.backend.beat(owner, lease, timeout)
        except BackendUnavailableError as error:
            self._mark_down(kept, error)
            raise
        with self._changed:
            if kept.changes == changes:  # else what was said is not true any more
                kept.beaten_at = now

    def _takes_tasks(self, kept: Kept) -> bool:
        """Whether what could not be added could be now. A full store takes beats, and a full queue is not down."""
        try:
            kept.queue.backend.try_adding(PROBE_TIMEOUT)
        except QueueFullError:
            return True
        except BackendUnavailableError:
            return False
        return True

    def _report_answer(self, kept: Kept, reports: int, takes_tasks: bool) -> None:
        """It has answered; ``reports`` is how many there were before it was asked."""
        with self._changed:
            is_news = kept.down_reports == reports and kept.note_answer(takes_tasks)
        if is_news:
            notices.tell(Event.BACKEND_UP, queue=kept.queue.name)

    def _publish_again(self, kept: Kept) -> None:
        while True:
            with self._changed:
                records = list(itertools.islice(kept.redo.values(), REDO_BATCH))
            if not records:
                return
            kept.queue.backend.publish(records, LAST_TRY_SECONDS)
            with self._changed:
                for record in records:
                    kept.redo.pop(record.id, None)
            notices.tell(Event.PUBLISHED_LATE, queue=kept.queue.name, task_ids=tuple(record.id for record in records))

    def _settle_again(self, kept: Kept) -> None:
        waiting = dict(kept.verdicts)
        for verdict in sorted(set(waiting.values())):
            ids = [task_id for task_id, wanted in waiting.items() if wanted == verdict]
            kept.queue.backend.settle(ids, verdict, LAST_TRY_SECONDS)
            with self._changed:
                for task_id in ids:
                    kept.verdicts.pop(task_id, None)

    def _settle_doubts(self, kept: Kept) -> None:
        """Ask the witnesses about what is held: when somebody says that there is something, and now and then."""
        now = time.monotonic()
        rests = kept.looked_at is not None and now - kept.looked_at < kept.renew
        if rests and not kept.doubts_are_due:
            return
        kept.doubts_are_due, kept.looked_at = False, now
        try:
            asks_again = kept.doubts.settle(self.in_flight, Either(kept.redo, self.publisher))
        except Exception:
            kept.doubts_are_due = True
            raise
        if asks_again:
            kept.looked_at = now - max(0.0, kept.renew - DOUBT_SECONDS)

    def _tidy(self) -> None:
        """Have the witnesses throw away what is old."""
        if time.monotonic() - self._tidied_at < TIDY_SECONDS:
            return
        self._tidied_at = time.monotonic()
        for witness in witnesses.registered():
            try:
                witness.tidy()
            except Exception as error:  # noqa: BLE001  # the next time will do
                notices.tell(Event.WARNING, detail=f"the {witness.kind} witness is not tidied: {type(error).__name__}")

    def _pause_seconds(self) -> float:
        return min((kept.pause_seconds() for kept in self._kept.values()), default=DEFAULT_RENEW)


def _unavailable(queue: Queue) -> BackendUnavailableError:
    return BackendUnavailableError(
        f"queue {queue.name!r} is unavailable; it is probed every {PROBE_SECONDS:g} s, try again later"
    )


_keeper: Keeper | None = None
_making = threading.Lock()


def process_keeper() -> Keeper:
    """The keeper of this process, made when it is first needed."""
    global _keeper  # noqa: PLW0603  # one keeper a process
    keeper = _keeper
    if keeper is not None and keeper._pid == os.getpid():
        return keeper
    with _making:
        if _keeper is None or _keeper._pid != os.getpid():
            _keeper = Keeper()
        return _keeper


def _forget_in_child() -> None:
    global _keeper, _making  # noqa: PLW0603
    _keeper = None
    _making = threading.Lock()  # the parent's may be held by a thread that the child does not have


os.register_at_fork(after_in_child=_forget_in_child)


def _publish_first() -> None:
    """Whoever looks for a task that this process has committed shall see it published."""
    if _keeper is not None and _keeper._pid == os.getpid():
        _keeper.publisher.wait(LOOKING_SECONDS)


queues.before_looking(_publish_first)


def _stop_at_exit() -> None:
    if _keeper is not None:
        _keeper.stop()


# Registered on import, so that it runs after whatever stops the consumers: they need the lease until the end.
atexit.register(_stop_at_exit)
