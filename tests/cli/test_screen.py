import io
import json
from contextlib import contextmanager, redirect_stderr, redirect_stdout

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from taskqueue.cli.screen import Screen, age, counted, duration, escaped, iso, size
from taskqueue.converters import duration as read_duration
from taskqueue.converters import size as read_size


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)


@contextmanager
def standing_in(stream):
    """A stream as both standard output and standard error."""
    with redirect_stdout(stream), redirect_stderr(stream):
        yield stream


@given(st.text())
@example("\x1b[2J\r\n\t\x00\x7f\x9b")
@example("\u202e\u2028\ufeff\ud800")
def test_nothing_that_is_not_printable_is_left_in_escaped_text(text):
    assert escaped(text).isprintable()


@given(st.text(alphabet=st.characters(categories=["L", "N", "P", "S"])))
def test_printable_text_is_left_as_it_is(text):
    assert escaped(text) == text


def test_control_characters_are_spelled_out_as_in_python():
    assert escaped("a\x1b[31mb\nc") == "a\\x1b[31mb\\nc"


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (None, "-"),
        (-5, "0 s"),
        (0, "0 s"),
        (59.4, "59 s"),
        (119, "119 s"),
        (120, "2 min"),
        (7200, "2 h"),
        (172800, "2 d"),
    ],
)
def test_ages_are_told_in_the_largest_unit_of_which_there_are_two(seconds, told):
    assert age(seconds) == told


@given(st.integers(0, 10_000_000).map(lambda milliseconds: milliseconds / 1000))
@example(0.05)
@example(86400.0)
@example(5400.0)
def test_a_duration_that_is_told_reads_as_itself(seconds):
    assert read_duration()(duration(seconds)) == pytest.approx(seconds, rel=1e-5)


@given(st.integers(0, 2**40))
@example(1024**2)
def test_a_size_that_is_told_reads_as_itself(count):
    assert read_size(size(count)) == count


@pytest.mark.parametrize("nonsense", [1e300, float("nan"), float("-inf"), "x"])
def test_a_time_that_is_none_is_not_shown(nonsense):
    assert iso(nonsense) is None


def test_times_are_told_in_utc():
    assert iso(1_700_000_000.5) == "2023-11-14T22:13:20.500Z"


def test_one_is_singular():
    assert [counted(number, "task") for number in (0, 1, 2)] == ["0 tasks", "1 task", "2 tasks"]


def test_columns_are_aligned_by_what_is_shown_of_them(capsys):
    Screen().table(["A", "B"], [["x\n", "1"], [("yyyy", "red"), "2"]])
    assert capsys.readouterr().out == "A     B\nx\\n   1\nyyyy  2\n"


def test_a_terminal_gets_colour():
    with standing_in(Terminal()) as terminal:
        Screen().line(("bad", "red"), " as can be")
    assert terminal.getvalue() == "\x1b[31mbad\x1b[0m as can be\n"


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_the_environment_can_take_the_colour_away(name, value, monkeypatch):
    monkeypatch.setenv(name, value)
    with standing_in(Terminal()) as terminal:
        Screen().line(("bad", "red"))
    assert terminal.getvalue() == "bad\n"


def test_a_pipe_gets_no_colour_and_no_progress(capsys):
    screen = Screen()
    screen.line(("bad", "red"))
    screen.progress("half way")
    screen.clear_progress()
    assert capsys.readouterr() == ("bad\n", "")


def test_a_progress_line_is_escaped_and_taken_away():
    with standing_in(Terminal()) as terminal:
        screen = Screen()
        screen.progress("half\x1b[2J way")
        screen.clear_progress()
    assert terminal.getvalue() == "\rhalf\\x1b[2J way\x1b[K\r\x1b[K"


def test_a_note_is_one_line_whatever_it_says(capsys):
    Screen().note("two\nlines\x1b[2J")
    assert capsys.readouterr().err == "taskqueue: two\\nlines\\x1b[2J\n"


def test_json_replaces_the_text(capsys):
    screen = Screen(as_json=True)
    screen.line("text")
    screen.document({"a": 1})
    assert json.loads(capsys.readouterr().out) == {"a": 1}


def test_without_json_there_is_no_document(capsys):
    Screen().document({"a": 1})
    assert capsys.readouterr().out == ""


@given(st.text())
@example("\x7f\x1b\u202e")
def test_json_holds_nothing_that_moves_a_cursor_and_reads_as_itself(text):
    with standing_in(io.StringIO()) as written:
        Screen(as_json=True).document([text])
    assert written.getvalue().replace("\n", "").isprintable()
    assert json.loads(written.getvalue()) == [text]
