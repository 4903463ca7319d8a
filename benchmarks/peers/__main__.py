"""``python -m benchmarks.peers NAME VERB …``: ``prepare``, ``feed COUNT``, ``trickle FIRST COUNT GAP`` or ``work``.

``trickle`` adds one task at a time with a gap before each, and prints when it began and ended to add it. Gaps differ a
little, so that they fall into no step with somebody who polls.
"""

from __future__ import annotations

import importlib
import json
import random
import sys
import time

from .given import now


def main(name: str, verb: str, *arguments: str) -> None:
    """Run one verb of one script."""
    peer = importlib.import_module(f"{__package__}.{name}")
    if verb == "prepare":
        getattr(peer, "prepare", lambda: None)()
    elif verb == "feed":
        peer.add(range(int(arguments[0])))
    elif verb == "trickle":
        print(json.dumps(_trickle(peer, int(arguments[0]), int(arguments[1]), float(arguments[2]))))
    elif verb == "work":
        peer.work()
    else:
        getattr(peer, verb)(*arguments)


def _trickle(peer: object, first: int, count: int, gap_seconds: float) -> list[tuple[int, int]]:
    times = []
    for number in range(first, first + count):
        time.sleep(gap_seconds * random.uniform(0.75, 1.25))  # noqa: S311  # jitter
        begun = now()
        peer.add((number,))  # type: ignore[attr-defined]  # every script has it
        times.append((begun, now()))
    return times


main(*sys.argv[1:])
