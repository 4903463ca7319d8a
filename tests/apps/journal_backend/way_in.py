"""What the producer calls, inside a request, and who decides what is in doubt."""

from taskqueue.backends import rules
from taskqueue.interfaces import Record
from taskqueue.record import State, new_id

from .store import Store


class WayIn(Store):
    def stage(self, records, envelope, owner_id, timeout):
        with self._verb() as now:
            staged = [
                self._step(each, "stage", State.STAGED, now, envelope=envelope, owner=owner_id, staged_at=now)
                for each in records
            ]
            if any(staged):
                self._refuse_over_limit()

    def _refuse_over_limit(self, new=0):
        if self._length_limit is not None:
            rules.refuse_over_limit(self.name, len(self._select(*rules.WAITING)) + new, self._length_limit)

    def publish(self, records, timeout):
        with self._verb() as now:
            for record in records:
                self._publish(record, "publish", now)
        self._hints.give()

    def deliver(self, records, timeout):
        with self._verb() as now:
            if sum(self._publish(record, "publish", now) for record in records):
                self._refuse_over_limit()
        self._hints.give()

    def try_adding(self, timeout):
        with self._verb() as now:
            self._refuse_over_limit(new=1)
            self._journal.try_appending(Record(id=new_id(), body=b"", state=State.GONE.value, finished_at=now))

    def discard(self, ids, timeout):
        with self._verb() as now:
            self._forget(self._known(ids), "discard", now)

    def staged(self, limit=100, after=""):
        return self.list((State.STAGED, State.HELD), limit, after)

    def settle(self, ids, verdict, timeout=None):
        with self._verb() as now:
            known = self._known(ids)
            if verdict == "discard":
                return len(self._forget(known, "settle", now))
            if verdict == "hold":
                return sum(self._step(each, "settle", State.HELD, now) for each in known)
            settled = sum(self._publish(each, "settle", now) for each in known)
        self._hints.give()
        return settled
