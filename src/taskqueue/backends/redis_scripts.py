"""The Lua scripts of the backend ``redis``: one a file in ``lua/``, named by verb, read once. Knows no connection.

A queue's keys lie under one hash tag, so that all of them are in one slot of a cluster; site prefix and queue name are
in it, so that two sites on one Redis never meet. ``{prefix:queue}:`` comes before each of these names:

    meta       hash    schema (1), paused (1 or 0), hungry (1 while a consumer waits for a hint). Its name is also that
                       of the channel on which hints are published
    progress   hash    id -> what changes of a task, a MessagePack array: state, priority, due, claim number, attempts,
                       deaths, suspect (1 or 0), owner, consumer, staged at, published at, first claimed at, claimed at,
                       finished at, bytes of body and secrets. A time of 0 is none
    body       hash    id -> the record's body
    secrets    hash    id -> its secrets, until they are wiped
    outcome    hash    id -> the outcome of the last replay
    envelope   hash    id -> the envelope of what is staged or held
    held, scheduled, ready, done, dead
               zset    the ids in that state; all scores are 0, so that they stand by id
    held_by    zset    owner NUL id: what is held in each owner's name; all scores are 0
    staged     zset    owner NUL id: what each owner staged; all scores are 0
    running    zset    owner NUL consumer NUL id: what each owner runs; all scores are 0
    line       zset    ready ids that are not suspect by -priority, then id: the order of claims
    suspects   zset    ready ids that are suspect, in the same order
    since      zset    ready ids by the time since which they wait to run
    due        zset    scheduled ids by the time at which they are due
    done_at, dead_at
               zset    done and dead ids by the time at which they finished
    exposed    zset    dead ids that still have secrets, by the same time
    gone       zset    ids of tasks that were let go, by when: for an hour nothing brings them back
    owners     hash    owner -> a MessagePack array: number of its beats, time of the last one, lease, 0 while it lives
                       (1 when its lease has ended, 2 when it is not to be told of either), and what people want to
                       know of it, as JSON

A script declares the keys that it uses in its comment; the declaration is read here, and nothing else reaches a script
under ``KEY``. Whatever differs between two calls is an argument: the texts are constant, and so is their number.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from importlib.resources import files
from types import MappingProxyType
from typing import NamedTuple

from ..interfaces import CLAIM_BYTES_LIMIT
from . import rules

SCHEMA_VERSION = 1
PROMOTE_LIMIT = 1000  # tasks that one call makes ready; they are all due, and the next call takes the next ones

_CONSTANTS = {
    "SCHEMA": repr(str(SCHEMA_VERSION)),
    "GONE_SECONDS": f"{rules.GONE_SECONDS:g}",
    "PRUNE_LIMIT": rules.PRUNE_LIMIT,
    "GONE_PRUNE_LIMIT": rules.GONE_PRUNE_LIMIT,
    "PROMOTE_LIMIT": PROMOTE_LIMIT,
    "CLAIM_BYTES_LIMIT": CLAIM_BYTES_LIMIT,
}
_FOLDER = files(__package__).joinpath("lua")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


class Script(NamedTuple):
    """One script: its whole text, by what Redis knows it, and the names of its keys in their order."""

    verb: str
    text: bytes
    digest: str
    keys: tuple[str, ...]


def compose(verb: str) -> Script:
    """Read a script. Its first line stays the first: there Redis looks for the flags."""
    flags, _, own = _read(verb).partition("\n")
    declared = re.search(r"^-- keys: (.+)$", own, re.M)
    keys = tuple(declared[1].split()) if declared else ()
    table = ", ".join(f"{name} = KEYS[{number}]" for number, name in enumerate(keys, 1))
    constants = "\n".join(f"local {name} = {value}" for name, value in _CONSTANTS.items())
    text = "\n".join((flags, f"local KEY = {{{table}}}", constants, _read("shared"), own)).encode()
    return Script(verb, text, digest(text), keys)


def digest(text: bytes) -> str:
    """By what Redis knows a script that it has seen."""
    return hashlib.sha1(text, usedforsecurity=False).hexdigest()


def _read(verb: str) -> str:
    return _FOLDER.joinpath(f"{verb}.lua").read_text("utf-8")


VERBS = tuple(sorted(file.name[:-4] for file in _FOLDER.iterdir() if file.name.endswith(".lua")))
SCRIPTS = MappingProxyType({verb: compose(verb) for verb in VERBS if verb != "shared"})


class Keyspace:
    """The keys of one queue."""

    def __init__(self, prefix: str, name: str) -> None:
        for word in (prefix, name):
            if not _NAME.fullmatch(word):
                raise ValueError(f"a prefix or queue is named with letters, digits, - _ and ., not {word[:60]!r}")
        self._tag = f"{{{prefix}:{name}}}"
        self._keys = {verb: self._of(script) for verb, script in SCRIPTS.items()}
        self.channel = f"{self._tag}:meta"

    def of(self, script: Script) -> Sequence[bytes]:
        """The keys of a script."""
        return self._keys[script.verb]

    def _of(self, script: Script) -> tuple[bytes, ...]:
        return tuple(f"{self._tag}:{name}".encode() for name in script.keys)
