"""A transaction as the model knows it: which events its commit consists of, in which order, and what each changes.

Written down from what is promised, without the product's code: the transaction package calls neighbours in the order of
their keys, the queues stand behind the storages, and whoever has voted yes may have committed.
"""

from taskqueue.interfaces import Record
from taskqueue.record import State

from .machine_neighbours import COMMITS_IN, SORT_KEYS, WITNESSED

OURS = "~!taskqueue"
PHASES = ("tpc_begin", "commit", "tpc_vote", "tpc_finish")


class FailedError(Exception):
    """The commit fails here."""


class EndedError(Exception):
    """The process has died here."""


class ModelledTransaction:
    """``models`` are the modelled queues by name, ``owner`` is what the model knows of the process. ``is_certain`` says
    whether a call that fails has changed nothing, and will not."""

    def __init__(self, owner, models, is_certain):
        self.owner = owner
        self.models = models
        self._is_certain = is_certain
        self.entries = []  # queue and record
        self.neighbours = []  # kinds, in the order in which they joined
        self.savepoints = []
        self.is_ours_in = False
        self.in_progress = False
        self.is_durable = False  # told by the neighbours themselves: the truth
        self.has_succeeded = False  # the application was told that it committed
        self.durable = set()  # kinds, as the model has it
        self.is_fenced = False
        self.stood_still = False
        self.sent_to = []  # queues
        self.published_to = set()
        self.redone = set()  # queues that it could not be published to
        self._has_voted = self._has_finished = False

    # ---- before the commit ----

    def add(self, queue, task_id, priority, due):
        """A task was added."""
        self.is_ours_in = True
        self.entries.append((queue, Record(id=task_id, body=b"", priority=priority, due=due)))

    def savepoint(self):
        """Remember what there is."""
        self.savepoints.append((len(self.entries), len(self.neighbours), self.is_ours_in))

    def roll_back(self, index):
        """To one of the savepoints: what was added and who joined later is out."""
        entries, neighbours, self.is_ours_in = self.savepoints[index]
        del self.entries[entries:], self.neighbours[neighbours:], self.savepoints[index + 1 :]

    # ---- the commit ----

    @property
    def is_alone(self):
        """Nothing durable takes part but the tasks."""
        return not {*self.neighbours} & COMMITS_IN.keys()

    @property
    def _is_one_call(self):
        """Nobody else takes part at all, and one queue has all, which is certain of what it does."""
        return not self.neighbours and len(self._groups()) == 1 and self._is_certain

    @property
    def marks(self):
        """Who can be asked afterwards."""
        return [kind for kind in WITNESSED if kind in self.neighbours]

    def _groups(self):
        groups = {}
        for queue, record in self.entries:
            groups.setdefault(queue, []).append(record)
        return groups

    def event_count(self):
        """Of a commit that succeeds."""
        return len(PHASES) * len(self.neighbours) + (1 if self._is_one_call else 2 * len(self._groups()))

    def ids(self, queue):
        """Of its tasks in a queue."""
        return [record.id for name, record in self.entries if name == queue]

    def commit(self):
        """Yields the events, and is sent what became of each. An abort that follows a failure is part of it."""
        self.in_progress = True
        try:
            yield from self._commit()
            self.has_succeeded = True
        except FailedError:
            yield from self._clean_up()
        except EndedError:
            pass
        self.in_progress = False

    def _commit(self):
        if not self.is_alone:
            yield from self._stage_all()
        participants = sorted([*self.neighbours, *([OURS] if self.is_ours_in else [])], key=self._sort_key)
        for phase in PHASES:
            for each in participants:
                if each != OURS:
                    yield from self._neighbour(each, phase)
                elif phase == "tpc_vote":
                    if self._is_one_call:
                        yield from self._deliver()
                    elif self.is_alone:  # nobody has locks that a slow backend could have others wait for
                        yield from self._stage_all()
                    self._has_voted = True
                elif phase == "tpc_finish" and not self._is_one_call:
                    yield from self._finish()

    @staticmethod
    def _sort_key(participant):
        return SORT_KEYS.get(participant, participant)

    def _event(self, label, effect):
        """Tells whether it failed."""
        happened = yield label
        if happened in {"done", "failed late", "died late"}:
            effect()
        if happened.startswith("died"):
            raise EndedError
        return happened.startswith("failed")

    def _stage_all(self):
        for queue, records in self._groups().items():
            yield from self._stage(queue, records)

    def _stage(self, queue, records):
        def effect():
            for record in records:
                self.models[queue].stage(record, self.owner.id)

        self.sent_to.append(queue)
        if (yield from self._event(f"stage {queue}", effect)):
            self.owner.down.add(queue)
            raise FailedError

    def _neighbour(self, kind, phase):
        def effect():
            if COMMITS_IN.get(kind) == phase:
                self.durable.add(kind)

        is_refused = kind == "session" and phase == COMMITS_IN[kind] and self.is_fenced
        has_failed = yield from self._event(f"{kind} {phase}", effect)
        assert has_failed or not is_refused, "what was told never to commit has committed"
        if has_failed:
            raise FailedError

    def _deliver(self):
        ((queue, records),) = self._groups().items()
        if (yield from self._event(f"deliver {queue}", lambda: self._publish(queue, records))):
            self.owner.down.add(queue)
            if not self._are_published(queue, records):
                self.sent_to.append(queue)
                raise FailedError
            self._redo(queue, records)

    def _finish(self):
        self._has_finished = True
        groups = list(self._groups().items())
        if self.is_alone and groups:  # the first queue's answer is the commit
            (queue, records), *groups = groups
            if (yield from self._send(queue, records)):
                self.owner.down.add(queue)
                if not (yield from self._turn_out_published(queue, records)):
                    yield from self._retract("discard")
                    raise FailedError
                self._redo(queue, records)
            if self.stood_still and self._are_missing(queue, records):
                raise FailedError
        for queue, records in groups:
            if (yield from self._send(queue, records)):
                self.owner.down.add(queue)
                self._redo(queue, records)

    def _send(self, queue, records):
        return self._event(f"publish {queue}", lambda: self._publish(queue, records))

    def _publish(self, queue, records):
        self.published_to.add(queue)
        for record in records:
            self.models[queue].publish(record)

    def _redo(self, queue, records):
        self.owner.redo[queue].update((record.id, record) for record in records)
        self.redone.add(queue)

    def _turn_out_published(self, queue, records):
        """Where the call may still be on its way, what it has not published by now is not to be published by it."""
        if not self._is_certain:
            first = [records[0].id]
            if (yield from self._event(f"discard {queue}", lambda: self.models[queue].discard(first))):
                return False
        return self._are_published(queue, records)

    def _are_published(self, queue, records):
        unpublished = {None, State.GONE, State.STAGED, State.HELD}
        tasks = self.models[queue].tasks
        return all(record.id in tasks and tasks[record.id].state not in unpublished for record in records)

    def _are_missing(self, queue, records):
        return any(self.models[queue].tasks[record.id].state in {None, State.GONE} for record in records)

    def _clean_up(self):
        if not self._has_finished:
            yield from self._retract("hold" if self._has_voted and not self.is_alone else "discard")

    def _retract(self, verdict):
        verb = "settle hold" if verdict == "hold" else "discard"
        for queue, records in self._groups().items():
            ids = [record.id for record in records]
            if queue not in self.sent_to:
                continue
            if queue not in self.owner.down:
                if not (yield from self._event(f"{verb} {queue}", lambda q=queue, i=ids: self._let_go(q, i, verdict))):
                    continue
                self.owner.down.add(queue)
            self.owner.verdicts[queue].update(dict.fromkeys(ids, verdict))

    def _let_go(self, queue, ids, verdict):
        if verdict == "hold":
            self.models[queue].settle(ids, "hold")
        else:
            self.models[queue].discard(ids)

    # ---- afterwards ----

    def decide(self):
        """What the witnesses' answers come to: a verdict, or None as long as it is to be asked again."""
        if "session" in self.marks and "session" not in self.durable:
            self.is_fenced = True
        if self.durable & {*self.marks}:
            return "publish"
        if "stranger" in self.neighbours:
            return "hold"
        if "storage" in self.marks and self.in_progress:
            return None
        return "discard"
