"""The contract of wait and wake, and of many threads at once."""

import threading
import time

import pytest

from ...interfaces import Settlement
from .making import CONSUMER, OTHER, OWNER, beat, claim_one, hand_in, publish, publish_in_time, record, run, stage

DEADLINE = 20.0
SHORT = 0.1


def quiet(queue):
    """Let all hints that are under way come; returns the number to wait with."""
    deadline = time.monotonic() + DEADLINE
    seen = queue.wait(0, 0.0)
    silent = 0
    while silent < 2:  # a listener that has just connected gives one more
        number = queue.wait(seen, SHORT)
        silent = silent + 1 if number == seen else 0
        assert time.monotonic() < deadline, "hints never end"
        seen = number
    return seen


class Waiting:
    def listen(self, queue):
        """Return when the queue hears others; override it where that begins in the background, and with a hint."""

    def _quiet(self, queue):
        self.listen(queue)
        return quiet(queue)

    def test_without_a_hint_a_wait_ends_with_its_timeout(self, queue):
        seen = self._quiet(queue)
        begun = time.monotonic()
        assert queue.wait(seen, SHORT) == seen
        assert time.monotonic() - begun >= SHORT * 0.9

    def test_an_exchange_that_finds_nothing_gives_no_hint(self, queue):
        seen = self._quiet(queue)
        queue.exchange(OWNER, CONSUMER, (), 5)
        assert queue.wait(seen, SHORT) == seen

    def test_a_wake_before_the_wait_is_not_missed(self, queue):
        seen = self._quiet(queue)
        queue.wake()
        number = queue.wait(seen, DEADLINE)
        assert number != seen

    def test_a_hint_is_seen_once(self, queue):
        seen = self._quiet(queue)
        queue.wake()
        seen = queue.wait(seen, DEADLINE)
        assert queue.wait(seen, SHORT) == seen

    @pytest.mark.parametrize(
        "what",
        [
            "wake",
            "publish",
            "publish in time",
            "settle",
            "resume",
            "requeue",
            "retry",
            "give back",
            "release",
            "reclaim",
            "promote",
        ],
    )
    def test_who_waits_is_woken(self, queue, clock, what):
        acts = {
            "wake": lambda: queue.wake,
            "publish": lambda: lambda: publish(queue, record()),
            "publish in time": lambda: self._prepared(stage(queue, record()), lambda i: publish_in_time(queue, i)),
            "settle": lambda: self._prepared(stage(queue, record()), lambda i: queue.settle([i], "publish")),
            "resume": lambda: queue.resume,
            "requeue": lambda: self._prepared(run(queue, "dead"), lambda i: queue.requeue([i])),
            "retry": lambda: self._prepared(self._claimed(queue), lambda c: hand_in(queue, c, "scheduled", delay=9)),
            "give back": lambda: self._prepared(self._claimed(queue), lambda c: hand_in(queue, c, "ready")),
            "release": lambda: self._prepared(self._claimed(queue), lambda c: queue.release(OWNER, CONSUMER, ())),
            "reclaim": lambda: self._prepared(self._claimed(queue, OTHER), lambda c: self._die(queue)),
            "promote": lambda: self._prepared(
                publish(queue, record(due=clock() + 9)), lambda i: self._due(queue, clock)
            ),
        }
        act = acts[what]()
        woken = threading.Event()
        seen = self._quiet(queue)

        def wait():
            if queue.wait(seen, DEADLINE) != seen:
                woken.set()

        waiter = threading.Thread(target=wait, daemon=True)
        waiter.start()
        act()
        assert woken.wait(DEADLINE / 2), f"nobody was woken by {what}"
        waiter.join(DEADLINE)

    def _prepared(self, with_what, act):
        return lambda: act(with_what)

    def _claimed(self, queue, owner_id=OWNER):
        beat(queue, owner_id)
        publish(queue, record())
        return claim_one(queue, owner_id=owner_id)

    def _die(self, queue):
        queue.retire(OTHER)
        queue.reclaim(3)

    def _due(self, queue, clock):
        clock.advance(10)
        queue.promote()

    def test_everybody_who_waits_is_woken(self, queue):
        seen = self._quiet(queue)
        woken = threading.Barrier(4)

        def wait():
            if queue.wait(seen, DEADLINE) != seen:
                woken.wait(DEADLINE)

        for _ in range(3):
            threading.Thread(target=wait, daemon=True).start()
        queue.wake()
        woken.wait(DEADLINE)

    def test_threads_that_exchange_at_once_run_each_task_once(self, queue):
        expected = {record().id for _ in range(200)}
        publish(queue, *(record(id=each) for each in expected))
        claimed: list[str] = []
        failures: list[Exception] = []

        def consume(consumer):
            try:
                settlements: tuple[Settlement, ...] = ()
                while True:
                    answer = queue.exchange(OWNER, consumer, settlements, 7)
                    claimed.extend(each.id for each in answer.claimed)
                    settlements = tuple(
                        Settlement(id=each.id, claim_number=each.claim_number, state="done") for each in answer.claimed
                    )
                    if not settlements:
                        return
            except Exception as error:  # noqa: BLE001  # told by the assertion below
                failures.append(error)

        threads = [threading.Thread(target=consume, args=(f"c{number}",), daemon=True) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(DEADLINE)
        assert failures == []
        assert len(claimed) == 200
        assert set(claimed) == expected
        assert queue.counts().states["done"] == 200
