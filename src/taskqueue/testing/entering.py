"""Entering: where the replays of a site's tasks enter its application, and which consumer would make them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .. import context
from ..errors import ConfigurationError
from ..settings import ServerSettings
from ..wsgi import Application, Environ, StartResponse, TaskQueueFilter, enter, leave
from .capturing import Site

# Where middleware, clients for tests, and Flask keep the application that they wrap.
WRAPPED_NAMES = ("wsgi_app", "app", "application")
WRAPPED_DEPTH = 20


def way_in(site: Site, app: Any) -> Application:
    """What is called with the replay of a task of this site: ``app``, or what the site's consumers would call."""
    if app is not None:
        found = _find_filter(app)
        return found.replay if found is not None else _gate(app, site)
    if site.lifecycle is None:
        raise ConfigurationError("these tasks were not added in a request of an application: give it to run_all")
    return site.lifecycle.application


def consumer_settings(site: Site, queue: str, app: Any) -> ServerSettings:
    """The consumer that takes from this queue of the site, or the default one."""
    found = _find_filter(app)
    lifecycle = site.lifecycle if found is None else found.lifecycle
    servers = lifecycle.installation.servers if lifecycle is not None else ()
    return next((each for each in servers if each.queue == queue), ServerSettings(queue=queue))


def _gate(app: Application, site: Site) -> Application:
    """What the filter does, around an application that has none, or whose filter cannot be found.

    A filter further in stays out of the way of a request that has come in already.
    """

    def gated(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        origin = enter(environ, site.queues)
        try:
            with context.active(origin):
                response = app(environ, start_response)
                try:
                    return list(response)
                finally:
                    close = getattr(response, "close", None)
                    if close is not None:
                        close()
        finally:
            leave(origin)

    return gated


def _find_filter(app: Any) -> TaskQueueFilter | None:
    """The taskqueue filter, however deep in middleware it is, and in what a framework or a client wraps around it."""
    for _ in range(WRAPPED_DEPTH):
        if app is None or isinstance(app, TaskQueueFilter):
            return app
        app = next((inner for name in WRAPPED_NAMES if (inner := getattr(app, name, None)) is not None), None)
    return None
