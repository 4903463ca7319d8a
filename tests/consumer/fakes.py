"""A queue whose exchange can be made to fail, ears for notices, and a consumer put together for a test."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

import msgspec

from taskqueue import notices
from taskqueue.backends.local import LocalQueue
from taskqueue.consumer import Consumer
from taskqueue.interfaces import Exchanged, Owner, PendingExchange, Record, Settlement
from taskqueue.keeper import Keeper
from taskqueue.notices import Event, Notice
from taskqueue.queues import Queue
from taskqueue.record import Task, encode, new_id
from taskqueue.settings import ServerSettings

PATIENCE = 20.0  # seconds; nothing here takes long, and a test that waits in vain says so


def make_task(url: str = "/", **fields: Any) -> Task:
    fields = {"queue": "default", "method": "POST", "base_url": "http://site.example", **fields}
    return Task(id=fields.pop("id", None) or new_id(), url=url, **fields)


def answering(status: str = "200 OK", headers: Sequence[tuple[str, str]] = (), body: bytes = b"") -> Any:
    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response(status, list(headers))
        return [body]

    return application


class Ears:
    """Hears all notices, and can wait for some."""

    def __init__(self) -> None:
        self.heard: list[Notice] = []
        self._changed = threading.Condition()

    def __call__(self, notice: Notice) -> None:
        with self._changed:
            self.heard.append(notice)
            self._changed.notify_all()

    def of(self, *events: Event) -> list[Notice]:
        with self._changed:
            return [notice for notice in self.heard if notice.event in events]

    def wait_for(self, event: Event, count: int = 1, task_ids: Collection[str] = ()) -> list[Notice]:
        """So many of a kind; of those that speak of one of these tasks, if any are given."""

        def is_wanted(notice: Notice) -> bool:
            return notice.event is event and not (task_ids and set(task_ids).isdisjoint(notice.task_ids))

        with self._changed:
            arrived = self._changed.wait_for(lambda: sum(map(is_wanted, self.heard)) >= count, PATIENCE)
            assert arrived, (
                f"{count} of {event.value!r} were awaited; heard: {[str(n.event.value) for n in self.heard]}"
            )
        return self.of(event)


class Gate:
    """A WSGI application whose requests wait at a gate: /wait/… until it is opened, all others pass."""

    def __init__(self) -> None:
        self.inside: list[str] = []
        self.passed: list[str] = []
        self.most_inside = 0
        self._changed = threading.Condition()
        self._open: set[str] = set()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        path = environ["PATH_INFO"]
        with self._changed:
            self.inside.append(path)
            self.most_inside = max(self.most_inside, len(self.inside))
            self._changed.notify_all()
            if path.startswith("/wait"):
                assert self._changed.wait_for(lambda: path in self._open, PATIENCE * 3), f"{path} was never let through"
            self.inside.remove(path)
            self.passed.append(path)
            self._changed.notify_all()
        start_response("200 OK", [])
        return [b""]

    def open(self, path: str) -> None:
        with self._changed:
            self._open.add(path)
            self._changed.notify_all()

    def wait_passed(self, count: int) -> None:
        with self._changed:
            arrived = self._changed.wait_for(lambda: len(self.passed) >= count, PATIENCE)
            assert arrived, f"{count} were awaited behind the gate; there are {len(self.passed)}"

    def wait_inside(self, *paths: str) -> None:
        with self._changed:
            arrived = self._changed.wait_for(lambda: set(paths) <= set(self.inside), PATIENCE)
            assert arrived, f"{paths} were awaited at the gate; there are {self.inside}, passed have {self.passed}"


class FaultError(Exception):
    """What the faulty queue raises."""


class FaultyQueue(LocalQueue):
    """A local queue that writes down each exchange, and fails on request, before or after doing its work."""

    capabilities = frozenset({"shared"})  # as consumers see it

    def __init__(self, name: str = "default") -> None:
        super().__init__(name=name)
        self.calls: list[tuple[Any, ...]] = []
        self.failing: dict[str, Exception] = {}  # verb -> raised instead of doing it
        self.lose_answer: Callable[[Exchanged], bool] = lambda answer: False
        self.loss: Exception = FaultError("the answer was lost")
        self.hints_only = False  # wait as if nobody polled
        self.is_far: Callable[[Sequence[Settlement]], bool] = lambda settlements: False  # its answer has to be let come
        self.on_the_way: list[threading.Event] = []
        self.held_back: list[threading.Event] = []  # those of them whose answer, or what went wrong, is there
        self.readers: list[str] = []  # the threads that read answers
        self.called = threading.Condition()

    def note(self, verb: str, *arguments: Any) -> None:
        with self.called:
            self.calls.append((verb, *arguments))
            self.called.notify_all()

    def _call(self, verb: str, *arguments: Any) -> None:
        self.note(verb, *arguments)
        if verb in self.failing:
            raise self.failing[verb]

    def wait_for_call(self, wanted: Callable[[tuple[Any, ...]], bool], count: int = 1) -> None:
        with self.called:
            arrived = self.called.wait_for(lambda: sum(wanted(call) for call in self.calls) >= count, PATIENCE)
            assert arrived, f"a call was awaited; there were {self.calls[-20:]}"

    def exchange(
        self, owner_id: str, consumer: str, settlements: Sequence[Settlement], wanted: int, alone: bool = False
    ) -> Exchanged:
        self.readers.append(threading.current_thread().name)
        return self._exchange(owner_id, consumer, settlements, wanted, alone)

    def _exchange(
        self, owner_id: str, consumer: str, settlements: Sequence[Settlement], wanted: int, alone: bool
    ) -> Exchanged:
        self._call("exchange", tuple(settlements), wanted, alone)
        answer = super().exchange(owner_id, consumer, settlements, wanted, alone)
        if not wanted:  # a backend need not look for suspects when nobody asks for tasks
            answer = msgspec.structs.replace(answer, suspects_wait=False)
        self.note("exchanged", answer)
        if self.lose_answer(answer):
            raise self.loss
        return answer

    def begin_exchange(
        self, owner_id: str, consumer: str, settlements: Sequence[Settlement], wanted: int, alone: bool = False
    ) -> PendingExchange:
        """Far away, the store does it at once, and its answer, or what went wrong, is there when it is let come."""
        come, told, is_far = threading.Event(), Future[Exchanged](), self.is_far(settlements)
        if is_far:
            self.on_the_way.append(come)
            try:
                told.set_result(self._exchange(owner_id, consumer, settlements, wanted, alone))
            except FaultError as error:
                told.set_exception(error)
            with self.called:
                self.held_back.append(come)
                self.called.notify_all()

        def end() -> Exchanged:
            assert not is_far or come.wait(PATIENCE * 3), "the answer never came"
            self.readers.append(threading.current_thread().name)
            return told.result() if is_far else self._exchange(owner_id, consumer, settlements, wanted, alone)

        return PendingExchange(end, lambda: come.is_set() or not is_far)

    def wait_until_under_way(self) -> threading.Event:
        """Wait for an exchange that was begun, and made by the store; what lets its answer come."""
        with self.called:
            assert self.called.wait_for(lambda: self.held_back, PATIENCE), "none was begun"
        return self.held_back[-1]

    def release(self, owner_id: str, consumer: str, holding: Collection[str]) -> int:
        self._call("release", tuple(holding))
        return super().release(owner_id, consumer, holding)

    def wait(self, seen: int, timeout: float) -> int:
        self._call("wait", timeout)
        return super().wait(seen, PATIENCE * 3 if self.hints_only and timeout else timeout)

    def beat(self, owner: Owner, lease: float, timeout: float) -> None:
        self._call("beat", owner.consumers)
        super().beat(owner, lease, timeout)

    def reclaim(self, max_deaths: int) -> Any:
        self._call("reclaim")
        return super().reclaim(max_deaths)

    def prune(self, *limits: Any) -> Any:
        self._call("prune", *limits)
        return super().prune(*limits)


class Site:
    """A queue, a keeper, and consumers that are stopped at the end of the test."""

    def __init__(self) -> None:
        self.backend = FaultyQueue()
        self.queue = Queue(name="default", backend=self.backend)
        self.keeper = Keeper()
        self.consumers: list[Consumer] = []
        self.ears = Ears()

    def consumer(self, application: Any, **settings: Any) -> Consumer:
        settings = {"min_backoff": 0.01, "conflict_backoff": 0.01, "max_backoff": 0.02, "grace": PATIENCE, **settings}
        consumer = Consumer(ServerSettings(**settings), self.queue, application, self.keeper)
        wait = consumer._watch.wait

        def rest(seconds: float) -> bool:
            self.backend.note("rest", seconds)
            return wait(PATIENCE * 3 if self.backend.hints_only else seconds)

        consumer._watch.wait = rest  # type: ignore[method-assign]
        self.consumers.append(consumer)
        return consumer

    def go_round(self) -> None:
        """Wait until the fetching thread of the only consumer has gone round its loop at least once."""
        (consumer,) = self.consumers
        for _ in range(2):
            before = len(waits(self))
            consumer._watch.call()
            self.backend.wait_for_call(lambda call: call[0] == "rest", before + 1)

    def publish(self, *tasks: Task) -> list[str]:
        self.backend.publish([encode(task, self.queue.keyring) for task in tasks], 1.0)
        return [task.id for task in tasks]

    def add(self, *urls: str, **fields: Any) -> list[str]:
        return self.publish(*(make_task(url, **fields) for url in urls))

    def record(self, task_id: str) -> Record:
        record = self.backend.get(task_id)
        assert record is not None, f"{task_id} is not there"
        return record

    def leave_behind(self, *task_ids: str, owner_id: str = "an owner that died") -> None:
        """Let another owner claim these, alone and so as suspects if they are, and die."""
        while True:
            claimed = LocalQueue.exchange(self.backend, owner_id, "elsewhere", (), 1, alone=True).claimed
            if not claimed:
                break
        self.backend.retire(owner_id)
        LocalQueue.reclaim(self.backend, 3)
        assert all(self.record(task_id).suspect for task_id in task_ids)


@contextmanager
def site() -> Iterator[Site]:
    """A site that listens, and is taken down."""
    made = Site()
    notices.listen(made.ears)
    try:
        yield made
    finally:
        for consumer in made.consumers:
            consumer.stop_claiming()
        for consumer in made.consumers:
            consumer.stop(grace=PATIENCE)
        made.keeper.stop()
        notices.unlisten(made.ears)


def threads_of(name: str = "default") -> list[str]:
    return sorted(t.name for t in threading.enumerate() if t.name.startswith(f"taskqueue-{name}-"))


def join_threads_of(name: str = "default") -> None:
    for thread in threading.enumerate():
        if thread.name.startswith(f"taskqueue-{name}-"):
            thread.join(PATIENCE)


def exchanges(site: Site) -> list[tuple[Any, ...]]:
    """The calls of exchange: verb, settlements, wanted, alone."""
    return [call for call in site.backend.calls if call[0] == "exchange"]


def waits(site: Site) -> list[float]:
    """For how long the fetching thread was about to wait."""
    return [call[1] for call in site.backend.calls if call[0] == "rest"]


def answers(site: Site) -> list[Exchanged]:
    return [call[1] for call in site.backend.calls if call[0] == "exchanged"]
