"""Virtual hosts: the URL that leads to a physical path, as the VirtualHostMonster understands it. Values only.

``add("/site/view")`` names an object by its physical path, however the request came in. A proxy writes into the path
where the site is mounted: ``/VirtualHostBase/https/www.example.org:443/site/VirtualHostRoot/_vh_app/…`` is the object
``/site/…``, seen as ``https://www.example.org/app/…``. The task goes the same way.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import takewhile
from urllib.parse import quote, unquote

from ..producer.headers import is_authority

BASE, ROOT = "VirtualHostBase", "VirtualHostRoot"
_SAFE = ":@!$&'()*+,;=-._~"
_UNFIT = re.compile(r"[\x00-\x1f\x7f\\]")


def rehosted(environ: Mapping[str, str], url: str, mapped_root: Sequence[str] = ()) -> str:
    """The URL for a physical path, given the WSGI environ of the request that adds.

    ``mapped_root`` are the steps to the virtual root where the VirtualHostMonster's own table of hosts makes one, of
    which nothing stands in the path: the table will do so again.
    """
    path, mark, query = url.partition("?")
    target = [step for step in path.split("/") if step]
    if target[:1] == [BASE]:
        return url  # the caller hosts by hand
    steps = _steps(environ.get("PATH_INFO", ""))
    if ROOT in steps[_head_length(steps) :]:
        return _through_path(steps, target) + mark + query
    root = list(mapped_root)
    if root and _decoded(target[: len(root)]) == root:
        return "/" + "/".join(target[len(root) :]) + mark + query
    if root:
        return _through_path([BASE, *_server(environ), ROOT], target) + mark + query
    return url


def _steps(path: str) -> list[str]:
    """The steps of a path as the VirtualHostMonster gets to see them: the publisher has gone back for each "..".

    The path is the client's word. None of it that is no plain step may get into a task's URL.
    """
    steps: list[str] = []
    for step in path.encode("latin-1", "replace").decode("utf-8", "replace").split("/"):
        if step == "..":
            del steps[-1:]
        elif step not in ("", "."):
            steps.append(step)
    return [] if _UNFIT.search("".join(steps)) else steps


def _through_path(steps: Sequence[str], target: Sequence[str]) -> str:
    """The path of the request with its end replaced."""
    begin = _head_length(steps)
    end = steps.index(ROOT, begin)
    head, root = steps[:begin], steps[begin:end]
    prefix = list(takewhile(lambda step: step.startswith("_vh_"), steps[end + 1 :]))
    rest = list(target)
    if root and _decoded(rest[: len(root)]) == root:
        rest = rest[len(root) :]
    elif root:  # beyond the virtual root: the same host, with all of Zope behind it
        root, prefix = [], []
    return "/" + "/".join([*map(_quoted, [*head, *root, ROOT, *prefix]), *rest])


def _head_length(steps: Sequence[str]) -> int:
    """Scheme and host stand in front, or nothing does: then both are the request's own."""
    return 3 if steps[:1] == [BASE] else 0


def _server(environ: Mapping[str, str]) -> tuple[str, str]:
    scheme = environ.get("wsgi.url_scheme", "http")
    host = environ.get("HTTP_HOST", "")
    if not is_authority(host):  # it is the client's word, and becomes a step of the path
        host = environ.get("SERVER_NAME", "localhost")
    return scheme, host if ":" in host else f"{host}:{443 if scheme == 'https' else 80}"


def _decoded(steps: Sequence[str]) -> list[str]:
    return [unquote(step) for step in steps]


def _quoted(step: str) -> str:
    return quote(step, _SAFE)
