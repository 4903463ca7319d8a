"""Named places on the road of a task, where a test can have the process killed, stopped, or an error raised.

Nothing in the product arms one. A place that is not armed costs a look at an empty table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

# In the order in which a task comes by.
NAMES = (
    "add.joined",  # the task is in the transaction
    "hook.begun",  # the commit has begun
    "hook.marked",  # the witnesses have left their marks
    "stage.sent",  # staged, and nobody has noted it yet
    "hook.staged",
    "vote.begun",
    "vote.done",
    "finish.begun",  # storages that sort before us have committed
    "finish.published",  # published, and nobody has noted it yet; perhaps in the thread that publishes
    "abort.begun",
    "abort.done",
    "claim.taken",  # the store has the claim, and its consumer does not know yet
    "replay.begun",
    "replay.done",  # the application has answered; its transaction is over
    "settle.begun",
    "settle.done",  # the store has the settlement, and its consumer does not know yet
    "reclaim.begun",
    "reclaim.done",
    "doubt.asked",  # the witnesses have answered
    "doubt.settled",
)

_actions: dict[str, Callable[[], object]] = {}


def reach(name: str) -> None:
    """The process has come to this place."""
    if _actions and name in _actions:
        _actions[name]()


@contextmanager
def armed(name: str, action: Callable[[], object]) -> Iterator[None]:
    """Have something done, for a block, whenever any thread comes to a place. Raises KeyError for an unknown one."""
    if name not in NAMES:
        raise KeyError(f"there is no failpoint {name!r}; there are: {', '.join(NAMES)}")
    _actions[name] = action
    try:
        yield
    finally:
        _actions.pop(name, None)
