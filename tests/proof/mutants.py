"""The protocol with one rule broken, for each of its rules, and the fault that has to come of it."""

from __future__ import annotations

from typing import NamedTuple

from .interleavings import Found, search, starts
from .protocol import Rules


class Mutant(NamedTuple):
    """One broken rule."""

    name: str
    rules: Rules
    fault: str
    why: str  # the rule is there, in reStructuredText

    def find(self, tasks: int) -> Found:
        """The shortest way to a fault, with so many tasks."""
        return search(self.rules, starts(tasks))


MUTANTS = (
    Mutant(
        "Nobody is asked: what is held did not commit",
        Rules(presumes="abort"),
        "LOST",
        "A staged task whose owner fell silent proves nothing: it may have done so just after the application's "
        "commit.",
    ),
    Mutant(
        "Nobody is asked: what is held did commit",
        Rules(presumes="commit"),
        "PHANTOM",
        "It may as well have fallen silent just before. Only what took part in the transaction can tell, so it is "
        "asked: that is a *witness*.",
    ),
    Mutant(
        "We vote after SQL has committed",
        Rules(votes_before_sql=False),
        "LOST",
        "A session of SQLAlchemy that is committed in one phase commits in its *vote*. Whoever votes later can "
        "still refuse, and an abort that comes before our own vote has our tasks discarded; by then the data is "
        "there for good. Data managers vote in the order of their sort keys, and ours begins with ``~!``: behind "
        "all storages, before SQL.",
    ),
    Mutant(
        "An abort after our vote discards",
        Rules(leaves_staged_after_vote=False),
        "LOST",
        "That a transaction failed does not say that nothing of it was committed: an answer may have been lost on "
        "its way, or one database may have committed before another one failed. After our vote an abort leaves the "
        "tasks in doubt, and the witnesses decide.",
    ),
    Mutant(
        "Publishing only turns staged into ready",
        Rules(publish_upserts=False),
        "LOST",
        "A Redis that fails over may have forgotten the last second. Publishing brings the whole task along, so "
        "that an owner that lives mends this without knowing. If the owner dies as well, the task is lost: a "
        "witness knows *that* there was a task, and not what it was. No rule helps against that, but a store that "
        "forgets nothing does.",
    ),
    Mutant(
        "The ids of what is gone are not remembered",
        Rules(remembers_gone=False),
        "DUPLICATE",
        "Publishing may come late, and more than once: its answer was lost, or the owner stood still. By then the "
        "keeper may have published the task, it may have run, and its record may be deleted. Whatever has been "
        "gone for less than an hour is not stored again.",
    ),
    Mutant(
        "The first no is believed",
        Rules(asks_again=False),
        "LOST",
        "The keeper asks and acts in two steps, and a transaction that has not committed yet may commit in "
        "between. So a no counts only if it cannot change any more: the owner's process is dead, or its "
        "transaction is over. Until then the answer is *not yet*.",
    ),
    Mutant(
        "A dead client's no is believed at once",
        Rules(waits_for_messages=False),
        "LOST",
        "A FileStorage ends with its process. With ZEO or another server the commit is a message, and it may "
        "arrive after its sender is dead, or has given up. So a no is asked again for a day, and then believed.",
    ),
    Mutant(
        "No no is ever believed",
        Rules(believes_no=False),
        "STUCK",
        "Waiting has to end. When the owner's transaction is over and nothing of it can be on its way any more, "
        "what has not come never will.",
    ),
    Mutant(
        "The witness in SQL looks for the row, and does not insert it",
        Rules(settler_inserts=False),
        "LOST",
        "A row that is not committed cannot be seen, so looking says no too early. Inserting the same key cannot "
        "err: the server has it wait while the owner's transaction is open, refuses it when that has committed, "
        "and if it succeeds, the owner's transaction never can commit.",
    ),
    Mutant(
        "A row that settling has inserted passes for the owner's",
        Rules(knows_refusals=False),
        "PHANTOM",
        "Asking leaves a row behind, and who asks next finds it: another witness had said *not yet*, or the keeper "
        "died before it could act. The row says who wrote it.",
    ),
    Mutant(
        "With nothing durable, a late publish does not look",
        Rules(looks_when_alone=False),
        "LOST",
        "Where nothing durable took part, publishing is the commit, and what is held did not happen: it is "
        "discarded. An owner that was only slow has to notice that, and its request has to fail.",
    ),
    Mutant(
        "With nothing durable, a failed publish is put off",
        Rules(raises_when_alone=False),
        "LOST",
        "After the commit of a database, publishing may be repeated later, since the witness remembers. Where "
        "publishing is the commit nobody does: the request has to fail when the store cannot be reached. If only "
        "the answer was lost, the task runs nevertheless, as is true of every commit whose answer is lost.",
    ),
    Mutant(
        "With nothing durable, a publish that was given up is carried out",
        Rules(refuses_late_commits=False),
        "PHANTOM",
        "A server that stalls has calls waiting before its door, and carries them out when it goes on; by then the "
        "request has failed. So a publish that is the commit says for how long its task may have been staged. The "
        "server judges that by its own clock, which has said when that was, and refuses what comes too late.",
    ),
    Mutant(
        "The number of the attempt is the token of a claim",
        Rules(claim_number_is_token=False),
        "STALE",
        "A consumer that lapsed has spent no attempt, so the next one would make the attempt with the same number, "
        "and the late outcome of the first would end the run of the second. Claim numbers count claims, and never "
        "repeat.",
    ),
)
