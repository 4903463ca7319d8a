import io
import re
import subprocess
import sys
import time

import pytest

from taskqueue.record import decode

from ..serving import PATIENCE_SECONDS

ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}\n")


def added(site, ran, queue="default"):
    """The task that was added."""
    assert (ran.status, ran.err) == (0, "")
    assert ID.fullmatch(ran.out)
    return decode(site.backend(queue).get(ran.out.strip()), site.installation.queues[queue].keyring)


def test_a_task_is_added_and_its_id_printed(run, site):
    task = added(site, run("add", site.ini, "/report"))
    assert (task.url, task.method, task.state) == ("/report", "GET", "ready")


def test_json_tells_id_and_queue(run, site):
    document = run("add", site.ini, "/report", "--queue", "mail", "--json").document
    assert document == {"id": document["id"], "queue": "mail"}
    assert site.state(document["id"], "mail") == "ready"


def test_everything_that_add_takes_can_be_given(run, site):
    task = added(
        site,
        run(
            "add",
            site.ini,
            "/report?a=1",
            "--method=post",
            "--param=b=2",
            "--param=b=x=y",
            "--header=Content-Type: text/csv",
            "-HX-Colour:blue",
            "--payload=1;2",
            "--priority=5",
            "--max-attempts=3",
            "--delay=2 h",
        ),
    )
    assert (task.method, task.url, task.payload) == ("POST", "/report?a=1&b=2&b=x%3Dy", b"1;2")
    assert {"Content-Type": "text/csv", "X-Colour": "blue"}.items() <= dict(task.headers).items()
    assert (task.priority, task.max_attempts, task.state) == (5, 3, "scheduled")
    assert 7000 < task.due - time.time() <= 7200


def test_a_payload_can_come_from_a_file(run, site):
    (site.folder / "data").write_bytes(b"\x00\xff")
    assert added(site, run("add", site.ini, "/x", "-XPUT", "-d", f"@{site.folder}/data")).payload == b"\x00\xff"


def test_a_payload_can_come_from_standard_input(run, site, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\x00\xff")))
    assert added(site, run("add", site.ini, "/x", "-XPUT", "-d", "-")).payload == b"\x00\xff"


def test_adding_makes_the_store(run, make_site):
    site = make_site()
    assert added(site, run("add", site.ini, "/x")).state == "ready"


def test_the_lease_of_adding_ends_with_it(run, site):
    run("add", site.ini, "/x")
    assert list(site.backend().owners()) == []


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["http://elsewhere/x"], ""),
        (["/a/../b"], ""),
        (["/x", "--payload", "1"], "a GET request has no payload"),
        (["/x", "--method", "BREW"], "invalid choice: 'BREW'"),
        (["/x", "--param", "novalue"], "--param: takes NAME=VALUE"),
        (["/x", "--header", "novalue"], "--header: takes 'NAME: VALUE'"),
        (["/x", "--header", "A: b\nC: d"], ""),
        (["/x", "--priority", "high"], "add: --priority: takes a whole number, the higher the sooner, not 'high'; see"),
        (["/x", "--max-attempts", "x"], "add: --max-attempts: takes a whole number, 1 or more, not 'x'; see"),
        (["/x", "--max-attempts", "0"], "--max-attempts: takes a whole number, 1 or more"),
        (["/x", "--delay", "soon"], "--delay: takes a duration"),
        (["/x", "-XPUT", "--payload", "@/nothing/here"], "/nothing/here: cannot be read: No such file"),
        (["/x", "-XPUT", "--payload", "@a\0b"], "cannot be read"),
        ([], "required: URL"),
    ],
)
def test_what_cannot_become_a_task_is_misuse_and_adds_none(run, site, arguments, complaint):
    ran = run("add", site.ini, *arguments)
    assert (ran.status, ran.out) == (2, "")
    assert complaint in ran.complaint
    assert len(site.backend()) == 0


def test_a_payload_over_the_limit_is_refused_without_reading_all_of_it(run, make_site):
    site = make_site("[taskqueue:default]\ntype = sqlite\npath = %(here)s/default.db\npayload_limit = 1 KiB\n")
    ran = run("add", site.ini, "/x", "-XPUT", "-d", "@/dev/zero")
    assert ran.status == 2
    assert "payload_limit" in ran.complaint


def test_a_full_queue_is_status_1(run, make_site):
    site = make_site(
        "[taskqueue:default]\ntype = sqlite\npath = %(here)s/default.db\nlength_limit = 1\nbase_url = http://localhost\n"
    )
    assert run("add", site.ini, "/x").status == 0
    ran = run("add", site.ini, "/x")
    assert (ran.status, ran.out) == (1, "")
    assert "default" in ran.complaint


FAILING_PUBLISH = """
import sys
from taskqueue.backends.sqlite import SQLiteQueue
from taskqueue.cli import main
from taskqueue.errors import BackendUnavailableError

def fail(self, records, timeout):
    raise BackendUnavailableError("gone fishing")

SQLiteQueue.publish = SQLiteQueue.deliver = fail
sys.exit(main(sys.argv[1:]))
"""


def test_a_store_that_fails_at_the_commit_is_one_line_and_nothing_is_added(site):
    command = [sys.executable, "-c", FAILING_PUBLISH, "add", str(site.ini), "/x"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)
    assert (ran.returncode, ran.stdout, ran.stderr) == (1, "", "taskqueue: gone fishing\n")
    assert not any(site.backend().counts().states.values())


def test_the_help_tells_which_queue_it_adds_to(run):
    told = " ".join(run("add", "--help").out.split())
    assert "the queue to add to; without it the first by name" in told
    assert "this queue only" not in told
