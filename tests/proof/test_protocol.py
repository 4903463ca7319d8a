"""The protocol has no fault, and no rule too many: all orders of steps are tried, with all rules and without each."""

import dataclasses

import pytest

from . import protocol
from .interleavings import ends_by_death, search, starts
from .mutants import MUTANTS
from .protocol import BOTH, FILE, KINDS, NOBODY, NOTHING, SQL, UNKNOWN, ZEO, Rules

NEVER, RUNS, EITHER = {"never runs"}, {"runs"}, {"runs", "never runs"}


def test_two_transactions_of_any_kinds_lose_nothing_and_run_no_phantom(say):
    found = search(Rules(), starts())
    say(
        f"all orders of steps: {found.states:,} states, {len(found.quiet)} ends, "
        f"{len(starts())} pairs of transactions, {found.fault or 'no fault'}"
    )
    assert (found.fault, found.trace) == ("", ())


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_the_search_gets_to_where_a_task_runs_and_to_where_it_never_does(kind):
    ends = [state.tasks[0] for state in search(Rules(), starts(1, [kind])).quiet]
    assert any(task.has_run for task in ends)
    assert any(task.store in ("gone", "absent") and not task.has_run for task in ends)
    assert any(task.store == "held" for task in ends) is (kind == UNKNOWN)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_without_a_rule_there_is_a_fault(mutant, say):
    found = mutant.find(tasks=2)
    say(f"{mutant.name}: {found.fault or 'no fault'}, {len(found.trace)} steps, {found.states:,} states")
    assert found.fault == mutant.fault, found.trace


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_the_reduction_of_the_search_hides_no_fault(mutant, monkeypatch):
    reduced = mutant.find(tasks=1)
    monkeypatch.setattr(protocol, "reduced", lambda task: task)
    whole = mutant.find(tasks=1)
    assert (whole.fault, whole.trace) == (reduced.fault, reduced.trace)
    assert whole.states >= reduced.states


def test_without_its_reduction_the_search_finds_no_fault(monkeypatch):
    monkeypatch.setattr(protocol, "reduced", lambda task: task)
    for begin in (starts(1), starts(2, [NOTHING]), starts(2, [FILE])):
        found = search(Rules(), begin)
        assert (found.fault, found.trace) == ("", ())


def test_each_rule_is_broken_by_a_mutant():
    whole = Rules()
    broken = set()
    for mutant in MUTANTS:
        differing = {each for each in RULE_NAMES if getattr(mutant.rules, each) != getattr(whole, each)}
        assert len(differing) == 1, mutant.name
        broken |= differing
    assert broken == set(RULE_NAMES)


RULE_NAMES = [field.name for field in dataclasses.fields(Rules)]


@pytest.mark.parametrize(
    ("kind", "ends"),
    [
        (FILE, {"stage": NEVER, "vote": NEVER, "finish": NEVER, "publish": RUNS, "discard": NEVER, "hold": NEVER}),
        # What was sent may still land.
        (ZEO, {"stage": NEVER, "vote": NEVER, "finish": EITHER, "publish": RUNS, "discard": NEVER, "hold": EITHER}),
        # A commit that seemed to fail may have succeeded.
        (SQL, {"stage": NEVER, "vote": NEVER, "commit": NEVER, "publish": RUNS, "discard": NEVER, "hold": EITHER}),
        # SQL has committed before the storage finishes: the commit is torn, and one yes is yes.
        (BOTH, {"stage": NEVER, "commit": NEVER, "finish": RUNS, "publish": RUNS, "discard": NEVER, "hold": EITHER}),
        # Discarding what may have been published: the answer was lost.
        (NOTHING, {"stage": NEVER, "vote": NEVER, "publish": NEVER, "discard": EITHER}),
        (NOBODY, {"deliver": NEVER}),
        # Publishing again: the answer was lost.
        (UNKNOWN, {"stage": NEVER, "vote": {"held"}, "finish": {"held"}, "publish": {"held", "runs"}}),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_what_becomes_of_a_task_whose_owner_dies(kind, ends):
    found = ends_by_death(kind)
    assert {step: found[step] for step in ends} == ends


def test_a_death_is_looked_at_before_each_step():
    assert {step for kind in KINDS for step in ends_by_death(kind)} == {
        *("stage", "vote", "commit", "finish", "publish"),
        *("deliver", "hold", "discard"),
    }
