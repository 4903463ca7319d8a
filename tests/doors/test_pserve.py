"""A Pyramid application as its users run it: pserve, HTTP from outside, and nothing shared but the queue's file."""

import base64
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ..serving import APPS, Browser, port_of, wait_until

pytestmark = pytest.mark.process


def add(browser, url, **keywords):
    status, answer = browser.post("/add", url=url, keywords=json.dumps(keywords))
    assert status == 200, answer
    return json.loads(answer)["id"]


def basic(user):
    credentials = base64.b64encode(f"{user}:password of {user}".encode()).decode()
    return {"Authorization": f"Basic {credentials}"}


def taskqueue_command(site, *arguments):
    command = [sys.executable, "-m", "taskqueue", *map(str, arguments)]
    return subprocess.run(command, cwd=site.folder, capture_output=True, text=True, timeout=60, check=False)


def test_a_task_runs_as_the_user_whose_cookie_added_it(site):
    browser = Browser(port_of(site.serve())).login("ann")
    task_id = add(browser, "/record?x=ü", method="POST", payload="the body", headers={"X-CSRF-Token": None})
    (effect,) = site.effects.wait_for(1, did="record")
    assert (effect["user"], effect["method"], effect["task"]) == ("ann", "POST", task_id)
    assert base64.b64decode(effect["body"]) == b"the body"
    assert effect["url"].endswith("/record?x=%C3%BC")
    assert effect["headers"]["X-Task-Id"] == task_id
    assert effect["headers"]["User-Agent"] == "TaskQueueServer"


def test_a_task_runs_as_the_user_of_basic_auth_and_builds_the_same_urls(site):
    site.configure(policy="basic")
    port = port_of(site.serve())
    browser = Browser(port, basic("bob")).home()
    add(browser, "/record")
    (effect,) = site.effects.wait_for(1, did="record")
    assert effect["user"] == "bob"
    assert effect["url"] == f"http://127.0.0.1:{port}/record"
    assert effect["client"] == "127.0.0.1"


def test_the_body_and_form_of_the_request_are_copied(site):
    browser = Browser(port_of(site.serve())).login("ann")
    add(browser, "/record", method="POST")
    (effect,) = site.effects.wait_for(1, did="record")
    assert b"url=%2Frecord" in base64.b64decode(effect["body"])
    assert effect["content_type"] == "application/x-www-form-urlencoded"


def test_what_an_aborted_request_added_never_runs(site):
    site.configure(app_settings="tm.commit_veto = pyramid_tm.default_commit_veto")
    browser = Browser(port_of(site.serve())).login("ann")
    assert browser.post("/add_then_raise")[0] == 500
    assert browser.post("/add_then_answer_500")[0] == 500
    last = add(browser, "/record")
    assert [effect["task"] for effect in site.effects.wait_for(1, did="record")] == [last]
    assert browser.get("/state", id=last)[0] == 200
    counts = json.loads(taskqueue_command(site, "status", "app.ini", "--json").stdout)
    assert "raised" not in json.dumps(counts)
    assert len(site.effects.read()) == 1


def test_a_conflict_that_was_retried_leaves_exactly_one_task(site):
    browser = Browser(port_of(site.serve())).login("ann")
    status, answer = browser.post("/add_in_conflict")
    assert status == 200
    last = add(browser, "/record")
    effects = {effect["task"]: effect["url"] for effect in site.effects.wait_for(2, did="record")}
    survivor = json.loads(answer)["id"]
    assert set(effects) == {survivor, last}
    assert "from=attempt+2" in effects[survivor]
    stored = json.loads(taskqueue_command(site, "list", "app.ini", "--all", "--json").stdout)
    assert {task["id"] for task in stored} == {survivor, last}


def test_csrf_protection_lets_tasks_pass_unless_told_otherwise(site):
    site.configure(app_settings="taskqueue.csrf_exempt = false")
    browser = Browser(port_of(site.serve())).login("ann")
    task_id = add(browser, "/record", method="POST", payload=None, headers={"X-CSRF-Token": None})
    wait_until(lambda: json.loads(browser.get("/state", id=task_id)[1])["state"] == "dead")
    assert site.effects.read() == []
    assert Browser(port_of(site.serve())).login("eve").request("POST", "/record")[0] == 200
    forger = Browser(port_of(site.serve())).login("eve")
    forger.token = None
    assert forger.request("POST", "/record")[0] == 400


def test_views_for_tasks_are_closed_to_everybody_else(site):
    browser = Browser(port_of(site.serve())).login("ann")
    forged = {"X-Task-Id": "1", "X_Task_Id": "1", "X-TASK-QUEUE": "default"}
    assert browser.request("GET", "/task/secret", headers=forged)[0] == 404
    assert browser.request("GET", "/task/guarded", headers=forged)[0] == 403
    add(browser, "/task/secret")
    add(browser, "/task/guarded")
    assert len(site.effects.wait_for(2, did="record")) == 2


def test_headers_of_tasks_from_outside_reach_no_view(site):
    browser = Browser(port_of(site.serve())).login("ann")
    headers = {"X-Task-Id": "forged", "X-Task-Anything": "forged", "x_task_user_id": "admin"}
    assert browser.request("GET", "/record", headers=headers)[0] == 200
    (effect,) = site.effects.wait_for(1, did="record")
    assert not [name for name in effect["headers"] if "task" in name.lower()]
    assert effect["task"] is None


def test_a_task_adds_tasks(site):
    browser = Browser(port_of(site.serve())).login("ann")
    first = add(browser, "/chain?left=3")
    effects = site.effects.wait_for(4, did="chain")
    assert [effect["left"] for effect in effects] == [3, 2, 1, 0]
    assert effects[0]["parent"] is None
    assert effects[1]["parent"] == first


def test_a_task_whose_transaction_aborted_is_retried_although_it_answered_200(site):
    site.configure(server_settings="retry_max_count = 2")
    browser = Browser(port_of(site.serve())).login("ann")
    task_id = add(browser, "/doomed")
    site.effects.wait_for(3, did="doomed")
    wait_until(lambda: json.loads(browser.get("/state", id=task_id)[1])["state"] == "dead")


def test_two_instances_share_one_queue(site):
    browsers = [Browser(port_of(site.serve())).login(user) for user in ("ann", "bob")]
    for browser in browsers * 4:
        add(browser, "/block")
    began = site.effects.wait_for(8, did="began")
    assert len({effect["pid"] for effect in began}) == 2  # four each: neither could run all
    site.open_gate()
    site.effects.wait_for(8, did="ended")


def test_a_task_of_a_killed_instance_runs_again_once_in_another(site):
    first = site.serve()
    browser = Browser(port_of(first)).login("ann")
    task_id = add(browser, "/block")
    site.effects.wait_for(1, did="began", pid=first.pid)
    second = site.serve()
    survivor = Browser(port_of(second)).login("ann")
    first.end(signal.SIGKILL)
    site.effects.wait_for(1, did="began", pid=second.pid)
    site.open_gate()
    site.effects.wait_for(1, did="ended", pid=second.pid)
    wait_until(lambda: json.loads(survivor.get("/state", id=task_id)[1])["state"] == "done")
    assert len([effect for effect in site.effects.read() if effect["did"] == "began"]) == 2
    assert taskqueue_command(site, "status", "app.ini").returncode == 0


def test_sigterm_gives_back_what_has_not_started_and_finishes_what_runs(site):
    process = site.serve()
    browser = Browser(port_of(process)).login("ann")
    ids = [add(browser, "/block") for _ in range(12)]
    site.effects.wait_for(4, did="began")
    process.popen.send_signal(signal.SIGTERM)
    process.wait_for_line(r"consumer default of queue default is stopping: it waits for 4 that run")
    site.open_gate()
    process.wait()
    assert len(site.effects.read()) == 8
    listed = json.loads(taskqueue_command(site, "list", "app.ini", "--all", "--json").stdout)
    states = {task["id"]: (task["state"], task["attempts"]) for task in listed}
    assert sorted(states[task_id] for task_id in ids) == [("done", 1)] * 4 + [("ready", 0)] * 8


def test_what_outlasts_the_grace_runs_again_and_is_no_suspect(site):
    site.configure(server_settings="retry_max_count = 0\nmax_deaths = 1")
    ini = (site.folder / "app.ini").read_text()
    (site.folder / "app.ini").write_text(ini.replace("grace = 20", "grace = 0.1"))
    process = site.serve()
    browser = Browser(port_of(process)).login("ann")
    ids = [add(browser, "/block") for _ in range(2)]
    site.effects.wait_for(2, did="began")
    process.end(signal.SIGTERM)
    assert "2 tasks that still run are given back" in process.output
    listed = json.loads(taskqueue_command(site, "list", "app.ini", "--oldest", "--json").stdout)
    assert [(task["id"], task["state"], task["attempts"], task["suspect"]) for task in listed] == [
        (task_id, "ready", 0, False) for task_id in ids
    ]
    second = site.serve()
    site.effects.wait_for(2, did="began", pid=second.pid)  # side by side
    site.open_gate()
    site.effects.wait_for(2, did="ended", pid=second.pid)


def test_an_application_that_is_taken_from_another_file_has_the_queues_of_that_file(site):
    base = site.configure(name="base.ini").read_text()
    log = base.partition("[loggers]")[2]
    outer = "[app:main]\nuse = config:base.ini\n[server:main]\nuse = config:base.ini\n[loggers]" + log
    task_id = add(Browser(port_of(serve_as(site, "prod.ini", outer))).login("ann"), "/record")
    site.effects.wait_for(1, did="record")
    for name in ("base.ini", "prod.ini"):
        listed = json.loads(taskqueue_command(site, "list", name, "--all", "--json").stdout)
        assert [task["id"] for task in listed] == [task_id]


def serve_as(site, name, text):
    (site.folder / name).write_text(text)
    return site.serve(name=name)


@pytest.mark.parametrize("arguments", [["proutes", "app.ini"], ["pviews", "app.ini", "/home"], ["pshell", "app.ini"]])
def test_scripts_that_do_not_serve_consume_nothing(site, arguments):
    script, *rest = arguments
    done = subprocess.run(
        [Path(sys.executable).parent / script, *rest],
        cwd=site.folder,
        env={**os.environ, "PYTHONPATH": str(APPS)},
        capture_output=True,
        text=True,
        input="",
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "consumer" not in done.stderr + done.stdout
    assert not (site.folder / "var").exists()
