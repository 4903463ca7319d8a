"""Sites for the tests of ``taskqueue.testing``: applications of a few functions, and requests to them."""

from wsgiref.util import setup_testing_defaults

import transaction

import taskqueue
from taskqueue.wsgi import TaskQueueFilter, TransactionMiddleware

PATIENCE_SECONDS = 30


def build(views, queues=None, servers=None, program=""):
    """A WSGI application of functions by path; each gets the environ and returns a status, None for 200."""

    def app(environ, start_response):
        view = views.get(environ["PATH_INFO"])
        status = (view(environ) if view is not None else "404 Not Found") or "200 OK"
        start_response(status, [("Content-Type", "text/plain")])
        return [status.encode()]

    servers = servers or {name: {"queue": name} for name in queues or {"default": {}}}
    return TaskQueueFilter(
        TransactionMiddleware(app), queues=queues or {"default": {}}, servers=servers, program=program
    )


def request(app, path="/", **headers):
    """The status of a request; the response is closed, as a server does it."""
    environ = {"PATH_INFO": path, **{f"HTTP_{name.upper()}": value for name, value in headers.items()}}
    setup_testing_defaults(environ)
    statuses = []
    response = app(environ, lambda status, headers, exc_info=None: statuses.append(status))
    assert b"".join(response)
    getattr(response, "close", lambda: None)()
    return statuses[-1]


def add(*arguments, **keywords):
    """Add in a transaction of its own."""
    with transaction.manager:
        return taskqueue.add(*arguments, **keywords)


def urls(tasks):
    return [task.url for task in tasks]
