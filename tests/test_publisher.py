"""The publisher: what is handed over is published by a thread, in order, and nothing is left behind unnoticed."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest

from taskqueue.backends.local import LocalQueue
from taskqueue.interfaces import Record
from taskqueue.publisher import BATCH, Publisher
from taskqueue.queues import Queue

DEADLINE = 20.0

MAIL, SHOP = (Queue(name, LocalQueue(name=name)) for name in ("mail", "shop"))


class Store:
    """Notes what is published, and by which thread; it may be held up."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, list[str]]] = []
        self.threads: set[int] = set()
        self.is_open = threading.Event()
        self.is_open.set()
        self.was_called = threading.Event()
        self.then: Callable[[], object] = lambda: None

    def publish(self, queue: Queue, records: list[Record]) -> None:
        self.was_called.set()
        assert self.is_open.wait(DEADLINE), "nobody opened the store in time"
        self.calls.append((queue.name, [record.id for record in records]))
        self.threads.add(threading.get_ident())
        self.then()

    def close(self) -> None:
        self.is_open.clear()
        self.was_called.clear()


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def publisher(store: Store) -> Iterator[Publisher]:
    made = Publisher(store.publish)
    yield made
    store.is_open.set()
    list(made.stop(DEADLINE))
    assert made._thread is None or not made._thread.is_alive(), "the publisher's thread did not end"


def records(*ids: str) -> list[Record]:
    return [Record(id=each, body=b"body") for each in ids]


def test_no_thread_starts_before_there_is_something_to_publish(publisher: Publisher) -> None:
    assert publisher.wait(DEADLINE)
    assert publisher._thread is None


def test_what_is_handed_over_is_published_by_one_thread_in_order(publisher: Publisher, store: Store) -> None:
    for number in range(3):
        assert publisher.hand_over(MAIL, records(f"{number}a", f"{number}b"))
        assert publisher.wait(DEADLINE)

    assert store.calls == [("mail", [f"{number}a", f"{number}b"]) for number in range(3)]
    assert len(store.threads) == 1
    assert threading.get_ident() not in store.threads


def test_what_comes_meanwhile_is_one_call_for_each_queue(publisher: Publisher, store: Store) -> None:
    store.close()
    publisher.hand_over(MAIL, records("1"))
    assert store.was_called.wait(DEADLINE)
    for number in range(2, 6):
        publisher.hand_over(SHOP if number == 3 else MAIL, records(str(number)))
    assert len(publisher) == 5
    assert "5" in publisher
    store.is_open.set()
    assert publisher.wait(DEADLINE)

    assert store.calls == [("mail", ["1"]), ("mail", ["2", "4", "5"]), ("shop", ["3"])]
    assert len(publisher) == 0
    assert "5" not in publisher


def test_one_call_has_so_many_records_as_can_be_stored_in_time(publisher: Publisher, store: Store) -> None:
    publisher.hand_over(MAIL, records(*map(str, range(2 * BATCH + 1))))
    assert publisher.wait(DEADLINE)

    assert [len(ids) for _, ids in store.calls] == [BATCH, BATCH, 1]


def test_who_waits_in_vain_is_told(publisher: Publisher, store: Store) -> None:
    store.close()
    publisher.hand_over(MAIL, records("1"))

    assert not publisher.wait(0.01)


def test_its_own_thread_does_not_wait_for_itself(publisher: Publisher, store: Store) -> None:
    said: list[bool] = []
    store.then = lambda: said.append(publisher.wait(DEADLINE))
    publisher.hand_over(MAIL, records("1"))

    assert publisher.wait(DEADLINE)
    assert said == [True]


def test_what_is_there_when_it_stops_is_published_and_nothing_more_is_taken(publisher: Publisher, store: Store) -> None:
    store.close()
    publisher.hand_over(MAIL, records("1"))
    assert store.was_called.wait(DEADLINE)
    publisher.hand_over(MAIL, records("2"))
    store.is_open.set()

    assert list(publisher.stop(DEADLINE)) == []
    assert store.calls == [("mail", ["1"]), ("mail", ["2"])]
    assert not publisher.hand_over(MAIL, records("3"))


def test_what_is_left_when_the_time_is_up_is_handed_back(publisher: Publisher, store: Store) -> None:
    store.close()
    publisher.hand_over(MAIL, records("1"))
    publisher.hand_over(SHOP, records("2"))
    left = publisher.stop(0.01)

    assert [(queue.name, [each.id for each in its]) for queue, its in left] == [("mail", ["1"]), ("shop", ["2"])]


def test_nothing_is_taken_where_uwsgi_lets_no_thread_run(publisher: Publisher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uwsgi", SimpleNamespace(has_threads=False, worker_id=lambda: 1))

    assert not publisher.hand_over(MAIL, records("1"))
    assert len(publisher) == 0


def test_nothing_is_taken_where_no_thread_can_be_started(publisher: Publisher, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)

    assert not publisher.hand_over(MAIL, records("1"))
    assert len(publisher) == 0
