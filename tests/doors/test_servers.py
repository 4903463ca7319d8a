"""The servers that sites run under, each as its users start it: who consumes, and what a stop or a reload does."""

import contextlib
import os
import re
import signal
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from taskqueue.threads import KEPT_OUT

from ..serving import wait_until
from .hosting import BIN, SERVERS, Hosted, browser_of, workers_of

pytestmark = pytest.mark.process

GENEROUS_SECONDS = 9.0  # of a grace of one, and what servers and a busy machine take beside it


@pytest.fixture
def hosted(tmp_path):
    with contextlib.ExitStack() as stack:
        yield Hosted(tmp_path, stack)


@pytest.mark.parametrize("server", SERVERS, ids=lambda server: server.name)
def test_exactly_who_serves_consumes_and_a_stop_under_load_loses_nothing_and_spends_no_attempt(hosted, server):
    process = hosted.serve(server)
    browser = browser_of(process)
    if server.waits_for_a_request:
        assert browser.get("/pid") == (200, str(process.pid))
    pids = [process.pid] if server.serves_itself else workers_of(process)
    hosted.wait_for_consuming(pids)
    assert hosted.consuming_by_status() == sorted(pids)
    assert browser.get("/add", url="/work", count=150)[0] == 200
    ran = hosted.effects.wait_for(10, did="work")
    assert process.end(signal.SIGTERM) == server.status
    assert {effect["pid"] for effect in ran} <= set(pids)
    counts = Counter((task.state, task.attempts, task.suspect) for task in hosted.tasks())
    assert set(counts) == {("done", 1, False), ("ready", 0, False)}
    assert not [each for each in hosted.queue.owners() if each.alive]
    assert len(hosted.effects.read()) == counts["done", 1, False]

    second = hosted.serve(server, limit=20)
    if server.waits_for_a_request:
        browser_of(second).get("/pid")
    hosted.wait_for_consuming([second.pid] if server.serves_itself else workers_of(second))
    ran = hosted.effects.wait_for(150, did="work")
    assert len({effect["task"] for effect in ran}) == 150
    assert second.end(signal.SIGTERM) == server.status
    assert {(task.state, task.attempts) for task in hosted.tasks()} == {("done", 1)}


def assert_each_ran_once(hosted, did, count):
    """Every task has run, once, and by nobody who died."""
    ran = Counter(effect["task"] for effect in hosted.effects.wait_for(count, did=did))
    assert set(ran.values()) == {1}
    wait_until(lambda: {task.state for task in hosted.tasks()} == {"done"}, hosted.tasks)
    assert {(task.attempts, task.deaths) for task in hosted.tasks()} == {(1, 0)}


# ---- what serves, and what does not ------------------------------------------------------------------------------


def test_tasks_that_waited_while_the_site_was_down_need_no_visitor(hosted):
    adding = hosted.serve("gunicorn", env={"HOSTED_CONSUME": "no"})
    adding.wait_for_line("hosted is loaded", 2)  # a worker of gunicorn misses a signal that comes right after its fork
    browser_of(adding).get("/add", url="/record", count=3)
    adding.end(signal.SIGTERM)
    assert hosted.effects.read() == []
    hosted.serve("gunicorn --preload")
    assert_each_ran_once(hosted, "record", 3)


@pytest.mark.parametrize("name", ["waitress-serve", "gunicorn --preload", "uwsgi"])
def test_who_must_consume_does_so_before_the_first_request_and_a_master_does_not(hosted, name):
    process = hosted.serve(name, env={"HOSTED_CONSUME": "yes"})
    hosted.wait_for_consuming([process.pid] if name == "waitress-serve" else workers_of(process))
    assert process.pid in hosted.consuming() or name != "waitress-serve"


def test_what_a_site_adds_that_must_not_consume_is_run_by_who_only_consumes(hosted):
    site = hosted.serve("gunicorn", env={"HOSTED_CONSUME": "no"})
    assert browser_of(site).get("/add", url="/record", count=5)[0] == 200
    consumer = hosted.run(BIN / "taskqueue", "serve", "hosted:app")
    assert {effect["pid"] for effect in hosted.effects.wait_for(5, did="record")} == {consumer.pid}
    hosted.wait_for_consuming([consumer.pid])
    assert consumer.end(signal.SIGTERM) == 0
    assert site.end(signal.SIGTERM) == 0


def test_a_signal_to_a_worker_of_uwsgi_interrupts_none_of_our_threads(hosted):
    process = hosted.serve("uwsgi")
    workers = workers_of(process)
    hosted.wait_for_consuming(workers)
    for pid in workers:
        assert blocked_in(Path(f"/proc/{pid}/task/{pid}")) == set()
        others = [task for task in Path(f"/proc/{pid}/task").iterdir() if task.name != str(pid)]
        assert len(others) >= 4  # the keeper, who fetches, who works, who looks after the rest
        for task in others:
            wait_until(lambda task=task: blocked_in(task) in (KEPT_OUT, None))  # one that is just made blocks all


def blocked_in(task):
    """The signals that a thread blocks, by what Linux says of it; None of one that has ended."""
    try:
        status = (task / "status").read_text()
    except OSError:
        return None
    mask = int(re.search(r"^SigBlk:\s*(\w+)$", status, re.MULTILINE)[1], 16)
    return {number for number in signal.valid_signals() if mask >> (number - 1) & 1}


def test_uwsgi_runs_threads_without_being_told_to_from_release_2_0_27_on(hosted):
    import importlib.metadata

    release = tuple(int(each) for each in importlib.metadata.version("pyuwsgi").split(".")[:3])
    if release < (2, 0, 27):
        pytest.skip("this release runs threads only when it is told to")
    process = hosted.run(BIN / "uwsgi", "--http-socket", "127.0.0.1:0", "--module", "hosted")
    hosted.wait_for_consuming([process.pid])
    assert browser_of(process).get("/add", url="/record")[0] == 200
    hosted.effects.wait_for(1, did="record", pid=process.pid)


@pytest.mark.parametrize("name", ["waitress-serve", "gunicorn", "gunicorn --threads --preload", "uwsgi"])
def test_a_child_that_does_work_for_a_view_consumes_nothing_and_takes_nothing_along(hosted, name):
    process = hosted.serve(name)
    browser = browser_of(process)
    browser.get("/pid")
    serving = [process.pid] if name == "waitress-serve" else workers_of(process)
    hosted.wait_for_consuming(serving)
    assert browser.get("/add", url="/fork", count=3)[0] == 200
    assert browser.get("/fork")[0] == 200
    children = hosted.effects.wait_for(4, did="child")
    assert [(child["started"], child["threads"], child["blocked"]) for child in children] == [(False, [], [])] * 4
    assert {child["pid"] for child in children}.isdisjoint(each.owner.pid for each in hosted.queue.owners())
    assert hosted.consuming() == sorted(serving)
    browser.get("/add", url="/record", count=5)
    hosted.effects.wait_for(5, did="record")
    assert process.end(signal.SIGTERM) == 0
    assert {(task.state, task.attempts, task.deaths) for task in hosted.tasks()} == {("done", 1, 0)}


# ---- workers come and go -----------------------------------------------------------------------------------------


def test_workers_that_end_after_some_requests_hand_over(hosted):
    process = hosted.serve("gunicorn", "--max-requests", "4")
    browser = browser_of(process)
    for _ in range(16):
        assert browser.get("/add", url="/work", count=5)[0] == 200
    assert_each_ran_once(hosted, "work", 80)
    assert process.output.count("Booting worker") > 3
    # Which two are left depends on who answered how many.
    wait_until(lambda: len(hosted.consuming()) == 2)
    assert process.end(signal.SIGTERM) == 0


@pytest.mark.parametrize("name", ["gunicorn", "gunicorn --threads", "gunicorn --preload"])
def test_a_reload_by_hup_hands_over_what_has_not_started(hosted, name):
    process = hosted.serve(name)
    browser = browser_of(process)
    old = workers_of(process)
    hosted.wait_for_consuming(old)
    browser.get("/add", url="/block", count=12)
    hosted.effects.wait_for(4, did="began")
    process.popen.send_signal(signal.SIGHUP)
    new = workers_of(process, 4)
    assert set(new).isdisjoint(old)
    # The old ones still run theirs, and the new ones have taken up the work.
    began = hosted.effects.wait_for(8, did="began")
    assert {effect["pid"] for effect in began[4:]} == set(new)
    hosted.open_gate()
    assert_each_ran_once(hosted, "ended", 12)
    hosted.wait_for_consuming(new)
    assert process.end(signal.SIGTERM) == 0


def test_workers_of_uwsgi_that_are_reloaded_one_by_one_hand_over(hosted):
    process = hosted.serve("uwsgi --lazy-apps", "--master-fifo", "fifo")
    browser = browser_of(process)
    old = workers_of(process)
    hosted.wait_for_consuming(old)
    browser.get("/add", url="/work", count=100)
    hosted.effects.wait_for(5, did="work")
    (hosted.folder / "fifo").write_text("c")
    assert_each_ran_once(hosted, "work", 100)
    new = workers_of(process, 4)
    assert set(new).isdisjoint(old)
    hosted.wait_for_consuming(new)


def test_pserve_consumes_in_the_process_that_it_reloads_and_what_was_cut_short_runs_again(hosted):
    process = hosted.serve("pserve", "--reload")
    first = int(process.wait_for_line(r"Starting server in PID (\d+)")[1])
    browser = browser_of(process)
    hosted.wait_for_consuming([first])
    browser.get("/add", url="/block", count=3)
    hosted.effects.wait_for(2, did="began", pid=first)

    def is_noticed():
        if "app.ini changed; reloading" in process.output:
            return True  # and no more changes: each would end the process that is about to start
        os.utime(hosted.folder / "app.ini")  # again and again: the first time may be before it looks
        return False

    wait_until(is_noticed)
    second = int(process.wait_for_line(r"Starting server in PID (\d+)", 2)[1])
    hosted.wait_for_consuming([second])
    # It leaves a process one second to end, whatever runs there.
    hosted.open_gate()
    assert {effect["task"] for effect in hosted.effects.wait_for(3, did="ended", pid=second)} == {
        task.id for task in hosted.tasks()
    }
    wait_until(lambda: {task.state for task in hosted.tasks()} == {"done"})
    assert {(task.attempts, task.deaths) for task in hosted.tasks()} == {(1, 0)}
    process.end(signal.SIGTERM)
    hosted.wait_for_consuming([])


# ---- ending ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["gunicorn", "gunicorn --threads", "gunicorn --threads --preload"])
def test_a_worker_that_is_told_to_end_claims_no_more_although_a_request_keeps_it(hosted, name):
    process = hosted.serve(name)
    browser = browser_of(process)
    hosted.wait_for_consuming(workers_of(process))
    request = threading.Thread(target=browser.get, args=("/block",))
    request.start()
    hosted.effects.wait_for(1, did="began")
    process.popen.send_signal(signal.SIGTERM)
    hosted.wait_for_consuming([])
    assert process.popen.poll() is None
    hosted.open_gate()
    assert process.wait() == 0
    request.join()


@pytest.mark.parametrize("name", ["waitress-serve", "gunicorn --threads", "uwsgi"])
def test_no_server_waits_for_tasks_beyond_the_grace(hosted, name):
    process = hosted.serve(name, env={"HOSTED_GRACE": "1"})
    browser = browser_of(process)
    browser.get("/add", url="/block", count=2)
    hosted.effects.wait_for(2, did="began")
    began = time.monotonic()
    assert process.end(signal.SIGTERM) == 0
    assert 1 <= time.monotonic() - began < GENEROUS_SECONDS
    assert {(task.state, task.attempts, task.suspect) for task in hosted.tasks()} == {("ready", 0, False)}
    assert not [each for each in hosted.queue.owners() if each.alive]


def test_what_a_server_kills_before_its_tasks_end_runs_again(hosted):
    process = hosted.serve("gunicorn", "--graceful-timeout", "1")
    hosted.wait_for_consuming(workers_of(process))
    browser_of(process).get("/add", url="/block", count=6)
    hosted.effects.wait_for(4, did="began")
    assert process.end(signal.SIGTERM) == 0
    assert Counter((task.state, task.attempts) for task in hosted.tasks()) == {("running", 0): 4, ("ready", 0): 2}
    hosted.open_gate()
    hosted.serve("gunicorn")
    assert {effect["task"] for effect in hosted.effects.wait_for(6, did="ended")} == {
        task.id for task in hosted.tasks()
    }
    wait_until(lambda: {task.state for task in hosted.tasks()} == {"done"})
    assert {(task.attempts, task.deaths) for task in hosted.tasks()} == {(1, 0)}


def test_what_uwsgi_cuts_short_in_a_busy_worker_runs_again(hosted):
    process = hosted.serve("uwsgi")
    browser = browser_of(process)
    hosted.wait_for_consuming(workers_of(process))
    browser.get("/add", url="/block", count=4)
    hosted.effects.wait_for(4, did="began")

    def disturb():
        with contextlib.suppress(OSError):  # it is not answered
            browser.get("/block")

    requests = [threading.Thread(target=disturb) for _ in range(2)]
    for request in requests:
        request.start()
    hosted.effects.wait_for(2, did="began", task=None)
    assert process.end(signal.SIGTERM) == 0
    for request in requests:
        request.join()
    assert {(task.state, task.attempts) for task in hosted.tasks()} == {("running", 0)}
    hosted.open_gate()
    hosted.serve("uwsgi")
    assert_each_ran_once(hosted, "ended", 4)
