"""SIGKILL at every named place of the way in and the way out: no task is lost, and none runs that was not committed."""

import itertools

import pytest

from . import places, running
from .running import APPLICATIONS, BACKENDS, LONG, ONE_PHASE, SHARED, TWO_PHASE

ROUNDS = 15 if LONG else 1
PLACES_OF_FAILPOINTS = {place for places_of_way in places.WAYS_IN.values() for place in places_of_way}
# The short form takes some of the pairs; they have every backend and every application in them.
SHORT = (("sqlite", "ZODB"), ("redis", "ZODB + SQL one-phase"), ("postgresql", TWO_PHASE), (SHARED, ONE_PHASE))
ALL = (*itertools.product(BACKENDS, APPLICATIONS), (SHARED, ONE_PHASE), (SHARED, TWO_PHASE))
PAIRS = ALL if LONG else SHORT


@pytest.fixture(scope="module")
def jobs(tmp_path_factory):
    with running.servers() as (redis, postgresql):
        yield running.Jobs(tmp_path_factory.mktemp("cycles"), redis, postgresql)


def test_every_failpoint_is_among_the_places_of_the_cycles():
    from taskqueue import failpoints

    assert set(failpoints.NAMES) <= PLACES_OF_FAILPOINTS | set(places.WAYS_OUT)


@pytest.mark.timeout(2400)
def test_nothing_is_lost_and_nothing_phantom_wherever_a_process_is_killed(jobs, say):
    reports = running.run([jobs.make(backend, application, ROUNDS) for backend, application in PAIRS])
    say(running.table(reports))
    assert "\n".join(running.faults(reports)) == ""
    counted = running.total(reports)
    assert (counted["lost"], counted["phantom"], counted["missed"]) == (0, 0, 0)
    assert counted["cycles"] >= (10_000 if LONG else 100)
    for report in reports:
        is_shared = report["job"]["backend"] == SHARED
        expected = set(places.cells(report["job"]["application"], is_shared))
        expected |= {(places.IS_CONSUMED, place) for place in places.ways_out(is_shared)}
        seen = {(way, place) for way, place, counts in report["cells"] if counts["cycles"]}
        assert seen == expected
        if "ZODB + SQL" in report["job"]["application"]:
            assert running.total([report])["torn"]


@pytest.mark.timeout(600)
def test_a_local_queue_runs_nothing_that_did_not_commit(jobs, say):
    pairs = [("local", application) for application in (APPLICATIONS if LONG else ("ZODB", ONE_PHASE))]
    reports = running.run([jobs.make(backend, application, 8 if LONG else 1) for backend, application in pairs])
    say(running.table(reports))
    assert "\n".join(running.faults(reports)) == ""
    counted = running.total(reports)
    assert counted["phantom"] == 0
    assert counted["cycles"]
    assert counted["committed"]
    assert counted["aborted"]


def test_a_local_queue_that_publishes_in_the_vote_is_found_to_run_phantoms(jobs):
    counted, _ = broken(jobs, "local", "ZODB", broken="published in the vote", places=["after.tpc_vote"], rounds=3)
    assert counted["phantom"]


# ---- what a broken product looks like: a check that cannot fail would be worth nothing ----

AFTER_THE_COMMIT = ["before.tpc_finish", "finish.begun", "zodb.finished"]
BEFORE_THE_COMMIT = ["hook.staged", "vote.begun", "vote.done"]


def broken(jobs, backend, application, **options):
    """What a job with a broken product counts, and all that it found wrong."""
    reports = running.run([jobs.make(backend, application, **options)])
    return running.total(reports), "\n".join(running.faults(reports))


@pytest.mark.parametrize("how", ["no witness", "nothing is staged"])
def test_a_product_that_presumes_an_abort_is_found_to_lose_tasks(jobs, how):
    counted, found = broken(jobs, "sqlite", "ZODB", broken=how, in_doubt="discard", places=AFTER_THE_COMMIT)
    assert counted["lost"] >= 3
    assert "is lost" in found
    assert counted["phantom"] == 0


def test_a_product_that_presumes_a_commit_is_found_to_run_phantoms(jobs):
    counted, found = broken(jobs, "sqlite", "ZODB", broken="no witness", in_doubt="publish", places=BEFORE_THE_COMMIT)
    assert counted["phantom"] >= 3
    assert "did not commit" in found
    assert counted["lost"] == 0


def test_a_product_that_settles_before_it_runs_is_found_to_lose_tasks(jobs):
    counted, _ = broken(jobs, "sqlite", "ZODB", broken="done before it runs", places=["replay.begun"], rounds=3)
    assert counted["lost"]


def test_tasks_that_nobody_settles_are_found(jobs):
    counted, found = broken(jobs, "sqlite", "ZODB", broken="nobody asks", places=AFTER_THE_COMMIT, patience=1.0)
    assert "not settled" in found
    assert counted["cycles"] >= 3


def test_a_process_that_was_not_killed_where_it_had_to_be_is_found(jobs):
    counted, found = broken(jobs, "sqlite", "ZODB", broken="no failpoints", places=["hook.begun"])
    assert "not killed there" in found
    assert counted["missed"] == 1
