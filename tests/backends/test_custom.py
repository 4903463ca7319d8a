"""A backend that somebody else has written, in a package of its own: it is as good as the contract suite says."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile

import pytest

from taskqueue.errors import BackendUnavailableError

from ..apps.journal_backend.queue import JournalQueue
from ..doors.hosting import BIN, Hosted, browser_of
from ..serving import APPS
from .contract import BackendContract
from .making import OWNER, beat, claim_one, publish, record, run, stage, state_of
from .model import machine_for

INI = """\
[app:main]
use = call:hosted:main
filter-with = transaction

[filter:transaction]
use = egg:wsgi-taskqueue#transaction
filter-with = taskqueue

[filter:taskqueue]
use = egg:wsgi-taskqueue

[taskqueue:default]
type = journal_backend.queue.JournalQueue
folder = %(here)s/var
{options}

[taskqueue-server:default]
lease = 2
renew = 0.5

[server:main]
use = egg:waitress#main
listen = 127.0.0.1:0
"""


@pytest.fixture
def open_queue(tmp_path):
    opened = []

    def open_queue(name="default", **options):
        opened.append(JournalQueue(name=name, folder=tmp_path / "var", **options))
        return opened[-1]

    yield open_queue
    for queue in opened:
        queue.close()


class TestJournal(BackendContract):
    @pytest.fixture
    def open_queue(self, open_queue):
        return open_queue


def _open_journal():
    folder = tempfile.mkdtemp()
    queue = JournalQueue(name="default", folder=folder, sync=False)

    def close():
        queue.close()
        shutil.rmtree(folder)

    return queue, close


TestJournalIsAsTheModel = machine_for(_open_journal)


# ---- what is more than the contract ------------------------------------------------------------------------------


@pytest.fixture
def queue(open_queue):
    queue = open_queue()
    beat(queue)
    return queue


def test_its_tasks_outlive_the_process_and_what_that_one_ran_or_staged_is_taken_back(queue, open_queue):
    done, running = run(queue, "done"), publish(queue, record())
    claim_one(queue)
    waiting, staged = publish(queue, record()), stage(queue, record())
    queue.pause()
    queue.close()
    next_one = open_queue()
    beat(next_one, "next")
    assert (next_one.reclaim(3).ready, state_of(next_one, staged)) == ((running,), "held")
    assert [each.id for each in next_one.list(["ready"])] == [running, waiting]
    assert state_of(next_one, done) == "done"
    assert next_one.counts().paused


def test_a_line_that_was_cut_short_never_was(queue, open_queue, tmp_path):
    kept = publish(queue, record())
    queue.close()
    with (tmp_path / "var" / "taskqueue" / "default.journal").open("ab") as file:
        file.write(b'{"id":"half')
    again = open_queue()
    added = publish(again, record())
    again.close()
    assert [each.id for each in open_queue().list(["ready"])] == [kept, added]


def test_a_damaged_line_is_told(queue, open_queue, tmp_path):
    publish(queue, record())
    queue.close()
    with (tmp_path / "var" / "taskqueue" / "default.journal").open("ab") as file:
        file.write(b"damaged\n")
    with pytest.raises(BackendUnavailableError, match=r"default\.journal: a line cannot be read"):
        len(open_queue())


def test_what_cannot_be_written_did_not_happen(queue, monkeypatch):
    before = publish(queue, record())
    claimed = claim_one(queue)

    def fail(descriptor):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fail)
        with pytest.raises(BackendUnavailableError, match="No space left on device"):
            publish(queue, record())
    assert [each.id for each in queue.list(["ready", "running"])] == [before]
    assert queue.get(before) == claimed
    assert queue.owners()[0].owner.id == OWNER


def test_one_process_at_a_time_has_it(queue, tmp_path):
    publish(queue, record())
    pid = os.fork()
    if not pid:
        with contextlib.suppress(BackendUnavailableError):
            publish(queue, record())
            os._exit(1)
        os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    code = "from journal_backend.queue import JournalQueue; len(JournalQueue(name='default', folder='var'))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(APPS)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "another process has it" in done.stderr
    assert len(queue) == 1


# ---- as it is configured -----------------------------------------------------------------------------------------


@pytest.fixture
def hosted(tmp_path):
    with contextlib.ExitStack() as stack:
        yield Hosted(tmp_path, stack)


def serve(hosted, options=""):
    (hosted.folder / "app.ini").write_text(INI.format(options=options))
    return hosted.run(BIN / "pserve", "app.ini", env={"HOSTED_BY_INI": "1"})


def taskqueue_command(hosted, *arguments):
    return subprocess.run(
        [BIN / "taskqueue", *arguments],
        cwd=hosted.folder,
        env={**os.environ, "PYTHONPATH": str(APPS)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.process
def test_a_site_names_it_by_its_dotted_path_and_its_tasks_survive_a_kill(hosted):
    first = serve(hosted)
    browser = browser_of(first)
    browser.get("/add", url="/record", count=3)
    hosted.effects.wait_for(3, did="record")
    browser.get("/add", url="/block")
    (began,) = hosted.effects.wait_for(1, did="began")
    first.end(signal.SIGKILL)
    second = serve(hosted)
    assert hosted.effects.wait_for(2, did="began")[1]["task"] == began["task"]
    hosted.open_gate()
    hosted.effects.wait_for(1, did="ended", pid=second.pid)
    assert second.end(signal.SIGTERM) == 0
    assert len([effect for effect in hosted.effects.read() if effect["did"] == "record"]) == 3


@pytest.mark.process
@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ("snyc = no", r"app.ini: [taskqueue:default] snyc: is not an option; did you mean sync?"),
        ("sync = perhaps", "app.ini: [taskqueue:default] sync: takes "),
    ],
)
def test_a_mistake_in_its_own_options_is_told_as_any_other(hosted, options, complaint):
    process = serve(hosted, options)
    assert process.wait() == 2
    assert complaint in process.output
    assert "Traceback" not in process.output


@pytest.mark.process
def test_the_command_line_shows_its_options_and_does_not_look_into_what_belongs_to_another_process(hosted):
    (hosted.folder / "app.ini").write_text(INI.format(options="sync = no"))
    checked = taskqueue_command(hosted, "check", "app.ini")
    assert checked.returncode == 0
    assert "folder" in checked.stdout
    assert "of one process at a time" in checked.stdout
    looked = taskqueue_command(hosted, "status", "app.ini")
    assert looked.returncode == 1
    assert "it belongs to the process that serves" in looked.stderr
    assert not (hosted.folder / "var").exists()
