"""What the command line calls: it looks and mends."""

from taskqueue.backends import rules
from taskqueue.interfaces import Counts
from taskqueue.record import STORED_STATES, State

from .store import Store


class Looking(Store):
    def __len__(self):
        with self._verb():
            return len(self._select(State.READY, State.SCHEDULED))

    def counts(self):
        with self._verb() as now:
            ages = [now - max(each.published_at or 0.0, each.due) for each in self._select(State.READY)]
            return Counts(
                states={state.value: len(self._select(state)) for state in STORED_STATES},
                oldest_ready_age=max(0.0, *ages) if ages else None,
                paused=self._is_paused(),
            )

    def get(self, task_id):
        with self._verb():
            found = self._records.get(task_id)
            return None if found is None or found.state == State.GONE else found

    def list(self, states, limit=100, after="", newest_first=False):
        with self._verb():
            found = self._select(*({*states} - {State.GONE}))
        if newest_first:
            found.reverse()
        if after:
            found = [each for each in found if (each.id < after if newest_first else each.id > after)]
        return found[: max(0, limit)]

    def requeue(self, ids):
        fresh = {"attempts": 0, "deaths": 0, "suspect": False, "first_claimed_at": None, "finished_at": None}
        with self._verb() as now:
            requeued = [
                each.id
                for each in self._known(ids)
                if each.secrets is not None and self._step(each, "requeue", State.READY, now, due=now, **fresh)
            ]
        if requeued:
            self._hints.give()
        return requeued

    def delete(self, ids):
        with self._verb() as now:
            return self._forget(self._known(ids), "delete", now)

    def purge(self, states):
        with self._verb() as now:
            return len(self._forget(self._select(*rules.sources("delete").intersection(states)), "delete", now))

    def pause(self):
        with self._verb():
            self._path.with_suffix(".paused").touch()

    def resume(self):
        with self._verb():
            self._path.with_suffix(".paused").unlink(missing_ok=True)
        self._hints.give()

    def close(self):
        self._journal.refuse_in_child()
        with self._lock:
            self._journal.close()
            self._owners.clear()
