"""A store in trouble: the request that adds fails cleanly and soon, nobody else notices, and it goes on by itself."""

import contextlib
import json
import os
import resource
import shutil
import signal
import sqlite3
import sys
import threading
import time
from pathlib import Path

import pytest

from ..backends.redis_server import Server
from ..serving import Browser, Process, port_of, wait_until
from .test_pserve import add

pytestmark = pytest.mark.process

GENEROUS_SECONDS = 4.0  # a request may wait for two; the rest is for a machine with other things to do


@contextlib.contextmanager
def locked(site, process):
    """Another process holds the database."""
    holder = sqlite3.connect(site.folder / "var" / "tasks.db", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    try:
        yield
    finally:
        holder.close()


@contextlib.contextmanager
def full(site, process):
    """No file can grow any more."""
    soft, hard = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (1, hard))
    try:
        yield
    finally:
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (soft, hard))


def try_to_add(browser):
    """Status of a request that adds, and the seconds that it took."""
    began = time.monotonic()
    status, _ = browser.post("/add", url="/record", keywords="{}")
    return status, time.monotonic() - began


def ensure_going_on(site, browser):
    wait_until(lambda: try_to_add(browser)[0] == 200)
    site.effects.wait_for(1, did="record")


@pytest.mark.parametrize("trouble", [locked, full])
def test_a_store_in_trouble_harms_only_who_adds_and_goes_on_by_itself(site, trouble):
    process = site.serve()
    browser, neighbour = Browser(port_of(process)).login("ann"), Browser(port_of(process)).login("bob")
    add(browser, "/chain?left=0")
    site.effects.wait_for(1, did="chain")
    with trouble(site, process):
        answers = []
        adding = threading.Thread(target=lambda: answers.append(try_to_add(browser)))
        adding.start()
        status, _ = neighbour.get("/home")
        assert status == 200
        adding.join()
        assert answers[0][0] == 500
        assert answers[0][1] < GENEROUS_SECONDS
        # Whoever comes next does not wait again.
        status, seconds = try_to_add(neighbour)
        assert status == 500
        assert seconds < GENEROUS_SECONDS / 2
        process.wait_for_line(r"queue default is unavailable")
    ensure_going_on(site, browser)
    process.wait_for_line(r"queue default is available again")
    assert process.output.count("is unavailable:") == 1
    assert len([effect for effect in site.effects.read() if effect["did"] == "record"]) >= 1


def test_a_deleted_file_is_said_and_replaced(site):
    process = site.serve()
    browser = Browser(port_of(process)).login("ann")
    add(browser, "/chain?left=0")
    site.effects.wait_for(1, did="chain")
    for name in ("tasks.db", "tasks.db-wal", "tasks.db-shm"):
        (site.folder / "var" / name).unlink(missing_ok=True)
    process.wait_for_line(r"queue default is unavailable: .*tasks\.db")
    ensure_going_on(site, browser)


def test_a_deleted_folder_is_said_and_replaced(site):
    process = site.serve()
    browser = Browser(port_of(process)).login("ann")
    add(browser, "/chain?left=0")
    site.effects.wait_for(1, did="chain")
    # In one step: whoever makes a file of its own again meanwhile would be found in the way.
    (site.folder / "var").rename(site.folder / "deleted")
    shutil.rmtree(site.folder / "deleted")
    process.wait_for_line(r"queue default is unavailable: .*tasks\.db")
    ensure_going_on(site, browser)


def test_a_file_that_is_read_only_does_not_stop_the_site_and_is_used_once_it_can_be(site):
    first = site.serve()
    add(Browser(port_of(first)).login("ann"), "/chain?left=0")
    site.effects.wait_for(1, did="chain")
    first.end(signal.SIGTERM)
    writable = {path: path.stat().st_mode for path in [*(site.folder / "var").rglob("*"), site.folder / "var"]}
    for path in writable:
        path.chmod(0o555 if path.is_dir() else 0o444)
    # Without this capability, the rights of a file count for root as well.
    unprivileged = ["setpriv", "--bounding-set=-dac_override"] if os.getuid() == 0 else []
    pserve = Path(sys.executable).parent / "pserve"
    process = site.run(Process(*unprivileged, pserve, site.folder / "app.ini", cwd=site.folder))
    browser = Browser(port_of(process)).login("ann")
    process.wait_for_line(r"queue default is unavailable: .*tasks\.db")
    status, seconds = try_to_add(browser)
    assert status == 500
    assert seconds < GENEROUS_SECONDS
    for path, mode in writable.items():
        path.chmod(mode)
    ensure_going_on(site, browser)
    assert process.output.count("is unavailable:") == 1


def test_a_backend_that_is_dead_at_start_does_not_stop_the_site(site):
    (site.folder / "var").write_text("a file, where the folder should be")
    process = site.serve()
    browser = Browser(port_of(process)).login("ann")
    process.wait_for_line(r"queue default is unavailable")
    assert try_to_add(browser)[0] == 500
    (site.folder / "var").unlink()
    ensure_going_on(site, browser)
    assert json.loads(browser.get("/home")[1])["user"] == "ann"


def test_a_redis_that_stalls_harms_only_who_adds_and_is_used_once_it_answers(site):
    with Server(appendonly="yes") as server:
        ini = (site.folder / "app.ini").read_text()
        ini = ini.replace("type = sqlite\npath = %(here)s/var/tasks.db", f"type = redis\nport = {server.port}")
        (site.folder / "app.ini").write_text(ini)
        process = site.serve()
        browser, neighbour = Browser(port_of(process)).login("ann"), Browser(port_of(process)).login("bob")
        add(browser, "/chain?left=0")
        site.effects.wait_for(1, did="chain")
        with stalled(server):
            answers = []
            adding = threading.Thread(target=lambda: answers.append(try_to_add(browser)))
            adding.start()
            began = time.monotonic()
            assert neighbour.get("/home")[0] == 200
            assert time.monotonic() - began < GENEROUS_SECONDS / 4
            adding.join()
            assert answers[0][0] == 500
            assert answers[0][1] < GENEROUS_SECONDS
            status, seconds = try_to_add(neighbour)
            assert (status, seconds < GENEROUS_SECONDS / 2) == (500, True)
        ensure_going_on(site, browser)
        process.wait_for_line(r"queue default is available again")
        assert process.output.count("is unavailable:") == 1
        process.end(signal.SIGTERM)


@contextlib.contextmanager
def stalled(server):
    """The server answers nobody, and refuses nobody."""
    server.stop_still()
    try:
        yield
    finally:
        server.go_on()
