"""What a consumer calls: it hands in what became of claims, and claims more."""

from taskqueue.backends import rules
from taskqueue.interfaces import CLAIM_COUNT_LIMIT, Exchanged
from taskqueue.record import State

from .store import Store


class WayOut(Store):
    def exchange(self, owner_id, consumer, settlements, wanted, alone=False):
        with self._verb() as now:
            refused = tuple(each.id for each in settlements if not self._settle_claim(each, now))
            self._promote(now)
            chosen = [] if self._is_paused() else self._choose(min(wanted, CLAIM_COUNT_LIMIT), alone)
            for record in chosen:
                self._claim(record, owner_id, consumer, now)
            answer = Exchanged(
                claimed=tuple(self._records[each.id] for each in chosen),
                refused=refused,
                suspects_wait=any(each.suspect for each in self._select(State.READY)),
                next_due=self._next_due(now),
                paused=self._is_paused(),
            )
        if any(each.state in rules.RETURNED for each in settlements):
            self._hints.give()
        return answer

    def _settle_claim(self, settlement, now):
        """False when the claim is none any more: its number tells."""
        record = self._records.get(settlement.id)
        if record is None or record.state != State.RUNNING or record.claim_number != settlement.claim_number:
            return False
        changes = {"attempts": record.attempts + settlement.attempts, "owner": "", "consumer": ""}
        if settlement.started:
            changes["suspect"] = False
        else:
            changes["first_claimed_at"] = rules.first_claim_after_return(record.first_claimed_at, record.claimed_at)
        if settlement.state == State.SCHEDULED:
            changes["due"] = now + max(0.0, settlement.delay)
        if settlement.state in rules.FINISHED:
            changes["finished_at"] = now
        if settlement.outcome is not None:
            changes["outcome"] = settlement.outcome
        if settlement.wipe:
            changes["secrets"] = None
        return self._step(record, "exchange", State(settlement.state), now, **changes)

    def _choose(self, wanted, alone):
        """The first that are ready, while they fit into one answer; or one suspect, by itself."""
        ready = sorted(self._select(State.READY), key=lambda each: (-each.priority, each.id))
        if alone and wanted > 0 and ready and ready[0].suspect:
            return ready[:1]
        chosen, size = [], 0
        for record in (each for each in ready if not each.suspect):
            if len(chosen) >= wanted or not rules.has_room(size, record):
                break
            chosen.append(record)
            size += rules.size(record)
        return chosen

    def _claim(self, record, owner_id, consumer, now):
        self._step(
            record,
            "exchange",
            State.RUNNING,
            now,
            claim_number=record.claim_number + 1,
            owner=owner_id,
            consumer=consumer,
            claimed_at=now,
            first_claimed_at=record.first_claimed_at or now,
        )

    def release(self, owner_id, consumer, holding):
        with self._verb() as now:
            mine = [each for each in self._select(State.RUNNING) if (each.owner, each.consumer) == (owner_id, consumer)]
            lost = [each for each in mine if each.id not in holding]
            for record in lost:
                first = rules.first_claim_after_return(record.first_claimed_at, record.claimed_at)
                self._step(record, "release", State.READY, now, owner="", consumer="", first_claimed_at=first)
        if lost:
            self._hints.give()
        return len(lost)

    def wait(self, seen, timeout):
        return self._hints.wait(seen, timeout)

    def wake(self):
        self._hints.give()

    # ---- what is due, and whether anything is handed out ----

    def _promote(self, now):
        due = [each for each in self._select(State.SCHEDULED) if each.due <= now]
        for record in due:
            self._step(record, "promote", State.READY, now)
        return due

    def _next_due(self, now):
        return min((max(0.0, each.due - now) for each in self._select(State.SCHEDULED)), default=None)

    def _is_paused(self):
        return self._path.with_suffix(".paused").exists()
