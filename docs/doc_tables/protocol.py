"""The commit protocol, from the model of it that the tests try exhaustively: its steps, its deaths, its rules."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Collection
from typing import Any

from .markup import code, table
from .source import ROOT

ENDS = {
    frozenset({"runs"}): "runs",
    frozenset({"never runs"}): "never runs",
    frozenset({"held"}): "held",
    frozenset({"runs", "never runs"}): "runs if it committed",
    frozenset({"runs", "held"}): "runs if published, else held",
}


def _model(name: str) -> Any:
    """A module of the proof: it belongs to the tests, so that it is no part of the package."""
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    return importlib.import_module(f"tests.proof.{name}")


def steps() -> str:
    """What the owner does, in the words of the model."""
    rows = ((code(name), _sentences(step)) for name, step in _model("protocol").OWNER_STEPS.items())
    return table(("Step", "What it is"), rows, "15 85")


def faults() -> str:
    """What the search looks for."""
    rows = ((code(name), meaning) for name, meaning in _model("protocol").FAULTS.items())
    return table(("Fault", "Of a task: "), rows, "20 80")


def deaths() -> str:
    """What becomes of a task, by the step before which its owner dies and by what takes part."""
    protocol = _model("protocol")
    ends = {kind.name: _model("interleavings").ends_by_death(kind) for kind in protocol.KINDS}
    rows = (
        (code(step), *(_end(of_kind[step]) if step in of_kind else "" for of_kind in ends.values()))
        for step in protocol.OWNER_STEPS
    )
    return table(("Dies before", *ends), rows, " ".join(["16"] + ["14"] * len(ends)))


def rules() -> str:
    """One section for each rule: without it, why it is there, and the shortest way to a fault."""
    return "\n".join(_section(mutant) for mutant in _model("mutants").MUTANTS)


def _section(mutant: Any) -> str:
    found = mutant.find(tasks=1)
    meaning = _model("protocol").FAULTS[found.fault]
    lines = [mutant.name, "~" * len(mutant.name), "", mutant.why, ""]
    lines += [f"With {found.kinds[0]} in the transaction:", "", *(f"#. {_of_one(label)}" for label in found.trace), ""]
    return "\n".join([*lines, f"**{found.fault}**: {meaning}.", ""])


def _of_one(label: str) -> str:
    """There is only one of each here."""
    label = label.removesuffix(" (task 1)")
    for word in ("owner", "task", "transaction"):
        label = label.replace(f"{word} 1", f"the {word}")
    return label


def _end(ends: Collection[str]) -> str:
    return ENDS[frozenset(ends)]


def _sentences(function: Any) -> str:
    return " ".join((function.__doc__ or "").split())
