"""Header rules: which headers of the active request a task gets, and what may be given beside them. Values only.

A header's name is kept in one spelling, ``Like-This``, with ``_`` taken for ``-``: an environ cannot tell them apart,
so neither may any rule. Error texts hold names, never values.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Iterator, Mapping
from ipaddress import IPv6Address
from typing import Any, NamedTuple

from ..errors import InvalidTaskError
from ..record import CACHED_CHARACTERS, CACHED_NAMES, Headers, is_secret_header
from .arguments import Pairs, kind, pairs

# RFC 9110, 7.6.1, and those that are older: they speak of one connection, and a replay has none.
HOP_BY_HOP = frozenset(
    {
        "connection",
        "http2-settings",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "trailers",
        "transfer-encoding",
        "upgrade",
    }
)
# A replay makes these itself, or they would make it another request than the one that was added.
_MADE_BY_THE_REPLAY = frozenset({"content-length", "idempotency-key"})
_NEVER_COPIED = (
    HOP_BY_HOP
    | _MADE_BY_THE_REPLAY
    | {
        "accept-encoding",
        "expect",
        "proxy",  # becomes HTTP_PROXY, which HTTP clients take for their configuration
        "range",
        "user-agent",
        # Middleware takes these for the method and the URL, which here only ``add`` decides.
        "x-http-method",
        "x-http-method-override",
        "x-method-override",
        "x-original-url",
        "x-rewrite-url",
    }
)
_NEVER_COPIED_PREFIXES = ("if-", "x-task-")
_NEVER_GIVEN = HOP_BY_HOP | _MADE_BY_THE_REPLAY | {"proxy"}

_LOGIN = frozenset({"authorization", "cookie"})

# Where the caller was: without these a replay builds other URLs, so a list in copy_headers does not leave them out.
_PLACE = frozenset({"host", "forwarded"})
_PLACE_PREFIX = "x-forwarded-"

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")  # RFC 9110, 5.6.2
_CONTROL = re.compile("[\x00-\x1f\x7f]")  # the bytes of UTF-8 look like C1 controls in latin-1, so these are let be
_LATIN_1 = re.compile("[\x00-\xff]*")
_AUTHORITY = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,;=%-]+|\[([0-9A-Fa-f:.]+)\])(?::[0-9]{0,5})?")  # RFC 3986, 3.2.2


class _Kind(NamedTuple):
    """What is known of a header by its name, where it may be copied at all."""

    name: str  # folded
    spelling: str
    is_content: bool
    is_place: bool
    is_secret: bool


Copied = dict[str, tuple[str, str]]  # by folded name; with the spelling and the value


def copied_headers(
    environ: Mapping[str, str], listed: Collection[str] | None, with_content: bool, with_credentials: bool = True
) -> Copied:
    """The active request's headers that its tasks get.

    ``listed`` are the folded names that may be copied, None for all. ``with_content`` says whether the request's body
    is copied, and with it its ``Content-*``. Without ``with_credentials`` no header that may carry any is copied.
    Raises InvalidTaskError.
    """
    named_by_connection = {fold(name.strip()) for name in environ.get("HTTP_CONNECTION", "").split(",")}
    copied: Copied = {}
    for key, value in environ.items():
        kind = _known_kind_of(key) if len(key) <= CACHED_CHARACTERS else _kind_of(key)
        if kind is None or kind.name in copied or kind.name in named_by_connection:
            continue
        is_listed = listed is None or kind.is_place or kind.name in listed
        if (with_content if kind.is_content else is_listed) and (with_credentials or not kind.is_secret):
            # A tab is a legal blank between words, and the only control character that is: here it is made one.
            text = _clean(kind.name, value.replace("\t", " "), "of the active request")
            copied[kind.name] = (kind.spelling, text)
    return copied


def task_headers(copied: Copied, given: Pairs | None, with_credentials: bool = True) -> Headers:
    """What was copied, and the given headers that add, replace or, as None, remove. ``copied`` is left as it is.

    Without ``with_credentials`` no header may be given that may carry any. Raises InvalidTaskError.
    """
    headers = dict(copied)
    for name, value in _checked(given):
        if value is None:
            headers.pop(name, None)
        elif not with_credentials and is_secret_header(name):
            raise InvalidTaskError(
                f"the header {_shown(name)} cannot be given: it may carry credentials, and the queue stores none "
                "(auth = principal); use a queue with auth = copy"
            )
        else:
            headers[name] = (_spelling(name), value)
    return tuple(headers.values())


def names_credentials(given: Pairs | None) -> bool:
    """Whether given headers decide as whom the task logs in, be it as nobody."""
    return any(fold(str(name)) in _LOGIN for name, _value in pairs(given, "headers"))


def size(headers: Headers) -> int:
    """How many bytes they have as they are sent."""
    return len("".join([part for header in headers for part in header])) + len(headers) * len(": \r\n")


def fold(name: str) -> str:
    """A name as rules compare it."""
    return name.lower().replace("_", "-")


def is_authority(host: str) -> bool:
    """Whether it can stand between the scheme and the path of a URL: a host, and perhaps a port."""
    match = _AUTHORITY.fullmatch(host)
    if match is None or match[1] is None:
        return match is not None
    try:
        IPv6Address(match[1])
    except ValueError:
        return False
    return True


def _kind_of(key: str) -> _Kind | None:
    """What the header is that an environ key holds; None for what is no header, or is never copied."""
    written = key if key == "CONTENT_TYPE" else key[5:] if key.startswith("HTTP_") else ""
    if not _TOKEN.fullmatch(written):
        return None
    name = fold(written)
    if name in _NEVER_COPIED or name.startswith(_NEVER_COPIED_PREFIXES):
        return None
    is_content = name.startswith("content-")
    return _Kind(name, _spelling(name), is_content, _tells_the_place(name), is_secret_header(name))


# Requests carry the same few names. Anybody can send others, and long ones; they shall not fill the memory.
_known_kind_of = functools.lru_cache(maxsize=CACHED_NAMES)(_kind_of)


def _tells_the_place(name: str) -> bool:
    return name in _PLACE or name.startswith(_PLACE_PREFIX)


def _checked(given: Pairs | None) -> Iterator[tuple[str, str | None]]:
    """Given headers with their values as text; each name once, whatever its spelling."""
    seen: set[str] = set()
    for name, value in pairs(given, "headers"):
        if not isinstance(name, str) or not _TOKEN.fullmatch(name):
            raise InvalidTaskError(f"the header name {_shown(name)} is none: letters, digits and hyphens (RFC 9110)")
        folded = fold(name)
        if folded in seen:
            raise InvalidTaskError(f"the header {_shown(name)} is given twice: join its values with a comma")
        seen.add(folded)
        if value is None:
            yield folded, None
            continue
        _refuse_reserved(folded, name)
        text = _clean(name, _as_text(name, value), "that was given").strip(" ")
        if folded == "host" and not is_authority(text):
            raise InvalidTaskError("the header 'Host' that was given is no host, with or without a port")
        yield folded, text


def _refuse_reserved(folded: str, name: str) -> None:
    if folded.startswith("x-task-"):
        raise InvalidTaskError(f"the header {_shown(name)} cannot be given: X-Task-* tell what the replay is")
    if folded in _MADE_BY_THE_REPLAY:
        raise InvalidTaskError(f"the header {_shown(name)} cannot be given: the replay makes it")
    if folded in _NEVER_GIVEN:
        raise InvalidTaskError(f"the header {_shown(name)} cannot be given: it speaks of a connection, not of a task")


def _as_text(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (bytes, bytearray)):
        raise InvalidTaskError(f"the value of header {_shown(name)} is {kind(value)}: decode it to a str")
    return str(value)


def _clean(name: str, value: str, which: str) -> str:
    if value.isascii() and value.isprintable():
        return value  # as nearly all are: this is a third of what the patterns cost
    if _CONTROL.search(value):
        raise InvalidTaskError(f"the header {_shown(name)} {which} holds a control character")
    if not _LATIN_1.fullmatch(value):
        raise InvalidTaskError(f"the header {_shown(name)} {which} is not latin-1, as HTTP has it: encode it first")
    return value


def _spelling(folded: str) -> str:
    return "-".join(part.capitalize() for part in folded.split("-"))


def _shown(name: object) -> str:
    return repr(name)[:80]
