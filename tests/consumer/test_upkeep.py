from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from taskqueue.backends.local import LocalQueue
from taskqueue.consumer.upkeep import Upkeep
from taskqueue.errors import BackendReplacedError, BackendUnavailableError
from taskqueue.interfaces import Settlement
from taskqueue.notices import Event
from taskqueue.settings import ServerSettings

from .fakes import FaultError, Site


@pytest.fixture
def make(site: Site) -> Iterator[Callable[..., Upkeep]]:
    made: list[Upkeep] = []

    def make_upkeep(**settings: Any) -> Upkeep:
        made.append(Upkeep(ServerSettings(**{"name": "worker", "renew": 0.01, **settings}), site.queue, site.keeper))
        return made[-1]

    yield make_upkeep
    for upkeep in made:
        upkeep.stop()


def is_call(verb: str) -> Callable[[tuple[Any, ...]], bool]:
    return lambda call: call[0] == verb


def names() -> set[str]:
    return {thread.name for thread in threading.enumerate()}


def claim(site: Site, owner_id: str) -> list[str]:
    records = LocalQueue.exchange(site.backend, owner_id, "elsewhere", (), 1, alone=True).claimed
    return [record.id for record in records]


def test_what_a_dead_owner_ran_is_ready_again_and_is_told(site, make):
    site.add("/a")
    ids = claim(site, "gone")
    site.backend.retire("gone")
    make().start()
    assert [n.task_ids for n in site.ears.wait_for(Event.RECLAIMED)] == [tuple(ids)]
    record = site.record(ids[0])
    assert (record.state, record.suspect) == ("ready", True)


def test_what_a_dead_owner_staged_is_held_and_is_told(site, make):
    from taskqueue.record import encode

    from .fakes import make_task

    record = encode(make_task("/a"), site.queue.keyring)
    site.backend.stage([record], b"", "gone", 1.0)
    site.backend.retire("gone")
    make().start()
    assert site.ears.wait_for(Event.HELD)[0].task_ids == (record.id,)


def test_a_suspect_whose_consumer_died_too_often_is_dead_and_is_told_with_its_task(site, make):
    (task_id,) = site.add("/poison")
    site.leave_behind(task_id)
    claim(site, "gone too")
    site.backend.retire("gone too")
    make(max_deaths=1).start()
    notice = site.ears.wait_for(Event.DEAD)[0]
    assert notice.task is not None
    assert (notice.task.id, notice.task.url, notice.task.deaths) == (task_id, "/poison", 1)
    assert notice.outcome is not None
    assert "died" in notice.outcome.reason


def test_pruning_goes_on_until_nothing_is_left_to_prune(site, make):
    def prune(*limits):
        rounds.append(limits)
        return {"done": 1 if len(rounds) < 4 else 0, "dead": 0, "wiped": 0}

    rounds: list[tuple[Any, ...]] = []
    site.backend.prune = prune
    make(renew=3600.0, keep_done=1.0, keep_done_count=2, keep_dead=3.0, keep_secrets=4.0).start()
    site.backend.wait_for_call(is_call("reclaim"))
    end = threading.Event()
    while len(rounds) < 4 and not end.wait(0.001):
        assert names() & {"taskqueue-worker-upkeep"}
    assert rounds == [(1.0, 2, 3.0, 4.0)] * 4


def test_done_tasks_go_when_they_have_been_kept_long_enough(site, make):
    (task_id,) = site.add("/a")
    claim(site, "me")
    LocalQueue.exchange(site.backend, "me", "x", [Settlement(id=task_id, claim_number=1, state="done")], 0)
    make(keep_done=0.0).start()
    site.backend.wait_for_call(is_call("prune"), count=2)
    assert site.backend.get(task_id) is None


def test_it_survives_any_exception_and_tells_once(site, make):
    site.backend.failing["reclaim"] = FaultError("canary")
    make().start()
    site.backend.wait_for_call(is_call("reclaim"), count=4)
    assert len(site.ears.of(Event.CONSUMER_FAILED)) == 1
    site.backend.failing.clear()
    site.ears.wait_for(Event.BACKEND_UP)
    site.backend.wait_for_call(is_call("prune"))


def test_a_backend_that_is_down_is_left_to_the_others_to_tell(site, make):
    site.backend.failing["reclaim"] = BackendUnavailableError("down")
    make().start()
    site.backend.wait_for_call(is_call("reclaim"), count=3)
    assert not site.ears.heard


def test_a_store_that_was_replaced_is_told_since_nobody_else_is_told_of_it(site, make):
    site.backend.failing["reclaim"] = BackendReplacedError("tasks.db: was deleted while in use")
    make().start()
    (told,) = site.ears.wait_for(Event.BACKEND_DOWN)
    assert told.detail == "tasks.db: was deleted while in use"
    site.backend.failing.clear()
    site.ears.wait_for(Event.BACKEND_UP)


def test_it_stops_at_once_and_twice_and_before_it_is_started(make):
    upkeep = make(renew=3600.0)
    upkeep.start()
    assert "taskqueue-worker-upkeep" in names()
    upkeep.stop()
    assert "taskqueue-worker-upkeep" not in names()
    upkeep.stop()
    never_started = make()
    never_started.stop()
    never_started.start()
    assert "taskqueue-worker-upkeep" not in names()
