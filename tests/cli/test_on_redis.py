"""The command line on a queue in Redis, and a site that serves it under ``taskqueue serve``."""

import json
import signal
import sys

import pytest

from taskqueue.cli import main

from ..backends.redis_server import Server
from ..serving import APPS, Process

INI = """\
[app:main]
use = call:ledger:main
filter-with = taskqueue
ledger.effects = %(here)s/effects
ledger.gate = %(here)s/gate

[filter:taskqueue]
use = egg:wsgi-taskqueue

[taskqueue:default]
type = redis
unix_socket_path = {socket}
base_url = http://localhost

[taskqueue-server:default]
lease = 2
renew = 0.5
min_backoff = 0.05
retry_max_count = 0
"""


@pytest.fixture(scope="module")
def server():
    with Server(appendonly="yes") as running:
        yield running


@pytest.fixture
def ini(server, tmp_path):
    file = tmp_path / "app.ini"
    prefix = f"prefix = {tmp_path.name.replace('_', '-')}\n"  # the tests share a server, and never meet
    file.write_text(INI.format(socket=server.socket_path).replace("type = redis\n", "type = redis\n" + prefix))
    return str(file)


@pytest.fixture
def run(ini, capsys):
    def run_verb(verb, *arguments, status=0):
        found = main([verb, ini, *arguments])
        printed = capsys.readouterr()
        assert found == status, printed
        return printed.out

    return run_verb


def test_what_endangers_tasks_is_a_warning(tmp_path, capsys):
    with Server(maxmemory_policy="allkeys-lru") as server:
        options = "\n".join(f"{name} = {value}" for name, value in server.address.items())
        (tmp_path / "app.ini").write_text(f"[taskqueue:default]\ntype = redis\n{options}\n[taskqueue-server:default]\n")
        assert main(["check", str(tmp_path / "app.ini")]) == 0
    printed = capsys.readouterr().out
    assert "its maxmemory-policy is allkeys-lru, so that it may evict tasks" in printed
    assert "it saves nothing to disk" in printed


def test_tasks_are_added_shown_held_back_and_deleted(run):
    task_id = run("add", "/work", "--param", "secret=hunter2").strip()
    assert [task["id"] for task in json.loads(run("list", "--json"))] == [task_id]
    assert "hunter2" not in run("show", task_id)
    run("pause")
    assert "paused" in run("status", status=1)
    run("resume")
    run("delete", task_id)
    assert json.loads(run("list", "--json")) == []


def test_tasks_run_under_serve_and_the_dead_are_run_again_or_purged(run, ini, tmp_path):
    (tmp_path / "gate").touch()
    good = run("add", "/task/secret").strip()  # its view asks for a permission that nobody has here
    with Process(sys.executable, "-m", "taskqueue", "serve", ini, env={"PYTHONPATH": str(APPS)}) as serving:
        serving.wait_for_line("consumer default")
        missing = run("add", "/nowhere", "--max-attempts", "1").strip()
        assert main(["wait", ini, missing, "--timeout", "20s"]) == 1
        assert main(["wait", ini, good, "--timeout", "20s"]) == 0
        run("pause")
        died_of = json.loads(run("show", missing, "--json"))["last_outcome"]
        assert run("retry", "--dead")
        assert json.loads(run("show", missing, "--json"))["last_outcome"] == died_of
        run("resume")
        assert main(["wait", ini, missing, "--timeout", "20s"]) == 1
        assert serving.end(signal.SIGTERM) == 0
    run("purge", "--yes")
    assert json.loads(run("list", "--all", "--json")) == []


def test_a_server_that_is_full_is_wrong_in_status_and_check(tmp_path, capsys):
    with Server(maxmemory_policy="noeviction", appendonly="yes") as server:
        (tmp_path / "app.ini").write_text(INI.format(socket=server.socket_path))
        assert main(["check", str(tmp_path / "app.ini")]) == 0
        assert server.ask("KEYS", "*") == []
        server.ask("CONFIG", "SET", "maxmemory", "1mb")
        capsys.readouterr()
        for verb, mark in (("status", "! queue 'default': no task"), ("check", "reachable, but no task")):
            assert main([verb, str(tmp_path / "app.ini")]) == 1
            assert (
                f"{mark} can be added: Redis at {server.socket_path}: it is full (maxmemory)" in capsys.readouterr().out
            )
        server.ask("CONFIG", "SET", "maxmemory", 0)
        server.ask("REPLICAOF", "127.0.0.1", "1")
        assert main(["status", str(tmp_path / "app.ini"), "--json"]) == 1
        (queue,) = json.loads(capsys.readouterr().out)["queues"]
        assert "it is a read-only replica" in queue["add_error"]


def test_a_server_that_is_not_there_is_one_line(ini, server, capsys, tmp_path):
    text = (tmp_path / "app.ini").read_text().replace(server.socket_path, str(tmp_path / "nobody.sock"))
    (tmp_path / "app.ini").write_text(text)
    for verb in (["list"], ["status"], ["show", "x"], ["add", "/x"], ["pause"]):
        assert main([verb[0], ini, *verb[1:]]) == 1
        said = capsys.readouterr()
        assert "nobody.sock" in said.err + said.out
        assert "Traceback" not in said.err
