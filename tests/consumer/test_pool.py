from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from taskqueue.consumer import pool as pool_module
from taskqueue.consumer.pool import Pool
from tests.serving import wait_until

from .fakes import PATIENCE


class Work:
    """Jobs that are done when they are let go, and a pool that does them."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.begun: list[str] = []
        self.done: list[str] = []
        self.let_go: set[str] = set()
        self.hungry = 0
        self.hungry_idle = 0  # how often the thread had nothing to do
        self.watchers: list[str] = []
        self.most_watchers = 0
        self.watch_ends = False
        self.pool: Pool[str] = self.make(1)

    def make(self, size: int) -> Pool[str]:
        self.pool = Pool("test-pool", size, self.perform, self.on_hungry)
        return self.pool

    def make_watched(self, size: int) -> Pool[str]:
        self.pool = Pool("test-pool", size, self.perform, self.on_hungry, self.on_idle)
        return self.pool

    def on_idle(self) -> bool:
        """Watch until there are jobs, or until told to end it."""
        with self.changed:
            self.watchers.append(threading.current_thread().name)
            self.most_watchers = max(self.most_watchers, len(self.watchers))
            self.changed.notify_all()
            self.changed.wait_for(lambda: self.pool.has_jobs() or self.watch_ends, PATIENCE)
            self.watchers.remove(threading.current_thread().name)
            self.changed.notify_all()
            return not self.watch_ends

    def submit(self, *jobs: str) -> bool:
        """Submit them, and have the one look that watches; whether that was necessary."""
        is_left = self.pool.submit(jobs, 0)
        with self.changed:
            self.changed.notify_all()
        return is_left

    def perform(self, job: str) -> None:
        with self.changed:
            self.begun.append(job)
            self.changed.notify_all()
            self.changed.wait_for(lambda: job in self.let_go or job.startswith("quick"), PATIENCE)
            self.done.append(job)
            self.changed.notify_all()
        if job.endswith("raises"):
            raise ValueError(job)

    def on_hungry(self, is_idle: bool) -> None:
        with self.changed:
            self.hungry += 1
            self.hungry_idle += is_idle
            self.changed.notify_all()

    def release(self, *jobs: str) -> None:
        with self.changed:
            self.let_go.update(jobs)
            self.changed.notify_all()

    def wait(self, what: Any) -> None:
        with self.changed:
            assert self.changed.wait_for(what, PATIENCE), (self.begun, self.done, self.hungry)


@pytest.fixture
def work() -> Iterator[Work]:
    made = Work()
    yield made
    made.release(*made.begun)
    with made.changed:
        made.watch_ends = True
        made.changed.notify_all()
    made.pool.stop()
    for thread in threading.enumerate():  # the next test's pool has the same name
        if thread.name.startswith("test-pool"):
            thread.join(PATIENCE)


def threads() -> set[str]:
    return {thread.name for thread in threading.enumerate() if thread.name.startswith("test-pool")}


def wait_for_idle(pool: Pool[Any]) -> None:
    end = time.monotonic() + PATIENCE
    while pool.load().running:
        seen = pool.ended()
        assert time.monotonic() < end, "the pool did not become idle"
        if pool.load().running:
            pool.wait_for_end(seen, 1.0)


def test_it_starts_nothing_before_it_is_started(work):
    work.make(3)
    assert not threads()
    work.pool.start()
    assert threads() == {"test-pool-1", "test-pool-2", "test-pool-3"}


def test_its_threads_are_daemons(work):
    work.make(1).start()
    assert all(thread.daemon for thread in threading.enumerate() if thread.name in threads())


def test_jobs_are_done_in_their_order_side_by_side(work):
    work.make(2).start()
    work.pool.submit(["a", "b", "c"], low_water=0)
    work.wait(lambda: set(work.begun) == {"a", "b"})
    assert work.pool.load()[:2] == (2, 1)
    work.release("a")
    work.wait(lambda: "c" in work.begun)
    assert work.pool.jobs() == ["c", "b"] or set(work.pool.jobs()) == {"b", "c"}


def test_a_job_that_raises_costs_no_thread(work):
    work.make(1).start()
    work.pool.submit(["quick raises", "quick too"], low_water=0)
    work.wait(lambda: "quick too" in work.done)
    assert threads() == {"test-pool-1"}


def test_it_is_hungry_when_few_jobs_are_left_to_start(work):
    work.make(1).start()
    work.pool.submit(["quick 1", "quick 2", "quick 3", "hold"], low_water=1)
    work.wait(lambda: "hold" in work.begun)
    assert (work.hungry, work.hungry_idle) == (1, 0)  # after the second, one was left beside the one that it took
    work.pool.heed()
    work.release("hold")
    work.wait(lambda: work.hungry == 2)
    assert work.hungry_idle == 1


def test_it_is_hungry_again_when_half_of_what_was_left_is_left(work):
    work.make(1).start()
    work.pool.submit(["quick 1", "hold", "a", "b", "c"], low_water=5)
    work.wait(lambda: work.begun == ["quick 1", "hold"])
    assert work.hungry == 1
    assert work.pool.heed_half() == 3  # it is one that counts then
    work.release("hold")
    work.wait(lambda: "a" in work.begun)
    work.release("a")
    work.wait(lambda: "b" in work.begun)
    assert work.hungry == 1
    work.release("b")
    work.wait(lambda: "c" in work.begun)
    assert (work.hungry, work.hungry_idle) == (2, 0)


def test_heeding_tells_whether_anything_is_left_to_start(work):
    work.pool.submit(["a"], low_water=0)
    assert work.pool.heed() is True
    work.pool.withdraw()
    assert work.pool.heed() is False


def test_it_says_once_that_it_is_hungry_until_that_is_heeded(work):
    work.make(1).start()
    work.pool.submit(["quick 1", "quick 2", "quick 3", "hold"], low_water=3)
    work.wait(lambda: "hold" in work.begun)
    assert work.hungry == 1
    work.pool.heed()
    work.pool.submit(["quick 4", "hold too"], low_water=3)
    work.release("hold")
    work.wait(lambda: work.hungry == 2 and "hold too" in work.begun)


# ---- one of those who are idle watches ---------------------------------------------------------------------------


def test_one_at_a_time_watches_while_it_has_nothing_to_do(work):
    work.make_watched(3).start()
    for job in ("a", "b"):
        work.wait(lambda: work.watchers)
        work.submit(job)
        work.wait(lambda job=job: job in work.begun)
    work.wait(lambda: work.watchers)
    work.release("a", "b")
    work.wait(lambda: len(work.done) == 2)
    assert work.most_watchers == 1


def test_for_jobs_that_nobody_waits_for_the_one_who_watches_is_to_be_called(work):
    work.make_watched(1).start()
    work.wait(lambda: work.watchers)
    assert work.submit("quick")
    work.wait(lambda: "quick" in work.done)
    work.wait(lambda: work.watchers)


def test_those_who_wait_are_called_once_for_each_job(work):
    """One that was called and has not come yet does not wait for another job."""
    pool = work.make(2)
    pool.start()
    wait_until(lambda: pool._idle == 2)
    assert not pool.submit(["a", "b"], 0)
    assert pool.submit(["c"], 0)
    work.release("a", "b", "c")
    work.wait(lambda: len(work.done) == 3)


def test_one_who_cannot_watch_waits_for_a_job_and_then_tries_again(work):
    work.watch_ends = True
    work.make_watched(1).start()
    assert not work.watchers
    wait_until(lambda: work.pool._idle == 1)
    work.watch_ends = False
    assert not work.submit("quick")
    work.wait(lambda: work.watchers)


def test_what_has_not_started_can_be_taken_back(work):
    work.make(1).start()
    work.pool.submit(["a", "b", "c"], low_water=0)
    work.wait(lambda: work.begun == ["a"])
    assert work.pool.withdraw() == ["b", "c"]
    assert work.pool.load().buffered == 0


def test_only_what_waited_long_is_taken_back_and_only_while_every_thread_is_busy(work):
    work.make(1).start()
    work.pool.submit(["a", "b"], low_water=0)
    work.wait(lambda: work.begun == ["a"])
    assert work.pool.withdraw(waiting_seconds=3600) == []
    assert work.pool.withdraw(waiting_seconds=1e-9) == ["b"]
    idle = Pool[str]("test-pool-idle", 1, work.perform, work.on_hungry)
    idle.submit(["x"], low_water=0)
    assert idle.withdraw(waiting_seconds=1e-9) == ["x"]  # without threads, all of none are busy


def test_a_job_past_its_deadline_is_told_once_and_its_place_is_filled(work):
    work.make(1).start()
    work.pool.submit(["stuck", "next"], low_water=0)
    work.wait(lambda: work.begun == ["stuck"])
    assert work.pool.replace_overdue(3600) == []
    assert work.pool.replace_overdue(0) == ["stuck"]
    work.wait(lambda: work.begun == ["stuck", "next"])
    assert work.pool.stuck_count() == 1
    assert work.pool.jobs() == ["next"]
    assert threads() == {"test-pool-1", "test-pool-2"}


def test_the_thread_of_a_stuck_job_goes_away_when_it_ends_after_all(work):
    work.make(1).start()
    work.pool.submit(["stuck"], low_water=0)
    work.wait(lambda: work.begun == ["stuck"])
    stuck = next(thread for thread in threading.enumerate() if thread.name == "test-pool-1")
    work.pool.replace_overdue(0)
    work.release("stuck")
    stuck.join(PATIENCE)
    assert threads() == {"test-pool-2"}
    assert work.pool.stuck_count() == 0
    assert work.hungry == 1


def test_there_is_an_end_to_replacing(work, monkeypatch):
    monkeypatch.setattr(pool_module, "STUCK_LIMIT", 1)
    work.make(1).start()
    for job in ("stuck 1", "stuck 2"):
        work.pool.submit([job], low_water=0)
        work.wait(lambda job=job: job in work.begun)
        assert work.pool.replace_overdue(0) == [job]
    assert threads() == {"test-pool-1", "test-pool-2"}
    assert work.pool.replace_overdue(0) == []
    work.release("stuck 2")
    wait_for_idle(work.pool)
    work.pool.submit(["quick"], low_water=0)
    work.wait(lambda: "quick" in work.done)


def test_the_load_tells_how_long_no_thread_has_come_free(work):
    work.make(2).start()
    work.pool.submit(["a"], low_water=0)
    work.wait(lambda: work.begun == ["a"])
    assert work.pool.load().all_busy_seconds is None
    work.pool.submit(["b"], low_water=0)
    work.wait(lambda: len(work.begun) == 2)
    load = work.pool.load()
    assert load.all_busy_seconds is not None
    assert 0 <= load.all_busy_seconds <= load.longest_seconds


def test_waiting_for_an_end_returns_at_once_when_one_was_missed(work):
    work.make(1).start()
    seen = work.pool.ended()
    work.pool.submit(["quick"], low_water=0)
    work.pool.wait_for_end(seen, PATIENCE)
    begun_at = time.monotonic()
    work.pool.wait_for_end(seen, PATIENCE)
    assert time.monotonic() - begun_at < PATIENCE / 2


def test_waiting_for_an_end_can_be_interrupted(work):
    work.make(1)
    seen = work.pool.ended()
    waiter = threading.Thread(target=work.pool.wait_for_end, args=(seen, PATIENCE * 3))
    waiter.start()
    work.pool.interrupt()
    waiter.join(PATIENCE)
    assert not waiter.is_alive()


def test_stopping_ends_idle_threads_at_once_and_busy_ones_when_they_are_done(work):
    work.make(2).start()
    work.pool.submit(["busy"], low_water=0)
    work.wait(lambda: work.begun == ["busy"])
    work.pool.stop()
    assert len(threads()) == 1
    busy = next(thread for thread in threading.enumerate() if thread.name in threads())
    work.release("busy")
    busy.join(PATIENCE)
    assert not threads()
    work.pool.stop()


def test_stopping_before_starting_is_fine(work):
    work.make(1).stop()
    assert not threads()
