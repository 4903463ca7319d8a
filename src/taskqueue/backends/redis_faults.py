"""What can go wrong with a Redis server, and what to do about it, told from the code of its error. Knows no connection.

Of the server's own words no more is repeated than is known to be harmless: some errors quote what they were sent.
"""

from __future__ import annotations

import re

from ..errors import BackendUnavailableError


class RefusedError(Exception):
    """The server's reply is an error: ``code`` is its first word, ``text`` the rest."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(code, text)
        self.code = code
        self.text = text


class LostError(Exception):
    """The connection could not be made, or is lost, and nobody knows what the server did. The text is one line."""


class ServerRefusedError(BackendUnavailableError):
    """What a RefusedError becomes for callers of the backend."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code
        self.only_adding = code == "OOM"  # what makes no room, and is not to be refused, is flagged allow-oom


# The first word of an error, and what it means here.
_CURES = {
    "OOM": "it is full (maxmemory), so nothing can be added; what waits can still be worked off: let consumers do so, "
    "or raise its maxmemory",
    "READONLY": "it is a read-only replica; name the primary, or an address that follows it",
    "MISCONF": "it cannot save to its disk, and so takes no changes; see its log, and make room",
    "NOAUTH": "it asks for a password; set password or password_file, and user if it has several",
    "WRONGPASS": "it refuses this user or password; set user, and password or password_file, as it knows them",
    "NOPERM": "this user lacks a right; the ACL that is needed stands in the documentation",
    "LOADING": "it is still loading its data; it answers when it has",
    "BUSY": "it is busy with somebody else's script; see its slow log",
    "MASTERDOWN": "it is a replica that has lost its primary; name the primary, or an address that follows it",
    "NOREPLICAS": "it has too few replicas to take changes (min-replicas-to-write)",
    "CLUSTERDOWN": "the cluster that it belongs to is down; see the logs of its nodes",
    "TRYAGAIN": "the cluster is moving this queue to another node; it answers when it has",
    "ASK": "the cluster is moving this queue to another node; it answers when it has",
    "MOVED": "the nodes of its cluster do not agree on where this queue is; see CLUSTER SLOTS",
    "CROSSSLOT": "a proxy before it takes no scripts with several keys; connect to the server itself",
    "WRONGTYPE": "it holds something else under the names of this queue; choose another prefix",
    "VERSION": "it is too old; Redis 7.0 or newer is needed",
    "SCHEMA": "this queue was written by a newer release; upgrade this instance",
    "MAXCLIENTS": "it has as many clients as it takes; raise its maxclients, or see who they are with CLIENT LIST",
    "NODB": "it has no database of this number; set db to one that it has (databases in its configuration)",
    "NOTREDIS": "what answers there is no Redis server; see host and port",
}
# What is told without a code of its own.
_WORDS = (
    ("max number of clients", "MAXCLIENTS"),
    ("DB index is out of range", "NODB"),
    ("SELECT is not allowed in cluster mode", "NODB"),
    ("user executing the script can't", "NOPERM"),
    ("unknown command", "VERSION"),
    ("invalid username-password", "WRONGPASS"),
    ("without any password configured", "WRONGPASS"),
)
_QUOTED = re.compile(r"('|\"|with args).*", re.S)


def explain(code: str, text: str) -> str:
    """What a server's error means and what to do about it, in one line."""
    whole = f"{code} {text}"
    known = code if code in _CURES else next((each for words, each in _WORDS if words in whole), "")
    if known:
        return _CURES[known]
    words = " ".join(_QUOTED.sub("…", whole).split())
    return f"it refuses: {words[:120]}; see its log"
