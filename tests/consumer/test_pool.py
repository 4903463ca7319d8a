from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from taskqueue.consumer import pool as pool_module
from taskqueue.consumer.pool import Pool

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
        self.pool: Pool[str] = self.make(1)

    def make(self, size: int) -> Pool[str]:
        self.pool = Pool("test-pool", size, self.perform, self.on_hungry)
        return self.pool

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
