"""What starts where, and what does not start at all."""

import re
import signal
import subprocess
import sys

import pytest
from Zope2.Startup import serve

from ..backends.redis_server import Server
from ..serving import PATIENCE_SECONDS, Browser, Process, port_of
from .instances import BIN, DURABLE, as_user, until

pytestmark = pytest.mark.process

INI_SECTIONS = """
[taskqueue:letters]
type = sqlite
path = %(here)s/../var/tasks.db

[taskqueue-server:letters]
queue = letters
"""
# As ``bin/instance run`` does it.
CONFIGURED = "from Zope2.Startup.run import configure_wsgi; configure_wsgi({!r}); import Zope2; app = Zope2.app(); "
SEE = (
    "import threading, taskqueue, transaction\n"
    "print('THREADS', sorted(each.name for each in threading.enumerate()))\n"
    "taskqueue.add('/site/@@note'); transaction.commit()\n"
)


AS_ANNA = """
import base64, taskqueue, transaction
credentials = base64.b64encode(b"anna:annas-secret").decode()
taskqueue.add("/site/@@note?mark=anna", headers={"Authorization": f"Basic {credentials}"})
transaction.commit()
"""


def printed_by_refusal(instance):
    """The one line with which Zope does not start."""
    with instance.serve() as process:
        assert process.wait() == 2, process.output
    assert "Traceback" not in process.output
    [line] = [line for line in process.output.splitlines() if line.startswith("taskqueue: ")]
    return line


def test_scripts_add_and_consume_nothing_even_where_all_processes_shall(make_instance, tmp_path):
    instance = make_instance(sections=DURABLE.replace("concurrent_limit 4", "consume yes"))
    script = tmp_path / "see.py"
    script.write_text(SEE)
    by_zconsole = instance.script(script)
    status, by_instance = instance.run(
        sys.executable, "-c", CONFIGURED.format(str(instance.zope_conf)) + f"exec({SEE!r})"
    )
    assert status == 0, by_instance
    for printed in (by_zconsole, by_instance):
        [threads] = re.findall("THREADS (.*)", printed)
        assert "taskqueue-default" not in threads
        assert "taskqueue-start" not in threads
    assert instance.states() == {"ready": 3}
    assert instance.effects.read() == []


def test_what_a_script_adds_with_a_login_runs_as_that_user(make_instance, tmp_path):
    instance = make_instance()
    script = tmp_path / "nightly.py"
    script.write_text(AS_ANNA)
    instance.script(script)
    with Process(BIN / "taskqueue", "serve", instance.zope_conf, env=instance.environ):
        instance.effects.wait_for(1, form={"mark": "anna"}, user="anna", kind="note")


def test_sections_of_the_ini_file_are_used_where_zope_conf_has_none(make_instance):
    instance = make_instance(sections="", more_ini=INI_SECTIONS)
    with instance.serve() as process:
        process.wait_for_line("consumer letters of queue letters started")
        anna = as_user(process, "anna", "annas-secret")
        assert anna.get("/site/@@add", task="/site/@@tasks_note")[0] == 200
        instance.effects.wait_for(1, kind="tasks_note", user="anna")
        assert '"queues": {"letters": 0}' in anna.get("/@@state")[1]
        status, printed = instance.run(BIN / "taskqueue", "check", instance.zope_ini)
        assert (status, "queue letters" in printed) == (0, True), printed
    assert "consumer default" not in process.output


def test_without_any_section_there_is_a_local_queue_and_it_says_so(make_instance):
    instance = make_instance(sections="", filters="")
    with instance.serve(sys.executable, serve.__file__) as process:  # as ``bin/instance fg`` does it
        process.wait_for_line("consumer default of queue default started")
        process.wait_for_line("queue default: it is local: its tasks live in this process's memory only")


def test_sections_in_both_files_are_refused(make_instance):
    instance = make_instance(more_ini=INI_SECTIONS)
    told = printed_by_refusal(instance)
    assert told == (
        "taskqueue: zope.ini has sections [taskqueue…], and zope.conf has sections <taskqueue…>, too; keep one of them"
    )
    assert instance.run(BIN / "taskqueue", "check", instance.zope_ini) == (2, f"{told}\n")


@pytest.mark.parametrize(
    ("sections", "filters", "more_ini", "place"),
    [
        (DURABLE, "", "", r"zope.conf: line \d+: <taskqueue>: "),
        ("", "taskqueue", INI_SECTIONS, ""),
    ],
)
def test_without_our_zcml_zope_does_not_start(make_instance, sections, filters, more_ini, place):
    instance = make_instance(sections=sections, filters=filters, more_ini=more_ini, zcml="<configure/>")
    assert re.fullmatch(
        f'taskqueue: {place}the ZCML of taskqueue is not loaded.*: put <include package="taskqueue"/> into .*',
        printed_by_refusal(instance),
    )


@pytest.mark.parametrize(
    ("sections", "line"),
    [
        (
            DURABLE.replace("concurrent_limit 4", "concurrent_limit 0"),
            "<taskqueue-server> concurrent_limit: takes a whole number, 1 or more, not '0'",
        ),
        (DURABLE.replace("</taskqueue>", "</product-config>"), "</product-config>: closes <taskqueue> of line "),
        (
            DURABLE.replace("taskqueue-server>", "taskqueue-sever>"),
            "<taskqueue-sever>: is not a section; did you mean <taskqueue-server>?",
        ),
        (
            DURABLE.replace("<taskqueue>", "<taskqueue />\n<taskqueue mail>", 1).replace(
                "<taskqueue-server>", "<taskqueue-server mail>", 1
            ),
            "<taskqueue-server mail> queue: is not given, so that this consumer takes from 'default', and none takes",
        ),
    ],
)
def test_a_wrong_zope_conf_is_one_line_and_zope_does_not_start(make_instance, sections, line):
    instance = make_instance(sections=sections)
    told = printed_by_refusal(instance)
    assert re.match(r"taskqueue: zope\.conf: line \d+: ", told)
    assert told.partition(": line ")[2].partition(": ")[2].startswith(line)
    assert instance.run(BIN / "taskqueue", "check", instance.zope_conf) == (2, f"{told}\n")


def test_tasks_on_redis_run_as_those_on_sqlite_do(make_instance):
    with Server() as redis:
        sections = DURABLE.replace(
            "type sqlite\n  path tasks.db", f"type redis\n  unix_socket_path {redis.socket_path}"
        )
        instance = make_instance(sections=sections)
        with instance.serve() as process:
            anna = as_user(process, "anna", "annas-secret")
            assert anna.get("/site/@@add", task="/site/@@tasks_note")[0] == 200
            assert instance.effects.wait_for(1, kind="tasks_note")[0]["user"] == "anna"
            until(lambda: instance.cli("status")["queues"][0]["counts"]["done"] == 1, process)


def test_the_command_line_reads_zope_conf_and_an_ini_file_that_names_it(filled):
    for file in (filled.zope_conf, filled.zope_ini):
        assert '"ready": 1' in filled.run(BIN / "taskqueue", "status", file, "--json")[1]
        status, printed = filled.run(BIN / "taskqueue", "check", file)
        assert status == 0, printed
        assert printed.startswith(f"read from {filled.zope_conf};")
        assert str(filled.folder / "var" / "tasks.db") in printed


@pytest.mark.parametrize("file", ["zope_ini", "zope_conf"])
def test_the_command_line_serves_a_zope_without_a_port(make_instance, file):
    instance = make_instance()
    with Process(BIN / "taskqueue", "serve", getattr(instance, file), env=instance.environ) as process:
        instance.effects.wait_for(1, kind="note", is_task=True)
        assert process.end(signal.SIGTERM) == 0
    assert instance.states() == {"done": 1}


def test_a_process_that_only_serves_consumes_nothing(make_instance):
    instance = make_instance(sections=DURABLE.replace("concurrent_limit 4", "consume no"))
    with instance.serve() as process:
        browser = Browser(port_of(process))
        assert browser.get("/site/@@add", task="/site/@@note")[0] == 200
        assert "taskqueue-default" not in browser.get("/@@state")[1]
    assert instance.states() == {"ready": 2}


def test_importing_the_door_starts_nothing():
    program = (
        "import threading, taskqueue.zope.sections, taskqueue.zope.site, taskqueue.zope.publishing\n"
        "print(threading.active_count())"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=PATIENCE_SECONDS
    )
    assert ran.stdout == "1\n"
