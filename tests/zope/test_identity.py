"""Real Zope: a task runs as who added it, or not at all, and says why."""

import json

import pytest

from taskqueue.record import Principal
from taskqueue.zope.identity import ANONYMOUS

from .identified import basic_of

pytestmark = pytest.mark.process

PUBLIC, PROTECTED = "/elsewhere/@@note", "/elsewhere/@@members_note"
JOE = "'joe-id' of /elsewhere/acl_users"


def added_by(user, found="Anonymous"):
    return f"not run: added by {user}, it would run as {found}; "


@pytest.mark.parametrize("login", ["by_cookie", "by_basic"])
@pytest.mark.parametrize("task", [PUBLIC, PROTECTED])
def test_with_copied_credentials_a_task_runs_as_who_added_it(identified, login, task):
    mark = f"{login}{len(task)}"
    assert identified.run(getattr(identified, login)("joe"), f"{task}?mark={mark}") == ("done", "answered 200")
    assert identified.effect(mark)["user"] == "joe"


@pytest.mark.parametrize("queue", ["default", "trusted"])
def test_what_an_anonymous_caller_adds_runs_as_anonymous(identified, queue):
    mark = f"anonymous-{queue}"
    task_id = identified.add(identified.nobody, f"{PUBLIC}?mark={mark}", queue=queue)
    assert identified.ended(task_id, queue).state == "done"
    assert identified.effect(mark)["user"] == "Anonymous User"
    assert identified.store.task(task_id, queue).principal == ANONYMOUS


@pytest.mark.parametrize("task", [PUBLIC, PROTECTED])
@pytest.mark.parametrize("login", ["by_cookie", "by_basic"])
@pytest.mark.parametrize(
    ("change", "name", "reason"),
    [
        ("remove", "ann", "there is no such user any more, or it is disabled"),
        ("change_password", "bob", "the credentials of its request are not good any more, or not at this path"),
        ("lock_out", "cyd", "the credentials of its request are not good any more, or not at this path"),
    ],
)
def test_a_task_is_dead_when_its_user_was_removed_or_shut_out_meanwhile(
    fresh_users, identified, login, change, name, reason, task
):
    fresh_users(name)
    mark = f"{change}{login}{len(task)}"
    user = f"{name}-id"
    ran = identified.run(getattr(identified, login)(name), f"{task}?mark={mark}", change=change, user=user)
    assert ran == ("dead", added_by(f"'{user}' of /elsewhere/acl_users") + reason)
    assert not identified.has_run(mark)


@pytest.fixture
def fresh_users(identified):
    """Make a user again as it was at first."""

    def make(name):
        assert identified.nobody.get("/elsewhere/@@make_user", name=name) == (200, "made")

    return make


@pytest.mark.parametrize("task", ["/plain/@@note", "/plain/@@members_note"])
def test_it_is_the_same_in_a_user_folder_without_plugins(identified, task):
    assert identified.nobody.get("/plain/@@make_plain_user") == (200, "made")
    pia, mark = identified.by_basic("pia"), f"plain{len(task)}"
    assert identified.run(pia, f"{task}?mark={mark}", where="/plain") == ("done", "answered 200")
    assert identified.effect(mark)["user"] == "pia"
    refused = added_by("'pia' of /plain/acl_users")
    no_plugin = refused + "auth = principal needs a Task Queue Plugin in that user folder"
    assert identified.run(pia, task, "trusted", where="/plain") == ("dead", no_plugin)
    removed = refused + "there is no such user any more, or it is disabled"
    assert identified.run(pia, task, where="/plain", change="remove_from_plain", user="pia") == ("dead", removed)


def test_the_command_line_shows_why_and_the_log_says_it(identified, fresh_users):
    fresh_users("ann")
    task_id = identified.add(identified.by_cookie("ann"), PUBLIC, change="remove", user="ann-id")
    assert identified.ended(task_id).state == "dead"
    reason = added_by("'ann-id' of /elsewhere/acl_users") + "there is no such user any more, or it is disabled"
    shown = identified.instance.task(task_id)
    assert shown["state"] == "dead"
    assert shown["last_outcome"]["reason"] == reason
    assert shown["attempts"] == 1
    identified.process.wait_for_line(f"ERROR taskqueue.*{task_id}")


def test_a_user_who_has_lost_a_right_is_answered_as_everybody_is(identified, fresh_users):
    fresh_users("dan")
    ran = identified.run(identified.by_cookie("dan"), PROTECTED, change="take_role", user="dan-id")
    assert ran == ("dead", "answered 401; attempts used up (3, allowed 3)")


def test_a_task_that_leads_beyond_the_user_folder_is_dead(identified):
    ran = identified.run(identified.by_cookie("joe"), "/site/@@note?mark=beyond")
    assert ran == ("dead", added_by(JOE) + "that user folder is gone, or has no say at this path")
    assert not identified.has_run("beyond")


def test_what_an_anonymous_request_adds_does_not_run_as_whom_its_cookie_is_good_for_elsewhere(identified):
    joe = identified.by_cookie("joe")
    ran = identified.run(joe, f"{PUBLIC}?mark=inwards", where="/site")
    reason = "a credential that its request brought along is good for somebody here"
    assert ran == ("dead", added_by("Anonymous", JOE) + reason)
    assert not identified.has_run("inwards")


@pytest.mark.parametrize("queue", ["default", "trusted"])
def test_the_rights_of_a_moment_are_not_the_tasks(identified, queue):
    mark = f"moment-{queue}"
    task_id = identified.add(identified.by_cookie("joe"), f"{PUBLIC}?mark={mark}", view="@@add_as_another", queue=queue)
    assert identified.ended(task_id, queue).state == "done"
    assert identified.effect(mark)["user"] == "joe"
    assert identified.store.task(task_id, queue).principal == Principal("joe-id", "/elsewhere/acl_users")


def test_headers_that_are_given_decide_as_whom_a_task_runs(identified):
    joe = identified.by_cookie("joe")
    given = json.dumps({"Authorization": basic_of("eve"), "Cookie": None})
    assert identified.run(joe, f"{PUBLIC}?mark=as-eve", headers=given)[0] == "done"
    assert identified.effect("as-eve")["user"] == "eve"
    as_nobody = json.dumps({"Authorization": None, "Cookie": None})
    assert identified.run(joe, f"{PUBLIC}?mark=as-nobody", headers=as_nobody)[0] == "done"
    assert identified.effect("as-nobody")["user"] == "Anonymous User"


def test_a_task_that_a_script_adds_runs_as_anonymous(identified):
    found = identified.effects.wait_for(1, form={"from": "make_users"})[0]
    assert (found["user"], found["is_task"]) == ("Anonymous User", True)


def test_a_field_of_a_form_is_nobodys_user(identified):
    path = f"{PUBLIC}?mark=field&AUTHENTICATED_USER=joe"
    task_id = identified.add(identified.nobody, path, AUTHENTICATED_USER="joe")
    assert identified.ended(task_id).state == "done"
    assert identified.store.task(task_id).principal == ANONYMOUS
