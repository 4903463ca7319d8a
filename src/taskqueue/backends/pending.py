"""A call that was begun, by a server or by another thread, and whose answer is read later."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple


class PendingCall(NamedTuple):
    """``end`` returns the answer, or raises what went wrong; it is called once. ``is_here`` tells whether something of
    it has come, and never waits."""

    end: Callable[[], Any]
    is_here: Callable[[], bool]
