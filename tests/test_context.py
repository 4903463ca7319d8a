from __future__ import annotations

import threading
from typing import Any

import pytest

from taskqueue import context
from taskqueue.context import InnermostRequest, Origin
from taskqueue.record import Task, new_id


def make_origin(task: Task | None = None) -> Origin:
    return Origin(environ={}, live_environ={}, body=None, task=task)


def make_task() -> Task:
    return Task(id=new_id(), queue="mail", method="GET", url="/")


@pytest.fixture(autouse=True)
def _no_finders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(context, "_finders", [])


def test_outside_of_a_request_nothing_is_active() -> None:
    assert context.active_origin() is None
    assert context.current_task() is None


def test_a_request_is_active_in_its_block_and_the_one_around_it_afterwards() -> None:
    outer, inner = make_origin(), make_origin()
    with context.active(outer):
        with context.active(inner):
            assert context.active_origin() is inner
        assert context.active_origin() is outer
    assert context.active_origin() is None


def test_a_request_is_not_active_any_more_after_an_exception() -> None:
    with pytest.raises(ZeroDivisionError), context.active(make_origin()):
        raise ZeroDivisionError
    assert context.active_origin() is None


def test_activating_tells_what_was_active() -> None:
    origin = make_origin()
    assert context.activate(origin) is None
    assert context.activate(None) is origin


def test_the_current_task_is_the_one_of_the_replay() -> None:
    task = make_task()
    with context.active(make_origin(task)):
        assert context.current_task() is task
        with context.active(make_origin()):
            assert context.current_task() is None


def test_each_thread_has_its_own_request() -> None:
    found: list[Origin | None] = []
    with context.active(make_origin()):
        thread = threading.Thread(target=lambda: found.append(context.active_origin()))
        thread.start()
        thread.join(10)
    assert found == [None]


def test_what_a_request_joined_is_its_own() -> None:
    one, other = make_origin(), make_origin()
    one.joined.append("manager")
    assert other.joined == []


def test_the_first_door_that_knows_a_request_is_believed() -> None:
    known: Any = InnermostRequest(transaction_manager="manager")
    context.register_finder(lambda: None)
    context.register_finder(lambda: known)
    context.register_finder(InnermostRequest)
    assert context.innermost_request() is known


def test_without_doors_there_is_no_innermost_request() -> None:
    assert context.innermost_request() is None


def test_a_door_that_registers_twice_is_asked_once() -> None:
    asked = []

    def finder() -> None:
        asked.append(1)

    context.register_finder(finder)
    context.register_finder(finder)
    context.innermost_request()
    assert asked == [1]


def test_the_strings_of_a_request_are_those_that_came_in_whatever_became_of_them_since() -> None:
    live: dict[str, Any] = {"PATH_INFO": "/in", "wsgi.multithread": True, "HTTP_ACCEPT": "text/html"}
    origin = Origin(environ=live.copy(), live_environ=live, body=None)
    live["PATH_INFO"] = "/changed"
    live["HTTP_COOKIE"] = "added"
    del live["HTTP_ACCEPT"]
    assert origin.environ == {"PATH_INFO": "/in", "HTTP_ACCEPT": "text/html"}
    assert origin.environ is origin.environ
