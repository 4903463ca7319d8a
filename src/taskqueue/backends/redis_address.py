"""Where a Redis server is, and who connects: the options of the connection, put together. Knows no connection."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

_SCHEMES = ("redis", "rediss", "unix")
_URL_FORMS = "a URL such as redis://user:password@host:6379/0, rediss://… for TLS, or unix:///path/redis.sock"
_IN_URL = ("host", "port", "db", "user", "password", "unix_socket_path", "tls")


@dataclass(frozen=True)
class Address:
    """A server and how to get in. ``path`` is that of a unix socket, empty for TCP."""

    host: str = "localhost"
    port: int = 6379
    path: str = ""
    db: int = 0
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    password_file: str | None = None
    tls: bool = False
    tls_ca_file: str | None = None
    tls_cert_file: str | None = None
    tls_key_file: str | None = None

    @property
    def where(self) -> str:
        """What people are told."""
        if self.path:
            return self.path
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def at_node(self, host: str, port: int) -> Address:
        """The same, at another node of its cluster."""
        return replace(self, host=host or self.host, port=port)

    def read_password(self) -> str | None:
        """The password, from its file if it is in one; read for each connection, since it may have been changed."""
        if self.password_file is None:
            return self.password
        return Path(self.password_file).read_text("utf-8").strip()


def address_of(options: Mapping[str, Any]) -> Address:
    """The address that options give; those that are not given are None. Raises ValueError, which shows no password."""
    given = {name: value for name, value in options.items() if value not in {None, False, ""}}
    if "url" in given:
        beside = [name for name in _IN_URL if name in given]
        if beside:
            raise ValueError(f"url cannot stand beside {', '.join(beside)}: they are parts of it")
        given.update(_parts_of(str(given.pop("url"))))
    _check(given)
    path = given.pop("unix_socket_path", "")
    for name in ("password_file", "tls_ca_file", "tls_cert_file", "tls_key_file"):
        if name in given:
            given[name] = os.path.abspath(given[name])
    return Address(path=os.path.abspath(path) if path else "", **given)


def _parts_of(url: str) -> dict[str, Any]:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError(f"url takes {_URL_FORMS}") from None
    if parts.scheme not in _SCHEMES or parts.query or parts.fragment or (parts.scheme == "unix" and not parts.path):
        raise ValueError(f"url takes {_URL_FORMS}, without a query")
    found: dict[str, Any] = {
        "user": unquote(parts.username or ""),
        "password": unquote(parts.password or ""),
        "tls": parts.scheme == "rediss",
    }
    if parts.scheme == "unix":
        return _only_given({**found, "unix_socket_path": unquote(parts.path)})
    db = parts.path.strip("/")
    if not (db.isascii() and db.isdigit()) and db:
        raise ValueError(f"url takes {_URL_FORMS}: the path is the number of a database")
    return _only_given({**found, "host": host, "port": port, "db": int(db or 0)})


def _only_given(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value not in {None, False, ""}}


def _check(given: Mapping[str, Any]) -> None:
    if "password" in given and "password_file" in given:
        raise ValueError("password_file cannot stand beside password; use one of them")
    if "user" in given and not ("password" in given or "password_file" in given):
        raise ValueError("user needs password or password_file beside it")
    if not 0 < int(given.get("port", 6379)) < 65536:
        raise ValueError("port takes a number from 1 to 65535")
    files = [name for name in ("tls_ca_file", "tls_cert_file", "tls_key_file") if name in given]
    if files and not given.get("tls"):
        raise ValueError(f"{files[0]} needs tls to be true, or a url that begins with rediss")
    if given.get("tls") and "unix_socket_path" in given:
        raise ValueError("tls cannot be used with unix_socket_path: what goes through a socket stays on this machine")
    if "tls_key_file" in given and "tls_cert_file" not in given:
        raise ValueError("tls_key_file needs tls_cert_file beside it")
