"""Asserting: what matches, and what a failure says."""

import pytest
import transaction

import taskqueue
from taskqueue.errors import InvalidTaskError
from taskqueue.testing import assert_added, assert_nothing_added
from taskqueue.wsgi import TaskQueueFilter

from .sites import add, request, urls

pytest_plugins = ["taskqueue.testing"]


def failure_of(*arguments, **keywords):
    with pytest.raises(AssertionError) as failure:
        assert_added(*arguments, **keywords)
    return str(failure.value)


def test_what_is_not_given_is_not_compared(captured_tasks):
    add("mail//send", "post", {"to": ["é", "b"]}, {"X-Lang": "de"}, "text", "mail")
    for expected in (
        {},
        {"method": "POST"},
        {"method": "post"},
        {"params": {"to": ["b", "é"]}},
        {"headers": {"x_lang": "de", "Cookie": None}},
        {"payload": "text"},
        {"payload": b"text"},
        {"queue": "mail"},
    ):
        [task] = assert_added("/mail//send", **expected)
        assert task is not None
    assert_added("/mail//send?to=%C3%A9&to=b")


def test_an_empty_payload_is_what_a_task_without_one_has(captured_tasks):
    add("/a")
    assert_added("/a", payload="")


@pytest.mark.parametrize(
    ("expected", "difference"),
    [
        ({"url": "/other"}, "path"),
        ({"url": "/mail?to=b"}, "query"),
        ({"params": {}}, "query"),
        ({"method": "GET"}, "method"),
        ({"headers": {"X-Lang": None}}, "header X-Lang"),
        ({"headers": {"Cookie": "a=b"}}, "header Cookie"),
        ({"payload": ""}, "payload"),
        ({"queue": "default"}, "queue"),
    ],
)
def test_a_failure_says_in_what_a_task_is_another(captured_tasks, expected, difference):
    add("/mail", "POST", {"to": "a"}, {"X-Lang": "de"}, "text", "mail")
    text = failure_of(**{"url": "/mail", **expected})
    assert text.endswith(
        f"found 0; added and committed:\n  1. POST /mail?to=a in 'mail', 4 bytes (ready): another {difference}"
    )


def test_a_failure_tells_no_secrets(captured_tasks):
    headers = {"Authorization": "Basic hidden-1", "Cookie": "s=hidden-2", "X-Api-Key": "hidden-3"}
    add("/a", "POST", {"access_token": "hidden-4", "month": "2026-10"}, headers, "hidden-5")
    text = failure_of("/b", params={"token": "hidden-6"}, headers={"Cookie": "hidden-7"}, payload="hidden-8")
    text += repr(captured_tasks)
    assert "month=2026-10" in text
    assert "hidden" not in text


def test_tasks_are_counted(captured_tasks):
    add("/a")
    add("/a")
    add("/b")
    assert failure_of("/a").startswith("expected 1 task /a, found 2;")
    assert failure_of("/a", count=3).startswith("expected 3 tasks /a, found 2;")
    assert failure_of("/c", count=None).startswith("expected some tasks /c, found 0;")
    assert urls(assert_added("/a", count=2)) == ["/a", "/a"]
    assert urls(assert_added("/a", count=None)) == ["/a", "/a"]
    assert assert_added("/c", count=0) == []


def test_nothing_added_fails_with_what_was(captured_tasks):
    add("/a")
    with pytest.raises(AssertionError, match=r"1\. GET /a in 'default' \(ready\)"):
        assert_nothing_added()


def test_a_long_list_is_cut(captured_tasks):
    with transaction.manager:
        for number in range(23):
            taskqueue.add(f"/{number}")
    text = failure_of("/other")
    assert "20. GET /19 " in text
    assert text.endswith("\n  and 3 more")


def test_a_failure_says_that_the_transaction_is_still_open(captured_tasks):
    transaction.begin()
    taskqueue.add("/a")
    assert "1 not committed: the transaction of this thread is still open" in failure_of("/a")
    transaction.abort()
    assert "not committed" not in failure_of("/a")


def test_a_failure_says_that_tasks_were_discarded_and_why(captured_tasks):
    def app(environ, start_response):
        taskqueue.add("/a")
        start_response("200 OK", [])
        return [b"fine"]

    request(TaskQueueFilter(app), "/lost")
    text = failure_of("/a")
    assert "1 discarded: the request '/lost' ended" in text
    assert "transaction manager inside of the taskqueue filter" in text


def test_an_open_transaction_can_be_looked_at(captured_tasks):
    manager = transaction.TransactionManager(explicit=True)
    manager.begin()
    taskqueue.add("/a", transaction_manager=manager)
    assert urls(assert_added("/a", transaction_manager=manager)) == ["/a"]
    assert "pending:\n  1. GET /a in 'default' (pending)" in failure_of("/b", transaction_manager=manager)
    manager.abort()
    manager.begin()
    assert assert_added("/a", transaction_manager=manager, count=0) == []


def test_an_expectation_that_no_task_can_meet_is_refused_as_add_refuses_it(captured_tasks):
    with pytest.raises(InvalidTaskError):
        assert_added("http://elsewhere/a")
