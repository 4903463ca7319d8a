"""Tasks that the application's own transaction carries, where its data is in the same database. Knows no connection.

``execute`` runs one statement with parameters written ``:name`` in that transaction, through whatever driver the
application has, and returns something with ``fetchall``. Parameters are text, numbers, booleans and None.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence

from ..errors import BackendUnavailableError
from ..interfaces import Execute, Record, Settlement
from . import rules
from .postgresql_rows import encode_records
from .postgresql_statements import load_plain

_ENLIST = load_plain("enlist")
_FINISH_WITHIN = load_plain("finish_within")


def enlist(
    home: str, prefix: str, name: str, length_limit: int | None, records: Sequence[Record], execute: Execute
) -> None:
    """Store records as published. ``home`` tells the database of the queue.

    Raises QueueFullError when more tasks would wait than may, BackendUnavailableError when the session's is another.
    """
    if not records:
        return
    parameters = {
        "home": home,
        "prefix": prefix,
        "name": name,
        "records": encode_records(records),
        "length_limit": -1 if length_limit is None else length_limit,
    }
    try:
        ((number, waiting, stored),) = execute(_ENLIST, parameters).fetchall()
    except Exception as error:
        # Its text may hold the statement with all that it was given.
        if _is_a_conflict(error):
            raise
        raise BackendUnavailableError(f"{_elsewhere(name)} ({type(_cause(error)).__name__})") from None
    if number is None:
        raise BackendUnavailableError(_elsewhere(name))
    if length_limit is not None and not stored:
        rules.refuse_over_limit(name, waiting, length_limit)


def _elsewhere(name: str) -> str:
    return (
        f"the application's session does not find queue {name!r}: shared = true needs the url of its own database and "
        "schema; see both, and the rights of its user"
    )


def _cause(error: Exception) -> BaseException:
    """What the driver raised; SQLAlchemy wraps it."""
    return getattr(error, "orig", None) or error


def _is_a_conflict(error: Exception) -> bool:
    """Whether the transaction is to be tried again, which its framework sees by the error itself."""
    state = getattr(_cause(error), "sqlstate", None) or getattr(_cause(error), "pgcode", None) or ""
    if hasattr(error, "hide_parameters"):
        error.hide_parameters = True
    return str(state).startswith("40")


def finish_within(prefix: str, name: str, settlement: Settlement, execute: Execute) -> bool:
    """Settle one claim as done; False when it came too late."""
    outcome = settlement.outcome
    parameters = {
        "prefix": prefix,
        "name": name,
        "id": settlement.id,
        "claim_number": settlement.claim_number,
        "attempts": settlement.attempts,
        "started": settlement.started,
        "wipe": settlement.wipe,
        "outcome": None if outcome is None else base64.b64encode(outcome).decode(),
    }
    return len(execute(_FINISH_WITHIN, parameters).fetchall()) == 1
