"""What can go wrong with a PostgreSQL server, and what to do about it, told from the SQLSTATE or words of its error.

Knows no connection. Of the server's own words no more is repeated than is known to be harmless: details and quoted
words may be values of rows.
"""

from __future__ import annotations

import re

from ..errors import BackendUnavailableError


class RefusedError(Exception):
    """The server's answer is an error: its SQLSTATE, and the first line of its text."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(code, text)
        self.code = code
        self.text = text


class LostError(Exception):
    """The connection could not be made, or is lost, and nobody knows what the server did. The text is one line."""


class CrowdedError(LostError):
    """There is no connection to be had, for too many have one."""


class ServerRefusedError(BackendUnavailableError):
    """What a RefusedError becomes for callers of the backend."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


MIGRATE = "run taskqueue migrate with the ini file"
NO_TABLE = "42P01"
CROWDED = "53300"
NO_PRIVILEGE = "42501"
# The same code is that of a system call that was refused, as by a file system that is read-only.
_OF_THE_SYSTEM = (
    "Read-only file system",
    "could not open file",
    "could not write",
    "could not extend",
    "could not create",
)
_ON_A_STANDBY = "during recovery"  # with whatever code
# The transaction did not happen, for no fault of its own: it is to be tried again.
TRANSIENT = frozenset({"40001", "40P01"})
# A statement that was planned before is not known, or means something else now: it is to be sent whole, elsewhere.
UNPREPARED = frozenset({"26000", "0A000"})
# After these, the server is another one, or will be: nothing that is connected to it is worth keeping.
FAREWELLS = frozenset({"25006", "57P01", "57P02", "57P03", "57P05"})

_PASSWORD = "it refuses this user or password; set both in url, or the password in the file that PGPASSFILE names"  # noqa: S105  # it is none
_STARTING = "it is starting up or shutting down; it answers when it has started"
_READ_ONLY = "it takes no changes (a standby, or read-only); name the primary, or add ?target_session_attrs=read-write"
_CLIENTS = "it has as many clients as it takes; raise its max_connections, or put PgBouncer before it"
_RIGHTS = f"this user lacks a right in it; {MIGRATE} as the owner of the tables, and grant this user what it needs"

# SQLSTATE -> what it means here, and what to do.
_CURES = {
    "23502": "its tables are not as this release made them; were they changed by hand?",
    "25006": _READ_ONLY,
    "28000": "it does not let this user in from here; see its pg_hba.conf",
    "28P01": _PASSWORD,
    "3D000": "there is no such database; create it, or name another in url",
    "3F000": "this user may use no schema in it; grant it USAGE on the one with the queue's tables, or see search_path",
    "40001": "others changed the same tasks at the same time, again and again; try again",
    "40P01": "others changed the same tasks at the same time, again and again; try again",
    "42501": _RIGHTS,
    "42703": f"its tables are not those of this release; {MIGRATE}",
    "42P01": f"the tables of the queue are missing; {MIGRATE}",
    "53100": "its disk is full; make room, and what waits goes on",
    "53200": "it is out of memory; see its log",
    "53300": _CLIENTS,
    "53400": "it is at a limit of its configuration; see its log",
    "55P03": "somebody else locks the tasks for too long; see pg_locks, and try again",
    "57014": "it cancelled the statement, which took too long or was cancelled by hand; see its log",
    "57P01": _STARTING,
    "57P02": _STARTING,
    "57P03": _STARTING,
    "57P05": "it closes idle sessions; try again",
    "58030": "it cannot read or write its files; see its log, and its disk",
    "XX001": "its data is damaged; see its log",
    "XX002": "its data is damaged; see its log",
    # Ours, of no server.
    "VERSION": "it is too old; PostgreSQL 12 or newer is needed",
    "CREATE": f"the tables of the queue are missing, and this user may not make them; {MIGRATE} as a user who may",
    "OLDER": f"its tables are those of an older release; {MIGRATE}",
    "NEWER": "its tables are those of a newer release; upgrade this instance",
    "URL": "libpq does not take a value that stands behind the ? of url; see its documentation",
    "HOST": "its host is not found; see the host in url",
    "REFUSED": "nothing listens there; see host and port in url, and whether the server runs",
    "TLS": "no TLS connection can be made as url wants it; see sslmode and the certificates",
}
# What is told without a SQLSTATE: libpq passes on no more than words of an error on connecting.
_WORDS = (
    ("password authentication failed", "28P01"),
    ("no password supplied", "28P01"),
    ("authentication failed", "28P01"),
    ("pg_hba.conf", "28000"),
    ("is not permitted to log in", "28000"),
    ("no such database", "3D000"),
    ("no such user", "28P01"),
    ("starting up", "57P03"),
    ("shutting down", "57P03"),
    ("recovery", "57P03"),
    ("not accepting connections", "57P03"),
    ("not yet accepting connections", "57P03"),
    ("too many clients", "53300"),
    ("too many connections", "53300"),
    ("connection slots", "53300"),
    ("no more connections allowed", "53300"),
    ("session is read-only", "25006"),
    ("session is not read-only", "25006"),
    ("server is in hot standby", "25006"),
    ("could not translate host name", "HOST"),
    ("connection refused", "REFUSED"),
    ("no such file", "REFUSED"),
    ("certificate", "TLS"),
    ("ssl", "TLS"),
)
_DATABASE_MISSING = re.compile(r"database .* does not exist")
_VALUE_REFUSED = re.compile(r"^invalid \S+ value|^invalid .*connection option")
_ROLE_MISSING = re.compile(r"role .* does not exist")
_QUOTED = re.compile(r"(\"[^\"]*\"|'[^']*')")


def code_of(text: str) -> str:
    """The SQLSTATE, or a word of ours, that an error's words stand for; empty for words that are not known."""
    lower = text.lower()
    if _DATABASE_MISSING.search(lower):
        return "3D000"
    if _ROLE_MISSING.search(lower):
        return "28P01"
    if _VALUE_REFUSED.search(lower):
        return "URL"
    return next((code for words, code in _WORDS if words in lower), "")


def explain(code: str, text: str) -> str:
    """What a server's error means and what to do about it, in one line."""
    if code == NO_PRIVILEGE and any(words in text for words in _OF_THE_SYSTEM):
        return "it cannot write to its disk; see its log, and whether its file system is mounted read-only"
    if _ON_A_STANDBY in text:
        return _READ_ONLY
    if code in _CURES:
        return _CURES[code]
    words = " ".join(_QUOTED.sub("…", text).split())
    return f"it refuses: {words[:120]} (SQLSTATE {code or 'unknown'}); see its log"


def explain_lost(text: str) -> str:
    """What an error on connecting means, in one line."""
    code = code_of(text)
    if code:
        return _CURES[code]
    words = " ".join(_QUOTED.sub("…", text).split())
    return f"the connection is lost ({words[:120] or 'no reason given'}); see that the server runs"
