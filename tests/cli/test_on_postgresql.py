"""The command line on a queue in PostgreSQL, and a site that serves it under ``taskqueue serve``."""

import json
import signal
import sys
from pathlib import Path

import pytest

from taskqueue.cli import main
from taskqueue.configure import read_ini

from ..backends.postgresql_server import new_database, shared_server
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
type = postgresql
url = {url}
base_url = http://localhost

[taskqueue-server:default]
lease = 2
renew = 0.5
min_backoff = 0.05
retry_max_count = 0
"""


@pytest.fixture
def ini(tmp_path):
    file = tmp_path / "app.ini"
    with new_database(shared_server()) as url:
        file.write_text(INI.format(url=url))
        yield str(file)


@pytest.fixture
def run(ini, capsys):
    def run_verb(verb, *arguments, status=0):
        found = main([verb, ini, *arguments])
        printed = capsys.readouterr()
        assert found == status, printed
        return printed.out

    return run_verb


def test_tables_are_made_and_told_of(run):
    assert run("migrate", "--dry-run") == "default: would be created with schema 1\n"
    assert run("migrate", "--dry-run") == "default: would be created with schema 1\n"
    assert run("migrate") == "default: created with schema 1\n"
    assert run("migrate") == "default: has schema 1; nothing to do\n"
    assert json.loads(run("migrate", "--json"))["queues"] == [
        {"queue": "default", "type": "postgresql", "found": 1, "needed": 1, "raised_to": [], "error": None}
    ]


def test_looking_makes_no_tables(run):
    assert "reachable; there are no tables yet; the first task, " in run("check")
    assert run("list") == "no tasks\n"
    assert run("resolve") == "nothing is held\n"
    assert "- queue 'default': there are no tables yet" in run("status", status=1)
    for verb in (["show", "x"], ["wait", "x"], ["retry", "--dead"], ["delete", "x"], ["purge", "--yes"]):
        assert run(*verb, status=1) == ""
    assert run("migrate", "--dry-run") == "default: would be created with schema 1\n"


def test_a_right_that_was_taken_away_is_wrong_in_status_and_check(run, ini):
    run("migrate")
    run("check")
    url = read_ini(ini).queues[0].backend_options["url"]
    database, server = url.rpartition("/")[2], shared_server()
    server.ask("CREATE ROLE looker LOGIN")
    try:
        server.ask("GRANT SELECT ON ALL TABLES IN SCHEMA public TO looker", database=database)
        server.ask("GRANT INSERT ON taskqueue_queue TO looker", database=database)
        text = Path(ini).read_text()
        Path(ini).write_text(text.replace(url, server.url(database, user="looker")))
        assert "! queue 'default': no task can be added: PostgreSQL at " in run("status", status=1)
        assert "reachable, but no task can be added: " in run("check", status=1)
    finally:
        server.ask("DROP OWNED BY looker", database=database)
        server.ask("DROP ROLE looker")


def test_tasks_are_added_shown_held_back_and_deleted(run):
    task_id = run("add", "/work", "--param", "secret=hunter2").strip()
    assert [task["id"] for task in json.loads(run("list", "--json"))] == [task_id]
    assert "hunter2" not in run("show", task_id)
    run("pause")
    assert "paused" in run("status", status=1)
    run("resume")
    run("delete", task_id)
    assert json.loads(run("list", "--json")) == []


def test_what_endangers_tasks_is_a_warning(run):
    run("migrate")
    printed = run("check")
    assert "its fsync is off, so that it loses tasks" in printed


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


def test_a_server_that_is_not_there_is_one_line_without_its_password(tmp_path, capsys):
    ini = tmp_path / "app.ini"
    ini.write_text(INI.format(url="postgresql://shop:hunter2@127.0.0.1:1/shop"))
    for verb in (
        ["list"],
        ["status"],
        ["show", "x"],
        ["add", "/x"],
        ["pause"],
        ["migrate"],
        ["migrate", "-n"],
        ["check"],
    ):
        assert main([verb[0], str(ini), *verb[1:]]) == 1
        said = capsys.readouterr()
        assert "127.0.0.1:1/shop" in said.err + said.out
        assert "Traceback" not in said.err
        assert "hunter2" not in said.err + said.out
