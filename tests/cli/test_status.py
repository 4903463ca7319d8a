import contextlib
import os
import re
import sqlite3
import time

import pytest

from taskqueue.cli import trial
from taskqueue.record import Principal

HOUR = 3600
SECRET = "canary-key-0123456789abcdef0123456789abcdef"
ONE_QUEUE = """
[taskqueue:default]
type = sqlite
path = %(here)s/default.db

[taskqueue-server:default]
queue = default
deadline = 30 min

[taskqueue-server:patient]
queue = default
deadline = 3 h
"""


@pytest.fixture
def busy(make_site):
    """A site with one queue, which somebody consumes."""
    site = make_site(ONE_QUEUE)
    site.consumer = site.owner(consumers=("default", "patient"))
    return site


def test_all_is_well_where_somebody_consumes(run, busy):
    busy.finish("done")
    ran = run("status", busy.ini)
    assert (ran.status, ran.err) == (0, "")
    assert ran.out.endswith("\nnothing is wrong\n")


def test_tasks_are_counted_by_state(run, busy):
    busy.finish("done")
    busy.finish("dead")
    busy.publish(due=time.time() + HOUR)
    busy.publish()
    busy.claim(busy.consumer)
    busy.publish()
    busy.stage(busy.consumer)
    document = run("status", busy.ini, "--json").document
    (queue,) = document["queues"]
    assert queue["counts"] == {
        "ready": 1,
        "scheduled": 1,
        "running": 1,
        "dead": 1,
        "held": 0,
        "staged": 1,
        "done": 1,
    }
    assert 0 <= queue["oldest_ready_age_seconds"] < HOUR
    assert (queue["paused"], queue["consumers_alive"], queue["error"]) == (False, 2, None)
    assert document["problems"] == []


def test_help_tells_that_what_is_claimed_ahead_counts_as_running(run):
    shown = run("status", "--help").out
    assert "RUNNING are the tasks that consumers have claimed, also those that they claimed ahead and" in shown


def test_counts_stand_under_their_headings(run, busy):
    busy.publish()
    busy.finish("dead")
    headings, row = run("status", busy.ini).out.splitlines()[:2]
    shown = {
        heading: row[headings.index(heading) :].split()[0] for heading in ("QUEUE", "TYPE", "READY", "DEAD", "DONE")
    }
    assert shown == {"QUEUE": "default", "TYPE": "sqlite", "READY": "1", "DEAD": "1", "DONE": "0"}


def test_dead_tasks_are_told_of_and_alone_are_nothing_that_is_stuck(run, busy):
    task_id = busy.finish("dead")
    ran = run("status", busy.ini)
    assert (ran.status, ran.err) == (0, "")
    assert ran.out.endswith(
        "\n\n- queue 'default': 1 task dead; it stays until it is retried or deleted: "
        f"taskqueue list {busy.ini} --state dead\nnothing else is wrong\n"
    )
    assert run(*ran.out.partition("taskqueue ")[2].splitlines()[0].split(), "--json").document[0]["id"] == task_id
    document = run("status", busy.ini, "--json").document
    assert (len(document["notes"]), document["problems"]) == (1, [])


def test_the_dead_of_one_of_several_queues_are_told_with_its_name(run, site):
    site.finish("dead", "mail")
    site.finish("dead", "mail")
    (note,) = run("status", site.ini, "--json").document["notes"]
    assert note == (
        "queue 'mail': 2 tasks dead; they stay until they are retried or deleted: "
        f"taskqueue list {site.ini} --state dead --queue mail"
    )


def test_beside_what_is_wrong_dead_tasks_are_told_of_too(run, busy):
    busy.finish("dead")
    busy.hold()
    ran = run("status", busy.ini)
    assert ran.status == 1
    note, problem = ran.out.splitlines()[-2:]
    assert note.startswith("- queue 'default': 1 task dead; ")
    assert problem.startswith("! queue 'default': 1 task held, ")


def test_a_queue_that_nobody_alive_consumes_is_status_1_in_words(run, busy):
    busy.publish()
    busy.backend().retire(busy.consumer)
    ran = run("status", busy.ini)
    assert ran.status == 1
    assert re.search(r"! queue 'default': nobody alive consumes it, and 1 task waits, the oldest for \d+ s\n", ran.out)


def test_an_owner_that_only_adds_is_no_consumer(run, busy):
    busy.backend().retire(busy.consumer)
    busy.owner(consumers=())
    ran = run("status", busy.ini, "--json")
    assert ran.status == 1
    assert ran.document["problems"] == ["queue 'default': nobody alive consumes it"]


def test_owners_are_shown_with_host_and_process(run, busy):
    gone = busy.killed_owner()
    ran = run("status", busy.ini, "--json")
    owners = {owner["id"]: owner for owner in ran.document["owners"]}
    assert owners[busy.consumer]["alive"] is True
    assert owners[gone]["alive"] is False
    assert owners[gone]["host"] == "a-host"
    assert owners[busy.consumer]["consumers"] == ["default", "patient"]
    assert owners[busy.consumer]["started_at"] == "2023-11-14T22:13:20.000Z"
    row = next(line for line in run("status", busy.ini).out.splitlines() if busy.consumer in line)
    assert "a-host" in row
    assert "alive" in row
    assert "default, patient" in row


def test_gone_owners_that_consumed_nothing_are_only_counted(run, busy):
    gone = busy.killed_owner(consumers=())
    out = run("status", busy.ini).out
    assert gone not in out
    assert "1 owner gone that consumed nothing" in out


def test_who_has_stopped_cleanly_is_not_told_of(run, busy):
    gone = [busy.owner(), busy.owner(consumers=())]
    for owner in gone:
        busy.backend().retire(owner)
    assert run("add", busy.ini, "/work").status == 0
    document = run("status", busy.ini, "--json").document
    assert [owner["id"] for owner in document["owners"]] == [busy.consumer]
    assert "gone" not in run("status", busy.ini).out


def test_what_runs_is_shown_without_its_query(run, busy):
    task_id = busy.publish("/report?secret=1", principal=Principal("ann"))
    busy.claim(busy.consumer)
    ran = run("status", busy.ini)
    assert ran.status == 0
    row = next(line for line in ran.out.splitlines() if task_id in line)
    assert re.fullmatch(rf"{task_id} +default +/report +ann +\d+ s +a-host +{os.getpid()}", row.strip())
    (running,) = run("status", busy.ini, "--json").document["running"]
    assert (running["path"], running["user"], running["host"]) == ("/report", "ann", "a-host")
    assert (running["pid"], running["owner_alive"]) == (os.getpid(), True)
    assert 0 <= running["running_seconds"] < HOUR


@pytest.mark.parametrize(
    ("consumer", "hours", "status"), [("default", 1, 1), ("patient", 1, 0), ("patient", 4, 1), ("unknown", 1, 0)]
)
def test_a_task_is_stuck_past_the_deadline_of_its_own_consumer(run, busy, consumer, hours, status):
    task_id = busy.publish("/slow?a=1")
    busy.claim(busy.consumer)
    busy.change_row(task_id, claimed_at=time.time() - hours * HOUR, consumer=consumer)
    ran = run("status", busy.ini, "--json")
    assert ran.status == status
    if status:
        (problem,) = ran.document["problems"]
        assert problem.startswith(f"queue 'default': task {task_id} (/slow) is stuck: it has been running for ")


# ---- owners that died ----------------------------------------------------------------------------------------------


@pytest.fixture
def orphan(busy):
    """A running task whose owner was killed."""
    task_id = busy.publish("/deadly")
    busy.killer = busy.killed_owner(act=busy.claim)
    assert busy.state(task_id) == "running"
    return task_id


def test_a_task_whose_owner_was_just_killed_is_nothing_wrong_yet(run, busy, orphan):
    ran = run("status", busy.ini)
    assert ran.status == 0
    assert re.search(
        r"^- queue 'default': 1 task running, and its owner is gone; taken back within 7\d s$", ran.out, re.M
    )
    row = next(line for line in ran.out.splitlines() if line.startswith(orphan))
    assert row.split()[-4:] == ["a-host", "4321", "owner", "gone"]
    document = run("status", busy.ini, "--json").document
    assert document["problems"] == []
    assert document["notes"][0].startswith("queue 'default': 1 task running, and its owner is gone")
    assert [each["owner_alive"] for each in document["running"]] == [False]


def test_nobody_takes_back_where_nobody_consumes(run, busy, orphan):
    busy.backend().retire(busy.consumer)
    ran = run("status", busy.ini)
    assert "1 task running, and its owner is gone; taken back once a consumer runs\n" in ran.out


@pytest.mark.parametrize(("seconds", "status"), [(70, 0), (80, 1)])
def test_a_task_that_is_not_taken_back_in_time_is_status_1(run, busy, orphan, seconds, status):
    busy.change_owner(busy.killer, seen_at=time.time() - seconds)
    ran = run("status", busy.ini, "--json")
    assert ran.status == status
    assert len(ran.document["problems"]) == status
    if status:
        assert "its owner is gone for 80 s; it should have been taken back within 75 s" in ran.document["problems"][0]


def test_a_task_whose_owner_is_gone_is_not_called_stuck(run, busy, orphan):
    busy.change_row(orphan, claimed_at=time.time() - 9 * HOUR)
    assert "stuck" not in run("status", busy.ini).out


def test_suspects_are_counted_and_explained(run, busy, orphan):
    busy.publish()
    busy.backend().reclaim(3)
    ran = run("status", busy.ini)
    assert ran.status == 0
    assert "- queue 'default': 1 suspect, which a process held when it died: such a task runs one at a time" in ran.out
    (queue,) = run("status", busy.ini, "--json").document["queues"]
    assert (queue["suspects"], queue["counts"]["ready"]) == (1, 2)


def test_a_suspect_that_runs_is_counted_too(run, busy, orphan):
    busy.backend().reclaim(3)
    busy.backend().exchange(busy.consumer, "default", [], 1, alone=True)
    (queue,) = run("status", busy.ini, "--json").document["queues"]
    assert (queue["suspects"], queue["counts"]["running"]) == (1, 1)


def test_held_tasks_are_status_1_in_words(run, busy):
    busy.hold()
    ran = run("status", busy.ini)
    assert ran.status == 1
    assert f"see `taskqueue resolve {busy.ini}`" in ran.out
    assert "1 task held, as nobody knows whether their transaction committed" in ran.out


def test_a_paused_queue_whose_tasks_wait_is_status_1_in_words(run, busy):
    busy.backend().pause()
    for _ in range(3):
        busy.publish()
    ran = run("status", busy.ini)
    assert ran.status == 1
    assert f"! queue 'default' is paused, and 3 tasks wait: taskqueue resume {busy.ini}\n" in ran.out
    assert run(*ran.out.partition("taskqueue ")[2].split()).status == 0
    assert run("status", busy.ini).status == 0


def test_what_is_paused_among_several_queues_is_named(run, site):
    site.owner("mail")
    site.publish(queue="mail")
    site.backend("mail").pause()
    (problem,) = run("status", site.ini, "-q", "mail", "--json").document["problems"]
    assert problem == f"queue 'mail' is paused, and 1 task waits: taskqueue resume {site.ini} --queue mail"


def test_a_paused_queue_in_which_nothing_waits_is_shown_and_is_nothing_wrong(run, busy):
    busy.backend().pause()
    ran = run("status", busy.ini)
    assert ran.status == 0
    assert ran.out.splitlines()[1].endswith("paused")
    assert run("status", busy.ini, "--json").document["queues"][0]["paused"] is True


def test_a_store_that_is_not_there_yet_is_an_empty_queue(run, make_site):
    site = make_site(ONE_QUEUE)
    ran = run("status", site.ini, "--json")
    (queue,) = ran.document["queues"]
    assert (queue["error"], set(queue["counts"].values()), queue["consumers_alive"]) == (None, {0}, 0)
    assert f"there is no file {site.folder}/default.db yet" in ran.document["notes"][0]
    assert (ran.status, queue["problems"]) == (1, ["queue 'default': nobody alive consumes it"])
    assert "- queue 'default': there is no file" in run("status", site.ini).out
    assert not (site.folder / "default.db").exists()


def test_queues_beside_one_that_fails_are_shown(run, make_site):
    site = make_site()
    (site.folder / "default.db").write_text("not a database")
    site.publish(queue="mail")
    ran = run("status", site.ini)
    assert ran.status == 1
    rows = {line.split()[0]: line for line in ran.out.splitlines()[1:3]}
    assert rows["default"].endswith("unreachable")
    assert rows["mail"].split()[2] == "1"


def test_a_local_queue_beside_another_is_nothing_wrong(run, make_site):
    site = make_site(
        ONE_QUEUE + "[taskqueue:here]\ntype = local\n[taskqueue-server:here]\nqueue = here\n",
    )
    site.owner()
    ran = run("status", site.ini)
    assert ran.status == 0
    assert "not seen from here" in ran.out


def test_one_queue_can_be_asked_for(run, site):
    site.owner("mail")
    assert run("status", site.ini).status == 1
    ran = run("status", site.ini, "--queue", "mail", "--json")
    assert ran.status == 0
    assert [queue["name"] for queue in ran.document["queues"]] == ["mail"]


def test_a_task_that_runs_and_cannot_be_read_is_shown(run, busy):
    task_id = busy.publish()
    busy.claim(busy.consumer)
    busy.change_row(task_id, body=b"\xc1")
    ran = run("status", busy.ini)
    assert ran.status == 1
    assert f"{task_id}  default  ?" in ran.out


# ---- what an add would meet ----------------------------------------------------------------------------------------


def test_a_queue_that_has_reached_its_limit_is_status_1(run, make_site):
    site = make_site(ONE_QUEUE.replace("[taskqueue:default]", "[taskqueue:default]\nlength_limit = 2"))
    site.owner()
    site.publish()
    assert run("status", site.ini).status == 0
    site.publish(due=time.time() + HOUR)
    ran = run("status", site.ini)
    assert ran.status == 1
    told = (
        "it is full: 2 tasks wait, and its length_limit is 2, so add is refused; "
        "let a consumer work them off, or raise the limit"
    )
    assert ran.out.endswith(f"\n! queue 'default': {told}\n")
    document = run("status", site.ini, "--json").document
    assert document["queues"][0]["add_error"] == told
    assert document["problems"] == [f"queue 'default': {told}"]


def test_a_file_that_another_process_has_locked_is_status_1(run, busy, monkeypatch):
    monkeypatch.setattr(trial, "ADDING_SECONDS", 0.2)
    with contextlib.closing(sqlite3.connect(busy.folder / "default.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        ran = run("status", busy.ini)
    assert ran.status == 1
    assert "\n! queue 'default': no task can be added: " in ran.out
    assert "database is locked; another process uses it for too long" in ran.out
    assert run("status", busy.ini).status == 0


def test_status_leaves_nothing_behind(run, busy):
    busy.publish()
    before = run("list", busy.ini, "--all", "--json").document
    for _ in range(2):
        document = run("status", busy.ini, "--json").document
        assert document["queues"][0]["add_error"] is None
        assert [each["id"] for each in document["owners"]] == [busy.consumer]
    assert run("list", busy.ini, "--all", "--json").document == before


# ---- owners that live, and records that nobody reads -----------------------------------------------------------------


def test_a_process_that_consumes_and_has_not_been_seen_for_three_renewals_is_status_1(run, busy):
    busy.change_owner(busy.consumer, seen_at=time.time() - 40)
    assert run("status", busy.ini).status == 0
    busy.change_owner(busy.consumer, seen_at=time.time() - 300)
    ran = run("status", busy.ini)
    assert ran.status == 1
    assert (
        f"\n! queue 'default': owner {busy.consumer} (a-host, process {os.getpid()}) lives, and was seen last "
        "5 min ago: it stands still, or cannot write to the store; see its log\n" in ran.out
    )


def test_three_renewals_are_as_long_as_configured(run, make_site):
    site = make_site(ONE_QUEUE + "lease = 10 min\nrenew = 2 min\n")
    site.change_owner(site.owner(), seen_at=time.time() - 300)
    assert run("status", site.ini).status == 0


def test_a_process_that_only_adds_may_rest(run, busy):
    adding = busy.owner(consumers=())
    busy.change_owner(adding, seen_at=time.time() - HOUR)
    assert run("status", busy.ini).status == 0


def test_tasks_that_were_sealed_with_another_secret_are_status_1(run, make_site):
    site = make_site(ONE_QUEUE.replace("[taskqueue:default]", f"[taskqueue:default]\nsecret = {SECRET}"))
    site.owner()
    first, _ = site.publish(), site.publish()
    assert run("status", site.ini).status == 0
    site.ini.write_text(site.ini.read_text().replace(SECRET, SECRET[::-1]))
    ran = run("status", site.ini)
    assert ran.status == 1
    assert (
        f"! queue 'default': 2 tasks cannot be read with this configuration; the first is {first}: the record "
        in ran.out
    )
    assert "which this configuration does not have" in ran.out
    assert SECRET not in ran.out
