from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from taskqueue.consumer import prefetch
from taskqueue.consumer.pool import Load
from taskqueue.interfaces import CLAIM_BYTES_LIMIT, CLAIM_COUNT_LIMIT, Exchanged, Record

seconds = st.floats(0, 10**6)


def test_the_average_begins_with_the_first_duration_and_follows_the_newest():
    assert prefetch.average(None, 3.0) == 3.0
    assert prefetch.average(1.0, 2.0) == 1.2


def test_nothing_is_taken_ahead_of_tasks_that_were_never_seen():
    assert prefetch.ahead(4, None, None, 0.05) == 0


def test_the_next_exchange_begins_when_half_is_left_or_as_late_as_the_backend_wants():
    assert [prefetch.low_water(*given) for given in ((200, 100), (200, 80), (7, 80), (0, 80))] == [100, 80, 3, 0]


def test_as_many_short_tasks_are_taken_ahead_as_fit_into_the_time():
    assert prefetch.ahead(1, 0.01, None, 0.05) == 5
    assert prefetch.ahead(4, 0.01, None, 0.05) == 20


def test_nothing_is_taken_ahead_of_long_tasks():
    assert prefetch.ahead(16, 0.06, None, 0.05) == 0


def test_nothing_is_taken_ahead_while_no_thread_comes_free():
    assert prefetch.ahead(4, 0.01, 0.02, 0.05) == 20
    assert prefetch.ahead(4, 0.01, 0.06, 0.05) == 0


def test_a_prefetch_of_nothing_takes_nothing_ahead():
    assert prefetch.ahead(4, 0.01, None, 0.0) == 0


@given(threads=st.integers(1, 1000), mean=st.none() | seconds, busy=st.none() | seconds, time=seconds)
def test_what_is_taken_ahead_is_bounded(threads, mean, busy, time):
    assert 0 <= prefetch.ahead(threads, mean, busy, time) <= prefetch.AHEAD_LIMIT


def test_what_one_exchange_claims_is_run_while_the_next_one_claims_as_much():
    ahead = prefetch.ahead(1, 0.0001, None, 0.05)
    assert prefetch.wanted(1, 1, ahead // 2, ahead) == CLAIM_COUNT_LIMIT


def test_free_threads_are_filled_first():
    assert prefetch.wanted(threads=4, running=1, buffered=0, ahead_count=0) == 3
    assert prefetch.wanted(threads=4, running=4, buffered=3, ahead_count=5) == 2


@given(st.integers(1, 1000), st.integers(0, 1000), st.integers(0, 1000), st.integers(0, 100))
def test_what_is_wanted_is_bounded(threads, running, buffered, ahead):
    assert 0 <= prefetch.wanted(threads, running, buffered, ahead) <= CLAIM_COUNT_LIMIT


def test_a_claimed_task_waits_a_second_or_ten_times_the_prefetch():
    assert prefetch.patience(0.05) == 1.0
    assert prefetch.patience(0.5) == 5.0


def load(running=0, buffered=0, longest=0.0):
    return Load(running=running, buffered=buffered, all_busy_seconds=None, longest_seconds=longest)


def test_somebody_looks_every_second_or_when_a_task_is_due_before():
    assert prefetch.pause(4, load(), None, 0.05, 600.0) == 1.0
    assert prefetch.pause(4, load(), 7.0, 0.05, 600.0) == 1.0
    assert prefetch.pause(4, load(), 0.3, 0.05, 600.0) == 0.3
    assert prefetch.pause(4, load(), 0.0, 0.05, 600.0) == prefetch.SHORTEST_PAUSE_SECONDS


def test_somebody_looks_soon_while_tasks_wait_for_a_thread():
    assert prefetch.pause(4, load(running=4, buffered=1), None, 0.05, 600.0) == 0.05
    assert prefetch.pause(4, load(running=2, buffered=2), None, 0.05, 600.0) == 1.0, "they are about to begin"


def test_somebody_looks_when_a_task_passes_its_deadline():
    assert prefetch.pause(4, load(running=1, longest=599.5), None, 0.05, 600.0) == 0.5
    assert prefetch.pause(4, load(buffered=1), None, 0.05, 0.25) == 0.25, "one that is about to begin"
    assert prefetch.pause(4, load(running=1, longest=700.0), None, 0.05, 600.0) == prefetch.SHORTEST_PAUSE_SECONDS


def test_an_answer_that_is_half_full_may_have_been_cut_short():
    half = Record(id="a", body=b"x" * (CLAIM_BYTES_LIMIT // 4), secrets=b"x" * (CLAIM_BYTES_LIMIT // 4))
    more = Record(id="b", body=b"x")
    assert not prefetch.was_cut_short(Exchanged(claimed=(half,)))
    assert prefetch.was_cut_short(Exchanged(claimed=(half, more)))
