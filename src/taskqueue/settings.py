"""Every option once: its name, how it is read, its default, and one line of help.

The ini file, Pyramid settings and keyword arguments are read through the same two tables, and so is the reference
in the documentation. What cannot be used becomes a ConfigurationError of one line that names the place, the option and
what is allowed there. Knows no files.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from . import spelling
from .converters import (
    base_url,
    boolean,
    dotted_names,
    duration,
    duration_or_for_ever,
    file_path,
    header_names,
    host,
    is_plain_path,
    key_file,
    keys,
    name,
    one_of,
    or_none,
    outcomes,
    readable_file,
    size,
    text,
    whole_number,
)
from .errors import ConfigurationError
from .record import MINIMUM_KEY_BYTES

REQUIRED = object()
NEAR = 0.75  # of two words that are alike


@dataclass(frozen=True)
class Option:
    """One option: ``convert`` raises ValueError, whose text says what is allowed."""

    name: str
    convert: Callable[[Any], Any]
    default: Any
    help: str
    secret: bool = False  # its value is never shown
    is_path: bool = False  # in a file, relative to the folder of that file
    elsewhere: tuple[str, ...] = ()  # what it is called in other products; who writes that is told the name


QUEUE_OPTIONS = (
    Option("type", text, "local", "local, sqlite, redis, postgresql, or the dotted path of a class of your own"),
    Option("prefix", name, "taskqueue", "keeps sites apart that share a store"),
    Option("payload_limit", size, 1024 * 1024, "a larger payload is refused by add"),
    Option("header_limit", size, 32 * 1024, "more header bytes are refused by add"),
    Option("length_limit", whole_number(1, "none"), None, "add fails while so many tasks wait; none for no limit"),
    Option("base_url", base_url, "", "scheme, host and mount point of tasks that are added outside a request"),
    Option("secret", keys, (), "keys that seal the records, newest first, 32 characters or more each", secret=True),
    Option("secret_file", key_file, (), "a file with such keys, one a line", secret=True, is_path=True),
    Option(
        "in_doubt", one_of("hold", "publish", "discard"), "hold", "what to do with tasks whose commit nobody knows of"
    ),
    Option(
        "witness", dotted_names, (), "dotted names of ZODB databases and session factories that know what committed"
    ),
    Option("copy_headers", header_names, None, "all, or the names of the request's headers that a task gets"),
    Option("copy_remote_user", boolean, False, "give the task the request's REMOTE_USER"),
    Option(
        "auth",
        one_of("copy", "principal"),
        "copy",
        "how its tasks log in: with copied credentials, or as the user on record, without any; this takes a secret",
    ),
    Option("csrf_exempt", boolean, True, "in Zope: whether its tasks pass the check of plone.protect"),
)

# Options of one type of queue only; the class of a dotted type declares its own as ``options``.
BACKEND_OPTIONS: Mapping[str, tuple[Option, ...]] = {
    "local": (),
    "sqlite": (
        Option("path", file_path, REQUIRED, "the file of the queue; it is made when it is missing", is_path=True),
        Option(
            "synchronous",
            one_of("full", "normal"),
            "full",
            "full: what was committed survives a loss of power; normal: its last moments may not, and it is faster",
        ),
    ),
    "redis": (
        Option("host", or_none(host), None, "the server's host; localhost when nothing is said"),
        Option("port", whole_number(1, "none"), None, "its port; 6379 when nothing is said"),
        Option("unix_socket_path", or_none(text), None, "its unix socket; wins over host and port", is_path=True),
        Option("db", whole_number(0, "none"), None, "the number of the database; 0 when nothing is said"),
        Option("user", or_none(text), None, "the ACL user, where the server has several"),
        Option("password", or_none(text), None, "the password", secret=True),
        Option(
            "password_file",
            or_none(readable_file),
            None,
            "a file with the password, read for each connection",
            is_path=True,
        ),
        Option("tls", boolean, False, "speak TLS, and see that the certificate is the host's"),
        Option(
            "tls_ca_file",
            or_none(readable_file),
            None,
            "certificates that are trusted; the system's by default",
            is_path=True,
        ),
        Option(
            "tls_cert_file",
            or_none(readable_file),
            None,
            "this client's certificate, if the server wants one",
            is_path=True,
        ),
        Option("tls_key_file", or_none(readable_file), None, "its key, if it is in a file of its own", is_path=True),
        Option(
            "url",
            or_none(text),
            None,
            "instead of all that: redis://user:password@host:port/db, rediss:// for TLS, unix:///path",
            secret=True,
        ),
    ),
    "postgresql": (
        Option(
            "url",
            text,
            REQUIRED,
            "postgresql://user:password@host:port/database; libpq finds what it leaves out, as by PGPASSFILE",
            secret=True,
        ),
        Option("shared", boolean, False, "the application's own data is in that database: its commits carry the tasks"),
    ),
}

SERVER_OPTIONS = (
    Option("queue", name, "default", "the queue to take tasks from"),
    Option(
        "concurrent_limit",
        whole_number(1),
        1,
        "how many tasks run at the same time in each process",
        elsewhere=("concurrency", "max_workers", "num_workers", "threads", "worker_count", "workers"),
    ),
    Option(
        "retry_max_count",
        whole_number(0),
        10,
        "how often a task that fails is tried again; 0 for never",
        elsewhere=("attempts", "max_attempts", "max_retries", "max_retry", "max_tries", "retries", "retry_limit"),
    ),
    Option("min_backoff", duration(), 5.0, "the wait before the first retry"),
    Option("max_backoff", duration(), 3600.0, "the longest wait before a retry"),
    Option("max_doublings", whole_number(0), 16, "how often the wait doubles before it grows steadily"),
    Option("conflict_backoff", duration(), 0.5, "the wait after a conflict, in place of min_backoff"),
    Option("lease", duration(1), 60.0, "a process that has not renewed its lease for so long counts as dead"),
    Option("renew", duration(0.1), 15.0, "how often the lease is renewed, and what the dead left is looked for"),
    Option("deadline", duration(0.1), 600.0, "a task that runs longer is reported as stuck, and its place is filled"),
    Option("grace", duration(), 25.0, "how long a stopping process waits for the tasks that run"),
    Option("prefetch", duration(), 0.05, "take so much work ahead, measured in time"),
    Option("max_deaths", whole_number(1), 3, "a task that ran alone when its process died, so often, is dead"),
    Option(
        "acknowledge",
        one_of("afterwards", "with-transaction"),
        "afterwards",
        "when a task is done: after its transaction, or in it, so that its effect in that database happens once",
    ),
    Option("outcomes", outcomes, {}, "changes to the outcome table, such as 302=done 4xx=retry"),
    Option(
        "consume", one_of("auto", "yes", "no"), "auto", "whether this process consumes; auto: if it serves requests"
    ),
    Option("keep_done", duration(), 86400.0, "how long done tasks can be looked at"),
    Option("keep_done_count", whole_number(0), 10_000, "how many of them"),
    Option("keep_dead", duration_or_for_ever, None, "how long dead tasks are kept"),
    Option("keep_secrets", duration(), 86400.0, "how long dead tasks keep payload and credentials, to be run again"),
)


@dataclass(frozen=True)
class QueueSettings:
    """One ``[taskqueue:NAME]``, understood."""

    queue: str = "default"
    type: str = "local"
    prefix: str = "taskqueue"
    payload_limit: int = 1024 * 1024
    header_limit: int = 32 * 1024
    length_limit: int | None = None
    base_url: str = ""
    secret: tuple[bytes, ...] = field(default=(), repr=False)
    in_doubt: str = "hold"
    copy_headers: frozenset[str] | None = None
    copy_remote_user: bool = False
    auth: str = "copy"
    csrf_exempt: bool = True
    witness: tuple[str, ...] = ()
    backend_options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    place: str = field(default="", repr=False, compare=False)  # of its type, for an error of its class


@dataclass(frozen=True)
class ServerSettings:
    """One ``[taskqueue-server:NAME]``, understood. Durations are seconds."""

    name: str = "default"
    queue: str = "default"
    concurrent_limit: int = 1
    retry_max_count: int = 10
    min_backoff: float = 5.0
    max_backoff: float = 3600.0
    max_doublings: int = 16
    conflict_backoff: float = 0.5
    lease: float = 60.0
    renew: float = 15.0
    deadline: float = 600.0
    grace: float = 25.0
    prefetch: float = 0.05
    max_deaths: int = 3
    acknowledge: str = "afterwards"
    outcomes: Mapping[str, str] = field(default_factory=dict)
    consume: str = "auto"
    keep_done: float = 86400.0
    keep_done_count: int = 10_000
    keep_dead: float | None = None
    keep_secrets: float = 86400.0


@dataclass(frozen=True)
class Section:
    """The options given for one queue or consumer, and how their place is written in an error."""

    name: str
    options: Mapping[str, Any]
    place: str  # of the section
    around_option: tuple[str, str] = (" ", "")
    folder: str = ""  # where relative paths begin; empty: where the process stands

    @property
    def head(self) -> str:
        """The name that its head gives it."""
        return self.name

    def error(self, option: object, message: str) -> ConfigurationError:
        """The one line for an option of this section, or for the section itself where the option is empty."""
        return ConfigurationError(one_line(f"{self.place_of(option)}: {message}"))

    def place_of(self, option: object) -> str:
        """Where an option of this section stands."""
        before, after = self.around_option
        return f"{self.place}{before}{option}{after}" if option != "" else self.place


def one_line(text: str) -> str:
    """Text with its line ends and other control characters escaped: an error is one line, whatever was in the file."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", lambda match: ascii(match[0])[1:-1], text)


def read_section(section: Section, table: Sequence[Option]) -> dict[str, Any]:
    """The values of a section through a table of options, defaults filled in."""
    known = {option.name: option for option in table}
    for given in section.options:
        if given not in known:
            raise section.error(_shortened(given), _no_such_option(given, table))
    values = {}
    for option in table:
        if option.name not in section.options:
            if option.default is REQUIRED:
                raise section.error(option.name, f"is missing; it takes {option.help}")
            values[option.name] = option.default
            continue
        value = _located(section, option)
        try:
            values[option.name] = option.convert(value)
        except (ValueError, TypeError, ArithmeticError, LookupError) as error:
            raise section.error(option.name, _not_allowed(option, value, str(error))) from None
    return values


def _located(section: Section, option: Option) -> Any:
    """The value of an option; a relative path begins at the folder of its file, wherever the process stands."""
    value = section.options[option.name]
    if not (option.is_path and section.folder and isinstance(value, str) and value.strip()):
        return value
    is_none = option.default is None and value.strip().lower() == "none"
    return value if is_none or not is_plain_path(value) else os.path.join(section.folder, value.strip())


def _not_allowed(option: Option, value: Any, allowed: str) -> str:
    if not option.secret:
        return f"takes {allowed}, not {str(value)[:60]!r}"
    # The converter of somebody else's option may say what it was given.
    return f"takes {option.help if str(value) in allowed else allowed}"


def read_queue(section: Section, backend_options: Callable[[str], Sequence[Option]]) -> QueueSettings:
    """A queue's section. ``backend_options`` tells the options of a type; it raises ValueError for an unknown one."""
    queue = _read_name(section)
    kind = section.options.get("type", "local")
    kind = kind.strip() if isinstance(kind, str) else repr(kind)
    try:
        own = tuple(backend_options(kind))
    except ValueError as error:
        raise section.error("type", str(error)) from None
    _refuse_other_types(section, kind, QUEUE_OPTIONS + own)
    values = read_section(section, QUEUE_OPTIONS + own)
    secret, secret_file = values.pop("secret"), values.pop("secret_file")
    if secret and secret_file:
        raise section.error("secret_file", "cannot stand beside secret; use one of them")
    if values["auth"] == "principal" and not (secret or secret_file):
        raise section.error(
            "auth",
            "principal takes a secret or secret_file beside it: whoever can write to the store could be anybody else",
        )
    own_values = {option.name: values.pop(option.name) for option in own}
    values.update(secret=secret or secret_file, backend_options=own_values, place=section.place_of("type"))
    return QueueSettings(queue=queue, **values)


def _refuse_other_types(section: Section, kind: str, table: Sequence[Option]) -> None:
    """Options of other types. What is no option of any is told first: a misspelt ``type`` makes all others wrong."""
    known = {option.name for option in table}
    others = [option for options in BACKEND_OPTIONS.values() for option in options]
    types = {given: _types_with(given) for given in section.options if given not in known}
    for given, names in types.items():
        if not names:
            near = others if "type" not in section.options else ()
            raise section.error(_shortened(given), _no_such_option(given, table, near))
    for given, names in types.items():
        of_types = f"is an option of type {' or '.join(names)}"
        added = spelling.option(section.place_of("type"), "type", names[0])
        if "type" in section.options:
            raise section.error(given, f"{of_types}, and this queue is of type {kind}")
        raise section.error(given, f"{of_types}; no type is given, so it is {kind}; add {added}")


def _types_with(given: object) -> list[str]:
    """The types of queues that have an option of that name."""
    return [name for name, options in BACKEND_OPTIONS.items() if given in {option.name for option in options}]


def read_server(section: Section) -> ServerSettings:
    """A consumer's section."""
    values = read_section(section, SERVER_OPTIONS)
    if "renew" not in section.options:
        values["renew"] = min(values["renew"], values["lease"] / 4)
    server = ServerSettings(name=_read_name(section), **values)
    if server.min_backoff > server.max_backoff:
        given = "min_backoff" if "min_backoff" in section.options else "max_backoff"
        raise section.error(given, f"min_backoff, {server.min_backoff:g} s, takes no more than max_backoff")
    if server.renew * 2 > server.lease:
        raise section.error("renew", "takes half of lease or less, so that one late renewal does no harm")
    return server


def _read_name(section: Section) -> str:
    try:
        return name(section.name)
    except ValueError as error:
        raise section.error("", f"takes {error}, not {section.name[:60]!r}") from None


def _all_queue_options() -> set[str]:
    return {option.name for options in (QUEUE_OPTIONS, *BACKEND_OPTIONS.values()) for option in options}


def _shortened(given: object) -> str:
    """An option's name as far as it can be one: a key on a line that is not indented looks like one, too."""
    word = str(given)
    return word if len(word) < MINIMUM_KEY_BYTES else f"{word[:8]}…"


def _no_such_option(given: object, table: Sequence[Option], others: Iterable[Option] = ()) -> str:
    if table is not SERVER_OPTIONS and given in {option.name for option in SERVER_OPTIONS}:
        return "is an option of consumers, which are configured beside the queues"
    if table is SERVER_OPTIONS and given in _all_queue_options():
        return "is an option of queues, not of their consumers"
    near = _nearest(str(given), (*table, *others))
    hint = f"did you mean {near}?" if near else "there are: " + ", ".join(sorted(option.name for option in table))
    return f"is not an option; {hint}"


def _nearest(given: str, options: Sequence[Option]) -> str | None:
    """The option that somebody may have meant: of that name in other products, or of nearly that name here."""
    word = given.lower().replace("-", "_")
    known = next((option.name for option in options if word in option.elsewhere), None)
    near = difflib.get_close_matches(word, [option.name for option in options], n=1, cutoff=NEAR)
    return known or (near[0] if near else None)
