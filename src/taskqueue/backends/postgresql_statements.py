"""The statements of the backend ``postgresql``, read once, with parameters as libpq takes them. Knows no connection.

In their files parameters are written ``:name``, so that one statement serves every driver.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from ..interfaces import Record
from .statements import load

COLUMNS = Record.__struct_fields__
_PARAMETER = re.compile(r"(?<![:\w]):(?=[a-z])(\w+)")


class Statement(NamedTuple):
    """One statement, as it is sent: the parameters with these names are its ``$1``, ``$2`` and so on."""

    verb: str
    text: str
    names: tuple[str, ...]
    is_often: bool = False  # planned once for each connection, where that can be; in such a way that it serves always


def statement(verb: str, *, is_often: bool = False) -> Statement:
    """The statement of that name."""
    text = load_plain(verb)
    names = tuple(dict.fromkeys(_PARAMETER.findall(text)))
    return Statement(verb, _PARAMETER.sub(lambda match: f"${names.index(match[1]) + 1}", text), names, is_often)


def load_plain(verb: str) -> str:
    """The same, with its parameters as ``:name``."""
    return load(f"postgresql/{verb}").replace("{columns}", ", ".join(f"task.{column}" for column in COLUMNS))


ASK_SERVER = statement("ask_server")
BEAT = statement("beat")
BEGIN = statement("begin")
CLAIM = statement("claim", is_often=True)
COMMIT = statement("commit")
COUNT = statement("count")
CREATE_QUEUE = statement("create_queue")
FIND_QUEUE = statement("find_queue")
FIND_SCHEMA = statement("find_schema")
FORGET = statement("forget")
FORGET_OLD = statement("forget_old")
HINT = statement("hint", is_often=True)
HOLD = statement("hold")
LET_SCAN = statement("let_scan", is_often=True)
LIST = statement("list")
LIST_NEWEST_FIRST = statement("list_newest_first")
LOCK_QUEUE = statement("lock_queue")
LOOK = statement("look", is_often=True)
PING = statement("ping")
PROMOTE = statement("promote", is_often=True)
PRUNE = statement("prune")
PUBLISH = statement("publish", is_often=True)
PUBLISH_IN_TIME = statement("publish_in_time", is_often=True)
PUBLISH_STAGED = statement("publish_staged", is_often=True)
PURGE = statement("purge")
RECLAIM = statement("reclaim")
RELEASE = statement("release")
REQUEUE = statement("requeue")
RETIRE = statement("retire")
SELECT_HELD = statement("select_held")
SELECT_HOLDERS = statement("select_holders")
SELECT_HOME = statement("select_home")
SELECT_NOW = statement("select_now")
SELECT_OLDEST_READY = statement("select_oldest_ready")
SELECT_OWNERS = statement("select_owners")
SELECT_TASKS = statement("select_tasks")
SETTLE_CLAIMS = statement("settle_claims", is_often=True)
SET_PATIENCE = statement("set_patience")
SET_PAUSED = statement("set_paused")
SETTLE_IN = statement("settle_in")
SILENCE_OWNERS = statement("silence_owners")
STAGE = statement("stage", is_often=True)
STAGE_LIMITED = statement("stage_limited")
TAKE_BACK = statement("take_back")
