"""Each option, each way to get it wrong, each door: one line that says where, and what is allowed.

The cases are made from the tables of options: a new option is in them without further ado.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from taskqueue.configure import read_ini, read_keywords, read_settings
from taskqueue.errors import ConfigurationError
from taskqueue.settings import BACKEND_OPTIONS, QUEUE_OPTIONS, REQUIRED, SERVER_OPTIONS, Option

SECRET = "hunter2"  # part of every value that is given to an option that takes a secret


@dataclasses.dataclass(frozen=True)
class Place:
    """Where an option is: in a queue's section or in a consumer's, with what must stand beside it."""

    kind: str  # "queue" or "server"
    beside: Mapping[str, str]


@dataclasses.dataclass(frozen=True)
class Case:
    """One mistake."""

    place: Place
    option: str
    value: Any
    hides: bool = True  # its value is not to be shown

    def options(self) -> dict[str, Any]:
        return {**self.place.beside, self.option: self.value}


# ---- the doors ---------------------------------------------------------------------------------------------------


SECTIONS = {"queue": "taskqueue", "server": "taskqueue-server"}


def through_ini(case: Case, folder: Path) -> None:
    lines = [f"[{SECTIONS[case.place.kind]}:mail]"]
    lines += [f"{option} = {str(value).replace('%', '%%')}" for option, value in case.options().items()]
    file = folder / "site.ini"
    file.write_text("\n".join(lines) + "\n", "utf-8")
    read_ini(file)


def through_settings(case: Case, _folder: Path) -> None:
    read_settings({f"taskqueue.{case.place.kind}.mail.{name}": value for name, value in case.options().items()})


def through_keywords(case: Case, _folder: Path) -> None:
    given = {"mail": case.options()}
    read_keywords(*((given, None) if case.place.kind == "queue" else (None, given)))


DOORS: dict[str, Callable[[Case, Path], None]] = {
    "ini": through_ini,
    "settings": through_settings,
    "keywords": through_keywords,
}
PLACES: dict[str, Callable[[str, str], str]] = {
    "ini": lambda kind, option: f"site.ini: [{SECTIONS[kind]}:mail] {option}: ",
    "settings": lambda kind, option: f"settings: taskqueue.{kind}.mail.{option}: ",
    "keywords": lambda kind, option: f"{kind}s['mail']['{option}']: ",
}


def line_of(case: Case, door: str, folder: Path, culprit: str = "") -> str:
    """The one line for a mistake, the place taken off."""
    with pytest.raises(ConfigurationError) as caught:
        DOORS[door](case, folder)
    line = str(caught.value)
    assert len(line.splitlines()) == 1
    assert line.isprintable()
    beginning = PLACES[door](case.place.kind, culprit or case.option)
    assert line.startswith(beginning), line
    assert SECRET not in line or not case.hides
    return line.removeprefix(beginning)


# ---- the mistakes ------------------------------------------------------------------------------------------------


def _required(own: tuple[Option, ...]) -> dict[str, str]:
    return {option.name: "tasks.db" for option in own if option.default is REQUIRED}


def placed() -> Iterator[tuple[Place, Option]]:
    """Every option, with its place."""
    for option in QUEUE_OPTIONS:
        yield Place("queue", {}), option
    for kind, own in BACKEND_OPTIONS.items():
        for option in own:
            beside = {"type": kind, **_required(own)}
            beside.pop(option.name, None)
            yield Place("queue", beside), option
    for option in SERVER_OPTIONS:
        yield Place("server", {}), option


PLACED = tuple(placed())
# Text of which every option refuses some; each option's converter tells which.
WRONG_TEXTS = (
    "",
    "][ \u2028=",
    f"{SECRET} no such thing",
    "nonsense\x1b[2J",
    "9" * 400,
    "9" * 400 + " d",
    "%(nothing)s %",
)
NEGATIVES = ("-1", "-0.5 s", "-3 MiB")
# Only keywords and Pyramid settings can give these.
WRONG_OBJECTS = (object(), b"\xff", [object()], {"a": "b"}, float("nan"), float("-inf"), -1, -0.5, True, 1j, None)
IS_NUMERIC = {option.name for _, option in PLACED if isinstance(option.default, (int, float))}
IS_NUMERIC -= {option.name for _, option in PLACED if isinstance(option.default, bool)}
IS_NUMERIC |= {"length_limit", "keep_dead"}  # None by default


def refuses(option: Option, value: Any) -> bool:
    try:
        option.convert(value)
    except ValueError:
        return True
    return False


def wrong(values: tuple[Any, ...]) -> list[Any]:
    return [
        pytest.param(
            Case(place, option.name, value, option.secret), id=f"{place.kind}.{option.name}={str(value)[:12]!a}"
        )
        for place, option in PLACED
        for value in values
        if refuses(option, value)
    ]


@pytest.mark.parametrize(("place", "option"), PLACED, ids=lambda value: getattr(value, "name", ""))
def test_every_option_refuses_some_text_and_some_objects(place: Place, option: Option) -> None:
    assert any(refuses(option, value) for value in WRONG_TEXTS)
    assert sum(refuses(option, value) for value in WRONG_OBJECTS) >= 5


@pytest.mark.parametrize("name", sorted(IS_NUMERIC))
def test_every_number_refuses_whatever_is_negative(name: str) -> None:
    [option] = [option for _, option in PLACED if option.name == name]
    assert all(refuses(option, value) for value in (*NEGATIVES, -1, -0.5))


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("case", wrong(WRONG_TEXTS + NEGATIVES))
def test_a_wrong_text_is_one_line_that_says_what_is_allowed(case: Case, door: str, tmp_path: Path) -> None:
    message = line_of(case, door, tmp_path)
    assert message.startswith("takes ")
    assert len(message) < 400
    assert (", not " in message) != case.hides


@pytest.mark.parametrize("door", ["settings", "keywords"])
@pytest.mark.parametrize("case", wrong(WRONG_OBJECTS))
def test_a_wrong_object_is_one_line_that_says_what_is_allowed(case: Case, door: str, tmp_path: Path) -> None:
    assert line_of(case, door, tmp_path).startswith("takes ")


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(("place", "option"), [each for each in PLACED if each[1].default is REQUIRED])
def test_a_required_option_that_is_missing_is_one_line_that_explains_it(
    place: Place, option: Option, door: str, tmp_path: Path
) -> None:
    message = line_of(Case(place, "prefix", "beside"), door, tmp_path, culprit=option.name)
    assert message == f"is missing; it takes {option.help}"


def typos(name: str) -> set[str]:
    """Ways to misspell an option; none of them is another option, or so short that it could be anything."""
    made = {name + name[-1], name[0] + name[2:], name[:-2] + name[-1] + name[-2], name.upper(), name.capitalize()}
    made |= {name.replace("_", "-"), name.replace("_", "")} if "_" in name else set()
    return {typo for typo in made if len(typo) > 3 and typo not in ALL_NAMES}


ALL_NAMES = {option.name for _, option in PLACED}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    ("place", "option", "typo"),
    [
        pytest.param(place, option, typo, id=f"{place.kind}.{typo}")
        for place, option in PLACED
        for typo in sorted(typos(option.name))
    ],
)
def test_a_misspelt_option_is_one_line_with_the_near_one(
    place: Place, option: Option, typo: str, door: str, tmp_path: Path
) -> None:
    case = Case(place, typo, f"{SECRET} 1")
    assert line_of(case, door, tmp_path) == f"is not an option; did you mean {option.name}?"


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("kind", [*BACKEND_OPTIONS, "server"])
@pytest.mark.parametrize("unknown", ["zzz", "ünbekannt", "{option}", "a b"])
def test_an_unknown_option_is_one_line_that_names_all(kind: str, unknown: str, door: str, tmp_path: Path) -> None:
    if kind == "server":
        place, known = Place("server", {}), SERVER_OPTIONS
    else:
        own = BACKEND_OPTIONS[kind]
        place, known = Place("queue", {"type": kind, **_required(own)}), (*QUEUE_OPTIONS, *own)
    message = line_of(Case(place, unknown, SECRET), door, tmp_path)
    assert message.startswith("is not an option; there are: ")
    assert set(message.partition("there are: ")[2].split(", ")) == {option.name for option in known}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    ("kind", "option", "said"),
    [
        ("local", "lease", "is an option of consumers, which are configured beside the queues"),
        ("sqlite", "concurrent_limit", "is an option of consumers, which are configured beside the queues"),
        ("server", "payload_limit", "is an option of queues, not of their consumers"),
        ("server", "path", "is an option of queues, not of their consumers"),
    ],
)
def test_an_option_in_the_other_kind_of_section_is_said_to_be_of_that(
    kind: str, option: str, said: str, door: str, tmp_path: Path
) -> None:
    place = (
        Place("server", {}) if kind == "server" else Place("queue", {"type": kind, **_required(BACKEND_OPTIONS[kind])})
    )
    assert line_of(Case(place, option, SECRET), door, tmp_path) == said


def test_there_are_enough_of_these_cases() -> None:
    count = 3 * len(wrong(WRONG_TEXTS + NEGATIVES)) + 2 * len(wrong(WRONG_OBJECTS))
    assert count > 300
