"""Real Zope under waitress, driven over HTTP: what a task is, as whom it runs, and what it leaves."""

import base64
import json
import signal
import urllib.parse

import pytest

from taskqueue.record import Principal
from taskqueue.zope.identity import ANONYMOUS

from ..serving import Browser, port_of
from .instances import DURABLE, as_user, until

pytestmark = pytest.mark.process

SAME = ("user", "roles", "url", "path", "client")
HOSTED = "/VirtualHostBase/https/www.example.org:443/site/VirtualHostRoot/_vh_app"


def add(browser, where, task, **params):
    """What the request that added a task saw of itself."""
    status, page = browser.get(f"{where}/@@add", task=task, **params)
    assert status == 200, page
    return json.loads(page)


def test_a_task_that_a_script_added_runs_when_zope_starts_without_any_request(zope):
    assert zope.effects.wait_for(1, form={"from": "zconsole"})[0]["is_task"] is True


def test_a_task_runs_as_the_user_of_basic_auth_and_sees_the_same_urls(zope):
    mark = zope.mark()
    seen = add(zope.anna, "/site/sub", f"/site/sub/@@note?mark={mark}")
    task = zope.effect(mark, kind="note")
    assert {name: task[name] for name in SAME} == {name: seen[name] for name in SAME}
    assert task["user"] == "anna"
    assert task["method"] == "GET"


def test_a_task_runs_as_the_user_of_a_pas_cookie(zope):
    # As the CookieAuthHelper writes it.
    cookie = urllib.parse.quote(base64.b64encode(f"{b'joe'.hex()}:{b'joes-secret'.hex()}".encode()))
    joe = Browser(port_of(zope.process), {"Cookie": f"__ac={cookie}"})
    mark = zope.mark()
    assert add(joe, "/elsewhere", f"/elsewhere/@@members_note?mark={mark}")["user"] == "joe"
    assert zope.effect(mark, kind="members_note")["user"] == "joe"


@pytest.mark.parametrize("kind", ["hello", "@@page", "@@note", "sub/@@note"])
def test_whatever_can_be_traversed_to_and_called_is_a_task(zope, kind):
    mark = zope.mark()
    add(zope.anna, "/site", f"/site/{kind}?mark={mark}")
    assert zope.effect(mark, kind="note")["user"] == "anna"


def test_a_content_method_is_a_task(zope):
    mark = zope.mark()
    add(zope.anna, "/", f"/site/manage_addProduct/OFSP/manage_addFolder?id={mark}")
    until(lambda: zope.anna.get(f"/site/{mark}/@@both")[0] == 200, zope.process)


@pytest.mark.parametrize("site", ["site", "s\xeete"])
def test_behind_a_virtual_host_a_physical_path_leads_to_the_same_object_and_the_same_urls(zope, site):
    mark = zope.mark()
    hosted = urllib.parse.quote(f"/VirtualHostBase/https/www.example.org:443/{site}/VirtualHostRoot/_vh_app")
    seen = add(zope.anna, hosted, f"/{site}/@@note?mark={mark}")
    task = zope.effect(mark, kind="note")
    assert {name: task[name] for name in SAME} == {name: seen[name] for name in SAME}
    assert task["url"] == "https://www.example.org/app"
    assert task["here"] == "https://www.example.org/app/@@note"
    assert task["path"] == f"/{site}"


def test_what_is_beyond_the_virtual_root_is_reached_all_the_same(zope):
    mark = zope.mark()
    add(zope.anna, HOSTED, f"/site/../elsewhere/@@note?mark={mark}".replace("/site/..", ""))
    assert zope.effect(mark, kind="note")["path"] == "/elsewhere"


@pytest.mark.parametrize(("task", "path"), [("/site/sub/@@note", "/site/sub"), ("/elsewhere/@@note", "/elsewhere")])
def test_where_zope_maps_the_host_itself_a_physical_path_leads_to_the_same_object(zope, task, path):
    mark = zope.mark()
    mapped = zope.as_user("anna", "annas-secret", Host="mapped.example.org")
    seen = add(mapped, "", f"{task}?mark={mark}")
    assert seen["path"] == "/site"
    found = zope.effect(mark, kind="note")
    assert (found["path"], found["user"]) == (path, "anna")
    assert found["url"] == "http://mapped.example.org" + path.removeprefix("/site")


def test_a_request_that_is_given_keeps_its_credentials(zope):
    mark = zope.mark()
    add(zope.anna, "/site", f"/site/@@members_note?mark={mark}", with_request="yes")
    assert zope.effect(mark, kind="members_note")["user"] == "anna"


def test_who_added_a_task_is_kept_with_the_path_of_the_user_folder(zope):
    anna = add(zope.anna, "/site", "/site/@@note")["id"]
    joe = zope.as_user("joe", "joes-secret")
    assert zope.instance.principal(anna) == Principal("anna", "/acl_users")
    assert zope.instance.principal(add(joe, "/elsewhere", "/elsewhere/@@note")["id"]) == Principal(
        "joe-id", "/elsewhere/acl_users"
    )
    assert zope.instance.principal(add(zope.nobody, "/site", "/site/@@note")["id"]) == ANONYMOUS


def test_a_transaction_that_writes_says_in_its_own_history_that_it_added(zope):
    before = zope.instance.marked_transactions()
    add(zope.anna, "/site", "/site/@@note", with_write="a title")
    assert len(zope.instance.marked_transactions()) == len(before) + 1


def test_behind_a_proxy_urls_and_client_address_are_the_browsers(zope):
    mark = zope.mark()
    proxied = as_user(
        zope.process,
        "anna",
        "annas-secret",
        **{"X-Forwarded-For": "203.0.113.7", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "shop.example.org"},
    )
    seen = add(proxied, "/site", f"/site/@@note?mark={mark}")
    task = zope.effect(mark, kind="note")
    assert {name: task[name] for name in SAME} == {name: seen[name] for name in SAME}
    assert task["client"] == "203.0.113.7"
    assert task["url"].startswith("https://shop.example.org")


def test_a_posted_body_is_the_tasks_too(zope):
    mark = zope.mark()
    status, page = zope.anna.post(f"/site/@@add?method=POST&task=/site/@@note&mark={mark}x", mark=mark, color="red")
    assert status == 200, page
    task = zope.effects.wait_for(1, form={"mark": mark, "color": "red"})[0]
    assert task["method"] == "POST"
    assert task["is_task"] is True


def test_what_a_request_adds_that_raises_never_runs(zope):
    aborted, committed = zope.mark(), zope.mark()
    assert zope.anna.get("/site/@@add_then_fail", task=f"/site/@@note?mark={aborted}")[0] == 500
    add(zope.anna, "/site", f"/site/@@note?mark={committed}")
    zope.effect(committed)
    assert not [effect for effect in zope.effects.read() if effect.get("form") == {"mark": aborted}]
    assert set(zope.instance.states()) <= {"done", "dead", "running", "ready", "scheduled"}  # nothing staged is left


def test_a_view_of_the_layer_is_there_for_tasks_only(zope):
    mark = zope.mark()
    forged = {"X-Task-Id": "1", "X-Task-Queue": "default", "X_Task_User_Id": "admin"}
    assert zope.nobody.get("/site/@@tasks_note")[0] == 404
    assert zope.nobody.request("GET", "/site/@@tasks_note", headers=forged)[0] == 404
    add(zope.anna, "/site", f"/site/@@tasks_note?mark={mark}")
    assert zope.effect(mark, kind="tasks_note")["is_task"] is True


def test_where_a_name_is_there_twice_a_task_gets_the_one_of_the_layer(zope):
    mark = zope.mark()
    assert zope.nobody.get("/site/@@both") == (200, "for people")
    add(zope.anna, "/site", f"/site/@@both?mark={mark}")
    zope.effect(mark, kind="both")


def test_headers_that_only_tasks_have_do_not_reach_a_view_from_outside(zope):
    mark = zope.mark()
    assert (
        zope.nobody.request("GET", f"/site/@@note?mark={mark}", headers={"X-Task-Id": "1", "X-TASK_ID": "2"})[0] == 200
    )
    assert zope.effect(mark, kind="note")["forged"] is None


def test_an_error_is_retried_until_the_task_is_done(zope):
    mark = zope.mark()
    task_id = add(zope.anna, "/site", f"/site/@@fail_once?mark={mark}")["id"]
    zope.effects.wait_for(1, kind="fail_once", mark=mark)
    until(lambda: zope.instance.task(task_id)["state"] == "done", zope.process)
    assert zope.instance.task(task_id)["attempts"] == 2


def test_a_task_that_answers_200_and_does_not_commit_is_run_again(zope):
    mark = zope.mark()
    task_id = add(zope.anna, "/site", f"/site/@@doom?mark={mark}")["id"]
    zope.effects.wait_for(1, kind="doom over", mark=mark)
    until(lambda: zope.instance.task(task_id)["state"] == "done", zope.process)


def test_a_thread_is_clean_before_each_task_even_after_one_that_litters(zope):
    for _ in range(8):
        add(zope.anna, "/site", "/site/@@litter")
    zope.effects.wait_for(8, kind="litter")
    for effect in zope.effects.read():
        if effect["kind"] == "thread":
            assert (effect["site"], effect["found_user"], effect["resources"]) == ("None", "Anonymous User", 0)


def test_thirty_writers_that_conflict_each_write_exactly_once(zope):
    before = json.loads(zope.anna.get("/@@state")[1])["numbers"]
    assert before == []
    assert zope.anna.get("/@@add_many", task="/site/@@increase", count=30)[0] == 200
    until(lambda: len(json.loads(zope.anna.get("/@@state")[1])["numbers"]) >= 30, zope.process)
    until(lambda: not {"ready", "running", "scheduled"} & set(zope.instance.states()), zope.process)
    assert json.loads(zope.anna.get("/@@state")[1])["numbers"] == list(range(30))
    assert len([each for each in zope.effects.read() if each["kind"] == "conflicted"]) >= 5


def test_queues_are_utilities_and_a_vocabulary(zope):
    state = json.loads(zope.anna.get("/@@state")[1])
    assert state["names"] == ["default"]
    assert set(state["queues"]) == {"default"}
    assert isinstance(state["queues"]["default"], int)


def test_too_few_connections_are_warned_of_at_start(zope):
    zope.process.wait_for_line(r"4 threads of waitress and 4 of consumers .* share 7 connections.*pool-size 8")


@pytest.mark.parametrize("filters", ["taskqueue", ""])
def test_a_stop_lets_what_runs_come_to_its_end_and_loses_nothing(make_instance, filters):
    instance = make_instance(filters=filters)
    with instance.serve() as process:
        anna = as_user(process, "anna", "annas-secret")
        assert anna.get("/@@add_many", task="/site/@@slow", count=4)[0] == 200
        instance.effects.wait_for(4, kind="slow begins")
        process.popen.send_signal(signal.SIGTERM)
        process.wait()
        assert "consumer default of queue default stopped" in process.output
        assert "Traceback" not in process.output
    assert len([each for each in instance.effects.read() if each["kind"] == "slow ends"]) == 4
    assert set(instance.states()) == {"done"}


def test_a_conflict_that_the_publisher_gives_up_is_the_queues_to_retry_and_spends_no_attempt(make_instance):
    instance = make_instance(sections=DURABLE + "max-conflict-retries 1\n")
    with instance.serve() as process:
        add(as_user(process, "anna", "annas-secret"), "/site", "/site/@@conflict?times=5")
        instance.effects.wait_for(1, kind="conflict over")
        until(lambda: instance.states().get("done") == 2, process)
    conflicting = [each["attempt"] for each in instance.effects.read() if each["kind"] == "conflicting"]
    assert conflicting == [0, 1, 0, 1, 0, 1]
    assert process.output.count("503") + process.output.count("raised ConflictError") >= 2
