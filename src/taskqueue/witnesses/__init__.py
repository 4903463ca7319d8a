"""Did it commit? The witnesses of this process, and who of them has something to say of a transaction.

A witness is registered once, by the application or by a door. Before a commit, all that joined the transaction are
asked to leave a mark in it; after a crash the keeper asks those that did. Knows no store of tasks and imports no
database: ``zodb`` and ``sqlalchemy`` beside this file are loaded when one of theirs is registered.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ..errors import ConfigurationError
from ..interfaces import Execute, IWitness, Testimony, Witness, WitnessMark

__all__ = [
    "Marking",
    "Testimonies",
    "company",
    "executor",
    "find",
    "is_fenced",
    "keeps_nothing",
    "leave_marks",
    "register",
    "registered",
    "testify",
    "unregister",
]

# Data managers of well-known packages that keep nothing which an application could read back: none of them can have
# committed what the others have not.
_KEEP_NOTHING = frozenset(
    {
        "repoze.sendmail.delivery.MailDataManager",
        "zope.sendmail.delivery.MailDataManager",
        "pyramid_mailer._compat.MailDataManager",
        "transaction._transaction.NoRollbackSavepoint",
    }
)


class Marking(NamedTuple):
    """What the witnesses left in a transaction."""

    marks: tuple[WitnessMark, ...]
    strangers: tuple[str, ...]  # types of data managers that nobody recognises

    def joined_by(self, newcomers: Sequence[Any]) -> Marking:
        """The same, with data managers that came too late to be marked."""
        return Marking(self.marks, tuple(sorted({*self.strangers, *(_type_name(each) for each in newcomers)})))


_witnesses: list[Witness] = []
_changing = threading.Lock()


def register(witness: Any) -> Witness:
    """Have a database asked whether transactions committed; return its witness. Twice is once.

    ``witness`` is an ``IWitness``, a ``ZODB.DB``, or a session factory of SQLAlchemy (a ``sessionmaker`` or a
    ``scoped_session``) whose sessions zope.sqlalchemy has registered. Raises ConfigurationError for anything else, and
    when the package is missing that such a witness needs.
    """
    made = _adapt(witness)
    with _changing:
        _witnesses[:] = [each for each in _witnesses if not getattr(each, "is_gone", False)]
        if made not in _witnesses:
            _witnesses.append(made)
    return made


def unregister(witness: Witness) -> None:
    """Ask this one no more."""
    with _changing:
        if witness in _witnesses:
            _witnesses.remove(witness)


def registered() -> tuple[Witness, ...]:
    """All witnesses of this process, and those of databases that were opened together with theirs."""
    known = [each for each in _witnesses if not getattr(each, "is_gone", False)]
    companions = (others for each in known if (others := getattr(each, "companions", None)) is not None)
    return tuple(dict.fromkeys((*known, *(each for others in companions for each in others()))))


def find(mark: WitnessMark) -> Witness | None:
    """Who can answer for this mark; None when nobody in this process can. Lets out what a database raises."""
    return next((each for each in registered() if each.kind == mark.kind and each.database == mark.database), None)


def _adapt(given: Any) -> Witness:
    if IWitness.providedBy(given):
        return given  # type: ignore[no-any-return]  # it provides the interface
    if hasattr(given, "storage") and hasattr(given, "databases"):
        from .zodb import ZODBWitness  # noqa: PLC0415  # only where there is one

        return ZODBWitness(given)
    if callable(given):
        from .sqlalchemy import SQLWitness  # noqa: PLC0415  # what it imports is an extra

        return SQLWitness(given)
    raise ConfigurationError(
        f"a {type(given).__name__} is no witness; register_witness takes a ZODB.DB, a session factory of SQLAlchemy, "
        "or an object that provides taskqueue.interfaces.IWitness"
    )


# ---- before the commit -------------------------------------------------------------------------------------------


def leave_marks(key: str, transaction: Any, data_managers: Sequence[Any]) -> Marking:
    """Have everybody who takes part leave a mark in a transaction. Lets out what they raise."""
    marks = []
    left = [each for each in data_managers if not keeps_nothing(each)]
    if not left:
        return Marking((), ())
    for witness in registered():
        recognised = [each for each in left if witness.recognises(each)]
        left = [each for each in left if not any(each is known for known in recognised)]
        mark = witness.mark(key, transaction, recognised) if recognised else None
        if mark is not None:
            marks.append(mark)
    return Marking(tuple(marks), tuple(sorted({_type_name(each) for each in left})))


def company(transaction: Any) -> list[Any]:
    """What takes part in a transaction and may commit something. Its list is private: without it, all is strange."""
    resources = getattr(transaction, "_resources", None)
    return [transaction] if resources is None else [each for each in resources if not keeps_nothing(each)]


def executor(transaction: Any, transaction_manager: Any) -> Execute | None:
    """Who can run statements in the application's transaction; None when no witness can."""
    found = (witness.executor(transaction, transaction_manager) for witness in registered())
    return next((each for each in found if each is not None), None)


def keeps_nothing(data_manager: Any) -> bool:
    """Whether it is known of a data manager that it makes nothing durable: it needs no witness."""
    return getattr(data_manager, "taskqueue_volatile", False) or _type_name(data_manager) in _KEEP_NOTHING


def is_fenced(data_manager: Any) -> bool:
    """Whether asking the witness of a data manager makes sure that what has not committed never will."""
    return any(each.fences and each.recognises(data_manager) for each in registered())


def _type_name(thing: Any) -> str:
    return f"{type(thing).__module__}.{type(thing).__qualname__}"


# ---- after it ----------------------------------------------------------------------------------------------------


class Testimonies(NamedTuple):
    """What was said, and what went wrong."""

    answers: list[list[Testimony | None]]  # None where nobody in this process can answer
    errors: list[str]  # of databases that could not be asked; their answer is "not yet"


def testify(asked: Sequence[tuple[str, Sequence[WitnessMark]]], timeout: float) -> Testimonies:
    """What is said of each key with its marks, in the same order. ``timeout`` is for each witness, in seconds."""
    errors: list[str] = []
    marks_of: dict[Witness, dict[str, WitnessMark]] = {}
    chosen: list[list[tuple[str, Witness | None]]] = []
    for key, marks in asked:
        found = [(key, _find_or_tell(mark, errors)) for mark in marks]
        chosen.append(found)
        for mark, (_, witness) in zip(marks, found, strict=True):
            if witness is not None:
                marks_of.setdefault(witness, {}).setdefault(key, mark)
    told = {witness: _ask(witness, marks, timeout, errors) for witness, marks in marks_of.items()}
    answers = [[None if witness is None else told[witness][key] for key, witness in found] for found in chosen]
    return Testimonies(answers, errors)


def _ask(
    witness: Witness, marks: Mapping[str, WitnessMark], timeout: float, errors: list[str]
) -> Mapping[str, Testimony]:
    try:
        said = witness.testify(marks, timeout)
        return {key: said.get(key, "unknown") for key in marks}
    except Exception as error:  # noqa: BLE001  # somebody else's database may raise anything
        errors.append(f"the {witness.kind} witness could not be asked: {type(error).__name__}; it is asked again")
        return dict.fromkeys(marks, "not yet")


def _find_or_tell(mark: WitnessMark, errors: list[str]) -> Witness | None:
    try:
        return find(mark)
    except Exception as error:  # noqa: BLE001  # the same
        errors.append(f"a {mark.kind} witness does not know its database: {type(error).__name__}")
        return None


def _renew_lock_in_child() -> None:
    global _changing  # noqa: PLW0603  # the parent's may be held by a thread that the child does not have
    _changing = threading.Lock()


os.register_at_fork(after_in_child=_renew_lock_in_child)
