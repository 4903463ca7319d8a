"""The states of a task, and the steps between them, from the table that the backends use."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from itertools import groupby

from taskqueue import record
from taskqueue.record import State

from .markup import code, literal, table

# Who calls a verb, and when, for people.
VERB_MEANINGS: Mapping[str, str] = {
    "stage": "before the commit of the transaction that adds",
    "publish": "after that commit; *scheduled* when the task has a delay or an eta",
    "discard": "the transaction aborted",
    "settle": "a task in doubt is decided: by ``taskqueue resolve``, or by ``in_doubt``",
    "promote": "it is due",
    "exchange": "a consumer claims it; or hands in what became of it",
    "release": "given back: claimed in an answer that was lost",
    "reclaim": "its owner is dead",
    "requeue": "``taskqueue retry``",
    "delete": "``taskqueue delete`` or ``purge``",
    "prune": "it was kept long enough",
}


START = "add()"
STATE_COLUMNS = 12


def by_states() -> dict[tuple[State | None, State], list[str]]:
    """The verbs that lead from one state to another, in the order of the table."""
    edges: dict[tuple[State | None, State], list[str]] = defaultdict(list)
    for (before, verb), afters in record.TRANSITIONS.items():
        for after in afters:
            edges[before, after].append(verb)
    return dict(edges)


def state_diagram() -> str:
    """One line for each step, those of one state together."""
    steps = sorted(
        (
            (before.value if before else START, ", ".join(verbs), after.value)
            for (before, after), verbs in by_states().items()
        ),
        key=_state_order,
    )
    verb_width = max(len(verbs) for _, verbs, _ in steps)
    lines: list[str] = []
    for before, group in groupby(steps, key=lambda step: step[0]):
        road = list(group)
        for index, (_, verbs, after) in enumerate(road):
            first, last = index == 0, index == len(road) - 1
            corner = "──" if first and last else "┬─" if first else "└─" if last else "├─"
            start = f"{before} ".ljust(STATE_COLUMNS, "─") if first else " " * STATE_COLUMNS
            lines.append(f"{start}{corner} {verbs} ".ljust(STATE_COLUMNS + verb_width + 5, "─") + f"▶ {after}")
        lines.append("")
    return literal(lines)


def _state_order(step: tuple[str, str, str]) -> int:
    names = [START, *(state.value for state in State)]
    return names.index(step[0])


STATE_MEANINGS: Mapping[State, str] = {
    State.STAGED: "Put aside: the transaction that added it has not ended.",
    State.HELD: "In doubt: nobody knows whether that transaction committed. It waits for ``taskqueue resolve``.",
    State.SCHEDULED: "Committed, and not due yet: it was delayed, or it failed and is to be tried again.",
    State.READY: "Waits for a free consumer.",
    State.RUNNING: "A consumer has claimed it. A short one may be claimed ahead (``prefetch``), and not have begun.",
    State.DONE: "Its replay succeeded. Kept for a while, to be looked at.",
    State.DEAD: "Failed for good. Kept until it is retried or deleted.",
    State.GONE: "Forgotten. ``taskqueue.get`` returns None.",
}


def state_verbs() -> str:
    """When each verb is called."""
    used = dict.fromkeys(verb for _, verb in record.TRANSITIONS)
    rows = (
        (
            code(verb),
            VERB_MEANINGS[verb],
            ", ".join(before.value if before else "(new)" for before, other in record.TRANSITIONS if other == verb),
        )
        for verb in used
    )
    return table(("Verb", "When", "Leads out of"), rows, "15 50 35")


def states() -> str:
    """The states, and what each means."""
    return "\n".join(f"{state.value}\n    {STATE_MEANINGS[state]}\n" for state in State)
