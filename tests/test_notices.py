from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from taskqueue import notices
from taskqueue.notices import Event, Notice
from taskqueue.record import Outcome


@pytest.fixture(autouse=True)
def _only_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notices, "_listeners", [])


@pytest.fixture
def heard() -> Iterator[list[Notice]]:
    found: list[Notice] = []
    notices.listen(found.append)
    yield found
    notices.unlisten(found.append)


def test_everybody_who_listens_is_told(heard: list[Notice]) -> None:
    also: list[Notice] = []
    notices.listen(also.append)
    notices.tell(Event.DONE, queue="mail", consumer="c")
    assert heard == also == [Notice(event=Event.DONE, queue="mail", consumer="c")]


def test_listening_twice_is_listening_once() -> None:
    count = 0

    def listener(_notice: Notice) -> None:
        nonlocal count
        count += 1

    notices.listen(listener)
    notices.listen(listener)
    notices.tell(Event.WARNING, detail="x")
    assert count == 1
    notices.unlisten(listener)
    notices.tell(Event.WARNING, detail="x")
    assert count == 1


def test_who_does_not_listen_can_stop_listening() -> None:
    notices.unlisten(print)


def test_a_listener_that_raises_is_logged_and_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    def broken(_notice: Notice) -> None:
        raise ZeroDivisionError

    heard: list[Notice] = []
    notices.listen(broken)
    notices.listen(heard.append)
    with caplog.at_level(logging.ERROR, logger="taskqueue"):
        notices.tell(Event.DONE)
    assert len(heard) == 1
    assert [(record.name, record.exc_info is not None) for record in caplog.records] == [("taskqueue", True)]


def test_a_listener_may_stop_listening_while_it_is_told() -> None:
    heard: list[Notice] = []

    def once(notice: Notice) -> None:
        heard.append(notice)
        notices.unlisten(once)

    also: list[Notice] = []
    notices.listen(once)
    notices.listen(also.append)
    notices.tell(Event.DONE)
    notices.tell(Event.DEAD)
    assert [notice.event for notice in heard] == [Event.DONE]
    assert [notice.event for notice in also] == [Event.DONE, Event.DEAD]


def test_nobody_has_to_listen() -> None:
    notices.tell(Event.DONE)


def test_a_notice_cannot_be_changed_by_who_hears_it(heard: list[Notice]) -> None:
    notices.tell(Event.DONE, queue="mail")
    with pytest.raises(AttributeError):
        heard[0].queue = "other"  # type: ignore[misc]  # what is tested


def test_what_can_be_told_has_a_name_of_its_own() -> None:
    assert len({event.value for event in Event}) == len(list(Event))


class Choosy:
    """Hears what it has chosen."""

    def __init__(self, *chosen: Event) -> None:
        self.heard: list[Notice] = []
        self.asked: list[Outcome | None] = []
        self._chosen = chosen

    def hears(self, event: Event, outcome: Outcome | None) -> bool:
        self.asked.append(outcome)
        return event in self._chosen

    def __call__(self, notice: Notice) -> None:
        self.heard.append(notice)


def test_nobody_is_told_what_nobody_would_hear() -> None:
    choosy, outcome = Choosy(Event.DEAD), Outcome(state="done", reason="")
    notices.listen(choosy)
    notices.tell(Event.DONE, outcome=outcome)
    assert (choosy.heard, choosy.asked) == ([], [outcome])
    notices.tell(Event.DEAD)
    assert [notice.event for notice in choosy.heard] == [Event.DEAD]


def test_what_one_does_not_hear_another_is_told(heard: list[Notice]) -> None:
    notices.listen(Choosy())
    notices.tell(Event.DONE)
    assert [notice.event for notice in heard] == [Event.DONE]


def test_a_listener_that_cannot_say_what_it_hears_is_told() -> None:
    class Broken(Choosy):
        def hears(self, event: Event, outcome: Outcome | None) -> bool:
            raise ZeroDivisionError

    broken = Broken()
    notices.listen(broken)
    notices.tell(Event.DONE)
    assert [notice.event for notice in broken.heard] == [Event.DONE]


def test_an_event_is_found_by_its_text() -> None:
    assert {Event.DONE: 1}["done"] == 1  # type: ignore[index]  # the text equals the event
