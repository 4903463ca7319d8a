"""Who is alive, what the dead have left, and what is old."""

from msgspec.structs import replace

from taskqueue.backends import rules
from taskqueue.interfaces import OwnerStatus, Reclaimed
from taskqueue.record import State

from .way_out import WayOut


class Upkeep(WayOut):
    """One process at a time has the file, so whoever has not beaten in this one is dead, and its lease cannot lapse."""

    def beat(self, owner, lease, timeout):
        with self._verb() as now:
            self._owners[owner.id] = OwnerStatus(owner=owner, alive=True, seen_at=now)

    def retire(self, owner_id, timeout=None):
        with self._verb():
            if owner_id not in self._holders():
                self._owners.pop(owner_id, None)
            elif owner_id in self._owners:
                self._owners[owner_id] = replace(self._owners[owner_id], alive=False)

    def _holders(self):
        """Who has something in its name."""
        return {each.owner for each in self._select(State.STAGED, State.HELD, State.RUNNING)}

    def owners(self):
        with self._verb():
            return sorted(self._owners.values(), key=lambda each: (each.owner.started_at, each.owner.id))

    def reclaim(self, max_deaths):
        with self._verb() as now:
            alive = {task_id for task_id, status in self._owners.items() if status.alive}
            lost = [each for each in self._select(State.STAGED, State.RUNNING) if each.owner not in alive]
            for record in lost:
                self._take_back(record, max_deaths, now)
            ids = {
                state: tuple(each.id for each in lost if self._records[each.id].state == state)
                for state in (State.READY, State.DEAD, State.HELD)
            }
        if lost:
            self._hints.give()
        return Reclaimed(
            ready=ids[State.READY],
            dead=ids[State.DEAD],
            held=ids[State.HELD],
            owners=tuple(sorted({each.owner for each in lost})),
        )

    def _take_back(self, record, max_deaths, now):
        if record.state == State.STAGED:
            self._step(record, "reclaim", State.HELD, now)
            return
        death = rules.after_death(record.suspect, record.deaths, max_deaths, now)
        changes = {"deaths": death.deaths, "suspect": True, "owner": "", "consumer": ""}
        if death.outcome is not None:
            changes |= {"outcome": death.outcome, "finished_at": now}
        self._step(record, "reclaim", death.state, now, **changes)

    def promote(self):
        with self._verb() as now:
            promoted, next_due = self._promote(now), self._next_due(now)
        if promoted:
            self._hints.give()
        return next_due

    def prune(self, keep_done, keep_done_count, keep_dead, keep_secrets):
        with self._verb() as now:
            self._forget_the_forgotten(now)
            done = self._oldest_first(State.DONE)
            surplus = done[: max(0, len(done) - keep_done_count)]
            old_done = [*surplus, *(each for each in done[len(surplus) :] if now - each.finished_at >= keep_done)]
            dead = self._oldest_first(State.DEAD)
            old_dead = [each for each in dead if keep_dead is not None and now - each.finished_at >= keep_dead]
            pruned = {
                "done": len(self._forget(old_done[: rules.PRUNE_LIMIT], "prune", now)),
                "dead": len(self._forget(old_dead[: rules.PRUNE_LIMIT], "prune", now)),
            }
            exposed = [each for each in self._oldest_first(State.DEAD) if each.secrets is not None]
            exposed = [each for each in exposed if now - each.finished_at >= keep_secrets][: rules.PRUNE_LIMIT]
            for record in exposed:
                self._change(record, secrets=None)
            return pruned | {"wiped": len(exposed)}

    def _oldest_first(self, state):
        return sorted(self._select(state), key=lambda each: (each.finished_at, each.id))

    def _forget_the_forgotten(self, now):
        for record in self._select(State.GONE):
            if self._state(record.id, now) is None:
                del self._records[record.id]  # its line goes when the file is next opened
        holding = self._holders()
        for owner_id, status in list(self._owners.items()):
            if not status.alive and owner_id not in holding and now - status.seen_at >= rules.GONE_SECONDS:
                del self._owners[owner_id]
