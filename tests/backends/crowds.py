"""What must hold for a backend on a server that is shared by real processes: their forks, deaths and crowding, and the
server's own death under load.

A module takes the class ``Crowds``, and has the fixtures ``queue``, ``start_child``, which starts another process with
the same queue in it, and ``mortal``: a durable server, and what opens a queue on it. TASKQUEUE_CROWD multiplies how
much is done; the figures are printed with ``-s``.
"""

import os
import random
import threading
import time
from collections import Counter

from taskqueue.errors import BackendUnavailableError
from taskqueue.interfaces import Settlement
from taskqueue.record import Keyring, encode

from ..making_records import make_task
from .making import OTHER, OWNER, claim_one, publish, record, state_of
from .processes import Fork

DEADLINE = 20.0
CROWD = int(os.environ.get("TASKQUEUE_CROWD", "1"))

# A process that consumes with eight threads, and writes down what it runs in a file; it has opened the queue before.
CONSUME = """
    import threading
    from taskqueue.consumer import Consumer
    from taskqueue.keeper import process_keeper
    from taskqueue.queues import Queue
    from taskqueue.settings import ServerSettings

    def run(environ, start_response):
        os.write(marks, environ["HTTP_X_TASK_ID"].encode() + b"\\n")
        pause.wait(task_seconds)
        start_response("200 OK", [])
        return []

    task_seconds, pause = float(sys.argv[3]), threading.Event()
    marks = os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    settings = ServerSettings(lease=2.0, renew=0.25, concurrent_limit=8, keep_done_count=1_000_000)
    consumer = Consumer(settings, Queue("default", queue), run, process_keeper())
    consumer.start()
    say("here")
    listen()
    consumer.stop(5.0)
    process_keeper().stop()
    say("stopped")
"""


def fill(queue, count):
    """Publish so many tasks that do nothing; returns their ids."""
    records = [encode(make_task(queue="default", method="GET", payload=None), Keyring()) for _ in range(count)]
    queue.publish(records, DEADLINE)
    return {each.id for each in records}


def wait_until_done(queue, count):
    deadline = time.monotonic() + 3 * DEADLINE * CROWD
    pause = threading.Event()
    while (states := queue.counts().states)["done"] < count:
        assert time.monotonic() < deadline, f"not all were done in time: {states}"
        pause.wait(0.02)


def marks_in(path):
    return Counter(path.read_text().split())


def wait_for_more(done, count, threads):
    deadline, pause, before = time.monotonic() + DEADLINE, threading.Event(), done.total()
    while done.total() < before + count:
        assert time.monotonic() < deadline, "nobody consumes"
        assert all(thread.is_alive() for thread in threads), "a thread died"
        pause.wait(0.005)


def _produce(queue, published, stopped, failures):
    """Stage and publish as the producer does: what fails after the commit is published again."""
    try:
        while not stopped.is_set():
            given = record()
            try:
                queue.stage([given], b"envelope", OWNER, 0.5)
            except BackendUnavailableError:
                stopped.wait(0.01)
                continue
            published.add(given.id)
            while True:
                try:
                    queue.publish([given], 0.5)
                    break
                except BackendUnavailableError:
                    threading.Event().wait(0.01)
    except Exception as error:  # noqa: BLE001  # looked at by the test
        failures.append(error)


def _consume(queue, name, done, stopped, failures):
    """Exchange as a consumer does; until told, or with everything done when that was before."""
    settlements, is_lost = [], False
    try:
        while True:
            try:
                if is_lost:
                    queue.exchange(OWNER, name, settlements, 0)
                    settlements = []
                    queue.release(OWNER, name, ())
                    is_lost = False
                answer = queue.exchange(OWNER, name, settlements, 5)
            except BackendUnavailableError:
                is_lost = True
                threading.Event().wait(0.01)
                continue
            for each in answer.claimed:
                done[each.id] += 1
            settlements = [
                Settlement(id=each.id, claim_number=each.claim_number, state="done") for each in answer.claimed
            ]
            if stopped.is_set() and not settlements:
                return
            if not settlements:
                queue.wait(0, 0.01)
    except Exception as error:  # noqa: BLE001  # looked at by the test
        failures.append(error)


class Crowds:
    """Tests of one backend; none of them is about that backend alone."""

    back_seconds = 5.0  # after which tasks run again when the server has been killed and started

    def test_two_processes_share_a_queue(self, queue, start_child):
        with start_child(
            """
            beat(queue, OTHER)
            say(publish(queue, record()))
            listen()
            say(claim_one(queue, owner_id=OTHER).id)
            listen()
            """
        ) as child:
            theirs = child.hear()
            assert claim_one(queue).id == theirs
            mine = publish(queue, record())
            child.tell()
            assert child.hear() == mine
            assert queue.get(mine).owner == OTHER
            assert {(each.owner.id, each.alive) for each in queue.owners()} == {(OWNER, True), (OTHER, True)}
            child.tell()
            child.end()

    def test_what_a_killed_process_held_comes_back_when_its_lease_has_lapsed(self, queue, start_child):
        with start_child(
            """
            queue.beat(owner(OTHER), 0.4, 5.0)
            publish(queue, record())
            say(claim_one(queue, owner_id=OTHER).id)
            say(stage(queue, record(), owner_id=OTHER))
            listen()
            """
        ) as child:
            running, staged = child.hear(), child.hear()
            child.kill()
        deadline = time.monotonic() + DEADLINE
        while not (reclaimed := queue.reclaim(3)).owners:
            queue.wait(-1, 0.0)
            assert time.monotonic() < deadline, "the lease never lapses"
        assert (reclaimed.ready, reclaimed.held, reclaimed.owners) == ((running,), (staged,), (OTHER,))
        publish(queue, record(id=staged))
        assert state_of(queue, staged) == "ready"

    def test_a_forked_child_works_beside_its_parent(self, queue):
        publish(queue, record())
        queue.wait(0, 0.0)
        assert claim_one(queue)
        child = Fork(lambda: [publish(queue, record()) for _ in range(30)])
        for _ in range(30):
            publish(queue, record())
        child.end()
        assert len(queue) == 60

    # ---- many ----

    def test_many_consumers_run_each_task_exactly_once(self, queue, start_child, tmp_path):
        count = 2000 * CROWD
        children = [start_child(CONSUME, tmp_path / "marks", 0) for _ in range(4)]
        try:
            for child in children:
                child.expect("here")
            begun = time.monotonic()
            ids = fill(queue, count)
            wait_until_done(queue, count)
            seconds = time.monotonic() - begun
            for child in children:
                child.tell()
            for child in children:
                child.expect("stopped")
                child.end()
        finally:
            for child in children:
                child.__exit__()
        marks = marks_in(tmp_path / "marks")
        assert marks == Counter(ids)
        assert {each.claim_number for each in queue.list(["done"], limit=count)} == {1}
        print(f"\n32 consumers in 4 processes: {count} tasks once each in {seconds:.1f} s, {count / seconds:.0f}/s")

    def test_killed_consumers_cost_no_more_than_what_they_ran(self, queue, start_child, tmp_path):
        """Whoever is killed may have run what it held, so that runs twice; nothing else does, and nothing is lost."""
        count, kills = 1500 * CROWD, 3 * CROWD
        children = [start_child(CONSUME, tmp_path / "marks", 0.02) for _ in range(3)]
        chance, held_by_the_dead = random.Random(7), 0
        try:
            for child in children:
                child.expect("here")
            ids = fill(queue, count)
            for number in range(kills):
                wait_until_done(queue, count * (number + 1) // (kills + 2))
                children.pop(chance.randrange(len(children))).__exit__()
                held_by_the_dead += 100 + 8
                children.append(start_child(CONSUME, tmp_path / "marks", 0.02))
                children[-1].expect("here")
            wait_until_done(queue, count)
        finally:
            for child in children:
                child.__exit__()
        marks = marks_in(tmp_path / "marks")
        assert set(marks) == ids, "lost"
        duplicates = marks.total() - count
        assert duplicates <= held_by_the_dead
        again = sum(each.claim_number > 1 for each in queue.list(["done"], limit=count))
        print(f"\n{kills} kills: {count} tasks done, {again} claimed again, {duplicates} run twice")

    # ---- a server that dies ----

    def test_nothing_is_lost_when_the_server_is_killed_under_load(self, mortal):
        restarts = 3 * CROWD
        server, open_queue = mortal
        published, done, failures = set(), Counter(), []
        stopped = threading.Event()
        threads = [
            threading.Thread(target=_produce, args=(open_queue(), published, stopped, failures), daemon=True),
            *(
                threading.Thread(target=_consume, args=(open_queue(), name, done, stopped, failures), daemon=True)
                for name in ("one", "two")
            ),
        ]
        for thread in threads:
            thread.start()
        recovered = []
        for _ in range(restarts):
            wait_for_more(done, 200, threads)
            server.kill()
            server.start()
            begun = time.monotonic()
            wait_for_more(done, 1, threads)
            recovered.append(time.monotonic() - begun)
        stopped.set()
        for thread in threads:
            thread.join(DEADLINE)
        assert failures == []
        queue = open_queue()
        for each in queue.list(["running"], limit=10_000):
            queue.release(each.owner, each.consumer, ())
        _consume(queue, "last", done, stopped, failures)
        assert set(done) == published, "lost"
        assert max(recovered) < self.back_seconds, recovered
        assert queue.counts().states["ready"] == 0
        twice = done.total() - len(published)
        print(f"\n{restarts} restarts: {len(published)} tasks, {twice} twice, back in {max(recovered):.2f} s at most")
