"""An anonymous visitor who says that he is somebody, in a thousand spellings: never anyone's identity."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from taskqueue.zope.identity import ANONYMOUS

from ..serving import APPS, PATIENCE_SECONDS
from . import forging
from .identified import SECTIONS, USERS_ZCML, Identified, Store

pytestmark = pytest.mark.process

ROOT = Path(__file__).parents[2]
SENT_OVER_HTTP = 30


@pytest.fixture(scope="module")
def forged(make_instance, peopled):
    """What a thousand requests without a socket saw of themselves, and afterwards their tasks."""
    instance = make_instance(sections=SECTIONS.replace("consume auto", "consume no"), zcml=USERS_ZCML)
    instance.copy_of(peopled)
    ran = subprocess.run(
        [sys.executable, "-m", "tests.zope.forging", instance.zope_ini],
        cwd=ROOT,
        env={"PYTHONPATH": f"{APPS}:{ROOT}", **instance.environ},
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS * 2,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return instance, json.loads(ran.stdout.splitlines()[-1])


def test_a_thousand_spellings_are_nobodys_identity_in_the_request_itself(forged):
    _instance, seen = forged
    assert len({each["name"] for each in seen}) == forging.COUNT
    assert {each["status"] for each in seen} == {"200 OK"}
    assert {(each["user"], each["is_task"], each["forged"], *each["roles"]) for each in seen} == {
        ("Anonymous User", False, None, "Anonymous")
    }


def test_nor_in_the_records_of_the_tasks_that_it_adds(forged):
    instance, seen = forged
    store = Store(instance)
    tasks = [store.task(each["id"], ("default", "trusted")[number % 2]) for number, each in enumerate(seen)]
    assert {task.principal for task in tasks} == {ANONYMOUS}
    names = {name.lower().replace("_", "-") for task in tasks for name, _value in task.headers}
    assert not [name for name in names if name.startswith("x-task-")]


def test_nor_in_the_tasks(forged):
    instance, seen = forged
    instance.configure(SECTIONS)
    with instance.serve():
        found = instance.effects.wait_for(forging.COUNT + 1, kind="note")  # and the one of a script
    assert {each["user"] for each in found} == {"Anonymous User"}
    assert {tuple(each["roles"]) for each in found} == {("Anonymous",)}
    marks = [each["form"]["mark"] for each in found if "mark" in each["form"]]
    assert sorted(marks) == sorted(f"forged{number}" for number in range(len(seen)))


def test_a_view_for_managers_stays_closed_over_http_and_so_does_one_for_tasks(identified: Identified):
    legal = [name for name in forging.NAMES if name.isascii()]
    for name in (legal * 3)[:SENT_OVER_HTTP]:
        headers = {name: "max-id", "X-Task-User-Id": "max-id", "X_Task_User_Id": "max-id", "X-Task-Id": "1"}
        assert identified.nobody.request("GET", "/elsewhere/@@members_note", headers=headers)[0] == 401
        assert identified.nobody.request("GET", "/elsewhere/@@tasks_note", headers=headers)[0] == 404


@pytest.mark.parametrize("queue", ["default", "trusted"])
def test_what_it_adds_over_http_runs_as_anonymous(identified: Identified, queue):
    for number, name in enumerate(forging.NAMES):
        mark = f"http-{queue}-{number}"
        path = f"/elsewhere/@@add_and?queue={queue}&task=/elsewhere/@@note?mark={mark}"
        headers = {name: "max-id", "X-Task-User-Id": "max-id", "x_task_user_id": "max-id"}
        status, task_id = identified.nobody.request("GET", path, headers=headers)
        assert status == 200, task_id
        assert identified.ended(task_id, queue).state == "done"
        assert identified.effect(mark)["user"] == "Anonymous User"
