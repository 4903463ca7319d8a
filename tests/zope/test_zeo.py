"""Two clients of one ZEO server, with one queue on Redis: one adds, the other one consumes, and may be late."""

import json
import shutil

import pytest

from ..backends.fault_proxy import FaultProxy
from ..backends.redis_server import Server
from ..serving import port_of
from .clients import Client, zeo_server
from .conftest import Running
from .instances import DURABLE, until

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def clients(filled, tmp_path_factory):
    """The one that adds, the one that consumes, and the line between that one and the ZEO server."""
    folder = tmp_path_factory.mktemp("zeo")
    shutil.copyfile(filled.folder / "var" / "Data.fs", folder / "Data.fs")
    with Server() as redis, zeo_server(folder / "Data.fs", folder) as port, FaultProxy(port) as line:
        sections = DURABLE.replace(
            "type sqlite\n  path tasks.db", f"type redis\n  unix_socket_path {redis.socket_path}"
        )
        # After a 404 there is time to have the line mended.
        sections = sections.replace("min_backoff 20 ms", "min_backoff 1 s").replace(
            "max_backoff 100 ms", "max_backoff 1 s"
        )
        adding = Client(folder / "adding", port, sections=sections.replace("concurrent_limit 4", "consume no"))
        consuming = Client(folder / "consuming", line.port, sections=sections)
        with adding.serve() as one, consuming.serve() as other:
            other.wait_for_line("consumer default of queue default started")
            yield Running(adding, one), Running(consuming, other), line


def add(client, task):
    status, page = client.anna.get("/site/@@add", task=task)
    assert status == 200, page
    return json.loads(page)["id"]


def ended(client, task_id):
    until(lambda: client.instance.task(task_id)["state"] in ("done", "dead"), client.process)
    return client.instance.task(task_id)


def test_what_one_client_adds_the_other_one_runs_as_the_same_user(clients):
    adding, consuming, _line = clients
    mark = adding.mark()
    task_id = add(adding, f"/site/@@tasks_note?mark={mark}")
    task = consuming.effect(mark, kind="tasks_note")
    assert (task["user"], task["path"]) == ("anna", "/site")
    assert task["url"] == f"http://127.0.0.1:{port_of(adding.process)}/site"  # of the client that added
    assert ended(adding, task_id)["state"] == "done"
    assert not adding.effects.read()


def test_a_client_that_has_not_heard_of_a_commit_yet_answers_404_and_tries_again(clients):
    adding, consuming, line = clients
    mark = adding.mark()
    # So that it need not ask the server for anything.
    ended(adding, add(adding, f"/site/@@tasks_note?mark={mark}"))
    assert consuming.anna.get(f"/site/{mark}/@@note")[0] == 404
    line.stall()
    try:
        status, page = adding.anna.get("/site/manage_addProduct/OFSP/manage_addFolder", id=mark)
        assert status in (200, 302), page
        task_id = add(adding, f"/site/{mark}/@@tasks_note?mark={mark}new")
        until(lambda: f"{mark}/@@tasks_note 404" in consuming.process.output, consuming.process)
    finally:
        line.mend()
    assert consuming.effect(f"{mark}new", kind="tasks_note")["path"] == f"/site/{mark}"
    task = ended(adding, task_id)
    assert task["state"] == "done"
    assert task["attempts"] == 2
