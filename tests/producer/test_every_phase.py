"""Something is raised at every hook and phase, ours and our neighbours': the queue's outcome is the application's.

A task is to be ready if and only if the neighbour's data is there. A stranger's tasks may stay held; so may those that
were first added, or that had company first, when it was too late for marks. Results in between, where one store has
committed and another has not, are counted apart: there the task is to be published.
"""

from __future__ import annotations

import functools
import itertools
import logging
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from taskqueue.errors import BackendUnavailableError
from taskqueue.notices import Event

from .one_transaction import COMPANIES, ERRORS, Case, Fault, Site
from .stores import FaultyLocal, FaultySQLite

# ---- the combinations --------------------------------------------------------------------------------------------

SHAPES = (
    "plain",
    "savepoint before the first add",
    "savepoint behind an add",
    "adds in a hook before",
    "adds in a hook behind",
    "adds in beforeCompletion",
    "adds only in a hook",
    "adds only in beforeCompletion",
    "two queues",
)
PHASES = ("tpc_begin", "commit", "tpc_vote", "tpc_finish")
OUR_FAILPOINTS = (
    "hook.begun",
    "hook.marked",
    "stage.sent",
    "hook.staged",
    "vote.begun",
    "vote.done",
    "finish.begun",
    "finish.published",
)
FAILS_BEFORE_OUR_VOTE = Fault("neighbour", "commit", ValueError)
FAILS_BEHIND_OUR_VOTE = Fault("neighbour", "tpc_finish", ValueError)


def neighbour_faults(company: str) -> Iterator[Fault]:
    """One neighbour fails in one phase."""
    for number, phase, when, error in itertools.product(
        range(len(COMPANIES[company])), PHASES, ("before", "after"), ERRORS
    ):
        yield Fault("neighbour", phase, error, when, number)


def of_neighbours(company: str) -> Iterator[Case]:
    """A neighbour fails in a phase of the commit, whatever the application does around it."""
    for fault in neighbour_faults(company):
        yield Case(company, "plain", (fault,))
        if fault.error is KeyboardInterrupt:
            for shape in SHAPES[1:]:
                yield Case(company, shape, (fault,))
            yield Case(company, "a second commit", (fault,))
            yield Case(company, "an after-commit hook", (fault,))


def of_cleanups(company: str) -> Iterator[Case]:
    """A neighbour fails again while it is asked to abort, and so do we."""
    for first, error in itertools.product((FAILS_BEFORE_OUR_VOTE, FAILS_BEHIND_OUR_VOTE), ERRORS[:2]):
        for number, phase, when in itertools.product(
            range(len(COMPANIES[company])), ("abort", "tpc_abort"), ("before", "after")
        ):
            yield Case(company, "plain", (first, Fault("neighbour", phase, error, when, number)))
        for name in ("abort.begun", "abort.done"):
            yield Case(company, "plain", (first, Fault("failpoint", name, error)))
            yield Case(company, "an after-commit hook", (first, Fault("failpoint", name, error)))
        for verb, when in itertools.product(("discard", "settle"), ("before", "after")):
            yield Case(company, "two queues", (first, Fault("backend", verb, error, when)))
            yield Case(company, "plain", (first, Fault("backend", verb, BackendUnavailableError, when)))


def of_ours(company: str) -> Iterator[Case]:
    """We fail: at a named place, or since the backend does."""
    for name, error in itertools.product(OUR_FAILPOINTS, ERRORS):
        yield Case(company, "plain", (Fault("failpoint", name, error),))
    for name, shape in itertools.product(OUR_FAILPOINTS, ("two queues", "adds in beforeCompletion", "a second commit")):
        yield Case(company, shape, (Fault("failpoint", name, KeyboardInterrupt),))
    for verb, when, error, shape in itertools.product(
        ("stage", "publish"), ("before", "after"), (*ERRORS, BackendUnavailableError), ("plain", "two queues")
    ):
        yield Case(company, shape, (Fault("backend", verb, error, when),))
    for error in ERRORS:
        yield Case(company, "plain", (Fault("failpoint", "add.joined", error),))


def of_hooks(company: str) -> Iterator[Case]:
    """Hooks, synchronizers and savepoints fail, or nothing does."""
    for shape in (*SHAPES, "a second commit", "an after-commit hook", "doomed"):
        yield Case(company, shape)
    places = ("a hook before", "a hook behind", "beforeCompletion", "an after-commit hook")
    for where, error, shape in itertools.product(places, ERRORS, ("plain", "a second commit")):
        yield Case(company, shape, (Fault("hook", where, error),))
    for number, phase, when, error in itertools.product(
        range(len(COMPANIES[company])), ("savepoint", "rollback"), ("before", "after"), ERRORS
    ):
        for shape in SHAPES[1:3]:
            yield Case(company, shape, (Fault("neighbour", phase, error, when, number),))


def cases_of(company: str) -> tuple[Case, ...]:
    """All combinations with this company."""
    return (*of_neighbours(company), *of_cleanups(company), *of_ours(company), *of_hooks(company))


# ---- all of them -------------------------------------------------------------------------------------------------


class Result(NamedTuple):
    wrong: list[str]
    tally: Counter[str]


def play(cases: tuple[Case, ...], make: Callable[[], tuple[Any, Any]]) -> Result:
    """Go through these cases, and count what became of them."""
    wrong: list[str] = []
    tally: Counter[str] = Counter()
    for case in cases:
        site = Site(case, make())
        with site.set_up():
            site.run()
            error = site.wrong()
        if error:
            wrong.append(f"{case}: {error}")
        tally["cases"] += 1
        tally["committed"] += site.committed
        tally["in between"] += site.is_between()
        tally["torn, and told"] += bool(site.told.of(Event.TORN))
        tally["held"] += any(backend.state(task_id) == "held" for backend, task_id in site.kept)
        tally["settled"] += bool(site.told.of(Event.SETTLED))
    return Result(wrong, tally)


@functools.cache
def played(company: str) -> Result:
    """The result of all cases with this company, in memory."""
    return play(cases_of(company), lambda: (FaultyLocal(name="default"), FaultyLocal(name="other")))


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """The transaction package logs every failure with its traceback; there are thousands."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("company", COMPANIES)
def test_whatever_is_raised_wherever_the_tasks_go_by_the_data(company):
    wrong = played(company).wrong

    assert not wrong, f"{len(wrong)} of {len(cases_of(company))}:\n" + "\n".join(wrong[:20])


def test_it_is_the_same_with_a_file(tmp_path):
    number = itertools.count()

    def make():
        path = tmp_path / f"{next(number)}.sqlite"
        return FaultySQLite(name="default", path=str(path)), FaultySQLite(name="other", path=str(path))

    cases = cases_of("a storage and a database")[::13]
    wrong = play(cases, make).wrong

    assert len(cases) > 20
    assert not wrong, "\n".join(wrong[:20])


def test_every_outcome_was_among_them(say):
    tally: Counter[str] = Counter()
    for company in COMPANIES:
        tally += played(company).tally
    say(", ".join(f"{count} {what}" for what, count in tally.items()))

    assert tally["cases"] >= 1000
    for what in ("committed", "in between", "torn, and told", "held", "settled"):
        assert 0 < tally[what] < tally["cases"]
