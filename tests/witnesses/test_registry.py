from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest
from zope.interface import implementer
from zope.interface.verify import verifyObject

import taskqueue
from taskqueue import witnesses
from taskqueue.errors import ConfigurationError
from taskqueue.interfaces import IWitness, WitnessMark

from .fakes import FakeWitness


@pytest.fixture(autouse=True)
def _nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """No witnesses, and those of a test are forgotten."""
    monkeypatch.setattr(witnesses, "_witnesses", [])


class Manager:
    """A data manager of some database."""

    def __init__(self, database: str = "main", **attributes: Any) -> None:
        self.database = database
        self.__dict__.update(attributes)


class Equal(Manager):
    """One that is equal to all others."""

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]  # and has no hash


MANAGER = f"{__name__}.Manager"


def mark(database: str = "main", kind: str = "fake") -> WitnessMark:
    return WitnessMark(kind=kind, database=database)


def leave_marks(*managers: Any) -> witnesses.Marking:
    return witnesses.leave_marks("key", SimpleNamespace(), managers)


# ---- registering -------------------------------------------------------------------------------------------------


def test_the_fake_is_a_witness() -> None:
    assert verifyObject(IWitness, FakeWitness())


def test_registering_twice_is_registering_once() -> None:
    made = FakeWitness()
    assert taskqueue.register_witness(made) is made
    assert witnesses.register(made) is made
    assert witnesses.registered() == (made,)


def test_who_is_not_registered_any_more_is_not_asked() -> None:
    made = witnesses.register(FakeWitness())
    witnesses.unregister(made)
    witnesses.unregister(made)
    assert witnesses.registered() == ()
    assert witnesses.find(mark()) is None


def test_a_witness_need_not_be_of_our_class() -> None:
    @implementer(IWitness)
    class Own:
        kind, database = "own", "here"

    own = Own()
    assert witnesses.register(own) is own
    assert witnesses.find(mark("here", "own")) is own


def test_companions_are_witnesses_too_and_each_is_named_once() -> None:
    first, second, third = FakeWitness("first"), FakeWitness("second"), FakeWitness("third")
    first.companions = lambda: (second, third)  # type: ignore[attr-defined]  # optional
    witnesses.register(first)
    witnesses.register(second)
    assert witnesses.registered() == (first, second, third)


@pytest.mark.parametrize("given", [None, "sqlite:///data.db", 5, object()])
def test_what_can_be_no_witness_is_refused_in_one_line_that_names_what_can(given: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        witnesses.register(given)
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith(f"a {type(given).__name__} is no witness; register_witness takes a ZODB.DB")
    assert "sqlite:" not in text
    assert witnesses.registered() == ()


def test_a_session_factory_without_the_package_is_refused_in_one_line_that_names_the_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in [each for each in sys.modules if each.startswith("taskqueue.witnesses.sqlalchemy")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr(witnesses, "sqlalchemy", raising=False)
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    with pytest.raises(ConfigurationError, match=r"install wsgi-taskqueue\[sqlalchemy\]") as caught:
        witnesses.register(lambda: None)
    assert "\n" not in str(caught.value)


def test_a_mark_is_found_by_its_kind_and_its_database() -> None:
    here, there, other = FakeWitness("here"), FakeWitness("there"), FakeWitness("here", kind="other")
    for each in (here, there, other):
        witnesses.register(each)
    assert witnesses.find(mark("here")) is here
    assert witnesses.find(mark("there")) is there
    assert witnesses.find(mark("here", "other")) is other
    assert witnesses.find(mark("elsewhere")) is None


# ---- marks -------------------------------------------------------------------------------------------------------


def test_all_who_take_part_leave_a_mark_with_the_same_key() -> None:
    first, second, idle = FakeWitness("first"), FakeWitness("second"), FakeWitness("idle")
    for each in (first, second, idle):
        witnesses.register(each)
    marking = leave_marks(Manager("second"), Manager("first"), Manager("second"))
    assert [(each.database, each.position) for each in marking.marks] == [("first", "1"), ("second", "2")]
    assert marking.strangers == ()
    assert (first.marked, second.marked, idle.marked) == (["key"], ["key"], [])


def test_whom_nobody_recognises_is_a_stranger_and_named_once() -> None:
    witnesses.register(FakeWitness())
    marking = leave_marks(Manager("x"), Manager("y"), SimpleNamespace())
    assert marking == ((), (MANAGER, "types.SimpleNamespace"))


def test_nobody_is_taken_for_another_that_is_equal() -> None:
    witnesses.register(FakeWitness())
    assert leave_marks(Equal("x"), Manager("main")).strangers == (f"{__name__}.Equal",)


def test_two_witnesses_that_recognise_the_same_leave_one_mark() -> None:
    for kind in ("a", "b"):
        witnesses.register(FakeWitness(kind=kind))
    assert [each.kind for each in leave_marks(Manager()).marks] == ["a"]


def test_who_will_write_nothing_is_neither_marked_nor_a_stranger() -> None:
    witnesses.register(FakeWitness()).writes_nothing = True  # type: ignore[attr-defined]  # the fake
    assert leave_marks(Manager()) == ((), ())


def test_what_a_witness_raises_comes_out() -> None:
    witnesses.register(FakeWitness()).error = OSError("read only")  # type: ignore[attr-defined]  # the fake
    with pytest.raises(OSError, match="read only"):
        leave_marks(Manager())


def test_without_witnesses_all_are_strangers() -> None:
    assert leave_marks(Manager()) == ((), (MANAGER,))
    assert leave_marks() == ((), ())


def test_who_came_too_late_is_a_stranger_beside_the_others() -> None:
    marking = witnesses.Marking((mark(),), ("other.Stranger",))
    assert marking.joined_by([Manager(), Manager()]) == ((mark(),), ("other.Stranger", MANAGER))
    assert marking.joined_by([]) == marking


def made_in(module: str, name: str) -> object:
    """A data manager of a package that is not installed here."""
    return type(name, (), {"__module__": module})()


def test_mail_and_what_says_so_of_itself_keeps_nothing() -> None:
    mail = made_in("repoze.sendmail.delivery", "MailDataManager")
    volatile = Manager(taskqueue_volatile=True)
    assert witnesses.keeps_nothing(mail)
    assert witnesses.keeps_nothing(volatile)
    assert not witnesses.keeps_nothing(Manager())
    assert not witnesses.keeps_nothing(made_in("mine", "MailDataManager"))
    assert leave_marks(mail, volatile) == ((), ())


def test_company_is_all_that_may_commit_something() -> None:
    durable = Manager()
    assert witnesses.company(SimpleNamespace(_resources=[Manager(taskqueue_volatile=True), durable])) == [durable]


def test_a_transaction_that_does_not_show_its_data_managers_is_a_stranger_itself() -> None:
    closed = SimpleNamespace()
    assert witnesses.company(closed) == [closed]


# ---- testimonies -------------------------------------------------------------------------------------------------


def test_each_witness_is_asked_once_and_answers_stand_in_the_order_of_the_marks() -> None:
    first = witnesses.register(FakeWitness("first", answer="yes"))
    second = witnesses.register(FakeWitness("second", answer="no"))
    asked = [("a", (mark("first"), mark("second"))), ("b", (mark("second"),)), ("c", ())]
    assert witnesses.testify(asked, 1.0) == ([["yes", "no"], ["no"], []], [])
    assert (first.asked, second.asked) == ([("a",)], [("a", "b")])  # type: ignore[attr-defined]  # the fake


def test_nobody_answers_for_a_database_that_is_not_registered() -> None:
    witnesses.register(FakeWitness("here", answer="yes"))
    assert witnesses.testify([("a", (mark("here"), mark("there")))], 1.0) == ([["yes", None]], [])


def test_who_says_nothing_of_a_key_does_not_know() -> None:
    witnesses.register(FakeWitness()).is_silent = True  # type: ignore[attr-defined]  # the fake
    assert witnesses.testify([("a", (mark(),))], 1.0).answers == [["unknown"]]


def test_who_cannot_be_asked_does_not_know_yet_and_the_others_are_asked_all_the_same() -> None:
    witnesses.register(FakeWitness("first")).error = ValueError("a secret")  # type: ignore[attr-defined]  # the fake
    witnesses.register(FakeWitness("second", answer="no"))
    answers, errors = witnesses.testify([("a", (mark("first"), mark("second")))], 1.0)
    assert answers == [["not yet", "no"]]
    assert errors == ["the fake witness could not be asked: ValueError; it is asked again"]


def test_an_answer_that_is_none_of_an_interface_is_one_that_could_not_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    made = witnesses.register(FakeWitness())
    monkeypatch.setattr(made, "testify", lambda marks, timeout: None)
    answers, errors = witnesses.testify([("a", (mark(),))], 1.0)
    assert (answers, len(errors)) == ([["not yet"]], 1)


def test_a_witness_that_does_not_find_out_its_database_cannot_be_found_for_now() -> None:
    witnesses.register(FakeWitness()).error = ConnectionError("a secret")  # type: ignore[attr-defined]  # the fake
    answers, errors = witnesses.testify([("a", (mark(),))], 1.0)
    assert answers == [[None]]
    assert errors == ["a fake witness does not know its database: ConnectionError"]
