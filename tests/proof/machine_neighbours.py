"""Databases of an application that take part in its transactions, kept in memory, with witnesses that tell the truth.

storage    commits in its finish, sorts before the queues; as long as a commit may still come, its witness waits
session    commits in its vote, sorts behind the queues; its witness sees to it that what has not come never will
stranger   commits in its finish, and nobody can be asked
reader     of the session's kind, and writes nothing
mail       known to keep nothing
"""

from transaction.interfaces import ISavepointDataManager
from zope.interface import implementer

from taskqueue.interfaces import Witness, WitnessMark

SORT_KEYS = {
    "storage": "/var/Data.fs",
    "stranger": "/var/elsewhere",
    "mail": "~mail",
    "reader": "~sqlalchemy:1",
    "session": "~sqlalchemy:2",
}
KINDS = tuple(SORT_KEYS)
WITNESSED = ("storage", "session")
COMMITS_IN = {"storage": "tpc_finish", "stranger": "tpc_finish", "session": "tpc_vote"}


class NeighbourError(Exception):
    """What a neighbour raises."""


class Databases:
    """What became durable, and what may still. Survives all processes."""

    def __init__(self):
        self.committed = set()  # kind and key of a mark
        self.open = set()  # the same; the storage has the mark, and does not know yet
        self.fenced = set()  # the session's: refused if they come


@implementer(ISavepointDataManager)
class Neighbour:
    """One database's part in a transaction of a process. ``transaction`` is told when the part is durable."""

    def __init__(self, kind, process, transaction):
        self.kind = kind
        self.transaction_manager = process.manager
        self._process = process
        self._transaction = transaction
        self._keys = set()
        if kind == "mail":
            self.taskqueue_volatile = True

    def mark(self, key):
        """Keep this if, and only if, the transaction commits."""
        self._keys.add((self.kind, key))
        self._process.marks.add((self.kind, key))
        self._process.databases.open.add((self.kind, key))

    def sortKey(self):  # noqa: N802  # the name is IDataManager's
        return SORT_KEYS[self.kind]

    def savepoint(self):
        return self

    def rollback(self):
        """Nothing: what a neighbour keeps is of no interest before the commit."""

    def _pass(self, phase):
        commit = self._commit if COMMITS_IN.get(self.kind) == phase else lambda: None
        self._process.do(f"{self.kind} {phase}", commit, NeighbourError(phase))

    def _commit(self):
        databases = self._process.databases
        if self._keys & databases.fenced:
            raise NeighbourError("that key is there already")
        databases.committed |= self._keys
        self._transaction.is_durable = True
        self._end()

    def _end(self):
        self._process.databases.open -= self._keys

    def tpc_begin(self, transaction):
        self._pass("tpc_begin")

    def commit(self, transaction):
        self._pass("commit")

    def tpc_vote(self, transaction):
        self._pass("tpc_vote")

    def tpc_finish(self, transaction):
        self._pass("tpc_finish")

    def tpc_abort(self, transaction):
        if not self._process.is_dead:
            self._end()

    abort = tpc_abort


class TrueWitness(Witness):
    """The witness of the storage, or of the session."""

    def __init__(self, kind, databases):
        self.kind = kind
        self._databases = databases

    @property
    def database(self):
        return "the only one"

    def recognises(self, data_manager):
        kind = getattr(data_manager, "kind", None)
        return kind == self.kind or (kind == "reader" and self.kind == "session")

    def mark(self, key, transaction, data_managers):
        writers = [each for each in data_managers if each.kind == self.kind]
        for each in writers:
            each.mark(key)
        return WitnessMark(kind=self.kind, database=self.database) if writers else None

    def testify(self, marks, timeout):
        return {key: self._answer((self.kind, key)) for key in marks}

    def _answer(self, mark):
        if mark in self._databases.committed:
            return "yes"
        if self.kind == "session":
            self._databases.fenced.add(mark)
        elif mark in self._databases.open:
            return "not yet"
        return "no"
