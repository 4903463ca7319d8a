"""Hints of the backend ``postgresql`` between processes: who is woken, and what becomes of a listener."""

import threading

import pytest

from taskqueue.backends import postgresql_hints
from taskqueue.backends.postgresql_hints import channel_of

from ..serving import wait_until
from .contract_waiting import listening, quiet
from .making import CONSUMER, OWNER, beat, claim, claim_one, hand_in, publish, publish_in_time, record, stage
from .postgresql_clock import clock_of_this_process
from .postgresql_queues import Opener, empty
from .postgresql_server import Server, new_database, shared_server

DEADLINE = 20.0


@pytest.fixture(scope="module")
def url():
    with new_database(shared_server()) as url:
        yield url


@pytest.fixture
def open_queue(url):
    empty(url)
    opener = Opener(url)
    yield opener
    opener.close()


@pytest.fixture
def elsewhere(open_queue):
    """The same queue in another process, as far as hints are concerned: it knows of no owner here."""
    return open_queue()


def listeners(server=None):
    """How many sessions listen."""
    asked = (server or shared_server()).ask("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'")
    return asked[0][0]


def listen(queue):
    """Wait until the queue listens, and nothing is under way; returns the number to wait with."""
    listening(queue)  # the listener gives a hint when it begins
    return quiet(queue)


@pytest.mark.parametrize("what", ["publish", "publish in time", "settle", "retry", "resume", "requeue"])
def test_who_waits_in_another_process_is_woken(queue, elsewhere, what):
    given = record()
    if what in {"publish in time", "settle"}:
        stage(elsewhere, given)
    elif what != "publish":
        publish(elsewhere, given)
        claimed = claim_one(elsewhere)
    if what == "requeue":
        hand_in(elsewhere, claimed, "dead")
    seen = listen(queue)
    {
        "publish": lambda: publish(elsewhere, given),
        "publish in time": lambda: publish_in_time(elsewhere, given.id),
        "settle": lambda: elsewhere.settle([given.id], "publish"),
        "retry": lambda: hand_in(elsewhere, claimed, "ready"),
        "resume": elsewhere.resume,
        "requeue": lambda: elsewhere.requeue([given.id]),
    }[what]()
    assert queue.wait(seen, DEADLINE) != seen


def test_what_was_added_in_a_transaction_of_the_application_wakes(queue, elsewhere):
    seen = listen(queue)
    elsewhere.notify()
    assert queue.wait(seen, DEADLINE) != seen


def test_queues_of_other_names_are_not_woken(queue, open_queue):
    seen = listen(queue)
    other = open_queue(name="other")
    beat(other, "somebody", consumers=("night",))
    publish(open_queue(name="other"), record())
    assert queue.wait(seen, 0.3) == seen


def test_nobody_is_told_when_no_other_process_consumes(queue, elsewhere, monkeypatch):
    queue.retire(OWNER)
    beat(queue, consumers=())
    seen = listen(queue)
    publish(elsewhere, record())
    assert queue.wait(seen, 0.3) == seen


def test_many_hints_at_once_become_few(queue, elsewhere, monkeypatch):
    told, run = [], elsewhere._link.run

    def watch(statement, *arguments, **options):
        if statement.verb == "hint":
            told.append(statement)
        return run(statement, *arguments, **options)

    monkeypatch.setattr(elsewhere._link, "run", watch)
    monkeypatch.setattr(postgresql_hints, "FIRST_HINT_PAUSE_SECONDS", DEADLINE)
    monkeypatch.setattr(postgresql_hints, "LONGEST_HINT_PAUSE_SECONDS", DEADLINE)
    for _ in range(20):
        publish(elsewhere, record())
    elsewhere.close()
    assert 1 <= len(told) <= 2


def test_a_process_that_ends_gives_its_last_hint(queue, elsewhere):
    seen = listen(queue)
    publish(elsewhere, record())
    elsewhere.close()
    assert queue.wait(seen, DEADLINE) != seen


def test_closing_ends_the_threads_and_waiting_begins_them_again(open_queue):
    before = set(threading.enumerate())
    queue = open_queue()
    beat(queue)
    for _ in range(2):
        listen(queue)
        publish(queue, record())
        queue.close()
        wait_until(lambda: set(threading.enumerate()) <= before)


def test_who_listens_again_hears_though_the_thread_of_before_still_ends(queue, elsewhere):
    beat(queue)
    for _ in range(20):
        queue.close()
        seen = listen(queue)
        publish(elsewhere, record())
        assert queue.wait(seen, DEADLINE) != seen


def test_a_listener_comes_back_after_its_server_did():
    with Server() as server:
        opener = Opener(server.create_database())
        queue, elsewhere = opener(), opener()
        beat(queue)
        seen = listen(queue)
        server.restart()
        assert queue.wait(seen, DEADLINE) != seen  # it gives a hint when it listens again
        seen = quiet(queue)
        publish(elsewhere, record())
        assert queue.wait(seen, DEADLINE) != seen
        assert len(claim(queue)) == 1
        opener.close()


def test_a_channel_tells_nothing_of_a_site():
    assert channel_of("site", "mail") != channel_of("site", "other") != channel_of("sitem", "ail")
    assert len(channel_of("x" * 200, "y" * 200)) < 63


def test_an_exchange_beside_a_listener_is_not_disturbed(queue, elsewhere):
    with clock_of_this_process():
        listen(queue)
        for _ in range(50):
            publish(elsewhere, record())
            assert len(queue.exchange(OWNER, CONSUMER, (), 1).claimed) == 1
