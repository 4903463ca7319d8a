"""The documents: every block of code runs, what is drawn from the code is whole, and they build without a warning.

The blocks in ``docs`` are tests of their own, collected by the conftest there; those of the README run here.
"""

import contextlib
import re
import subprocess
import sys
from pathlib import Path

import pytest
from sybil import Sybil

from taskqueue import notices, record, settings
from taskqueue.consumer import outcome

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
DOCUMENTS = sorted([*ROOT.glob("*.rst"), *(path for path in DOCS.rglob("*.rst") if "_build" not in path.parts)])
MAY_BE_LEFT_OUT = 13  # installing, serving for ever, systemd: each says why


@pytest.fixture(scope="module", autouse=True)
def modules_of_the_documents():
    sys.path.insert(0, str(DOCS))
    yield
    sys.path.remove(str(DOCS))


@pytest.fixture
def parsed():
    from doc_blocks import parse

    sybil = Sybil([parse], pattern="*.rst")
    return {path: sybil.parse(path) for path in DOCUMENTS}


@pytest.fixture
def tables():
    import doc_tables

    return doc_tables


@contextlib.contextmanager
def set_up(document):
    from doc_blocks import set_up, tear_down

    set_up(document.namespace)
    try:
        yield
    finally:
        tear_down(document.namespace)


@pytest.mark.process
@pytest.mark.parametrize("name", ["README.rst", "CHANGES.rst"])
def test_the_blocks_outside_of_docs_run(parsed, name):
    document = parsed[ROOT / name]
    with set_up(document):
        for example in document.examples():
            example.evaluate()


def test_every_block_is_run_or_says_why_not(parsed):
    left_out = 0
    for path, document in parsed.items():
        written = re.findall(r"^ *\.\. (?:code-block|code|sourcecode|parsed-literal|highlight)::", document.text, re.M)
        visible = [
            each for each in document.examples() if each.region.lexemes.get("directive") != "invisible-code-block"
        ]
        assert len(visible) == len(written), path
        for example in visible:
            how = example.region.evaluator.__name__
            assert how != "_unknown", f"{path}, line {example.line}"
            left_out += how == "_left_out"
    assert left_out <= MAY_BE_LEFT_OUT


def test_a_block_in_a_language_that_nobody_runs_fails(tmp_path):
    from doc_blocks import parse

    (tmp_path / "it.rst").write_text(".. code-block:: perl\n\n    print 1\n\nor so::\n\n    what\n")
    document = Sybil([parse], pattern="*.rst", path=str(tmp_path)).parse(tmp_path / "it.rst")
    reasons = [example.region.evaluator(example) for example in document.examples()]
    assert [reason[:36] for reason in reasons] == ["nothing is known to run this block: "] * 2


@pytest.mark.process
@pytest.mark.parametrize(
    ("block", "complaint"),
    [
        (".. code-block:: console\n\n    $ echo one\n    two\n", "expected:\ntwo"),
        (".. code-block:: console\n\n    $ false\n", "ended with status 1"),
        (".. code-block:: python\n\n    print(1)\n\n.. code-block:: text\n\n    2\n", "expected:\n2"),
        (".. code-block:: pycon\n\n    >>> 1 + 1\n    3\n", "Expected:\n    3"),
        (".. code-block:: ini\n\n    [taskqueue:x]\n    typ = sqlite\n", "did you mean type?"),
        (".. code-block:: systemd\n\n    [Unit]\n", "the sections are"),
    ],
)
def test_a_block_that_is_wrong_fails(tmp_path, block, complaint):
    from doc_blocks import parse

    (tmp_path / "it.rst").write_text(block)
    document = Sybil([parse], pattern="*.rst", path=str(tmp_path)).parse(tmp_path / "it.rst")

    def run():
        for example in document.examples():
            example.evaluate()

    with set_up(document), pytest.raises(Exception, match=re.escape(complaint)):
        run()


def test_every_option_is_in_the_reference_with_a_default_that_it_takes(tables):
    text = "".join(
        tables.PARTS[name]()
        for name in ("queue-options", "sqlite-options", "redis-options", "postgresql-options", "server-options")
    )
    own = [option for options in settings.BACKEND_OPTIONS.values() for option in options]
    for option in (*settings.QUEUE_OPTIONS, *own, *settings.SERVER_OPTIONS):
        assert f"* - ``{option.name}``" in text
        if option.default is not settings.REQUIRED and tables.options.written_default(option):
            assert option.convert(tables.options.written_default(option)) == option.default


def test_every_backend_has_its_options_in_the_reference():
    assert set(settings.BACKEND_OPTIONS) == {"local", "sqlite", "redis", "postgresql"}
    assert settings.BACKEND_OPTIONS["local"] == ()


def test_every_step_between_states_is_in_the_diagram(tables):
    state, steps = "", set()
    for line in tables.states.state_diagram().splitlines():
        match = re.fullmatch(r" +(?:(\S+) ─*)?[─┬├└ ]*─ ([a-z, ]+) ─*▶ (\w+)", line)
        if match:
            state = match[1] or state  # only the first line of a state names it
            steps |= {(state, verb, match[3]) for verb in match[2].split(", ")}
    assert steps == {
        (before.value if before else "add()", verb, after.value)
        for (before, verb), afters in record.TRANSITIONS.items()
        for after in afters
    }


def test_every_row_of_the_outcome_table_is_in_the_reference(tables):
    assert tables.outcomes.outcomes().count("\n   * - ") == len(outcome.TABLE) + 1


def test_every_verb_is_in_the_reference_with_its_help(tables):
    text = tables.verbs.verbs()
    assert {"demo", "check", "serve", "status", "list", "add", "resolve", "wait"} <= set(tables.verbs.verb_names())
    for verb in tables.verbs.verb_names():
        assert f"usage: taskqueue {verb}" in text


def test_every_event_is_in_the_reference_with_a_line_of_the_log(tables):
    for event in notices.Event:
        assert f"Event.{event.name}" in tables.source.events()
        assert tables.log.lines_of(event), event


@pytest.mark.parametrize(
    "name", ["hop-by-hop", "never-copied", "always-copied", "secret-headers", "captured", "floors"]
)
def test_the_other_tables_have_something_in_them(tables, name):
    assert tables.PARTS[name]().count("``") >= 4


def test_every_table_is_used(tables):
    used = {name for path in DOCUMENTS for name in re.findall(r"^\.\. from-code:: (\S+)", path.read_text(), re.M)}
    assert used == set(tables.PARTS)


@pytest.mark.process
def test_they_build_without_a_warning(tmp_path):
    built = subprocess.run(
        [
            sys.executable,
            "-m",
            "sphinx",
            "-W",
            "-q",
            "-b",
            "html",
            "-d",
            tmp_path / "doctrees",
            DOCS,
            tmp_path / "html",
        ],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    assert "concurrent_limit" in (tmp_path / "html" / "reference" / "options.html").read_text()


def test_the_readme_is_short():
    assert len((ROOT / "README.rst").read_text().splitlines()) < 150


def test_no_document_names_a_place_that_only_one_machine_has():
    for path in DOCUMENTS:
        assert not re.search(r"/(?:work|root|home|tmp)/\w", path.read_text()), path


@pytest.mark.parametrize(
    ("level", "words"),
    [
        ("ERROR", "discarded: the process ended, and the transaction that they were added to was never committed"),
        ("WARNING", "no taskqueue filter stands around this Pyramid application"),
        ("WARNING", "acknowledge = with-transaction does nothing for …"),
        ("WARNING", "Redis at … was started anew, or another one took its place"),
        ("WARNING", "queue default is available again"),
        ("INFO", "consumers start now, …"),
    ],
)
def test_the_table_of_the_log_has_each_line_that_the_source_writes(tables, level, words):
    rows = tables.log.log_lines().split("* - ")
    assert any(row.startswith(level) and words in row for row in rows)
