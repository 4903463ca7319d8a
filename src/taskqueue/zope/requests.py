"""What ``add`` knows of the current request of Zope: where it came in, who is logged in, whose transaction it is.

The publisher takes the credentials out of the environ, and decodes the path in it; here both are put back, for where
no filter has seen the request before. Knows no tasks.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import transaction
from zope.globalrequest import getRequest

from ..context import InnermostRequest, Origin
from ..producer.capture import origin_of
from .hosting import rehosted
from .identity import principal_of


def find_request() -> InnermostRequest | None:
    """The request that the publisher works at in this thread. Those that scripts make up came in nowhere."""
    request = getRequest()
    if request is None or "wsgi.input" not in getattr(request, "environ", ()):
        return None
    return InnermostRequest(
        transaction_manager=transaction.manager,
        principal=principal_of(request),
        origin=partial(origin_of_request, request),
        rehost=partial(_rehost, request),
        environ=request.environ,
    )


def origin_of_request(request: Any) -> Origin:
    """The request as it came in."""
    environ = dict(getattr(request, "_orig_env", request.environ))
    credentials = getattr(request, "_auth", None)
    if isinstance(credentials, str):
        environ["HTTP_AUTHORIZATION"] = credentials
    environ["PATH_INFO"] = _undecoded(environ.get("PATH_INFO", ""))
    found = origin_of(environ)
    return Origin(environ=found.environ, live_environ=request.environ, body=found.body)


def _undecoded(path: str) -> str:
    """The path as PEP 3333 has it: its bytes as latin-1."""
    return path.encode("utf-8", "surrogateescape").decode("latin-1")


def _rehost(request: Any, environ: Mapping[str, str], url: str) -> str:
    root = request.get("VirtualRootPhysicalPath", ())
    mapped = () if "/VirtualHostRoot" in environ.get("PATH_INFO", "") else tuple(root)[1:]
    return rehosted(environ, url, mapped)
