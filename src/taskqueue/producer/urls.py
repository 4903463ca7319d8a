"""URL rules: what ``add`` is given as URL and parameters, as one percent-encoded path and query. Values only.

The URL names a place inside the site, so it can name nothing else: no scheme, no host, no way up. What is refused is
told by its rule and never repeated, since a query may hold secrets.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Set
from typing import Any
from urllib.parse import quote, quote_plus, unquote_to_bytes

from ..errors import InvalidTaskError
from .arguments import Pairs, kind, pairs

# RFC 3986, 4.2: a colon before the first slash makes it a scheme, or a host and port. Never a path.
_SCHEME_OR_HOST = re.compile(r"[^/?#]*:")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_UNSAFE_BYTES = re.compile(rb"[\x00-\x1f\x7f\\]")
_DOT_SEGMENTS = frozenset({b".", b".."})

# RFC 3986: pchar and the slash; a query may hold a question mark, too. The percent sign begins escapes that are kept.
_PATH_SAFE = "/%:@!$&'()*+,;=-._~"
_QUERY_SAFE = _PATH_SAFE + "?"
# What needs no second look: nothing escaped, no segment that begins with a dot, no slashes in front that become one.
_PLAIN = re.compile(
    r"(?!//)(?:/(?:[A-Za-z0-9:@!$&'()*+,;=_~-][A-Za-z0-9:@!$&'()*+,;=._~-]*)?)+"
    r"(?:\?[A-Za-z0-9/:@!$&'()*+,;=._~?-]+)?"
)


def task_url(url: str, params: Pairs | None = None) -> str:
    """Path and query, percent-encoded as UTF-8, with the parameters appended to a query that is already there.

    Raises InvalidTaskError. Percent escapes are kept as they are; a percent sign that begins none is refused, because
    it cannot be told what was meant, and so are fragments, which no server ever sees.
    """
    if params is None and type(url) is str and _PLAIN.fullmatch(url):
        return url
    path, _, query = _checked(url).partition("?")
    if not path:
        raise InvalidTaskError("the URL has no path: give at least '/'")
    path = _encoded("/" + path.lstrip("/"), _PATH_SAFE)
    _refuse_way_out(path)
    query = _encoded(query, _QUERY_SAFE)
    more = "&".join(f"{_form_encoded(name)}={_form_encoded(value)}" for name, value in _repeated(params))
    query = f"{query}&{more}" if query and more else query or more
    if "%00" in query:
        raise InvalidTaskError("the query holds a NUL, which nothing behind it will take: leave it out")
    return f"{path}?{query}" if query else path


def _checked(url: str) -> str:
    """The URL, when nothing in it is refused as it is written."""
    if not isinstance(url, str):
        hint = ": give the path of the view, which is called with a request of its own" if callable(url) else ""
        raise InvalidTaskError(f"the URL must be a str that holds a path, not {kind(url)}{hint}")
    if _SCHEME_OR_HOST.match(url):
        raise InvalidTaskError(
            "the URL begins with a scheme or a host and port: give a path inside the site, which begins with '/'"
        )
    if _CONTROL.search(url):
        raise InvalidTaskError("the URL holds a control character: percent-encode it in the query, or leave it out")
    if "\\" in url:
        raise InvalidTaskError("the URL holds a backslash: use '/', or write %5C in the query")
    if "#" in url:
        raise InvalidTaskError("the URL has a fragment, which no server ever sees: leave it out, or write %23")
    if _BROKEN_ESCAPE.search(url):
        raise InvalidTaskError("the URL holds a percent sign that begins no escape: write %25")
    return url


def _refuse_way_out(path: str) -> None:
    decoded = unquote_to_bytes(path)
    if _UNSAFE_BYTES.search(decoded):
        raise InvalidTaskError("the path holds an encoded control character or backslash: leave it out")
    # Twice encoded dots are refused as well, for the sake of whatever decodes once too often behind us.
    for segments in (decoded, unquote_to_bytes(decoded)):
        if not _DOT_SEGMENTS.isdisjoint(re.split(rb"[/\\]", segments)):
            raise InvalidTaskError("the path has a '.' or '..' segment, plain or encoded: give the path it leads to")


def _repeated(params: Pairs | None) -> Iterator[tuple[Any, Any]]:
    """Names and values, a list's name once for each of its items."""
    for name, value in pairs(params, "params"):
        for each in value if isinstance(value, (list, tuple)) else (value,):
            yield name, each


def _form_encoded(value: Any) -> str:
    """One name or value as a form would send it: UTF-8, a blank is a plus. bool is true or false, others are str."""
    if value is None:
        raise InvalidTaskError("a parameter is None: leave it out, or give an empty str")
    if isinstance(value, (Mapping, Set, list, tuple)):
        raise InvalidTaskError(f"a parameter is {kind(value)}: give a str, or a list of such, or send it as payload")
    if isinstance(value, bool):
        value = "true" if value else "false"
    return quote_plus(value) if isinstance(value, bytes) else _quoted(quote_plus, str(value))


def _encoded(text: str, safe: str) -> str:
    return _quoted(quote, text, safe)


def _quoted(quoting: Callable[..., str], text: str, safe: str = "") -> str:
    try:
        return quoting(text, safe, "utf-8", "strict")
    except UnicodeEncodeError:
        raise InvalidTaskError("the URL or a parameter holds a lone surrogate, which is no character") from None
