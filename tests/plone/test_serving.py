"""Real Plone under waitress, driven over HTTP: as whom a task runs, what it may, and what it leaves."""

import json
import urllib.parse

import pytest

from ..zope.instances import until

pytestmark = pytest.mark.process

SAME = ("user", "roles", "url", "path", "client")


def add(browser, where, task, **params):
    """What the request that added a task saw of itself."""
    status, page = browser.get(f"{where}/@@add_task", task=task, **params)
    assert status == 200, page
    return json.loads(page)


def token_of(site, user="joe"):
    """What plone.restapi gives for a password."""
    credentials = json.dumps({"login": user, "password": f"{user}s-long-secret"})
    headers = {"Accept": "application/json", "Content-Type": "application/json"}
    status, page = site.with_headers().request("POST", "/Plone/@login", credentials, headers)
    assert status == 200, page
    return json.loads(page)["token"]


CREDENTIALS = {
    "basic auth": lambda site: site.joe,
    "the cookie of the login form": lambda site: site.logged_in(),
    "a token of plone.restapi": lambda site: site.with_headers(Authorization=f"Bearer {token_of(site)}"),
}


def ended(site, task_id):
    """A task that is over."""
    until(lambda: site.instance.task(task_id)["state"] in ("done", "dead"), site.process)
    return site.instance.task(task_id)


def test_nothing_includes_the_zcml_of_taskqueue_and_plone_has_found_it(plone):
    site_zcml = (plone.instance.folder / "etc").glob("**/*.zcml")
    assert not [file for file in site_zcml if "taskqueue" in file.read_text()]
    assert json.loads(plone.joe.get("/Plone/@@state")[1])["names"] == ["default", "strict", "trusted"]


@pytest.mark.parametrize("queue", ["default", "trusted"])
@pytest.mark.parametrize("credential", CREDENTIALS)
def test_a_task_runs_as_the_same_user_and_sees_the_same_urls(plone, credential, queue):
    mark = plone.mark()
    seen = add(CREDENTIALS[credential](plone), "/Plone/news", f"/Plone/news/@@members_note?mark={mark}", queue=queue)
    task = plone.effect(mark, kind="members_note")
    assert {name: task[name] for name in SAME} == {name: seen[name] for name in SAME}
    assert task["user"] == "joe"
    assert task["is_task"] is True


def test_a_queue_of_trusted_records_stores_no_credential(plone):
    mark = plone.mark()
    plone.instance.cli("pause", "-q", "trusted")
    try:
        cookie, basic = plone.logged_in(), plone.joe
        ids = [add(each, "/Plone", f"/Plone/@@note?mark={mark}", queue="trusted")["id"] for each in (cookie, basic)]
        names = {name for task_id in ids for name in plone.stored_headers(task_id)}
        assert "host" in names
        assert not {"cookie", "authorization"} & names
    finally:
        plone.instance.cli("resume", "-q", "trusted")
    assert [task["user"] for task in plone.effects.wait_for(2, form={"mark": mark})] == ["joe", "joe"]


def test_the_administrator_of_the_root_is_one_in_the_site(plone):
    mark = plone.mark()
    admin = plone.as_user("admin", "secret")
    for queue in ("default", "trusted"):
        add(admin, "/Plone", f"/Plone/@@members_note?mark={mark}{queue}", queue=queue)
        assert plone.effect(f"{mark}{queue}", kind="members_note")["user"] == "admin"


def test_a_task_that_nobody_in_particular_adds_runs_as_nobody(plone):
    mark = plone.mark()
    add(plone.nobody, "/Plone", f"/Plone/@@note?mark={mark}")
    assert plone.effect(mark, kind="note")["user"] == "Anonymous User"
    task = ended(plone, add(plone.nobody, "/Plone", "/Plone/@@members_note")["id"])
    assert task["state"] == "dead"


@pytest.mark.parametrize("queue", ["default", "trusted"])
def test_a_user_who_is_deleted_meanwhile_runs_nothing_and_the_reason_is_told(plone, queue):
    user, mark = f"leaver{queue}", plone.mark()
    assert plone.joe.get("/Plone/@@members", add=user)[0] == 200
    browser = plone.logged_in(user, f"{user}s-long-secret")
    plone.instance.cli("pause", "-q", queue)
    try:
        task_id = add(browser, "/Plone", f"/Plone/@@note?mark={mark}", queue=queue)["id"]
        assert plone.joe.get("/Plone/@@members", remove=user)[0] == 200
    finally:
        plone.instance.cli("resume", "-q", queue)
    task = ended(plone, task_id)
    assert task["state"] == "dead"
    told = json.dumps(task)
    assert f"'{user}' of /Plone/acl_users" in told
    assert "no such user any more" in told
    assert not [effect for effect in plone.effects.read() if effect.get("form") == {"mark": mark}]


def test_the_predecessors_forgery_makes_nobody_anybody(plone):
    mark = plone.mark()
    forger = plone.with_headers(**{"X-Task-User-Id": "admin", "X-Task-Id": "1", "X_TASK_USER_ID": "admin"})
    assert add(forger, "/Plone", f"/Plone/@@note?mark={mark}")["user"] == "Anonymous User"
    add(forger, "/Plone", f"/Plone/@@note?mark={mark}", queue="trusted")
    assert [each["user"] for each in plone.effects.wait_for(2, form={"mark": mark})] == ["Anonymous User"] * 2


def test_a_view_of_the_layer_is_hidden_from_everybody_outside(plone):
    mark = plone.mark()
    forged = {"X-Task-Id": "1", "X-Task-Queue": "default"}
    for browser in (plone.nobody, plone.joe, plone.logged_in()):
        assert browser.request("GET", "/Plone/@@tasks_note", headers=forged)[0] == 404
    add(plone.joe, "/Plone", f"/Plone/@@tasks_note?mark={mark}")
    assert plone.effect(mark, kind="tasks_note")["is_task"] is True


def test_behind_a_virtual_host_a_task_sees_the_same_urls(plone):
    mark = plone.mark()
    hosted = urllib.parse.quote("/VirtualHostBase/https/www.example.org:443/Plone/VirtualHostRoot")
    seen = add(plone.joe, f"{hosted}/news", f"/Plone/news/@@note?mark={mark}")
    task = plone.effect(mark, kind="note")
    assert {name: task[name] for name in SAME} == {name: seen[name] for name in SAME}
    assert task["url"] == "https://www.example.org/news"


def test_an_error_of_which_the_site_makes_a_page_is_retried(plone):
    mark = plone.mark()
    task = ended(plone, add(plone.joe, "/Plone", f"/Plone/@@fail_once?mark={mark}")["id"])
    assert (task["state"], task["attempts"]) == ("done", 2)


def test_a_conflict_of_which_the_site_makes_a_page_is_a_conflict_and_spends_no_attempt(plone):
    mark = plone.mark()
    task = ended(plone, add(plone.joe, "/Plone", f"/Plone/@@conflict?times=5&mark={mark}")["id"])
    assert (task["state"], task["attempts"]) == ("done", 1)
    tried = [each["attempt"] for each in plone.effects.read() if each["kind"] == "conflicting"]
    assert tried == [0, 1, 0, 1, 0, 1]  # max-conflict-retries is 1


def test_a_thread_brings_no_site_and_no_user_to_a_task_which_then_has_the_site_that_it_is_in(plone):
    for _ in range(6):
        ended(plone, add(plone.joe, "/Plone", "/Plone/news/@@note")["id"])
    found = plone.effects.read()
    before = [each for each in found if each["kind"] == "thread"]
    assert len(before) >= 6
    assert {(each["site"], each["found_user"], each["resources"]) for each in before} <= {
        ("None", "Anonymous User", 0),
        ("None", None, 0),
    }
    assert {each["site"] for each in found if each["kind"] == "site"} == {"Plone"}
