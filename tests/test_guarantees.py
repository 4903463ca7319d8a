"""The page of guarantees names for each line the test that shows it: those tests exist, and no line goes without."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "reference" / "guarantees.rst"
NAMED = re.compile(r"``(tests/[\w/]+\.py)::(test_\w+)``")


def rows():
    """The cells of each row of the tables, but for their headings."""
    tables = PAGE.read_text().split(".. list-table::")[1:]
    for table in tables:
        body = re.split(r"\n(?=\S)", table)[0]
        found = re.findall(r"^    \* - (.*?)(?=^    \* - |\Z)", body, re.M | re.S)
        for row in found[1:]:
            yield [" ".join(cell.split()) for cell in re.split(r"^      - ", row, flags=re.M)]


@pytest.mark.parametrize(("file", "name"), sorted(set(NAMED.findall(PAGE.read_text()))))
def test_each_test_that_is_named_exists(file, name):
    assert re.search(rf"^ *def {name}\(", (ROOT / file).read_text(), re.M)


def test_each_line_names_a_test_or_whose_promise_it_is():
    found = list(rows())
    assert len(found) > 25
    for *_, shown_by in found:
        assert NAMED.search(shown_by) or re.fullmatch(r"\(.+'s promise\)", shown_by), shown_by


def test_nothing_is_named_in_a_form_that_is_not_looked_for():
    assert len(NAMED.findall(PAGE.read_text())) == PAGE.read_text().count("::test_")


def test_each_proof_of_a_fault_is_named():
    named = {name for _, name in NAMED.findall(PAGE.read_text())}
    for file in (ROOT / "tests" / "proof").glob("test_faults_*.py"):
        proofs = set(re.findall(r"^def (test_\w+)\(", file.read_text(), re.M))
        assert {each for each in proofs - named if not each.startswith("test_the_measure_")} == set(), file
