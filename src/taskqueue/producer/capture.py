"""Capture: the arguments of ``add`` and the active request become one task. Values in, a task out.

Knows no transaction and no backend. The only thing it reads is the body of the request, through the request's own
``BodySource``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from urllib.parse import quote

from ..body import SeekableBody
from ..context import BodySource, Origin
from ..errors import InvalidTaskError, PayloadLostError
from ..queues import Queue
from ..record import Headers, Principal, Task
from . import arguments, headers, urls
from .arguments import CURRENT, Current, Pairs, Payload

DEFAULT_BASE_URL = "http://localhost"
CONNECTION_VARIABLES = ("REMOTE_ADDR", "REMOTE_HOST", "REMOTE_PORT", "SERVER_NAME", "SERVER_PORT", "SERVER_PROTOCOL")
USER_VARIABLES = ("AUTH_TYPE", "REMOTE_USER")

_UNFIT = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")  # control characters, and halves of characters
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-.*)?")  # W3C Trace Context, 3.2
_DEFAULT_PORTS = {"http": "80", "https": "443"}
_SCRIPT_NAME_SAFE = "/:@!$&'()*+,;=-._~"


def capture(
    *,
    task_id: str,
    now: float,
    queue: Queue,
    origin: Origin | None,
    url: str,
    method: str = "GET",
    params: Pairs | None = None,
    given_headers: Pairs | None = None,
    payload: Payload | Current = CURRENT,
    delay: float | timedelta | None = None,
    eta: datetime | None = None,
    priority: int = 0,
    max_attempts: int | None = None,
    principal: Principal | None = None,
    parent_id: str | None = None,
    rehost: Callable[[Mapping[str, str], str], str] | None = None,
) -> Task:
    """The task that ``add`` promises; ``now`` is the time for delays, ``rehost`` is InnermostRequest's.

    Raises InvalidTaskError: TooLargeError for sizes, PayloadLostError for a body that is gone.
    """
    method = arguments.checked_method(method)
    body_origin = origin if payload is CURRENT and method in arguments.METHODS_WITH_BODY else None
    common = _common(origin, queue, body_origin is not None)
    given = list(arguments.pairs(given_headers, "headers")) if given_headers is not None else []
    if given:
        common = _with_given(common, given, origin)
    task_url = urls.task_url(url, params)
    task = Task(
        id=task_id,
        queue=queue.name,
        method=method,
        url=task_url if rehost is None else rehost({} if origin is None else origin.environ, task_url),
        headers=common.headers,
        payload=_copied_body(body_origin, queue.payload_limit)
        if isinstance(payload, Current)
        else arguments.payload_bytes(method, payload),
        base_url=common.base_url,
        connection=common.connection,
        # Credentials that were given are somebody's whom nobody knows here.
        principal=None if given and queue.auth != "principal" and headers.names_credentials(given) else principal,
        priority=arguments.checked_priority(priority),
        due=arguments.due_time(delay, eta, now),
        max_attempts=arguments.checked_max_attempts(max_attempts),
        parent_id=parent_id,
        trace=common.trace,
        added_at=now,
    )
    _refuse_too_large(task, common.headers_size, queue)
    return task


def origin_of(request: Any) -> Origin:
    """A request that was given: its strings, its environ and its body.

    ``request`` is a WSGI environ, or an object that has one as ``environ``, as those of WebOb, Pyramid and Zope do.
    Raises InvalidTaskError.
    """
    environ = request if isinstance(request, Mapping) else getattr(request, "environ", None)
    if not isinstance(environ, Mapping):
        raise InvalidTaskError(
            f"request must be a WSGI environ or have one as its environ, and {arguments.kind(request)} is neither"
        )
    strings = {key: value for key, value in environ.items() if isinstance(key, str) and isinstance(value, str)}
    live: Any = environ
    return Origin(environ=strings, live_environ=live, body=_body_of(environ))


# ---- what the tasks of a request have in common ------------------------------------------------------------------


class _Common(NamedTuple):
    """What tasks get of their request when ``add`` is given no headers: the same each time, so it is made once."""

    copied: headers.Copied
    headers: Headers
    headers_size: int
    base_url: str
    connection: dict[str, str]
    trace: str | None
    queue: Queue  # kept alive: it is known by its identity


def _common(origin: Origin | None, queue: Queue, with_content: bool) -> _Common:
    if origin is None:
        return _common_of(None, queue, with_content)
    key = (id(queue), with_content)
    common: _Common | None = origin.captured.get(key)
    if common is None:
        common = origin.captured[key] = _common_of(origin, queue, with_content)
    return common


def _common_of(origin: Origin | None, queue: Queue, with_content: bool) -> _Common:
    environ: Mapping[str, str] = origin.environ if origin is not None else {}
    with_credentials = queue.auth != "principal"
    copied = headers.copied_headers(environ, queue.copy_headers, with_content, with_credentials)
    return _made(copied, tuple(copied.values()), _connection(environ, queue.copy_remote_user), origin, queue)


def _with_given(common: _Common, given: Pairs, origin: Origin | None) -> _Common:
    with_credentials = common.queue.auth != "principal"
    task_headers = headers.task_headers(common.copied, given, with_credentials)
    return _made(common.copied, task_headers, common.connection, origin, common.queue)


def _made(
    copied: headers.Copied, task_headers: Headers, connection: dict[str, str], origin: Origin | None, queue: Queue
) -> _Common:
    by_name = dict(task_headers)
    return _Common(
        copied=copied,
        headers=task_headers,
        headers_size=headers.size(task_headers),
        base_url=_configured_base_url(queue, by_name)
        if origin is None
        else _base_url(origin.environ, by_name.get("Host")),
        connection=connection,
        trace=_trace(by_name) if "Traceparent" in by_name else None,
        queue=queue,
    )


# ---- one by one --------------------------------------------------------------------------------------------------


def _copied_body(origin: Origin | None, limit: int) -> bytes | None:
    if origin is None:
        return None
    if origin.body is not None:
        return origin.body.whole(limit) or None
    if _announces_body(origin.environ):
        raise PayloadLostError(
            "the body of the request cannot be copied: it has been read, or never passed the taskqueue filter; "
            "give payload= explicitly"
        )
    return None


def _announces_body(environ: Mapping[str, str]) -> bool:
    return bool(environ.get("CONTENT_LENGTH", "").strip("0 ") or environ.get("HTTP_TRANSFER_ENCODING"))


def _body_of(environ: Mapping[str, Any]) -> BodySource | None:
    """The body of a request that did not pass the filter: to be had only from a stream that can be read again."""
    length = str(environ.get("CONTENT_LENGTH") or "")
    stream = environ.get("wsgi.input")
    try:
        position = stream.tell()  # type: ignore[union-attr]  # None has no such method, and is no stream
        stream.seek(0)  # type: ignore[union-attr]  # the same
        body = SeekableBody(stream, int(length) if length.isdecimal() else None)
        stream.seek(position)  # type: ignore[union-attr]  # the same
    except (AttributeError, OSError, ValueError):
        return None
    return body


def _base_url(environ: Mapping[str, str], host: str | None) -> str:
    """Scheme, host and mount point as the caller saw them. A Host header is the client's word, and may be no host."""
    scheme = environ.get("wsgi.url_scheme", "")
    if scheme not in _DEFAULT_PORTS:
        scheme = "http"
    host = host or environ.get("HTTP_HOST", "")
    if not headers.is_authority(host):
        host = _server(environ, scheme)
    return f"{scheme}://{host}{_mount_point(environ.get('SCRIPT_NAME', ''))}"


def _server(environ: Mapping[str, str], scheme: str) -> str:
    name = environ.get("SERVER_NAME", "")
    name = f"[{name}]" if ":" in name and not name.startswith("[") else name
    port = environ.get("SERVER_PORT", "")
    host = name if port in ("", _DEFAULT_PORTS[scheme]) else f"{name}:{port}"
    return host if headers.is_authority(host) else "localhost"


def _mount_point(script_name: str) -> str:
    """SCRIPT_NAME as it stands in a URL. PEP 3333 has its bytes as latin-1; what is beyond has been decoded before."""
    try:
        path = script_name.encode("latin-1")
    except UnicodeEncodeError:
        path = script_name.encode("utf-8", "replace")
    return quote(path.rstrip(b"/"), _SCRIPT_NAME_SAFE)


def _configured_base_url(queue: Queue, by_name: Mapping[str, str]) -> str:
    base_url = queue.base_url.rstrip("/") or DEFAULT_BASE_URL
    if "Host" not in by_name:
        return base_url
    scheme, _, rest = base_url.partition("://")
    return f"{scheme}://{by_name['Host']}{rest[len(rest.partition('/')[0]) :]}"


def _connection(environ: Mapping[str, str], with_remote_user: bool) -> dict[str, str]:
    """CGI variables of the caller's connection (RFC 3875, 4.1), and by option who the server says the caller is."""
    names = (*CONNECTION_VARIABLES, *USER_VARIABLES) if with_remote_user else CONNECTION_VARIABLES
    found = {name: environ[name] for name in names if name in environ}
    for name, value in found.items():
        if _UNFIT.search(value):
            raise InvalidTaskError(f"{name} of the active request holds a control character")
    return found


def _trace(by_name: Mapping[str, str]) -> str | None:
    value = by_name.get("Traceparent", "").strip()
    return value if _TRACEPARENT.fullmatch(value) and len(value) <= 512 else None


def _refuse_too_large(task: Task, headers_size: int, queue: Queue) -> None:
    if task.payload is not None:
        arguments.refuse_too_large(
            "payload has",
            len(task.payload),
            queue.payload_limit,
            "payload_limit",
            "keep the data elsewhere and send a reference to it",
        )
    arguments.refuse_too_large(
        "headers have",
        headers_size,
        queue.header_limit,
        "header_limit",
        "remove some with headers={'Name': None}, list those to copy in copy_headers",
    )
    arguments.refuse_too_large(
        "URL has", len(task.url), queue.header_limit, "header_limit", "send long values as payload of a POST"
    )
