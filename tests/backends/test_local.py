import threading

import pytest

from taskqueue.backends.local import LocalQueue

from .contract import BackendContract
from .making import OWNER, beat, publish, record, stage
from .model import machine_for
from .processes import Fork, held_by_another_thread


class TestLocal(BackendContract):
    @pytest.fixture
    def open_queue(self):
        return lambda name="default", **options: LocalQueue(name=name, **options)


def test_it_promises_nothing():
    assert LocalQueue(name="default").capabilities == {"certain"}


def test_a_forked_child_starts_empty_with_fresh_locks():
    queue = LocalQueue(name="default")
    beat(queue)
    publish(queue, record())
    stage(queue, record())

    def look():
        assert (len(queue), queue.staged(), queue.owners()) == (0, [], [])
        publish(queue, record())
        assert len(queue) == 1
        assert queue.wait(0, 0) == 1

    with held_by_another_thread(queue._lock), held_by_another_thread(queue._hints._given):
        child = Fork(look)
    child.end()
    assert (len(queue), len(queue.staged()), queue.owners()[0].owner.id) == (1, 1, OWNER)


def test_all_threads_see_the_same_tasks():
    queue = LocalQueue(name="default")
    thread = threading.Thread(target=lambda: publish(queue, record()))
    thread.start()
    thread.join(20)
    assert len(queue) == 1


def test_tasks_that_come_out_of_their_order_are_claimed_in_it():
    queue = LocalQueue(name="default")
    beat(queue)
    records = [record(priority=priority) for priority in (0, 5, 0, 5, 0)]
    publish(queue, *reversed(records))
    publish(queue, late := record(priority=9), record())
    claimed = [each.id for each in queue.exchange(OWNER, "worker", [], 6).claimed]
    assert claimed == [late.id, *(each.id for each in sorted(records, key=lambda each: (-each.priority, each.id)))]


def _open_local():
    return LocalQueue(name="default"), lambda: None


TestLocalIsAsTheModel = machine_for(_open_local)
