import os
import signal
import subprocess
import sys

import pytest

from taskqueue import cli
from taskqueue.backends.sqlite import SQLiteQueue
from taskqueue.errors import BackendError

from ..serving import PATIENCE_SECONDS, Process

VERBS = ["demo", "check", "serve", "status", "list", "show", "wait"]
VERBS += ["add", "retry", "delete", "purge", "pause", "resume", "resolve", "migrate"]


def python(*arguments, **keywords):
    """The command line in a process of its own."""
    command = [sys.executable, "-m", "taskqueue", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False, **keywords)


def test_help_lists_every_verb(run):
    ran = run("--help")
    assert (ran.status, ran.err) == (0, "")
    assert [line.split()[0] for line in ran.out.splitlines() if line.startswith("  ")] == VERBS


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_examples(run, verb):
    ran = run(verb, "--help")
    assert (ran.status, ran.err) == (0, "")
    assert "examples:\n" in ran.out
    assert f"  taskqueue {verb}" in ran.out


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb not in ("demo", "serve")])
def test_every_verb_that_tells_something_has_json(run, verb):
    assert "--json" in run(verb, "--help").out


def test_the_version_is_told(run):
    ran = run("--version")
    assert ran.status == 0
    assert ran.out.startswith("taskqueue ")


def test_no_verb_is_misuse_and_names_them(run):
    ran = run()
    assert ran.status == 2
    assert "takes a verb: demo, check," in ran.complaint


def test_a_misspelt_verb_gets_the_near_one(run):
    ran = run("stauts", "app.ini")
    assert ran.status == 2
    assert ran.complaint == "there is no verb 'stauts'; did you mean status?"


def test_a_verb_that_is_like_none_gets_the_list(run):
    ran = run("xyzzy")
    assert ran.status == 2
    assert "there are: demo, check," in ran.complaint


def test_a_verb_after_the_target_is_put_right(run):
    assert run("app.ini", "status").complaint == "the verb comes first: taskqueue status app.ini"


@pytest.mark.parametrize("verb", VERBS[1:])
def test_a_verb_without_a_target_is_misuse(run, verb):
    ran = run(verb, *(["--publish"] if verb == "resolve" else []))
    assert ran.status == 2
    assert "the following arguments are required: TARGET" in ran.complaint
    assert f"see taskqueue {verb} --help" in ran.complaint


@pytest.mark.parametrize("verb", VERBS[1:])
def test_an_unknown_option_is_misuse(run, site, verb):
    ids = {"show": ["x"], "wait": ["x"], "add": ["/x"], "delete": ["x"], "resolve": ["x", "--publish"]}
    ran = run(verb, site.ini, *ids.get(verb, []), "--nonsense")
    assert ran.status == 2
    assert "unrecognized arguments: --nonsense" in ran.complaint


def test_a_misspelt_option_gets_the_near_one(run, site):
    assert "; did you mean --state?;" in run("list", site.ini, "--stat", "dead").complaint


def test_options_may_stand_anywhere(run, site):
    task_id = site.finish("dead")
    assert run("retry", site.ini, "--queue", "default", task_id).status == 0
    assert site.state(task_id) == "ready"


@pytest.mark.parametrize(
    "verb", ["status", "list", "show", "wait", "add", "retry", "delete", "purge", "pause", "resume"]
)
def test_a_misspelt_queue_gets_the_near_one(run, site, verb):
    words = {"show": ["x"], "wait": ["x"], "add": ["/x"], "delete": ["x"], "retry": ["x"], "purge": ["--yes"]}
    ran = run(verb, site.ini, *words.get(verb, []), "-q", "mial")
    assert ran.status == 2
    assert ran.complaint == "there is no queue 'mial'; configured are: default, mail; did you mean mail?"


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb not in ("demo", "serve")])
def test_an_error_in_the_configuration_is_one_line(run, tmp_path, verb):
    ini = tmp_path / "app.ini"
    ini.write_text("[taskqueue:default]\ntype = sqlite\npaht = x\n")
    words = {
        "show": ["x"],
        "wait": ["x"],
        "add": ["/x"],
        "delete": ["x"],
        "retry": ["x"],
        "resolve": ["x", "--publish"],
    }
    ran = run(verb, ini, *words.get(verb, []))
    assert ran.status == 2
    assert ran.complaint == "app.ini: [taskqueue:default] paht: is not an option; did you mean path?"


@pytest.mark.parametrize(
    "verb", ["status", "list", "show", "wait", "add", "retry", "delete", "purge", "pause", "resume"]
)
def test_a_store_that_fails_is_one_line_and_status_1(run, make_site, verb):
    site = make_site()
    (site.folder / "default.db").mkdir()
    words = {"show": ["x"], "wait": ["x"], "add": ["/x"], "delete": ["x"], "retry": ["x"], "purge": ["--yes"]}
    ran = run(verb, site.ini, *words.get(verb, []), "-q", "default")
    assert ran.status == 1
    assert "default.db" in (ran.complaint if verb != "status" else ran.out)


def test_an_error_without_a_text_is_told_by_its_name(run, site, monkeypatch):
    def fail(_queue, _task_id):
        raise BackendError

    monkeypatch.setattr(SQLiteQueue, "get", fail)
    ran = run("show", site.ini, "x")
    assert (ran.status, ran.complaint) == (1, "BackendError")


def test_an_interrupt_ends_silently_with_130(run, site, monkeypatch):
    def interrupt(_queue, _task_id):
        raise KeyboardInterrupt

    monkeypatch.setattr(SQLiteQueue, "get", interrupt)
    assert run("show", site.ini, "x") == (130, "", "")


def test_the_demo_gets_the_arguments_as_they_are(run, monkeypatch):
    got = []

    def demo(arguments):
        got.append(arguments)
        return 7

    monkeypatch.setattr(cli.demo, "main", demo)
    assert run("demo", "--once", "--port", "1").status == 7
    assert got == [["--once", "--port", "1"]]


def test_python_m_taskqueue_is_the_command_line(site):
    ran = python("list", site.ini)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "no tasks\n", "")


def test_the_arguments_of_the_process_are_the_default():
    ran = python("xyzzy")
    assert ran.returncode == 2
    assert ran.stderr.startswith("taskqueue: there is no verb 'xyzzy'")


def test_a_closed_pipe_is_silent(site):
    for number in range(50):
        site.publish(f"/{number}")
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "taskqueue", "list", str(site.ini), "--json"]
    try:
        ran = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, timeout=PATIENCE_SECONDS, check=False)
    finally:
        os.close(writer)
    assert (ran.returncode, ran.stderr) == (141, b"")


@pytest.mark.parametrize(
    ("arguments", "unbuffered"),
    [
        (["list"], ""),
        (["list"], "1"),
        (["list", "--json"], ""),
        (["list", "--json"], "1"),
        (["check", "--help"], ""),
        (["xyzzy"], ""),
    ],
)
def test_a_full_disk_behind_the_output_is_one_line(site, arguments, unbuffered):
    for number in range(50):
        site.publish(f"/{number}")
    verb, *others = arguments
    command = [sys.executable, "-m", "taskqueue", verb, str(site.ini), *others]
    with open("/dev/full", "w") as full:
        ran = subprocess.run(
            command,
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=PATIENCE_SECONDS,
            check=False,
            text=True,
        )
    (line,) = ran.stderr.splitlines()
    if verb == "xyzzy":
        assert (ran.returncode, "no verb" in line) == (2, True)
    else:
        said = "taskqueue: the output cannot be written: No space left on device"
        assert (ran.returncode, line) == (1, said)


def test_a_full_disk_behind_everything_leaves_the_exit_status(site):
    command = [sys.executable, "-m", "taskqueue", "show", str(site.ini), "unknown"]
    with open("/dev/full", "w") as full:
        ran = subprocess.run(command, stdout=full, stderr=full, timeout=PATIENCE_SECONDS, check=False)
    assert ran.returncode == 1


def test_a_terminal_that_knows_ascii_only_gets_everything(site):
    site.publish("/work?a=1")
    ran = python("show", site.ini, site.publish("/work?a=1"), env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "/work?a=\\u2026" in ran.stdout


@pytest.mark.process
def test_a_terminal_sees_progress_and_can_interrupt(site):
    task_id = site.publish("/slow")
    program = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))"
    command = [sys.executable, "-m", "taskqueue", "wait", site.ini, task_id, "--timeout", "for ever"]
    with Process(sys.executable, "-c", program, *command, env={"TERM": "xterm"}) as process:
        process.wait_for_line("/slow  ready, 0 attempts")
        child = int(subprocess.check_output(["ps", "-o", "pid=", "--ppid", str(process.pid)], text=True))
        os.kill(child, signal.SIGINT)
        assert process.wait() == 130
        assert "Traceback" not in process.output


@pytest.mark.parametrize(
    "arguments",
    [
        ["check"],
        ["status"],
        ["list"],
        ["show", "x"],
        ["wait", "x"],
        ["add", "/x"],
        ["retry", "x"],
        ["delete", "x"],
        ["purge", "--yes"],
        ["pause", "--all"],
        ["resolve"],
        ["migrate"],
    ],
)
def test_an_error_is_no_document(run, in_folder, arguments):
    ran = run(arguments[0], "absent.ini", *arguments[1:], "--json")
    assert (ran.status, ran.out) == (2, "")
    assert ran.complaint.startswith("absent.ini: cannot be read: ")
