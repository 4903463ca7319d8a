import re
import time

import pytest

from taskqueue.record import new_id

WIPED = "stays dead: its payload and credentials were wiped after keep_secrets; it must be added again"


# ---- retry -------------------------------------------------------------------------------------------------------


def test_dead_and_scheduled_tasks_are_ready_at_once(run, site):
    dead, scheduled = site.finish("dead"), site.publish(queue="mail", due=time.time() + 3600)
    ran = run("retry", site.ini, dead, scheduled)
    assert ran == (0, f"retried {dead}\nretried {scheduled}\n", "")
    assert (site.state(dead), site.state(scheduled, "mail")) == ("ready", "ready")


def test_why_a_task_died_is_told_until_its_next_attempt_ends(run, site):
    why = "answered 500; attempts used up (3, allowed 3)"
    task_id = site.finish("dead", reason=why)

    def told():
        shown = run("show", site.ini, task_id, "--json").document
        (listed,) = run("list", site.ini, "--all", "--json").document
        assert shown["last_outcome"]["reason"] == listed["last"]
        return shown["state"], shown["attempts"], shown["deaths"], listed["last"]

    assert told() == ("dead", 1, 0, why)
    run("retry", site.ini, task_id)
    assert told() == ("ready", 0, 0, why)
    owner = site.owner()
    record = site.claim(owner)
    assert told() == ("running", 0, 0, why)
    site.settle(owner, record, "done", reason="answered 200")
    assert told() == ("done", 1, 0, "answered 200")


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda site: site.finish("done"), "is done: only dead and scheduled tasks are retried"),
        (lambda site: site.publish(), "is ready: only dead and scheduled tasks are retried"),
        (lambda site: site.finish("dead", wipe=True), WIPED),
        (lambda site: site.hold(), "is held: decide with taskqueue resolve"),
    ],
)
def test_what_cannot_be_retried_is_told_with_the_reason(run, site, make, reason):
    dead = site.finish("dead")
    task_id = make(site)
    ran = run("retry", site.ini, task_id, dead)
    assert (ran.status, ran.out) == (1, f"retried {dead}\n")
    assert ran.complaint == f"task {task_id} {reason}"


def test_json_tells_what_was_retried_and_what_was_not(run, site):
    dead = site.finish("dead")
    ran = run("retry", site.ini, dead, "nothing", "--json")
    assert ran.status == 1
    assert ran.document["retried"] == [dead]
    (refused,) = ran.document["refused"]
    assert refused["id"] == "nothing"
    assert "it is unknown, or gone" in refused["reason"]


def test_an_id_that_is_given_twice_is_one(run, site):
    dead = site.finish("dead")
    assert run("retry", site.ini, dead, dead).out == f"retried {dead}\n"


def test_all_dead_tasks_can_be_retried_over_many_pages(run, site):
    owner = site.owner()
    for _ in range(120):
        site.publish()
        site.settle(owner, site.claim(owner), "dead")
    kept = site.finish("done")
    ran = run("retry", site.ini, "--dead", "--json")
    assert ran.status == 0
    assert len(ran.document["retried"]) == 120
    assert site.backend().counts().states["ready"] == 120
    assert site.state(kept) == "done"


def test_of_all_dead_tasks_those_that_were_wiped_stay(run, site):
    wiped, dead = site.finish("dead", wipe=True), site.finish("dead")
    ran = run("retry", site.ini, "--dead")
    assert (ran.status, ran.out) == (1, f"retried {dead}\n")
    assert ran.complaint == f"task {wiped} {WIPED}"


def test_the_dead_of_one_queue_can_be_retried(run, site):
    dead, other = site.finish("dead"), site.finish("dead", "mail")
    assert run("retry", site.ini, "--dead", "-q", "mail").out == f"retried {other}\n"
    assert site.state(dead) == "dead"


def test_no_dead_task_is_fine(run, site):
    assert run("retry", site.ini, "--dead") == (0, "no dead tasks\n", "")


@pytest.mark.parametrize("arguments", [[], ["x", "--dead"]])
def test_retry_takes_ids_or_all_the_dead(run, site, arguments):
    ran = run("retry", site.ini, *arguments)
    assert ran.status == 2
    assert "takes ids of tasks, or --dead" in ran.complaint


# ---- delete ------------------------------------------------------------------------------------------------------


def test_tasks_are_deleted_wherever_they_are(run, site):
    ready, done = site.publish(), site.finish("done", "mail")
    assert run("delete", site.ini, ready, done) == (0, f"deleted {ready}\ndeleted {done}\n", "")
    assert (site.state(ready), site.state(done, "mail")) == (None, None)


def test_a_task_that_runs_is_not_deleted(run, site):
    task_id = site.publish()
    site.claim(site.owner())
    ran = run("delete", site.ini, task_id)
    assert (ran.status, ran.out) == (1, "")
    assert ran.complaint == f"task {task_id} is running: only ready, scheduled, done and dead tasks are deleted"


def test_a_held_task_is_not_deleted_but_discarded(run, site):
    ran = run("delete", site.ini, site.hold())
    assert ran.status == 1
    assert "discard it with taskqueue resolve --discard" in ran.complaint


def test_an_unknown_task_cannot_be_deleted(run, site):
    task_id = new_id()
    ran = run("delete", site.ini, task_id)
    assert ran.status == 1
    assert ran.complaint == f"no task '{task_id}' in default, mail: it is unknown, or gone"


@pytest.mark.parametrize("dead", [(), ("--dead",)])
def test_delete_without_ids_names_the_verb_that_takes_all_dead_ones(run, site, dead):
    task_id = site.finish("dead")
    ran = run("delete", site.ini, *dead)
    assert ran.status == 2
    assert ran.complaint.endswith(f"all that are dead go with: taskqueue purge {site.ini} --dead")
    assert site.state(task_id) == "dead"


def test_delete_takes_no_ids_beside_dead(run, site):
    task_id = site.finish("dead")
    assert run("delete", site.ini, task_id, "--dead").status == 2
    assert site.state(task_id) == "dead"


# ---- purge -------------------------------------------------------------------------------------------------------


@pytest.fixture
def full(site):
    """A site with a task in each state."""
    site.tasks = {
        "done": site.finish("done"),
        "dead": site.finish("dead"),
        "scheduled": site.publish(due=time.time() + 3600),
        "held": site.hold(),
        "ready": site.publish(),
    }
    site.other = site.finish("done", "mail")
    return site


def left(site):
    return {state for state, task_id in site.tasks.items() if site.state(task_id) is not None}


def test_what_is_done_or_dead_is_purged(run, full):
    ran = run("purge", full.ini, "--yes")
    assert ran == (0, "default: 2 tasks deleted\nmail: 1 task deleted\n", "")
    assert left(full) == {"scheduled", "held", "ready"}


def test_states_and_queue_to_be_purged_can_be_chosen(run, full):
    ran = run("purge", full.ini, "--yes", "-s", "ready", "-s", "done", "--queue", "default", "--json")
    assert ran.status == 0
    assert ran.document == {"purged": {"default": 2}, "states": ["ready", "done"]}
    assert left(full) == {"scheduled", "held", "dead"}
    assert full.state(full.other, "mail") == "done"


def test_the_dead_alone_can_be_purged(run, full):
    dead = full.finish("dead", "mail")
    ran = run("purge", full.ini, "--dead", "--yes")
    assert ran == (0, "default: 1 task deleted\nmail: 1 task deleted\n", "")
    assert left(full) == {"scheduled", "held", "ready", "done"}
    assert (full.state(dead, "mail"), full.state(full.other, "mail")) == (None, "done")


def test_purge_asks_before_it_deletes_the_dead(run, full, answer):
    answer("no\n")
    ran = run("purge", full.ini, "--dead", "-q", "default")
    assert (ran.status, ran.out) == (1, "")
    assert ran.err == "taskqueue: default: 1 dead\nDelete them all? [y/N] taskqueue: nothing was deleted\n"
    assert len(left(full)) == 5


@pytest.mark.parametrize("words", [("--dead", "--state", "done"), ("-s", "done", "--dead")])
def test_the_dead_alone_and_other_states_are_misuse(run, full, words):
    ran = run("purge", full.ini, "--yes", *words)
    assert ran.status == 2
    assert re.fullmatch(r"purge: (-s/--state|--dead): not allowed with argument .*; see .* --help", ran.complaint)
    assert len(left(full)) == 5


@pytest.mark.parametrize("typed", ["y\n", "YES\n"])
def test_purge_shows_the_numbers_and_asks(run, full, answer, typed):
    answer(typed)
    ran = run("purge", full.ini, "-q", "default")
    assert (ran.status, ran.out) == (0, "default: 2 tasks deleted\n")
    assert ran.err == "taskqueue: default: 1 done, 1 dead\nDelete them all? [y/N] "


@pytest.mark.parametrize("typed", ["n\n", "\n", "", "yesterday\n"])
def test_any_other_answer_deletes_nothing(run, full, answer, typed):
    answer(typed)
    ran = run("purge", full.ini)
    assert (ran.status, ran.out) == (1, "")
    assert ran.err.endswith("taskqueue: nothing was deleted\n")
    assert len(left(full)) == 5


def test_without_a_terminal_to_ask_on_nothing_is_purged(run, full):
    ran = run("purge", full.ini)
    assert ran.status == 2
    assert "add --yes" in ran.complaint
    assert len(left(full)) == 5


@pytest.mark.parametrize("state", ["running", "held", "staged", "doen"])
def test_states_that_cannot_be_purged_are_misuse(run, full, state):
    ran = run("purge", full.ini, "--yes", "--state", state)
    assert ran.status == 2
    assert f"takes ready, scheduled, done, dead, not '{state}'" in ran.complaint
    assert len(left(full)) == 5


# ---- pause and resume --------------------------------------------------------------------------------------------


def test_a_queue_is_paused_and_resumed(run, site):
    assert run("pause", site.ini, "--queue", "mail") == (0, "paused mail\n", "")
    assert site.backend("mail").counts().paused
    assert not site.backend().counts().paused
    assert run("resume", site.ini, "--queue", "mail", "--json").document == {"resumed": ["mail"], "refused": []}
    assert not site.backend("mail").counts().paused


def test_all_queues_are_paused_when_asked_for(run, site):
    assert run("pause", site.ini, "--all").out == "paused default\npaused mail\n"
    assert site.backend().counts().paused
    assert run("resume", site.ini, "--all").status == 0
    assert not site.backend().counts().paused


@pytest.mark.parametrize("verb", ["pause", "resume"])
def test_one_of_several_queues_must_be_named(run, site, verb):
    ran = run(verb, site.ini)
    assert ran.status == 2
    assert ran.complaint == f"{verb}: there are several queues (default, mail): name one with --queue, or add --all"


def test_the_only_queue_needs_no_name(run, make_site):
    site = make_site("[taskqueue:default]\ntype = sqlite\npath = %(here)s/default.db\n")
    site.backend().counts()
    assert run("pause", site.ini) == (0, "paused default\n", "")


def test_one_queue_and_all_are_misuse(run, site):
    ran = run("pause", site.ini, "--all", "-q", "mail")
    assert ran.status == 2
    assert "takes --queue or --all, not both" in ran.complaint
