"""A consumer's own upkeep: what dead owners left is taken back, and what has been kept long enough goes.

It runs by the clock, in a thread of its own: not with traffic, which may have stopped, and not as a task, which might
itself be left behind.
"""

from __future__ import annotations

import threading
import time

from .. import notices
from ..errors import BackendReplacedError, BackendUnavailableError, TaskQueueError
from ..failpoints import reach
from ..interfaces import Reclaimed
from ..keeper import Keeper
from ..notices import Event
from ..queues import Queue
from ..record import Outcome, decode
from ..settings import ServerSettings
from ..threads import BackgroundThread
from .trouble import Trouble

LONGEST_PAUSE_SECONDS = 5.0  # what a dead process left is missed; its lease was wait enough
PRUNE_ROUNDS = 100
JOIN_SECONDS = 2.0


class Upkeep:
    """One daemon thread. Inert until ``start``; ``stop`` may come twice, or before."""

    def __init__(self, settings: ServerSettings, queue: Queue, keeper: Keeper) -> None:
        self._settings = settings
        self._queue = queue
        self._keeper = keeper
        self._stop_requested = threading.Event()
        self._thread: threading.Thread | None = None
        self._pruned_at: float | None = None
        self._trouble = Trouble(queue.name, settings.name)

    def start(self) -> None:
        """Begin, with a first round at once."""
        if self._thread is None and not self._stop_requested.is_set():
            name = f"taskqueue-{self._settings.name}-upkeep"
            self._thread = BackgroundThread(target=self._run, name=name)
            self._thread.start()

    def stop(self) -> None:
        """Stop at once, but for a call to the backend that is under way."""
        self._stop_requested.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(JOIN_SECONDS)

    def _run(self) -> None:
        while not self._stop_requested.is_set():
            try:
                self._attend()
                self._trouble.is_over()
            except BackendReplacedError as error:
                self._trouble.goes_on(error)  # nobody else meets this one
            except BackendUnavailableError:
                pass  # exchanges meet the same, more often, and tell
            except Exception as error:  # noqa: BLE001  # upkeep must outlive any error: tasks of the dead depend on it
                self._trouble.goes_on(error)
            self._stop_requested.wait(min(self._settings.renew, LONGEST_PAUSE_SECONDS))

    def _attend(self) -> None:
        reach("reclaim.begun")
        reclaimed = self._queue.backend.reclaim(self._settings.max_deaths)
        reach("reclaim.done")
        self._tell(reclaimed)
        now = time.monotonic()
        if self._pruned_at is None or now - self._pruned_at >= self._settings.renew:
            self._prune()
            self._pruned_at = now

    def _prune(self) -> None:
        keep = self._settings
        for _ in range(PRUNE_ROUNDS):
            if self._stop_requested.is_set():
                return
            pruned = self._queue.backend.prune(keep.keep_done, keep.keep_done_count, keep.keep_dead, keep.keep_secrets)
            if not any(pruned.values()):
                return

    def _tell(self, reclaimed: Reclaimed) -> None:
        if reclaimed.ready:
            notices.tell(Event.RECLAIMED, queue=self._queue.name, task_ids=reclaimed.ready)
            self._queue.backend.wake()
        if reclaimed.held:
            self._keeper.look_into_doubts(self._queue)
        for task_id in reclaimed.dead:
            self._tell_dead(task_id)

    def _tell_dead(self, task_id: str) -> None:
        task = None
        try:
            record = self._queue.backend.get(task_id)
            task = None if record is None else decode(record, None)
        except TaskQueueError:
            pass  # that it is dead is known without
        outcome = task.last_outcome if task is not None else None
        notices.tell(
            Event.DEAD,
            queue=self._queue.name,
            consumer=self._settings.name,
            task=task,
            task_ids=(task_id,),
            outcome=outcome or Outcome(state="dead", reason="its consumer died while running it"),
        )
