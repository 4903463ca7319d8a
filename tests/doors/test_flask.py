"""A Flask application under waitress-serve, configured by keywords alone."""

import subprocess
import sys
from pathlib import Path

import pytest

from ..serving import APPS, Browser, Effects, Process, wait_until

pytestmark = pytest.mark.process


@pytest.fixture
def serve(tmp_path):
    processes = []

    def start(**env):
        command = [
            Path(sys.executable).parent / "waitress-serve",
            "--listen=127.0.0.1:0",
            "--threads=1",
            "notes_flask:app",
        ]
        process = Process(*command, cwd=tmp_path, env={"NOTES_FOLDER": str(tmp_path), **env})
        processes.append(process)
        port = int(process.wait_for_line(r"Serving on http://127\.0\.0\.1:(\d+)")[1])
        return process, Browser(port), Effects(tmp_path / "effects")

    yield start
    for process in processes:
        process.__exit__()


def test_a_task_runs_after_a_request_that_succeeded(serve):
    _, browser, effects = serve()
    assert browser.post("/add", url="/record?from=success")[0] == 200
    effects.wait_for(1, **{"from": "success"})


def test_what_a_failed_request_added_never_runs(serve):
    _, browser, effects = serve()
    assert browser.post("/add_then_fail", status=404)[0] == 404
    assert browser.post("/add_then_fail", status=503)[0] == 503
    assert browser.post("/add_then_raise")[0] == 500
    assert browser.post("/add", url="/record?from=success")[0] == 200
    effects.wait_for(1, did="record")
    assert [effect["from"] for effect in effects.read()] == ["success"]


def test_a_streamed_answer_commits_before_it_leaves(serve):
    _, browser, effects = serve()
    assert browser.post("/add_and_stream") == (200, "part\npart\npart\n")
    effects.wait_for(1, **{"from": "stream"})


def test_task_views_are_closed_to_everybody_else(serve):
    _, browser, effects = serve()
    assert browser.get("/record")[0] == 403
    assert effects.read() == []


def test_without_a_transaction_the_task_is_discarded_and_the_cure_is_named(serve):
    process, browser, effects = serve(NOTES_TRANSACTIONS="no")
    assert browser.post("/add", url="/record?from=orphan")[0] == 200
    process.wait_for_line(r"TransactionMiddleware")
    # The server has one thread, so this commit is one that would have delivered it.
    assert browser.post("/commit_in_thread")[0] == 200
    assert browser.post("/commit_in_thread")[0] == 200
    listed = subprocess.run(
        [sys.executable, "-m", "taskqueue", "list", "notes_flask:app", "--all", "--json"],
        env={"PYTHONPATH": str(APPS), "NOTES_FOLDER": str(effects.path.parent), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert listed.stdout.strip() == "[]"
    assert effects.read() == []


def test_the_command_line_reaches_an_application_without_an_ini_file(serve):
    process, browser, effects = serve()
    assert browser.post("/add", url="/record?from=success")[0] == 200
    effects.wait_for(1, did="record")
    env = {"PYTHONPATH": str(APPS), "NOTES_FOLDER": str(effects.path.parent), "PATH": ""}

    def is_settled():
        command = [sys.executable, "-m", "taskqueue", "status", "notes_flask:app", "--json"]
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
        return done.returncode == 0 and '"done": 1' in done.stdout

    wait_until(is_settled)
    assert process.popen.poll() is None
