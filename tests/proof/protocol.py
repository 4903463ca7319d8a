"""The commit protocol as a model small enough to try everything: who may do what to one task, and what must never be.

A transaction adds a task; it belongs to an owner that may stand still, or die, before any of its steps. A keeper
settles what is held, a consumer runs what is ready. Read from top to bottom: what there is, the rules, the steps of the
owner, the store and the world, the keeper, the consumers, and what must never happen. Each step is a function of one
task; ``interleavings`` puts those of two tasks in every order. A process that stands still is one that takes no step
while others do: its lease may lapse at any time, and it goes on as if nothing had been. Knows nothing of the package:
it says how the package has to behave.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

# ---- what there is -----------------------------------------------------------------------------------------------


class Kind(NamedTuple):
    """What takes part in a transaction beside the queue, in the order of its sort keys: storage, queue, SQL."""

    name: str
    storage: str = ""  # "file", "zeo", "unknown": commits in its tpc_finish, before ours
    sql: bool = False  # one-phase: commits in its vote, after ours


FILE = Kind("FileStorage", storage="file")
ZEO = Kind("ZEO", storage="zeo")  # a commit that was sent may land after its sender has died
SQL = Kind("SQL", sql=True)
BOTH = Kind("FileStorage and SQL", storage="file", sql=True)
NOTHING = Kind("nothing durable")
NOBODY = Kind("nobody else")  # and one queue has all, in this process or in a file
UNKNOWN = Kind("unknown", storage="unknown")  # nobody can ask it afterwards
KINDS = (FILE, ZEO, SQL, BOTH, NOTHING, NOBODY, UNKNOWN)

OVER = ("ended", "failed", "dead")  # where an owner takes no step any more: with success, without, or as a corpse


class Task(NamedTuple):
    """One task, the transaction that adds it, and what each store knows."""

    kind: Kind
    next_step: str = "stage"  # of its owner: stage, vote, commit, finish, publish; deliver; hold, discard; one of OVER
    storage: str = "open"  # open, sent, committed, aborted; with nothing durable: what the client was told
    row: str = ""  # its mark in SQL: uncommitted, committed, rolled back, or refused: a settler has taken the key
    store: str = "absent"  # the queue's: absent, staged, held, ready, running, done, gone; wiped by a failover
    claim_number: int = 0
    holder: int = -1  # the consumer that made the newest claim
    has_run: bool = False
    may_run_twice: bool = False  # a consumer lapsed or died with it
    is_on_its_way: bool = False  # with nothing durable: a publish that its owner has given up
    fault: str = ""

    @property
    def is_committed(self) -> bool:
        """One yes is yes."""
        return "committed" in (self.storage, self.row)

    @property
    def may_commit(self) -> bool:
        """Whether the storage may still come to hold it. Only who knows that it cannot may take a no for an answer."""
        return self.storage == "sent" or (self.storage == "open" and self.next_step not in OVER)


@dataclass(frozen=True)
class Rules:
    """What the protocol rests on. Each is a switch, so that it can be seen what breaks without it."""

    votes_before_sql: bool = True  # sort key ~!taskqueue; ~taskqueue comes after SQL's one-phase commit
    leaves_staged_after_vote: bool = True  # an abort after our vote says nothing of what a neighbour did before it
    publish_upserts: bool = True  # whatever became of the staged record; otherwise staged to ready and nothing else
    remembers_gone: bool = True  # a late publish cannot raise what is over
    looks_when_alone: bool = True  # nothing durable joined: a publish that finds its task missing raises
    raises_when_alone: bool = True  # nothing durable joined: a publish that fails raises; there is no "later"
    refuses_late_commits: bool = True  # nothing durable joined: the store carries out nothing that was given up
    presumes: str = ""  # "commit" or "abort" of whatever is held, in place of asking a witness
    asks_again: bool = True  # a no is none while the transaction may still commit
    waits_for_messages: bool = True  # a dead client's commit may still land; a FileStorage dies with its process
    believes_no: bool = True  # once nothing can come any more
    settler_inserts: bool = True  # asks SQL by inserting the key, not by looking for the row
    knows_refusals: bool = True  # a key that a settler has inserted is told from one that the owner has committed
    claim_number_is_token: bool = True  # otherwise the number of the attempt, which a lapse does not count


Step = tuple[str, Task]


# ---- the owner: one transaction, and the process around it -------------------------------------------------------


def road(rules: Rules, kind: Kind) -> list[str]:
    """The steps of a commit, in the order in which the transaction calls for them."""
    if kind == NOBODY:
        return ["deliver"]
    votes = ["vote", "commit"] if rules.votes_before_sql else ["commit", "vote"]
    steps = ["stage", *votes, "finish", "publish"]
    return [step for step in steps if (step != "commit" or kind.sql) and (step != "finish" or kind.storage)]


def owner_steps(rules: Rules, task: Task) -> Iterator[Step]:
    """What the owner may do next; at each place it may also die."""
    if task.next_step in OVER:
        return
    yield from OWNER_STEPS[task.next_step](rules, task)
    yield "dies", _rolled_back(task)._replace(next_step="dead")


def stage(rules: Rules, task: Task) -> Iterator[Step]:
    """The hook before the commit: the transaction is marked for its witnesses, then the task is put aside."""
    row = "uncommitted" if task.kind.sql else ""
    yield "stages", _advanced(rules, task._replace(store="staged", row=row))
    yield "aborts before it has staged", task._replace(next_step="failed", storage="aborted")


def vote(rules: Rules, task: Task) -> Iterator[Step]:
    """Ours. Stages what was added since the hook, so that it may fail as staging may."""
    yield "votes", _advanced(rules, task)
    yield "cannot vote", _aborting(rules, task)


def commit(rules: Rules, task: Task) -> Iterator[Step]:
    """SQL's one-phase commit, in its vote."""
    if task.row == "uncommitted":
        committed = task._replace(row="committed")
        yield "commits in SQL", _advanced(rules, committed)
        yield "commits in SQL, and the answer is lost", _aborting(rules, committed)
    yield "fails to commit in SQL", _aborting(rules, task)


def finish(rules: Rules, task: Task) -> Iterator[Step]:
    """The storage's tpc_finish: in the process itself, or by a message to a server."""
    if task.kind.storage == "file":
        yield "commits in the storage", _advanced(rules, task._replace(storage="committed"))
        yield "fails to commit in the storage", _aborting(rules, task)
    elif task.storage == "open":
        yield "sends its commit to the storage", task._replace(storage="sent")
    else:
        if task.storage == "committed":
            yield "learns that the storage has committed", _advanced(rules, task)
        yield "loses the connection to the storage", _aborting(rules, task)


def publish(rules: Rules, task: Task) -> Iterator[Step]:
    """Our tpc_finish. With nothing durable in the transaction, this is its commit."""
    published = task._replace(store=published_store(rules, task.store), next_step="ended")
    if task.kind != NOTHING:
        yield "publishes", published  # who cannot reach the store does it later: an owner that stands still here
        yield "publishes, and the answer is lost", published._replace(next_step="publish")
        return
    is_missing = task.store in ("gone", "wiped")
    if is_missing and rules.looks_when_alone and task.storage == "open":
        yield "finds its task missing, and raises", task._replace(next_step="failed", storage="aborted")
    else:
        yield "publishes", published._replace(storage="committed")
        yield "publishes, loses the answer, and raises", published._replace(storage="committed", next_step="discard")
    if rules.raises_when_alone:
        given_up = task._replace(next_step="discard", storage="aborted")
        yield "cannot reach the store, and raises", given_up
        if not rules.refuses_late_commits:
            yield "gives up a publish that is on its way, and raises", given_up._replace(is_on_its_way=True)
    else:
        yield "cannot reach the store, and answers all the same", task._replace(storage="committed")


def deliver(rules: Rules, task: Task) -> Iterator[Step]:
    """Our vote where nobody else takes part. It is in one call of which it is certain whether it has happened."""
    yield "delivers", _advanced(rules, task._replace(store="ready", storage="committed"))
    yield "cannot deliver", task._replace(next_step="failed", storage="aborted")


def hold(rules: Rules, task: Task) -> Iterator[Step]:
    """An abort after our vote: the witnesses decide."""
    yield (
        "leaves its task in doubt",
        task._replace(store="held" if task.store == "staged" else task.store, next_step="failed"),
    )


def discard(rules: Rules, task: Task) -> Iterator[Step]:
    """An abort before our vote, or of a transaction in which nothing else took part."""
    yield "discards", task._replace(store=discarded_store(rules, task.store), next_step="failed")


OWNER_STEPS: Mapping[str, Callable[[Rules, Task], Iterator[Step]]] = {
    each.__name__: each for each in (stage, vote, commit, finish, publish, deliver, hold, discard)
}


def _advanced(rules: Rules, task: Task) -> Task:
    steps = [*road(rules, task.kind), "ended"]
    return task._replace(next_step=steps[steps.index(task.next_step) + 1])


def _aborting(rules: Rules, task: Task) -> Task:
    steps = road(rules, task.kind)
    has_voted = steps.index(task.next_step) > steps.index("vote")
    is_in_doubt = has_voted and task.kind != NOTHING and rules.leaves_staged_after_vote
    return _rolled_back(task)._replace(next_step="hold" if is_in_doubt else "discard")


def _rolled_back(task: Task) -> Task:
    """What was not committed never will be; what was sent is out of our hands."""
    return task._replace(
        storage="aborted" if task.storage == "open" else task.storage,
        row="rolled back" if task.row == "uncommitted" else task.row,
    )


# ---- the queue's store -------------------------------------------------------------------------------------------


def published_store(rules: Rules, store: str) -> str:
    """Publish carries the body: what is not there is stored. What is published, finished or gone stays as it is."""
    waiting = ("staged", "held", "absent", "wiped") if rules.publish_upserts else ("staged",)
    return "ready" if store in waiting else store


def discarded_store(rules: Rules, store: str) -> str:
    """What is published already stays."""
    gone = "gone" if rules.remembers_gone else "absent"
    return gone if store in ("staged", "held") else store


def world_steps(rules: Rules, task: Task) -> Iterator[Step]:
    """What happens to a task without its owner."""
    if task.store == "staged":
        yield "the lease lapses: what was staged is held", task._replace(store="held")
        yield "the queue's server fails over, and has forgotten what was staged", task._replace(store="wiped")
    if task.store == "done":
        yield "what is done was kept long enough", task._replace(store="gone" if rules.remembers_gone else "absent")
    if task.is_on_its_way:
        arrived = task._replace(store=published_store(rules, task.store), is_on_its_way=False)
        yield "the publish that was on its way is carried out", arrived
    if task.row == "uncommitted":
        yield "the SQL server ends the connection", task._replace(row="rolled back")
    if task.storage == "sent":
        yield "the commit lands in the storage", task._replace(storage="committed")
        yield "the commit never lands in the storage", task._replace(storage="aborted")


# ---- the keeper: asks, and acts later ----------------------------------------------------------------------------


def ask(rules: Rules, task: Task) -> tuple[Task, str]:
    """What the witnesses say, together: yes, no, not yet, unknown. Asking SQL may change it."""
    if rules.presumes:
        return task, "yes" if rules.presumes == "commit" else "no"
    if task.kind.storage == "unknown":
        return task, "unknown"
    task, of_row = _ask_sql(rules, task) if task.kind.sql else (task, "no")
    answers = {of_row, _ask_storage(rules, task) if task.kind.storage else "no"}
    return task, next(answer for answer in ("yes", "not yet", "no") if answer in answers)


def _ask_storage(rules: Rules, task: Task) -> str:
    """Its history tells. That nothing is there is final only when nothing can come any more."""
    if task.storage == "committed":
        return "yes"
    on_the_way = task.storage == "sent" and task.next_step in OVER
    is_final = not task.may_commit or not rules.asks_again or (on_the_way and not rules.waits_for_messages)
    return "no" if is_final and rules.believes_no else "not yet"


def _ask_sql(rules: Rules, task: Task) -> tuple[Task, str]:
    """Insert the key of the owner's mark: if that succeeds, the owner's transaction can never commit."""
    if task.row == "committed" or (task.row == "refused" and not rules.knows_refusals):
        return task, "yes"
    if not rules.settler_inserts:
        return task, "no"  # no row to be seen
    if task.row == "uncommitted":
        return task, "not yet"  # the server has the insert wait for the owner's transaction
    return task._replace(row="refused"), "no"


def settled(rules: Rules, task: Task, is_yes: bool) -> Task:
    """Act upon an answer. Only what is still held changes."""
    if task.store != "held":
        return task
    return task._replace(store="ready" if is_yes else discarded_store(rules, task.store))


# ---- the consumers -----------------------------------------------------------------------------------------------


def token(rules: Rules, task: Task) -> int:
    """What a settlement has to show."""
    return task.claim_number if rules.claim_number_is_token else 1


def claimed(task: Task, consumer: int) -> Task:
    """A consumer takes it, under a number that never comes again."""
    return task._replace(store="running", claim_number=task.claim_number + 1, holder=consumer)


def replayed(task: Task) -> Task:
    """The replay, and its effect in the world."""
    fault = "" if task.is_committed else "PHANTOM"
    if task.has_run and not task.may_run_twice:
        fault = "DUPLICATE"
    return task._replace(has_run=True, fault=fault)


def handed_in(rules: Rules, task: Task, consumer: int, shown: int) -> Task:
    """Hand in that it is done."""
    if task.store != "running" or shown != token(rules, task):
        return task
    return task._replace(store="done", claim_number=0, holder=-1, fault="" if task.holder == consumer else "STALE")


def reclaimed(task: Task) -> Task:
    """Its consumer's lease has lapsed: somebody else shall run it, perhaps once more."""
    return task._replace(store="ready", may_run_twice=True)


# ---- what must never happen --------------------------------------------------------------------------------------


FAULTS: Mapping[str, str] = {
    "LOST": "its transaction committed, and it never runs",
    "PHANTOM": "it runs, and its transaction has not committed",
    "DUPLICATE": "it runs twice, and no consumer has lapsed or died",
    "STALE": "it is changed by somebody whose claim is not the newest",
    "STUCK": "nothing can happen any more, and it is neither over nor held for a human",
}


@cache
def fault_of(task: Task) -> str:
    """PHANTOM, DUPLICATE and STALE are seen where they happen; LOST is a committed task that nobody has any more.

    What the queue's own server has forgotten only its owner can bring again, if it lives to publish.
    """
    is_nowhere = task.store in ("gone", "absent") or (task.store == "wiped" and task.next_step == "ended")
    is_lost = task.is_committed and not task.has_run and task.next_step in OVER and is_nowhere
    return "LOST" if is_lost else task.fault


def is_settled(task: Task) -> bool:
    """What a task may be for ever. Held is for a human, of whom only an owner that was cut short may make use."""
    for_a_human = task.store == "held" and task.kind == UNKNOWN and task.next_step != "ended"
    return for_a_human or task.store in ("absent", "gone", "wiped")


def begun(kind: Kind) -> Task:
    """A task of such a transaction, before the first step of its commit."""
    return Task(kind, next_step=road(Rules(), kind)[0])


@cache
def reduced(task: Task) -> Task:
    """Without what makes no difference any more: the search's one reduction.

    Nobody is asked about a task that is not held, and none becomes held again once its owner is over. Then all that
    counts of its transaction is whether it committed.
    """
    may_change = task.store in ("staged", "held") or task.storage == "sent" or task.is_on_its_way
    if task.next_step not in OVER or may_change:
        return task
    next_step = task.next_step if task.store == "wiped" else "ended"
    return task._replace(
        kind=NOTHING, next_step=next_step, storage="committed" if task.is_committed else "aborted", row=""
    )
