"""The applications whose views are tasks: one with WebOb, one with Pyramid and pyramid_tm. Both leave the mark."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

import webob

from .given import leave_mark, wait_seconds

MARK_PATH = "/mark"
FAIL = "&fail="  # behind the number of a task that fails so many times

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def webob_application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """A view as one writes it with WebOb: request in, response out."""
    request = webob.Request(environ)
    number, _, failures = request.query_string.partition(FAIL)
    if failures and int(request.headers["X-Task-Attempt"]) <= int(failures):
        return webob.Response("not yet", status=500)(environ, start_response)
    leave_mark(int(number), request.body)
    if wait_seconds():
        time.sleep(wait_seconds())
    return webob.Response("done", content_type="text/plain")(environ, start_response)


def pyramid_application() -> Application:
    """The same behind Pyramid, each request in a transaction of pyramid_tm."""
    from pyramid.config import Configurator  # noqa: PLC0415  # the consumer with WebOb shall not hold it in memory
    from pyramid.response import Response  # noqa: PLC0415  # the same

    def view(request: Any) -> Any:
        leave_mark(int(request.query_string), request.body)
        if wait_seconds():
            time.sleep(wait_seconds())
        return Response("done", content_type="text/plain")

    config = Configurator(settings={"tm.manager_hook": "pyramid_tm.explicit_manager"})
    config.include("pyramid_tm")
    config.include("taskqueue.pyramid")
    config.add_route("mark", MARK_PATH)
    config.add_view(view, route_name="mark", request_method="POST")
    return config.make_wsgi_app()  # type: ignore[no-any-return]  # Pyramid publishes no types
