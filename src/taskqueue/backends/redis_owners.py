"""The owners of a queue on a Redis server."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import msgspec

from ..errors import BackendUnavailableError
from ..interfaces import OwnerStatus
from ..record import State
from . import redis_records, rules
from .leases import Sight
from .owners import PORTION, Overseer, Taken
from .redis_link import DEFAULT_TIMEOUT, Link
from .redis_records import encode_text
from .redis_scripts import SCRIPTS

_Told = TypeVar("_Told")
_Read = TypeVar("_Read")


def understood(link: Link, name: str, read: Callable[[_Told], _Read], told: _Told) -> _Read:
    """What the store told of a queue, read. Whoever can write to it can write anything."""
    try:
        return read(told)
    except (msgspec.MsgspecError, ValueError, TypeError, IndexError) as error:
        what = f"what it holds of queue {name!r} cannot be read ({type(error).__name__}); was it changed by hand?"
        raise BackendUnavailableError(f"Redis at {link.address.where}: {what}") from None


class RedisOverseer(Overseer):
    """Looks at the owners, and takes back by one script at a time."""

    def __init__(self, link: Link, name: str) -> None:
        super().__init__()
        self._link = link
        self._name = name

    def _run(self, verb: str, *arguments: Any, repeat: bool = False) -> Any:
        return self._link.run(SCRIPTS[verb], arguments, DEFAULT_TIMEOUT, repeat=repeat)

    def look(self) -> Sight:
        """Who beats, and who holds something."""
        now, rows, holders = self._run("look", repeat=True)
        names = redis_records.decode_ids(rows[::2])
        by_owner = dict(zip(names, rows[1::2], strict=True))
        return Sight(now=float(now), rows=by_owner, holders=frozenset(redis_records.decode_ids(holders)))

    def lapsed(self, sight: Sight) -> Sequence[str]:
        """Those whose lease has lapsed."""
        return understood(self._link, self._name, super().lapsed, sight)

    def owners(self) -> Sequence[OwnerStatus]:
        """Everybody who holds or held a lease, oldest first."""
        return understood(self._link, self._name, lambda _: super(RedisOverseer, self).owners(), None)

    def take_back(self, lapsed: Sequence[str], sight: Sight, max_deaths: int) -> Iterator[Taken]:
        """What is still held by these, as their rows were when they were seen to be silent."""
        now, told = self._run("select_held", PORTION, *map(encode_text, lapsed), repeat=True)
        held = [told[index : index + 6] for index in range(0, len(told), 6)]
        judged = {task[0]: _judge(task, max_deaths, float(now)) for task in held}
        rows = [word for owner in lapsed for word in (encode_text(owner), sight.rows.get(owner, b""))]
        arguments = [word for arguments, _ in judged.values() for word in arguments]
        taken = self._run("reclaim", len(lapsed), *rows, *arguments)
        for task in held:
            if task[0] in taken:
                owner = redis_records.decode_text(task[2])
                yield Taken(redis_records.decode_text(task[0]), judged[task[0]][1], owner)


def _judge(task: Sequence[Any], max_deaths: int, now: float) -> tuple[Sequence[Any], str]:
    """What becomes of a task that a dead owner held: the arguments that say so, and its state."""
    task_id, state, owner, claim_number, suspect, deaths = task
    if state == State.STAGED.value.encode():
        return (task_id, owner, claim_number, State.HELD.value, 0, 0, b""), State.HELD.value
    death = rules.after_death(bool(suspect), deaths, max_deaths, now)
    has_outcome = int(death.outcome is not None)
    arguments = (task_id, owner, claim_number, death.state.value, death.deaths, has_outcome, death.outcome or b"")
    return arguments, death.state.value
