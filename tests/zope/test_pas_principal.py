"""Real Zope, ``auth = principal``: nothing to log in with is stored, and a task is let in as the user on record."""

import pytest

from taskqueue.record import Principal

from .identified import basic_of

pytestmark = pytest.mark.process

PUBLIC, PROTECTED = "/elsewhere/@@note", "/elsewhere/@@members_note"
NOT_ACTIVE = "the Task Queue Plugin of that user folder is not active, or another plugin refuses this user"
REMOVED = "there is no such user any more, or it is disabled"


@pytest.mark.parametrize("login", ["by_cookie", "by_basic"])
@pytest.mark.parametrize("task", [PUBLIC, PROTECTED])
def test_a_task_is_let_in_as_who_added_it(identified, login, task):
    mark = f"trusted{login}{len(task)}"
    assert identified.run(getattr(identified, login)("joe"), f"{task}?mark={mark}", "trusted")[0] == "done"
    found = identified.effect(mark)
    assert (found["user"], found["roles"]) == ("joe", ["Authenticated", "Manager"])


def test_a_user_of_the_folder_further_up_is_let_in_there(identified):
    task_id = identified.add(identified.by_basic("max"), f"{PROTECTED}?mark=up", queue="trusted")
    assert identified.ended(task_id, "trusted").state == "done"
    assert identified.effect("up")["user"] == "max"
    assert identified.store.task(task_id, "trusted").principal == Principal("max-id", "/acl_users")


def test_no_credentials_are_stored(identified):
    for browser in (identified.by_cookie("joe"), identified.by_basic("max")):
        task_id = identified.add(browser, PUBLIC, queue="trusted")
        names = {name.lower() for name, _value in identified.store.task(task_id, "trusted").headers}
        assert "host" in names
        assert not names & {"cookie", "authorization"}
    # Which is kept for a day when the task is dead.
    assert identified.run(identified.by_basic("joe"), "/site/@@note")[0] == "dead"
    files = [file for file in identified.store.path.parent.glob("tasks.db*") if file.is_file()]
    stored = b"".join(file.read_bytes() for file in files)
    assert basic_of("joe").encode() in stored
    assert basic_of("max").encode() not in stored


@pytest.mark.parametrize("task", [PUBLIC, PROTECTED])
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("remove", REMOVED),
        ("lock_out", NOT_ACTIVE),
    ],
)
def test_a_user_who_was_removed_or_locked_out_meanwhile_is_not_let_in(identified, change, reason, task):
    assert identified.nobody.get("/elsewhere/@@make_user", name="fay") == (200, "made")
    mark = f"trusted{change}{len(task)}"
    ran = identified.run(identified.by_cookie("fay"), f"{task}?mark={mark}", "trusted", change=change, user="fay-id")
    expected = f"not run: added by 'fay-id' of /elsewhere/acl_users, it would run as Anonymous; {reason}"
    assert ran == ("dead", expected)
    assert not identified.has_run(mark)


def test_a_changed_password_changes_nothing(identified):
    assert identified.nobody.get("/elsewhere/@@make_user", name="fay") == (200, "made")
    fay = identified.by_cookie("fay")
    assert identified.run(fay, PROTECTED, "trusted", change="change_password", user="fay-id")[0] == "done"


def test_roles_are_looked_up_anew(identified):
    assert identified.nobody.get("/elsewhere/@@make_user", name="fay") == (200, "made")
    fay = identified.by_cookie("fay")
    ran = identified.run(fay, f"{PUBLIC}?mark=no-role", "trusted", change="take_role", user="fay-id")
    assert ran[0] == "done"
    assert identified.effect("no-role")["roles"] == ["Authenticated"]


def test_without_the_plugin_a_task_is_dead_and_says_what_is_missing(identified):
    joe = identified.by_cookie("joe")
    ran = identified.run(joe, PUBLIC, "trusted", change="take_plugin")
    assert identified.nobody.get("/elsewhere/@@install_plugin") == (200, "installed")
    assert ran[0] == "dead"
    assert ran[1].endswith(
        "the Task Queue Plugin of that user folder is not active, or another plugin refuses this user"
    )
    assert identified.run(joe, PUBLIC, "trusted")[0] == "done"
