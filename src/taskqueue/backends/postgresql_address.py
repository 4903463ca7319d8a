"""Where a PostgreSQL database is, and who connects: its URL, taken apart by libpq. Knows no connection."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

_SCHEMES = ("postgresql://", "postgres://")
_URL_FORM = (
    "a URL such as postgresql://user:password@host:5432/database, or postgresql:///database?host=/run/postgresql"
)
# A connection that was dropped silently is noticed by the kernel; of those, what the URL says itself wins.
_DEFAULTS = {
    "fallback_application_name": "taskqueue",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
}
# What stands in a URL once for each of several hosts.
_BY_HOST = ("host", "hostaddr", "port")


@dataclass(frozen=True)
class Address:
    """A database and how to get in. ``attempts`` are tried one after the other until one answers."""

    where: str  # what people are told
    attempts: Sequence[Mapping[str, str]] = field(repr=False)


def address_of(url: str) -> Address:
    """The address that a URL gives; what it leaves out is found as libpq does. Raises ValueError, which shows no
    password."""
    try:
        from psycopg import Error, capabilities  # noqa: PLC0415  # psycopg is an extra, and loaded where a queue of this type is
        from psycopg.conninfo import conninfo_to_dict  # noqa: PLC0415  # the same
    except ImportError as error:
        reason = "it needs psycopg" if isinstance(error, ModuleNotFoundError) else "psycopg cannot be loaded"
        raise ValueError(f"{reason}; install wsgi-taskqueue[postgresql]") from None
    if not capabilities.has_pipeline():
        raise ValueError("psycopg uses a libpq older than 14; install wsgi-taskqueue[postgresql]")
    if not isinstance(url, str) or not url.startswith(_SCHEMES):
        raise ValueError(f"url takes {_URL_FORM}")
    try:
        given = {name: str(value) for name, value in conninfo_to_dict(url).items() if value is not None}
    except (Error, UnicodeError):
        # The error of libpq quotes what it was given.
        raise ValueError(f"url takes {_URL_FORM}; a special character in a part of it is written as %xx") from None
    if not all(_is_port(port) for port in given.get("port", "").split(",") if port):
        raise ValueError(f"url takes {_URL_FORM}; a port is a number from 1 to 65535")
    return Address(where=_where(given), attempts=_attempts({**_DEFAULTS, **given}))


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and 0 < int(text[:6]) < 65536


def _where(given: Mapping[str, str]) -> str:
    host = given.get("host") or given.get("hostaddr") or os.environ.get("PGHOST") or "localhost"
    port = given.get("port") or os.environ.get("PGPORT") or "5432"
    database = given.get("dbname") or os.environ.get("PGDATABASE") or given.get("user") or ""
    if "," in host:
        place = host
    elif host.startswith("/"):
        place = f"{host}:{port}"
    else:
        place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return f"{place}/{database}" if database else place


def _attempts(given: Mapping[str, str]) -> Sequence[Mapping[str, str]]:
    """One address for each of several hosts, so that one that is silent takes no more than its share of the time."""
    count = max(given.get(name, "").count(",") + 1 for name in _BY_HOST)
    if count == 1:
        return [given]
    by_host = {name: given[name].split(",") for name in _BY_HOST if given.get(name)}
    return [
        {**given, **{name: words[index if len(words) == count else 0] for name, words in by_host.items()}}
        for index in range(count)
    ]
