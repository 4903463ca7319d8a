"""``taskqueue demo`` as its users run it."""

import os
import signal
import socket
import sys

import pytest

from taskqueue.demo import main

from ..backends.redis_server import Server
from ..serving import Process, pserve, wait_until
from .conftest import PROGRAM, DemoBrowser, browser_of

SCENES = (
    "The page",
    "Succeeds",
    "Fails twice",
    "Never succeeds",
    "Takes long",
    "Site stopped",
    "Started again",
    "Is aborted",
)


def done(browser, task_id):
    """The task's row once it is done."""
    wait_until(lambda: browser.tasks()[task_id]["state"] == "done", lambda: f"it is {browser.tasks()[task_id]}")
    return browser.tasks()[task_id]


def answers(browser):
    try:
        return browser.get("/")[0] == 200
    except ConnectionError:
        return False


# ---- once --------------------------------------------------------------------------------------------------------


@pytest.mark.process
def test_once_tells_of_every_scene_that_it_happened_and_leaves_nothing_behind(tmp_path):
    with Process(sys.executable, "-c", PROGRAM, "--once", cwd=tmp_path, env={"TMPDIR": str(tmp_path)}) as process:
        assert process.wait() == 0, process.output
        for scene in SCENES:
            process.wait_for_line(rf"\n  {scene} +ok ")
        process.wait_for_line("dead after 4 attempts")
        process.wait_for_line(rf"\nThe site was in {tmp_path}/taskqueue-demo-\w+; --directory keeps it\.\nAll of it ")
    assert "Traceback" not in process.output
    assert list(tmp_path.iterdir()) == []


@pytest.mark.process
def test_once_fails_with_the_name_of_what_did_not_happen(demo, edit, directory):
    edit(long_seconds="0.2", min_backoff="100 ms")
    ini = directory / "demo.ini"
    # A local queue forgets its tasks when the site stops.
    ini.write_text(ini.read_text().replace("type = sqlite\npath = %(here)s/var/tasks.db", "type = local"))
    process = demo("--once")
    assert process.wait() == 1, process.output
    process.wait_for_line(r"\n  Started again +FAILED ")
    process.wait_for_line(r"\ntaskqueue demo: did not happen as it should: Started again\n")
    process.wait_for_line(r"\n  Is aborted +ok ")


@pytest.mark.process
def test_once_does_all_of_it_on_redis_and_leaves_nothing_behind(tmp_path):
    program = PROGRAM.replace('"redis", ', "")
    with Server() as server:
        url = f"redis://127.0.0.1:{server.port}/0"
        with Process(sys.executable, "-c", program, "--once", "--redis", url, cwd=tmp_path) as process:
            assert process.wait() == 0, process.output
            process.wait_for_line("All of it happened")
        assert server.ask("KEYS", "*") == []


@pytest.mark.process
def test_a_site_that_is_kept_keeps_its_tasks_on_redis(demo):
    program = PROGRAM.replace('"redis", ', "")
    with Server() as server:
        process = demo("--once", "--redis", f"redis://127.0.0.1:{server.port}/0", program=program)
        assert process.wait() == 0, process.output
        assert "The site was in" not in process.output
        assert any(key.startswith(b"{taskqueue-demo-") for key in server.ask("KEYS", "*"))


# ---- serving -----------------------------------------------------------------------------------------------------


@pytest.mark.process
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_it_after_the_task_that_runs(demo, edit, number):
    edit(long_seconds="1")
    process = demo()
    browser = browser_of(process)
    task_id = browser.press("takes-long")
    wait_until(lambda: browser.tasks()[task_id]["percent"], lambda: f"it is {browser.tasks()[task_id]}")
    assert process.end(number) == 0, process.output
    process.wait_for_line(
        r"Stopping:[^\n]*\n(.*\n)*.*/tasks/takes-long +done +attempt 1 answered 200\n(.*\n)*Stopped\.\n"
    )
    assert "Traceback" not in process.output


@pytest.mark.process
def test_a_second_signal_leaves_at_once(demo, edit):
    edit(long_seconds="600", grace="600 s")
    process = demo()
    browser = browser_of(process)
    task_id = browser.press("takes-long")
    wait_until(lambda: browser.tasks()[task_id]["state"] == "running", lambda: f"it is {browser.tasks()[task_id]}")
    process.popen.send_signal(signal.SIGINT)
    process.wait_for_line("Stopping:")
    assert process.end(signal.SIGINT) == 1, process.output
    assert "Traceback" not in process.output


@pytest.mark.process
def test_started_again_it_goes_on_with_what_was_waiting(demo, edit):
    edit(consume="no")
    first = demo()
    browser = browser_of(first)
    task_id = browser.press("succeeds")
    assert (browser.tasks()[task_id]["state"], browser.tasks()[task_id]["runs"]) == ("ready", 0)
    assert first.end(signal.SIGINT) == 0, first.output
    first.wait_for_line(r"Stopped\. 1 task waiting")
    edit(consume="auto")
    second = demo()
    second.wait_for_line("goes on with 1 task that waited")
    second.wait_for_line("/tasks/succeeds +done +attempt 1 ")  # nobody has asked for a page yet
    assert done(browser_of(second), task_id)["runs"] == 1


@pytest.mark.process
def test_it_says_what_is_changed_and_uses_it(demo, directory, edit):
    edit(long_seconds="0.2")
    site = directory / "demo_site.py"
    site.write_text(site.read_text().replace("Takes long", "Takes its time"))
    process = demo()
    browser = browser_of(process)
    process.wait_for_line("Left as you changed it: demo.ini\nLeft as you changed it: demo_site.py\n")
    assert "Takes its time" in browser.get("/")[1]
    assert "Takes its time" in site.read_text()


@pytest.mark.process
def test_any_server_that_reads_ini_files_serves_the_site(directory, edit):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    edit(listen=f"127.0.0.1:{port}")
    with pserve("demo.ini", cwd=directory, env={"PYTHONPATH": "."}) as process:
        browser = DemoBrowser(port)
        wait_until(lambda: answers(browser), lambda: f"it does not serve: {process.output}")
        assert done(browser, browser.press("succeeds"))["runs"] == 1


@pytest.mark.process
def test_a_folder_with_any_characters_in_its_name_serves(tmp_path, demo):
    process = demo("--directory", tmp_path / "a b#c&d;ü'e")
    browser = browser_of(process)
    assert done(browser, browser.press("succeeds"))["runs"] == 1


# ---- what cannot start -------------------------------------------------------------------------------------------


@pytest.fixture
def refused(capsys, tmp_path, monkeypatch):
    """The one line with which the demo refuses to start, in an empty directory."""

    def run(*arguments):
        monkeypatch.chdir(tmp_path)
        assert main([str(argument) for argument in arguments]) == 2
        said = capsys.readouterr()
        assert said.out == ""
        assert said.err.startswith("taskqueue demo: ")
        assert said.err.count("\n") == 1
        return said.err

    return run


@pytest.mark.parametrize("port", ["http", "-1", "65536", "1e3", "", "٣", "9" * 5000])
def test_a_port_is_a_number(refused, port):
    assert "takes a number from 0 to 65535" in refused(f"--port={port}")


@pytest.mark.parametrize(
    "url", ["", "http://localhost", "redis://h/0\ntype = local", "redis://:s3cret@h/no", "redis://ü"]
)
def test_a_url_is_that_of_a_redis_and_is_not_shown(refused, url):
    assert "--redis" in (said := refused(f"--redis={url}"))
    assert "s3cret" not in said


def test_a_redis_that_does_not_answer_is_told_before_anything_is_written(refused, tmp_path):
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and does not listen
        said = refused(f"--redis=redis://:s3cret@127.0.0.1:{nobody.getsockname()[1]}/0")
    assert "Connection refused; see that it runs" in said
    assert "s3cret" not in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [["--ones"], ["--on"], ["elsewhere"], ["--port"], ["--once", "--directory"]])
def test_an_unknown_option_is_refused(refused, arguments):
    assert "taskqueue demo --help" in refused(*arguments)


@pytest.mark.parametrize("mode", [[], ["--once"]])
def test_a_port_in_use_is_refused(refused, mode):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert f"port {port} is in use" in refused("--port", port, *mode)


@pytest.mark.parametrize("mode", [[], ["--once"]])
@pytest.mark.parametrize("name", ["file", "file/below"])
def test_a_directory_that_cannot_be_written_is_refused(refused, tmp_path, name, mode):
    (tmp_path / "file").write_text("")
    assert "choose another --directory" in refused("--directory", tmp_path / name, *mode)


def test_a_configuration_that_cannot_be_used_is_refused(refused, directory, edit):
    edit(consume="perhaps")
    assert "[taskqueue-server:default] consume: takes one of: auto, yes, no" in refused("--directory", directory)


def test_a_site_that_cannot_be_loaded_is_refused(refused, directory, edit):
    edit()
    (directory / "demo_site.py").write_text("this is\nno Python")
    assert "demo.ini cannot be loaded: SyntaxError" in refused("--directory", directory)


def test_help_tells_of_every_option(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert all(option in said for option in ("--once", "--port", "--directory", "--redis", "examples:"))


def test_signals_are_handled_as_before_when_it_has_ended(refused):
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    refused("--directory", os.devnull)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
