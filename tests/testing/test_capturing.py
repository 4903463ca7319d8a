"""Capturing: what is delivered, to whom, and that nothing is left behind."""

import gc
import subprocess
import sys
import weakref
from wsgiref.util import setup_testing_defaults

import pytest
import transaction

import taskqueue
from taskqueue import context, notices, queues
from taskqueue.errors import InvalidTaskError, UnknownQueueError
from taskqueue.testing import assert_added, assert_nothing_added, captured, run_all
from taskqueue.wsgi import TaskQueueFilter

from .sites import PATIENCE_SECONDS, add, request, urls

pytest_plugins = ["taskqueue.testing"]


def test_nothing_is_visible_before_the_commit(captured_tasks):
    transaction.begin()
    taskqueue.add("/a")
    assert urls(captured_tasks) == []
    transaction.commit()
    assert urls(captured_tasks) == ["/a"]


def test_what_aborts_is_not_captured(captured_tasks):
    transaction.begin()
    taskqueue.add("/a")
    transaction.abort()
    transaction.commit()
    assert_nothing_added()


def test_a_rollback_to_a_savepoint_takes_the_later_tasks_away(captured_tasks):
    with transaction.manager:
        taskqueue.add("/before")
        savepoint = transaction.savepoint()
        taskqueue.add("/between")
        savepoint.rollback()
        taskqueue.add("/after")
    assert urls(captured_tasks) == ["/before", "/after"]


def test_tasks_are_in_the_order_of_adding_whatever_their_queue_and_priority(captured_tasks):
    with transaction.manager:
        taskqueue.add("/1", queue="z")
        taskqueue.add("/2", queue="a", priority=9)
        taskqueue.add("/3", queue="z", delay=60)
    assert urls(captured_tasks) == ["/1", "/2", "/3"]
    assert urls(captured_tasks[1:]) == ["/2", "/3"]
    assert captured_tasks[-1].state == "scheduled"


def test_without_any_configuration_every_queue_is_there(captured_tasks):
    add("/a")
    add("/b", queue="reports")
    assert [task.queue for task in captured_tasks] == ["default", "reports"]


def test_a_queue_that_is_not_configured_is_an_error_as_in_production(captured_tasks, make_site):
    app = make_site({"/": lambda environ: taskqueue.add("/a", queue="misspelt") and None})
    with pytest.raises(UnknownQueueError, match="misspelt"):
        request(app)


def test_the_configured_backend_is_not_touched(captured_tasks, tmp_path, make_site):
    sqlite = {"type": "sqlite", "path": str(tmp_path / "tasks.db"), "secret": "k" * 32, "payload_limit": 5}
    app = make_site({"/": lambda environ: taskqueue.add("/a") and None, "/a": lambda environ: None}, {"q": sqlite})
    request(app)
    add("/a", "POST", payload="12345")
    with pytest.raises(InvalidTaskError, match="payload_limit"):
        add("/a", "POST", payload="123456")
    assert len(run_all()) == 2
    assert list(tmp_path.iterdir()) == []


def test_a_task_can_be_asked_for(captured_tasks, make_site):
    app = make_site({"/a": lambda environ: None})
    task_id = add("/a")
    assert taskqueue.get(task_id).state == "ready"
    run_all(app)
    assert taskqueue.get(task_id).state == "done"


def test_no_consumer_starts_before_the_capture_has_ended(make_site):
    with captured():
        site = make_site({"/": lambda environ: None}, servers={"default": {"consume": "yes"}}, program="a-server")
        request(site)
        assert not site.installation.is_started
    request(site)
    assert site.installation.is_started


def test_of_nested_captures_the_innermost_gets_what_is_added(captured_tasks, make_site):
    app = make_site({"/outer": lambda environ: None, "/inner": lambda environ: None})
    add("/outer")
    with captured() as inner:
        add("/inner")
        assert urls(run_all(app)) == ["/inner"]
    assert urls(inner) == ["/inner"]
    assert urls(captured_tasks) == ["/outer"]
    assert urls(run_all(app)) == ["/outer"]


def test_a_capture_leaves_nothing_behind(make_site):
    listeners = list(notices._listeners)
    installed = queues._Installed.queues
    with captured() as first:
        site = make_site({"/": lambda environ: taskqueue.add("/a") and None})
        request(site)
        assert len(first) == 1
    assert queues._Installed.queues is installed
    assert not queues.is_stood_in()
    assert [each for each in notices._listeners if each not in listeners and "testing" in each.__module__] == []
    with captured() as second:
        assert_nothing_added()
        request(site)
        assert len(second) == 1
    assert len(first) == 1


def test_nobody_keeps_the_tasks_of_a_capture_that_has_ended():
    with captured():
        add("/a")
        backend = weakref.ref(queues.installed()["default"].backend)
    gc.collect()
    assert backend() is None


def test_an_open_transaction_of_an_earlier_capture_delivers_nothing_to_the_next():
    transaction.begin()
    with captured() as first:
        taskqueue.add("/first")
    with captured() as second:
        taskqueue.add("/second")
        transaction.commit()
    assert urls(first) == []
    assert urls(second) == ["/second"]


def test_without_a_capture_it_is_said_how_to_get_one():
    for ask in (lambda: assert_added("/a"), assert_nothing_added, run_all):
        with pytest.raises(RuntimeError, match="captured_tasks"):
            ask()


def test_a_response_that_is_not_closed_leaves_no_request_active(captured_tasks):
    def app(environ, start_response):
        start_response("200 OK", [])
        yield b"one"
        yield b"two"

    environ = {}
    setup_testing_defaults(environ)
    response = TaskQueueFilter(app)(environ, lambda status, headers: None)
    assert next(iter(response)) == b"one"
    assert context.active_origin() is None


def test_it_works_where_pytest_is_not_installed():
    code = "import sys; sys.modules['pytest'] = None; import taskqueue.testing as t; t.captured, t.run_all"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=PATIENCE_SECONDS)


def test_what_was_added_before_a_capture_is_not_forgotten_at_its_end():
    with captured() as outer:
        taskqueue.add("/outer")
        with captured():
            pass
        transaction.commit()
        assert [task.path for task in outer] == ["/outer"]
