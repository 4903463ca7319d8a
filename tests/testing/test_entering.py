"""Entering: which application runs a task, however it is wrapped."""

import pytest
import transaction
from flask import Flask

import taskqueue
from taskqueue.errors import ConfigurationError
from taskqueue.testing import assert_added, run_all
from taskqueue.wsgi import TaskQueueFilter, TransactionMiddleware

from .sites import add, request, urls

pytest_plugins = ["taskqueue.testing"]


def note_task(seen):
    return lambda environ: seen.append(taskqueue.current_task())


def test_each_task_runs_in_the_site_that_added_it(captured_tasks, make_site):
    ran = []
    sites = [
        make_site(
            {"/": lambda environ: taskqueue.add("/a") and None, "/a": lambda environ, name=name: ran.append(name)}
        )
        for name in ("one", "two")
    ]
    for site in (sites[1], sites[0], sites[1]):
        request(site)
    run_all()
    assert ran == ["two", "one", "two"]


def test_without_a_site_the_application_must_be_given(captured_tasks):
    seen = []
    add("/a")
    with pytest.raises(ConfigurationError, match="give it to run_all"):
        run_all()

    def app(environ, start_response):
        seen.append(taskqueue.current_task())
        start_response("200 OK", [])
        return [b"fine"]

    assert urls(run_all(app)) == ["/a"]
    assert seen[0].url == "/a"


class Middleware:
    """Around another application, as so much else."""

    def __init__(self, app):
        self.application = app

    def __call__(self, environ, start_response):
        return self.application(environ, start_response)


@pytest.mark.parametrize("wrap", [lambda site: site, Middleware, lambda site: Middleware(Middleware(site))])
def test_the_filter_is_found_in_what_is_wrapped_around_it(captured_tasks, wrap, make_site):
    seen = []
    add("/a")
    run_all(wrap(make_site({"/a": note_task(seen)})))
    assert [task.url for task in seen] == ["/a"]


def test_a_filter_that_cannot_be_found_is_passed_all_the_same(captured_tasks, make_site):
    seen = []
    site = make_site({"/": lambda environ: taskqueue.add("/a") and None, "/a": note_task(seen)})
    request(site)

    def closure(environ, start_response):
        return site(environ, start_response)

    run_all(closure)
    assert [task.url for task in seen] == ["/a"]


def test_a_flask_application_and_its_client_lead_to_the_filter(captured_tasks):
    seen = []
    app = Flask("a")
    app.wsgi_app = TaskQueueFilter(TransactionMiddleware(app.wsgi_app))
    app.add_url_rule("/a", view_func=lambda: str(seen.append(taskqueue.current_task())))
    for given in (app, app.test_client()):
        add("/a")
        run_all(given)
    assert [task.url for task in seen] == ["/a", "/a"]


def test_an_application_without_a_filter_adds_to_the_same_queues(captured_tasks):
    ids = []

    def app(environ, start_response):
        if environ["PATH_INFO"] == "/a":
            with transaction.manager:
                ids.append(taskqueue.add("/b", queue="other"))
        start_response("200 OK", [])
        return [b"fine"]

    add("/a")
    run_all(app)
    assert taskqueue.get(ids[0]).state == "done"


def test_an_application_without_a_filter_and_without_a_transaction_delivers_nothing(captured_tasks):
    def app(environ, start_response):
        taskqueue.add("/b")
        start_response("200 OK", [])
        return [b"fine"]

    add("/a")
    (parent,) = run_all(app, check=False)
    assert parent.state == "scheduled"  # it is not done: what it added is lost
    with pytest.raises(AssertionError, match="1 discarded: the request '/a' ended"):
        assert_added("/b")
