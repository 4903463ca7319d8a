"""What the contract's tests are written in: records, owners, a clock that can be turned, shorthands for the verbs."""

import time

from ...interfaces import Owner, Record, Settlement
from ...record import State, new_id

OWNER = "0123456789abcdef"
OTHER = "fedcba9876543210"
CONSUMER = "default"
ENVELOPE = b"envelope"
TIMEOUT = 5.0
HOUR = 3600.0
ALL_STATES = tuple(state.value for state in State)


class Clock:
    """Turns ``time.time`` ahead for a test; the monotonic clock goes on as it does."""

    def __init__(self):
        self._true = time.time
        self._ahead = 0.0

    def __call__(self):
        return self._true() + self._ahead

    def advance(self, seconds):
        """Let so many seconds pass at once."""
        self._ahead += seconds


def record(**fields):
    """A new record as ``add`` makes it."""
    return Record(**{"id": new_id(), "body": b"body", "secrets": b"secrets", **fields})


def owner(owner_id=OWNER, **fields):
    """An owner of this process."""
    return Owner(**{"id": owner_id, "host": "host", "pid": 1, "started_at": 1000.0, "consumers": (CONSUMER,), **fields})


def beat(queue, owner_id=OWNER, **fields):
    """Take an owner's lease."""
    queue.beat(owner(owner_id, **fields), 60.0, TIMEOUT)


def stage(queue, *records, owner_id=OWNER, envelope=ENVELOPE):
    """Stage records; returns the first one's id."""
    queue.stage(records, envelope, owner_id, TIMEOUT)
    return records[0].id


def publish(queue, *records):
    """Publish records; returns the first one's id."""
    queue.publish(records, TIMEOUT)
    return records[0].id


def publish_in_time(queue, *ids, max_age=TIMEOUT):
    """Publish what is staged, unless that was longer ago."""
    queue.publish_in_time([record(id=task_id) for task_id in ids], max_age, TIMEOUT)


def claim(queue, wanted=1, *, owner_id=OWNER, consumer=CONSUMER, alone=False):
    """Claim up to so many; returns the records."""
    return queue.exchange(owner_id, consumer, (), wanted, alone).claimed


def claim_one(queue, **options):
    """Claim exactly one."""
    (claimed,) = claim(queue, 1, **options)
    return claimed


def hand_in(queue, claimed, state, **fields):
    """Hand in what became of a claim; returns the answer."""
    settlement = Settlement(id=claimed.id, claim_number=claimed.claim_number, state=state, **fields)
    return queue.exchange(claimed.owner, claimed.consumer, (settlement,), 0)


def run(queue, state, **fields):
    """Publish a record ahead of all others, claim it and hand it in; returns its id."""
    publish(queue, record(priority=99))
    claimed = claim_one(queue)
    assert hand_in(queue, claimed, state, **fields).refused == ()
    return claimed.id


def state_of(queue, task_id):
    """Where a task is; None when it is unknown or gone."""
    found = queue.get(task_id)
    return None if found is None else found.state


def make_suspect(queue, task_id=None, *, owner_id=OWNER, alone=False):
    """Let an owner die while it runs the next task, and take the task back; returns its id."""
    claimed = claim_one(queue, owner_id=owner_id, alone=alone)
    assert task_id in {None, claimed.id}
    queue.retire(owner_id)
    assert claimed.id in queue.reclaim(3).ready
    beat(queue, owner_id)
    return claimed.id
