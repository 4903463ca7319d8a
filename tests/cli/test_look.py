import json
import threading
import time

import pytest

from taskqueue.record import Principal


def ids(ran):
    return [each["id"] for each in ran.document]


def test_an_empty_queue_says_so(run, site):
    assert run("list", site.ini) == (0, "no tasks\n", "")
    assert run("list", site.ini, "--json") == (0, "[]\n", "")


def test_tasks_of_all_queues_are_listed_by_age(run, site):
    published = [site.publish(queue=queue) for queue in ("mail", "default", "mail", "default")]
    assert ids(run("list", site.ini, "--json")) == published[::-1]
    assert ids(run("list", site.ini, "--json", "--newest")) == published[::-1]
    assert ids(run("list", site.ini, "--json", "--oldest")) == published


def test_one_queue_can_be_listed(run, site):
    site.publish()
    task_id = site.publish(queue="mail")
    assert ids(run("list", site.ini, "--json", "-q", "mail")) == [task_id]


@pytest.fixture
def made(site):
    """The ids of tasks by their states, the oldest first."""
    ended = {state: site.finish(state) for state in ("dead", "done")}
    owner = site.owner()
    running = site.publish()
    site.claim(owner)
    scheduled = site.publish(due=time.time() + 3600)
    waiting = {"running": running, "scheduled": scheduled, "staged": site.stage(owner), "ready": site.publish()}
    return ended | waiting | {"held": site.hold()}


def test_what_is_not_done_is_listed_the_newest_first(run, site, made):
    not_done = [task_id for state, task_id in reversed(made.items()) if state != "done"]
    assert ids(run("list", site.ini, "--json")) == not_done
    assert [line.split()[0] for line in run("list", site.ini).out.splitlines()] == ["ID", *not_done]


def test_all_tasks_are_listed_when_asked_for(run, site, made):
    ran = run("list", site.ini, "--all", "--json")
    assert (ids(ran), ran.err) == (list(made.values())[::-1], "")
    assert run("list", site.ini, "--all").err == ""


def test_states_can_be_chosen_and_added_up(run, site, made):
    assert ids(run("list", site.ini, "--json", "--state", "dead")) == [made["dead"]]
    assert ids(run("list", site.ini, "--json", "-s", "done")) == [made["done"]]
    assert ids(run("list", site.ini, "--json", "-s", "dead", "-s", "READY")) == [made["ready"], made["dead"]]


def test_done_tasks_that_are_not_shown_are_told_of(run, site):
    site.finish("done")
    done = site.finish("done", "mail")
    assert run("list", site.ini) == (
        0,
        "no tasks\n",
        "taskqueue: not shown: 2 tasks done: add --all, or --state done\n",
    )
    assert run("list", site.ini, "-q", "mail").complaint == "not shown: 1 task done: add --all, or --state done"
    ran = run("list", site.ini, "-q", "mail", "--state", "done")
    assert (ran.err, ran.out.splitlines()[1].split()[0]) == ("", done)
    assert run("list", site.ini, "--json") == (0, "[]\n", "")
    assert run("list", site.ini, "--state", "dead") == (0, "no tasks\n", "")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--all", "--state", "done"), "-s/--state: not allowed with argument --all"),
        (("--newest", "--oldest"), "--oldest: not allowed with argument --newest"),
    ],
)
def test_options_of_list_that_exclude_each_other_are_misuse(run, site, words, complaint):
    ran = run("list", site.ini, *words)
    assert ran.status == 2
    assert ran.complaint == f"list: {complaint}; see taskqueue list --help"


def test_a_misspelt_state_gets_the_near_one(run, site):
    ran = run("list", site.ini, "--state", "raedy")
    assert ran.status == 2
    assert "not 'raedy'; did you mean ready?" in ran.complaint


@pytest.mark.parametrize("limit", ["0", "-1", "x", "1.5"])
def test_a_limit_that_is_none_is_misuse(run, site, limit):
    ran = run("list", site.ini, f"--limit={limit}")
    assert ran.status == 2
    assert "takes a whole number, 1 or more" in ran.complaint


@pytest.mark.parametrize("order", [[], ["--oldest"]])
def test_a_long_list_is_read_page_by_page(run, site, order):
    published = [site.publish(queue=("default", "mail")[number % 2]) for number in range(5)]
    found, after = [], []
    while True:
        ran = run("list", site.ini, "--json", "--limit", "2", *order, *after)
        found += ids(ran)
        if not ran.err:
            break
        assert ran.complaint == f"there are more: add --after {found[-1]}"
        after = ["--after", found[-1]]
    assert found == (published if order else published[::-1])


def test_what_is_no_id_is_nothing_to_go_on_after(run, site):
    site.publish()
    ran = run("list", site.ini, "--after", "zzz")
    assert (ran.status, ran.out) == (1, "")
    assert ran.complaint.startswith("--after: no task 'zzz' in default, mail: it is unknown")


def test_a_list_goes_on_after_a_task_that_was_deleted_meanwhile(run, site):
    first, second = site.publish(), site.publish()
    assert run("delete", site.ini, first).status == 0
    assert ids(run("list", site.ini, "--json", "--oldest", "--after", first)) == [second]


def test_more_than_one_page_of_the_store_is_listed(run, site):
    records = [site.encode(f"/{number}") for number in range(250)]
    site.backend().publish(records, 5)
    ran = run("list", site.ini, "--json", "--oldest", "--limit", "1000")
    assert ids(ran) == [record.id for record in records]


def test_a_row_tells_the_path_and_not_the_query(run, site):
    task_id = site.finish("dead", url="/report?a=1", reason="answered 500", principal=Principal("ann"))
    headings, row = run("list", site.ini).out.splitlines()
    assert headings.split() == ["ID", "QUEUE", "STATE", "AGE", "TRIED", "USER", "METHOD", "PATH", "LAST"]
    words = row.split()
    assert words[:3] == [task_id, "default", "dead"]
    assert words[5:] == ["1", "ann", "GET", "/report", "answered", "500"]


def test_a_row_tells_whole_why_a_task_was_refused(run, site):
    reason = (
        "not run: added by anna in /site/acl_users, it would run as nobody; the credentials of its request are not "
        "good any more, or not at this path"
    )
    site.finish("dead", reason=reason)
    assert run("list", site.ini).out.rstrip().endswith(reason)


def test_a_row_and_the_end_of_waiting_tell_what_an_exception_says(run, site):
    error = f"OperationalError: no such table: orders {'x' * 300}"
    task_id = site.finish("dead", reason="raised OperationalError; attempts used up (4, allowed 4)", error=error)
    row = run("list", site.ini).out.rstrip()
    assert "  raised OperationalError: no such table: orders xxx" in row
    assert row.endswith("xxx…; attempts used up (4, allowed 4)")
    assert f"is dead: raised {error}; attempts used up" in run("wait", site.ini, task_id).out


def test_json_has_stable_keys_and_iso_times(run, site):
    site.finish("dead")
    (found,) = run("list", site.ini, "--json").document
    assert list(found) == [
        "id",
        "queue",
        "state",
        "suspect",
        "method",
        "path",
        "user",
        "priority",
        "attempts",
        "deaths",
        "added_at",
        "due",
        "claimed_at",
        "finished_at",
        "last",
    ]
    assert found["added_at"] == "2023-11-14T22:13:20.000Z"
    assert found["finished_at"].endswith("Z")


def test_a_record_that_cannot_be_read_is_listed_with_the_reason(run, site):
    task_id = site.publish()
    site.change_row(task_id, body=b"\xc1")
    ran = run("list", site.ini)
    assert ran.status == 0
    assert f"{task_id}  default  ready  -    0      -     -       ?     the stored record cannot be read" in ran.out


def test_a_suspect_is_told_beside_its_state(run, site):
    suspect = site.publish()
    site.killed_owner(act=site.claim)
    site.backend().reclaim(3)
    other = site.publish()
    rows = {line.split()[0]: line for line in run("list", site.ini).out.splitlines()}
    assert "  ready, suspect  " in rows[suspect]
    assert "suspect" not in rows[other]
    shown = {each["id"]: (each["state"], each["suspect"]) for each in run("list", site.ini, "--json").document}
    assert shown == {suspect: ("ready", True), other: ("ready", False)}


# ---- show --------------------------------------------------------------------------------------------------------


def test_everything_of_a_task_is_shown(run, site):
    owner = site.owner()
    task_id = site.publish(
        "/report?month=10",
        method="POST",
        headers=(("Accept", "text/html"), ("Cookie", "a=1")),
        payload=b"12345",
        principal=Principal("ann", "pyramid"),
    )
    site.settle(
        owner,
        site.claim(owner),
        "dead",
        reason="answered 500",
        status=500,
        headers=(("Content-Type", "text/plain"),),
        body=b"first\nsecond\n",
        duration_seconds=1.5,
    )
    ran = run("show", site.ini, task_id)
    assert (ran.status, ran.err) == (0, "")
    for line in (
        f"id                 {task_id}",
        "state              dead",
        "url                /report?month=…",
        "payload            5 bytes",
        "  user id            ann",
        "  Accept: text/html",
        "  Cookie: …",
        "  status             500",
        "    Content-Type: text/plain",
        "    | first\n    | second\n  ",
        "  duration seconds   1.500 s",
    ):
        assert f"\n{line}" in f"\n{ran.out}"


def test_json_has_everything_with_iso_times(run, site):
    task_id = site.finish("dead", queue="mail", url="/a?b=1")
    document = run("show", site.ini, task_id, "--json").document
    assert (document["id"], document["queue"], document["url"]) == (task_id, "mail", "/a?b=…")
    assert document["added_at"] == "2023-11-14T22:13:20.000Z"
    assert document["due"] is None
    assert document["last_outcome"]["reason"] == "answered"
    assert document["problem"] is None


def test_a_held_task_shows_its_transaction(run, site):
    task_id = site.hold()
    assert run("show", site.ini, task_id, "--json").document["envelope"]["transaction_id"] == "the-transaction"
    assert "  transaction id     the-transaction" in run("show", site.ini, task_id).out


def test_a_wiped_task_says_so(run, site):
    task_id = site.finish("done", wipe=True, method="POST", payload=b"12345")
    ran = run("show", site.ini, task_id)
    assert "wiped              yes" in ran.out
    assert "5 bytes" not in ran.out


def test_a_record_that_cannot_be_read_is_shown_with_the_reason(run, site):
    task_id = site.publish()
    site.change_row(task_id, body=b"\xc1")
    ran = run("show", site.ini, task_id)
    assert ran.status == 0
    assert "problem            the stored record cannot be read" in ran.out
    assert "state              ready" in ran.out


@pytest.mark.parametrize("verb", ["show", "wait"])
def test_an_unknown_id_is_status_1_and_names_the_queues(run, site, verb):
    ran = run(verb, site.ini, "01988c1e")
    assert (ran.status, ran.out) == (1, "")
    assert ran.complaint == "no task '01988c1e' in default, mail: it is unknown, or gone; an id is given in full"


@pytest.mark.parametrize("verb", ["show", "wait"])
def test_a_task_of_another_queue_is_unknown_in_this_one(run, site, verb):
    ran = run(verb, site.ini, site.finish(), "-q", "mail")
    assert ran.status == 1
    assert "in mail: it is unknown, or gone" in ran.complaint


@pytest.mark.parametrize("verb", ["show", "wait"])
def test_a_verb_for_one_task_needs_its_id(run, site, verb):
    ran = run(verb, site.ini)
    assert ran.status == 2
    assert "required: ID" in ran.complaint


# ---- wait --------------------------------------------------------------------------------------------------------


def test_waiting_for_a_done_task_is_status_0(run, site):
    task_id = site.finish("done")
    assert run("wait", site.ini, task_id) == (0, f"task {task_id} (/work) is done: answered\n", "")


def test_waiting_for_a_dead_task_is_status_1_and_tells_why(run, site):
    task_id = site.finish("dead", url="/work?a=1", reason="answered 500")
    ran = run("wait", site.ini, task_id)
    assert ran == (1, f"task {task_id} (/work) is dead: answered 500\n", "")


@pytest.mark.parametrize("state", ["done", "dead"])
def test_json_tells_how_it_ended(run, site, state):
    ran = run("wait", site.ini, site.finish(state), "--json")
    assert ran.status == (0 if state == "done" else 1)
    assert (ran.document["state"], ran.document["timed_out"]) == (state, False)


def test_a_task_that_does_not_end_in_time_is_status_3(run, site):
    task_id = site.publish()
    ran = run("wait", site.ini, task_id, "--timeout", "100 ms")
    assert (ran.status, ran.out) == (3, "")
    assert ran.complaint == f"task {task_id} is ready after 100 ms: not waiting any longer"


def test_json_tells_of_the_time_out_too(run, site):
    ran = run("wait", site.ini, site.publish(), "--timeout", "0", "--json")
    assert ran.status == 3
    assert json.loads(ran.out)["timed_out"] is True


@pytest.mark.parametrize("timeout", ["5 min", "for ever"])
def test_waiting_ends_when_the_task_does(run, site, timeout):
    owner = site.owner()
    task_id = site.publish()
    record = site.claim(owner)
    finisher = threading.Thread(target=site.settle, args=(owner, record, "done"))
    finisher.start()
    ran = run("wait", site.ini, task_id, "--timeout", timeout)
    finisher.join()
    assert ran.status == 0


def test_a_task_that_goes_while_it_is_waited_for_is_status_1(run, site, monkeypatch):
    task_id = site.publish()
    kind = type(site.backend())
    get = kind.get

    def get_and_delete(queue, wanted):
        record = get(queue, wanted)
        queue.delete([wanted])
        return record

    monkeypatch.setattr(kind, "get", get_and_delete)
    ran = run("wait", site.ini, task_id, "-q", "default")
    assert ran.status == 1
    assert f"task {task_id} is gone" in ran.complaint


@pytest.mark.parametrize("timeout", ["3x", "-1", "soon", ""])
def test_a_time_out_that_is_none_is_misuse(run, site, timeout):
    ran = run("wait", site.ini, "x", f"--timeout={timeout}")
    assert ran.status == 2
    assert "--timeout: takes a duration" in ran.complaint
