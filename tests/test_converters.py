from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskqueue.converters import (
    base_url,
    boolean,
    duration,
    duration_or_for_ever,
    header_names,
    host,
    key_file,
    keys,
    name,
    one_of,
    outcomes,
    size,
    text,
    whole_number,
)

SECONDS = {"": 1, "ms": 0.001, "s": 1, "sec": 1, "second": 1, "seconds": 1, "m": 60, "min": 60, "minute": 60}
SECONDS |= {"minutes": 60, "h": 3600, "hour": 3600, "hours": 3600, "d": 86400, "day": 86400, "days": 86400}
BYTES = {"": 1, "B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}

blanks = st.text(" \t", max_size=2)
cases = st.sampled_from([str.lower, str.upper, str.title, str])
# What is of no use anywhere: a converter for text may be given it by keywords.
STRANGERS = [None, object(), b"bytes", [object()], {1: 2}, {"a"}, 1j]


def refused(convert: Any, value: Any) -> bool:
    """Whether a converter refuses a value as it should: with a ValueError of one line that says what is allowed."""
    try:
        convert(value)
    except ValueError as error:
        return len(str(error).splitlines()) == 1
    return False


# ---- durations ---------------------------------------------------------------------------------------------------


@given(st.integers(0, 30_000), st.sampled_from(sorted(SECONDS)), blanks, blanks, blanks, cases)
def test_a_duration_is_a_number_and_a_unit(
    number: int, unit: str, before: str, between: str, after: str, case: Any
) -> None:
    assert duration()(f"{before}{number}{between}{case(unit)}{after}") == pytest.approx(number * SECONDS[unit])


@given(st.decimals(0, 30_000, places=3), st.sampled_from(sorted(SECONDS)))
def test_a_duration_may_have_decimals(number: Any, unit: str) -> None:
    assert duration()(f"{number}{unit}") == pytest.approx(float(number) * SECONDS[unit])


@given(st.floats(0, 3e9) | st.integers(0, 3 * 10**9))
def test_a_duration_from_keywords_is_in_seconds(number: float) -> None:
    assert duration()(number) == pytest.approx(number, abs=1e-6)


@given(st.floats(max_value=-0.001) | st.integers(max_value=-1))
def test_a_duration_is_never_negative(number: float) -> None:
    assert refused(duration(), number)
    assert refused(duration(), str(number))


@pytest.mark.parametrize(
    "value", ["", "s", "10 parsecs", "1 2", "1,5 s", "0x10", "1e3", "inf", "nan", "--1", "٣", "1 s s"]
)
@pytest.mark.parametrize("convert", [duration(), duration_or_for_ever])
def test_what_is_no_duration_is_refused(value: str, convert: Any) -> None:
    assert refused(convert, value)


@pytest.mark.parametrize("value", [float("inf"), float("nan"), True, False, 10**400, -(10**400), 1e300, *STRANGERS[1:]])
@pytest.mark.parametrize("convert", [duration(), duration_or_for_ever, size])
def test_what_is_no_finite_number_is_refused(value: Any, convert: Any) -> None:
    assert refused(convert, value)


@pytest.mark.parametrize("value", ["9" * 309, "9" * 300 + " d", "36601 d", "9" * 5000])
def test_a_duration_that_no_thread_could_wait_for_is_refused(value: str) -> None:
    assert refused(duration(), value)
    assert duration()("36600 d") < threading.TIMEOUT_MAX


def test_a_duration_has_its_minimum() -> None:
    assert duration(1)("1000 ms") == 1
    assert refused(duration(1), "999 ms")
    with pytest.raises(ValueError, match=r"0\.1 s or more"):
        duration(0.1)("0")


@pytest.mark.parametrize("value", [None, "for ever", " For Ever ", "forever"])
def test_for_ever_is_no_duration(value: str | None) -> None:
    assert duration_or_for_ever(value) is None
    assert duration_or_for_ever("1 d") == 86400
    assert refused(duration(), value)


# ---- sizes and numbers -------------------------------------------------------------------------------------------


@given(st.integers(0, 1000), st.sampled_from(sorted(BYTES)), blanks, cases)
def test_a_size_is_a_number_and_a_unit(number: int, unit: str, between: str, case: Any) -> None:
    assert size(f"{number}{between}{case(unit)}") == number * BYTES[unit]


@pytest.mark.parametrize(("value", "expected"), [("1.5 KiB", 1536), (0, 0), (1024, 1024), (" 32 KiB ", 32768)])
def test_a_size_is_in_whole_bytes(value: Any, expected: int) -> None:
    assert size(value) == expected
    assert isinstance(size(value), int)


@pytest.mark.parametrize("value", ["", "1 s", "-1", "1 KiBiB", "9" * 308 + " GiB", "9" * 400, "1025 GiB", None])
def test_what_is_no_size_is_refused(value: Any) -> None:
    assert refused(size, value)


@given(st.integers(0, 10**18 - 1))
def test_a_whole_number_is_read_as_text_or_number(number: int) -> None:
    convert = whole_number(0)
    assert convert(number) == convert(f" {number} ") == convert(f"+{number}") == number


@pytest.mark.parametrize(
    "value", ["", "1.0", "1 s", "one", 1.0, True, "-1", -1, 0, "0", "1" * 19, 10**18, "٣", *STRANGERS]
)
def test_what_is_no_whole_number_from_one_on_is_refused(value: Any) -> None:
    assert refused(whole_number(1), value)


@pytest.mark.parametrize("value", [None, "none", " NONE "])
def test_a_whole_number_may_have_a_word_for_none(value: Any) -> None:
    assert whole_number(1, "none")(value) is None
    assert refused(whole_number(1), value)


# ---- words -------------------------------------------------------------------------------------------------------


def test_one_of_takes_its_words_in_any_case() -> None:
    convert = one_of("auto", "yes", "no")
    assert [convert(value) for value in (" Auto ", "YES", True, False)] == ["auto", "yes", "yes", "no"]
    with pytest.raises(ValueError, match="one of: auto, yes, no"):
        convert("maybe")


@pytest.mark.parametrize("value", ["", "y", "yes no", 1, *STRANGERS])
def test_one_of_takes_nothing_else(value: Any) -> None:
    assert refused(one_of("auto", "yes", "no"), value)


def test_a_boolean_is_one_of_eight_words() -> None:
    assert [boolean(value) for value in ("true", "Yes", "ON", "1", True, 1)] == [True] * 6
    assert [boolean(value) for value in ("false", "No", "OFF", "0", False, 0)] == [False] * 6


@pytest.mark.parametrize("value", ["", "y", "2", 2, 0.5, *STRANGERS])
def test_a_boolean_is_nothing_else(value: Any) -> None:
    assert refused(boolean, value)


@pytest.mark.parametrize("value", ["default", "a", "A.b-c_d", "7up", " padded ", "x" * 100])
def test_a_name_is_taken_without_its_blanks(value: str) -> None:
    assert name(value) == value.strip()


@pytest.mark.parametrize(
    "value", ["", " ", "-x", ".x", "a b", "a/b", "a:b", "é", "x" * 101, "a\nb", "{x}", 5, *STRANGERS]
)
def test_a_name_is_nothing_else(value: Any) -> None:
    assert refused(name, value)


@pytest.mark.parametrize("word", ["localhost", "10.0.0.1", "::1", "fe80::1", "redis.example.org"])
def test_a_host_is_a_name_or_an_address(word: str) -> None:
    assert host(f" {word} ") == word


@pytest.mark.parametrize("word", ["localhost:6379", "10.0.0.1:6379", "[::1]:6379", "localhost:"])
def test_a_host_with_a_port_is_refused_and_told_where_the_port_belongs(word: str) -> None:
    with pytest.raises(ValueError, match="the port belongs into port"):
        host(word)


def test_text_is_one_line_and_not_empty() -> None:
    assert text(" var/täsks.db ") == "var/täsks.db"
    assert text(Path("var") / "tasks.db") == "var/tasks.db"


@pytest.mark.parametrize("value", ["", " \t", "two\nlines", "a\0b", 5, *STRANGERS])
def test_what_is_no_text_is_refused(value: Any) -> None:
    assert refused(text, value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("", ""),
        ("https://www.example.org", "https://www.example.org"),
        ("http://localhost:8080/", "http://localhost:8080"),
        ("http://[::1]:8080/mount/point/", "http://[::1]:8080/mount/point"),
    ],
)
def test_a_base_url_has_no_slash_at_its_end(value: str, expected: str) -> None:
    assert base_url(value) == expected


@pytest.mark.parametrize(
    "value",
    [
        *("www.example.org", "ftp://x", "https://", "https://x?a=b", "https://x#f", "https://x /", "https://u:p@x"),
        *("//x", 5, *STRANGERS),
    ],
)
def test_what_is_no_base_url_is_refused(value: Any) -> None:
    assert refused(base_url, value)


# ---- lists -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["all", " ALL ", ["all"], None])
def test_all_headers_is_none(value: Any) -> None:
    assert header_names(value) is None


@pytest.mark.parametrize(
    "value", ["Cookie, X_Thing", "cookie\n  x-thing", ["Cookie", "X-Thing"], {"COOKIE", "x_thing"}]
)
def test_names_of_headers_are_folded(value: Any) -> None:
    assert header_names(value) == {"cookie", "x-thing"}


def test_no_headers_at_all_is_an_empty_list() -> None:
    assert header_names("") == header_names([]) == frozenset()


@pytest.mark.parametrize("value", ["all Cookie", "a:b", "[]", "é", 5, [5], ["a b"], *STRANGERS[1:4]])
def test_what_is_no_name_of_a_header_is_refused(value: Any) -> None:
    assert refused(header_names, value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("302=done 4xx=retry", {"302": "done", "4xx": "retry"}),
        ("Exception=DEAD,\n conflict=retry", {"exception": "dead", "conflict": "retry"}),
        ({302: "done", "5XX": "conflict"}, {"302": "done", "5xx": "conflict"}),
        ("", {}),
        ({}, {}),
    ],
)
def test_changes_to_the_outcome_table_are_pairs(value: Any, expected: dict[str, str]) -> None:
    assert outcomes(value) == expected


@pytest.mark.parametrize(
    "value",
    ["302", "302=", "=done", "302=perhaps", "600=done", "99=done", "3x=done", "302 = done", "[]", 5, *STRANGERS],
)
def test_what_changes_no_outcome_is_refused(value: Any) -> None:
    assert refused(outcomes, value)


# ---- keys --------------------------------------------------------------------------------------------------------

ONE, TWO = "1" * 32, "zweite" * 8


@pytest.mark.parametrize(
    "value", [f"{ONE} {TWO}", f"\n  {ONE}\n  {TWO}\n", [ONE, TWO], (ONE.encode(), TWO), [f"{ONE} {TWO}"]]
)
def test_keys_are_in_the_order_in_which_they_are_written(value: Any) -> None:
    assert keys(value) == (ONE.encode(), TWO.encode())


def test_a_key_of_bytes_is_taken_as_it_is() -> None:
    assert keys(b"\0 " * 16) == (b"\0 " * 16,)


@pytest.mark.parametrize(
    "value", ["", " ", "hunter2", f"{ONE} hunter2", ["hunter2"], b"hunter2", [], 5, [5], *STRANGERS]
)
def test_keys_that_are_too_short_or_none_are_refused_and_not_shown(value: Any) -> None:
    with pytest.raises(ValueError, match="32 characters or more") as caught:
        keys(value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_a_file_of_keys_has_one_a_line(tmp_path: Path, mark: str) -> None:
    file = tmp_path / "keys"
    file.write_text(f"{mark}{ONE}\n{TWO}\n", "utf-8")
    assert key_file(str(file)) == key_file(file) == (ONE.encode(), TWO.encode())


def test_a_file_of_keys_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe hunter2")
    (tmp_path / "short").write_text("hunter2")
    (tmp_path / "empty").write_text("")
    for file in ("missing", "binary", "short", "empty", "."):
        with pytest.raises(ValueError, match=r"a file that can be read \(.+\)|32 characters") as caught:
            key_file(tmp_path / file)
        assert "hunter2" not in str(caught.value)
    for stranger in ("", "a\0b", 5, *STRANGERS):
        assert refused(key_file, stranger)
