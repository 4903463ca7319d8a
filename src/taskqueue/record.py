"""The record: a task, its states and who may change them, its encoding and its seal.

A record is what ``add`` decided, encoded once. It is stored in two parts: the body, which tells what to request,
and the secrets, which are the payload and the headers that carry credentials, so that they can be wiped while the
rest stays to be looked at. Nothing in a record is looked up as code, and decoding validates every field.

The encoded body is a MessagePack array ``[version, kind, key id, seal, fields]``. The seal is an HMAC-SHA256 over
all of it and the secrets, with a key of the configuration; both key id and seal are empty when there are no keys.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import os
import threading
import time
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any, TypeVar

import msgspec

from .errors import BrokenSealError, InvalidTaskError, RecordError, UnknownRecordError
from .interfaces import Record, WitnessMark

VERSION = 1
KIND = "request"
MINIMUM_KEY_BYTES = 32
CACHED_NAMES, CACHED_CHARACTERS = 1024, 64
# A header whose name holds one of these, "_" read as "-", may carry credentials.
SECRET_HEADER_PARTS = (
    *("authorization", "cookie", "token", "secret", "password", "credential", "signature"),
    *("api-key", "apikey", "x-auth", "session", "jwt"),
)


class State(str, Enum):
    """Where a task is on its road. ``GONE`` is remembered for an hour, and nothing leads out of it."""

    STAGED = "staged"
    HELD = "held"
    SCHEDULED = "scheduled"
    READY = "ready"
    RUNNING = "running"
    DONE = "done"
    DEAD = "dead"
    GONE = "gone"
    __hash__ = str.__hash__  # as that of the text that it equals; that of Enum is another one, and slower


STORED_STATES = tuple(state for state in State if state is not State.GONE)
_S = State

# (state, verb of the backend) -> the states it may lead to. None is a task that the store has never seen. A pair that
# is not listed changes nothing. The diagram in the documentation is drawn from this table.
TRANSITIONS: Mapping[tuple[State | None, str], tuple[State, ...]] = {
    (None, "stage"): (_S.STAGED,),
    (None, "publish"): (_S.READY, _S.SCHEDULED),
    (_S.STAGED, "publish"): (_S.READY, _S.SCHEDULED),
    (_S.STAGED, "discard"): (_S.GONE,),
    (_S.STAGED, "reclaim"): (_S.HELD,),
    (_S.STAGED, "settle"): (_S.READY, _S.SCHEDULED, _S.GONE, _S.HELD),
    (_S.HELD, "publish"): (_S.READY, _S.SCHEDULED),
    (_S.HELD, "discard"): (_S.GONE,),
    (_S.HELD, "settle"): (_S.READY, _S.SCHEDULED, _S.GONE),
    (_S.SCHEDULED, "promote"): (_S.READY,),
    (_S.SCHEDULED, "requeue"): (_S.READY,),
    (_S.SCHEDULED, "delete"): (_S.GONE,),
    (_S.READY, "exchange"): (_S.RUNNING,),
    (_S.READY, "delete"): (_S.GONE,),
    (_S.RUNNING, "exchange"): (_S.DONE, _S.SCHEDULED, _S.READY, _S.DEAD),
    (_S.RUNNING, "release"): (_S.READY,),
    (_S.RUNNING, "reclaim"): (_S.READY, _S.DEAD),
    (_S.DONE, "prune"): (_S.GONE,),
    (_S.DONE, "delete"): (_S.GONE,),
    (_S.DEAD, "requeue"): (_S.READY,),
    (_S.DEAD, "prune"): (_S.GONE,),
    (_S.DEAD, "delete"): (_S.GONE,),
}

Headers = tuple[tuple[str, str], ...]


class Principal(msgspec.Struct, frozen=True):
    """Who added a task: a user id, and what defines that id ("pyramid", the path of a user folder; may be empty)."""

    user_id: str
    source: str = ""


class Outcome(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """What one replay came to."""

    state: str  # the state that it led to
    reason: str  # one line for people
    status: int | None = None  # None when there was no response
    headers: Headers = ()  # of the response, never Set-Cookie
    body: bytes = b""  # its first 4 KiB
    error: str = ""  # type and text of the exception
    attempt: int = 0  # the number of the replay among those that count, from 1
    duration_seconds: float = 0.0
    finished_at: float = 0.0


class Task(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A task: one request kept for later.

    The upper fields are as ``add`` made them; the lower ones are its progress, as the store had it when it was read.
    Times are seconds since the epoch.
    """

    id: str  # UUIDv7 (RFC 9562): sorts by the time it was added
    queue: str
    method: str
    url: str  # path and query, percent-encoded, inside the site
    headers: Headers = ()
    payload: bytes | None = None
    base_url: str = ""  # scheme, host and mount point, as the caller saw them
    connection: dict[str, str] = {}  # CGI variables of the caller's connection: REMOTE_ADDR, SERVER_NAME …
    principal: Principal | None = None
    priority: int = 0
    due: float = 0.0
    unique_name: str | None = None  # reserved
    concurrency_key: str | None = None  # reserved
    max_attempts: int | None = None  # None: as the consumer is configured
    parent_id: str | None = None  # the task that added this one
    trace: str | None = None  # the caller's traceparent (W3C Trace Context)
    added_at: float = 0.0

    state: str = ""
    claim_number: int = 0
    attempts: int = 0
    deaths: int = 0
    suspect: bool = False
    owner: str = ""
    consumer: str = ""
    staged_at: float | None = None
    published_at: float | None = None
    first_claimed_at: float | None = None
    claimed_at: float | None = None
    finished_at: float | None = None
    wiped: bool = False  # payload and credentials are gone
    last_outcome: Outcome | None = None

    def __repr__(self) -> str:
        # Of a local variable or a notice it may end up in a report of errors, where payload and credentials must not.
        return f"<Task {self.id} {self.method} {printable(self.path)}>"

    @property
    def path(self) -> str:
        """The URL without its query, for logs and lists."""
        return self.url.partition("?")[0]


class Envelope(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is staged knows of its transaction."""

    transaction_id: str
    owner: str
    witnesses: tuple[WitnessMark, ...] = ()  # who can tell whether it committed
    # Types of data managers that took part, and that nobody can ask. None: nobody looked.
    strangers: tuple[str, ...] | None = None


class _Secrets(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    payload: bytes | None = None
    headers: Headers = ()


_Wrapper = tuple[int, str, str, bytes, bytes]

_encoder = msgspec.msgpack.Encoder()
_wrapper_decoder: msgspec.msgpack.Decoder[_Wrapper] = msgspec.msgpack.Decoder(_Wrapper)
_parts_decoder = msgspec.msgpack.Decoder(list[msgspec.Raw])
_version_decoder = msgspec.msgpack.Decoder(int)
_task_decoder = msgspec.msgpack.Decoder(Task)
_secrets_decoder = msgspec.msgpack.Decoder(_Secrets)
_outcome_decoder = msgspec.msgpack.Decoder(Outcome)
_envelope_decoder = msgspec.msgpack.Decoder(Envelope)


class Keyring:
    """The keys that seal records: the first seals, all open. Empty: nothing is sealed, and nothing is checked."""

    def __init__(self, keys: Sequence[bytes] = ()) -> None:
        for key in keys:
            if len(key) < MINIMUM_KEY_BYTES:
                raise ValueError(f"a key has {len(key)} bytes, and needs {MINIMUM_KEY_BYTES} or more")
        self._keys = {_key_id(key): key for key in keys}
        self._newest = next(iter(self._keys), "")

    def __bool__(self) -> bool:
        return bool(self._keys)

    def __repr__(self) -> str:
        return f"<Keyring of {len(self._keys)}>"

    def seal(self, kind: str, fields: bytes, secrets: bytes | None) -> tuple[str, bytes]:
        """The key id and the seal for an encoded record; both empty without keys."""
        if not self._newest:
            return "", b""
        return self._newest, self._mac(self._newest, VERSION, kind, fields, secrets)

    def check(self, wrapper: _Wrapper, secrets: bytes | None) -> None:
        """Raise unless the seal is one of ours; an unknown key id is told apart from a broken seal."""
        version, kind, key_id, seal, fields = wrapper
        if not self._keys:
            return
        if not key_id:
            raise BrokenSealError(
                "the record has no seal, and this configuration has keys: it was added without them, "
                "or by somebody else; delete it and add it again"
            )
        if key_id not in self._keys:
            raise UnknownRecordError(
                f"the record is sealed with key {key_id[:16]!r}, which this configuration does not have: "
                "add that key after the newest one in its secret"
            )
        if not hmac.compare_digest(seal, self._mac(key_id, version, kind, fields, secrets)):
            raise BrokenSealError("the record's seal is broken: it was changed in the store; delete it")

    def _mac(self, key_id: str, version: int, kind: str, fields: bytes, secrets: bytes | None) -> bytes:
        mac = hmac.new(self._keys[key_id], b"taskqueue record\0", hashlib.sha256)
        for part in (str(version).encode(), kind.encode(), key_id.encode(), fields, secrets or b""):
            mac.update(len(part).to_bytes(8, "big"))
            mac.update(part)
        return mac.digest()


def _key_id(key: bytes) -> str:
    return hashlib.sha256(b"taskqueue key id\0" + key).hexdigest()[:8]


def encode(task: Task, keyring: Keyring) -> Record:
    """A new task as the record that a backend stores. Raises InvalidTaskError for what no record can hold."""
    open_headers = tuple([header for header in task.headers if not is_secret_header(header[0])])
    secret_headers = tuple([header for header in task.headers if is_secret_header(header[0])])
    try:
        secrets = _encoder.encode(_Secrets(task.payload, secret_headers))
        fields = _encoder.encode(msgspec.structs.replace(task, headers=open_headers, payload=None))
    except (UnicodeEncodeError, OverflowError, TypeError):
        # The error's own text may show what is in the task.
        raise InvalidTaskError(
            "the task cannot be stored: its text has to be valid Unicode, its numbers have to fit into 64 bits"
        ) from None
    key_id, seal = keyring.seal(KIND, fields, secrets)
    body = _encoder.encode((VERSION, KIND, key_id, seal, fields))
    return Record(id=task.id, body=body, secrets=secrets, priority=task.priority, due=task.due)


def decode(record: Record, keyring: Keyring | None) -> Task:
    """A stored record as a task, its seal checked; ``keyring=None`` reads without checking, to look but not to run.

    A record whose secrets were wiped cannot be checked: a task that is ``wiped`` is to be looked at, never run.
    Raises UnknownRecordError for what another release or configuration may know, BrokenSealError for a seal that is
    not ours, RecordError for what nobody can read.
    """
    wrapper = _unwrap(record.body)
    wiped = record.secrets is None
    if not wiped and not isinstance(record.secrets, bytes):
        raise RecordError("the stored record cannot be read: its secrets are no bytes")
    if keyring is not None and not wiped:
        keyring.check(wrapper, record.secrets)
    task = _read(_task_decoder, wrapper[4])
    secrets = _read(_secrets_decoder, record.secrets) if record.secrets is not None else _Secrets()
    outcome = _read(_outcome_decoder, record.outcome) if record.outcome else None
    if task.id != record.id:
        raise BrokenSealError("the record is stored under another task's id: it was changed in the store; delete it")
    return msgspec.structs.replace(
        task,
        headers=task.headers + secrets.headers,
        payload=secrets.payload,
        due=record.due,
        state=record.state,
        claim_number=record.claim_number,
        attempts=record.attempts,
        deaths=record.deaths,
        suspect=record.suspect,
        owner=record.owner,
        consumer=record.consumer,
        staged_at=record.staged_at,
        published_at=record.published_at,
        first_claimed_at=record.first_claimed_at,
        claimed_at=record.claimed_at,
        finished_at=record.finished_at,
        wiped=wiped,
        last_outcome=outcome,
    )


def _unwrap(body: bytes) -> _Wrapper:
    """The parts of an encoded body, of a version and kind that are known here."""
    try:
        wrapper = _read(_wrapper_decoder, body)
    except RecordError:
        # The wrapper of a version to come may have other parts; its first one is the version all the same.
        parts = _read(_parts_decoder, body)
        if not parts or _read(_version_decoder, parts[0]) == VERSION:
            raise
        raise UnknownRecordError(
            f"the record has another version than {VERSION}, which this release knows: upgrade this instance"
        ) from None
    version, kind = wrapper[:2]
    if version != VERSION or kind != KIND:
        raise UnknownRecordError(
            f"the record has version {version} and kind {kind[:40]!r}; this release knows version "
            f"{VERSION} and kind {KIND!r}: upgrade this instance"
        )
    return wrapper


_Part = TypeVar("_Part")


def _read(decoder: msgspec.msgpack.Decoder[_Part], data: bytes | msgspec.Raw) -> _Part:
    """Decode what the store returned, whatever that may be. What went wrong is told without what was found."""
    try:
        return decoder.decode(data)
    except msgspec.MsgspecError as error:
        raise RecordError(f"the stored record cannot be read: {error}") from None
    except (UnicodeDecodeError, RecursionError, OverflowError, TypeError) as error:
        raise RecordError(f"the stored record cannot be read: {type(error).__name__}") from None


def encode_part(part: Outcome | Envelope) -> bytes:
    """An outcome or a stage envelope as bytes for the store."""
    return _encoder.encode(part)


def decode_envelope(data: bytes) -> Envelope:
    """The stage envelope of a staged or held record."""
    return _read(_envelope_decoder, data)


def is_secret_header(name: str) -> bool:
    """Whether a header may carry credentials: such are wiped when the task is done, and never shown."""
    return _is_known_secret(name) if len(name) <= CACHED_CHARACTERS else _is_secret(name)


def _is_secret(name: str) -> bool:
    folded = name.lower().replace("_", "-")
    return any(part in folded for part in SECRET_HEADER_PARTS)


# The same few names come again and again. Whoever sends others, and long ones, shall not fill the memory.
_is_known_secret = functools.lru_cache(maxsize=CACHED_NAMES)(_is_secret)


def printable(text: str) -> str:
    """Text as one line that shows all of it: control characters, line ends and what is no character are escaped."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode("ascii") for each in text)


_id_lock = threading.Lock()
_last_ticks = 0


def _renew_lock_in_child() -> None:
    global _id_lock  # noqa: PLW0603  # the parent's may be held by a thread that the child does not have
    _id_lock = threading.Lock()


os.register_at_fork(after_in_child=_renew_lock_in_child)


def new_id() -> str:
    """A UUIDv7 as text (RFC 9562, 6.2 method 3): milliseconds, 12 bits of their fraction, 62 random bits.

    Ids made in one process sort in the order in which they were made.
    """
    global _last_ticks  # noqa: PLW0603  # the last id's time is process-wide on purpose
    with _id_lock:
        ticks = max(time.time_ns() * 4096 // 1_000_000, _last_ticks + 1)
        _last_ticks = ticks
    noise = int.from_bytes(os.urandom(8), "big") & 0x3FFF_FFFF_FFFF_FFFF
    value = (ticks >> 12) << 80 | 0x7 << 76 | (ticks & 0xFFF) << 64 | 0b10 << 62 | noise
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def as_dict(task: Task) -> dict[str, Any]:
    """A task for people and scripts: credentials redacted, the payload told by its size, bytes as text."""
    shown: dict[str, Any] = msgspec.structs.asdict(task)
    shown["headers"] = _redacted(task.headers)
    shown["payload"] = None if task.payload is None else f"{len(task.payload)} bytes"
    shown["connection"] = dict(task.connection)
    shown["principal"] = None if task.principal is None else msgspec.structs.asdict(task.principal)
    if task.last_outcome is not None:
        shown["last_outcome"] = msgspec.structs.asdict(task.last_outcome)
        shown["last_outcome"]["headers"] = _redacted(task.last_outcome.headers)
        shown["last_outcome"]["body"] = task.last_outcome.body.decode("utf-8", "replace")
    return shown


def _redacted(headers: Headers) -> list[list[str]]:
    return [[name, "…" if is_secret_header(name) else value] for name, value in headers]
