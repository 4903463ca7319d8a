"""An ini file as PasteDeploy reads it, and the files that its applications are taken from. Knows no options.

A section shows its own options only, without those of ``[DEFAULT]``. Errors show no content: a line may be a key.
"""

from __future__ import annotations

import configparser
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from .errors import ConfigurationError
from .settings import one_line

APP_KINDS = ("app", "application")
COMPOSITE_KINDS = ("composite", "composit")
SERVED_KINDS = (*APP_KINDS, *COMPOSITE_KINDS, "pipeline", "filter-app")  # what PasteDeploy finds by its name
LOADED_KINDS = (*SERVED_KINDS, "filter")
NAMING_OPTIONS = ("use", "filter-with", "next", "pipeline")
ELSEWHERE = "config:"


class Title(NamedTuple):
    """A section as PasteDeploy finds it: ``[app:main]``; one without a name is called main."""

    title: str
    kind: str
    name: str
    has_name: bool


class IniFile:
    """One file. ``variables`` are interpolated beside ``here``, ``__file__`` and those of ``[DEFAULT]``."""

    def __init__(
        self, file: Path, variables: Mapping[str, str], read_already: dict[str, IniFile] | None = None
    ) -> None:
        self.name = file.name
        content, resolved = _read(file)
        self.folder = str(resolved.parent)
        self._beside = os.path.dirname(os.path.abspath(file))
        self._files: dict[str, IniFile] = {} if read_already is None else read_already
        self._files[os.path.abspath(file)] = self
        # Twice: as it stands, without [DEFAULT], to know which options are a section's own; and for their values.
        self._plain = _parser(configparser.RawConfigParser(default_section="\0"))
        self._interpolated = _parser(configparser.ConfigParser())
        defaults = {**variables, "here": self.folder, "__file__": str(resolved)}
        self._interpolated.read_dict({"DEFAULT": {key: _doubled(value) for key, value in defaults.items()}})
        for parser in (self._plain, self._interpolated):
            try:
                parser.read_string(content, source=file.name)
            except configparser.Error as error:
                raise ConfigurationError(one_line(f"{file.name}: {_what_is_wrong(error)}")) from None
        self.sections: Sequence[Title] = tuple(map(_parted, self._plain.sections()))

    def place(self, title: str) -> str:
        """Where a section stands, for an error."""
        return f"{self.name}: [{title}]"

    def written(self, title: str) -> Mapping[str, str]:
        """The options of a section as they are written."""
        return self._plain[title]

    def options(self, title: str, prefix: str = "") -> dict[str, str]:
        """The options of a section that begin with a prefix, their values interpolated."""
        options: dict[str, str] = {}
        for key in self._plain[title]:
            if not key.startswith(prefix):
                continue
            name = key.removeprefix("set ").strip()
            if name in options:
                raise ConfigurationError(one_line(f"{self.place(title)} {name}: is there twice, once after set"))
            options[name] = self._value(title, key)
        return options

    # ---- other files ----

    def all_files(self) -> list[IniFile]:
        """This file, and all that it leads to."""
        files = [self]
        for file in files:
            files += [each for each in file.named_files() if each not in files]
        return files

    def named_files(self) -> list[IniFile]:
        """The files that the sections of this one name, as by ``use = config:OTHER.ini``. Raises ConfigurationError."""
        keys = [(each.title, key) for each in self.sections for key in self._naming_options(each)]
        found = [file for title, key in keys for file, _name in self._named_by(title, key)]
        return [each for each in dict.fromkeys(found) if each is not self]

    def served(self, name: str) -> list[tuple[IniFile, str]]:
        """All sections that are loaded where an application is: filters, and what it is made of, wherever they are."""
        title = self._title_of(name)
        found = [(self, title)] if title is not None else []
        for file, each in found:
            found += [here for here in file._led_to(each) if here not in found]
        return found

    def application(self, name: str) -> list[tuple[IniFile, str]]:
        """The sections that an application consists of; none where there is no such application."""
        title = self._title_of(name)
        return self.chain(title) if title is not None else []

    def chain(self, title: str) -> list[tuple[IniFile, str]]:
        """A section of an application, and those that it takes over by ``use``, wherever they are."""
        found: list[tuple[IniFile, str]] = []
        passed: list[tuple[IniFile, str]] = []
        here: tuple[IniFile, str] | None = (self, title)
        while here is not None and here not in passed:
            passed.append(here)
            file, each = here
            if _parted(each).kind in ("pipeline", "filter-app"):
                found = []  # it has no settings, and does not hand on those that were given to it
            else:
                found.append(here)
            here = file._inner(each)
        return found

    def _inner(self, title: str) -> tuple[IniFile, str] | None:
        """What a section makes its application of, None where that is no section."""
        kind = _parted(title).kind
        key = {"pipeline": "pipeline", "filter-app": "next"}.get(kind, "use")
        words = _words(key, self._plain[title].get(key, ""))
        if kind in COMPOSITE_KINDS or not words:
            return None
        file, name = self, words[-1]
        if name.startswith(ELSEWHERE):
            *_others, (file, name) = self._named_by(title, key)
        inner = file._title_of(name)
        return None if inner is None else (file, inner)

    def _led_to(self, title: str) -> Iterator[tuple[IniFile, str]]:
        """The sections that a section names."""
        for key in self._naming_options(_parted(title)):
            words = [(self, word) for word in _words(key, self._plain[title][key])]
            for file, name in (*words, *self._named_by(title, key)):
                yield from (
                    (file, each.title) for each in file.sections if each.kind in LOADED_KINDS and each.name == name
                )

    def _naming_options(self, section: Title) -> list[str]:
        """The options by which a section may name others."""
        keys = self._plain[section.title] if section.kind in LOADED_KINDS else ()
        return [key for key in keys if key in NAMING_OPTIONS or section.kind in COMPOSITE_KINDS]

    def _title_of(self, name: str) -> str | None:
        return next((each.title for each in self.sections if each.kind in SERVED_KINDS and each.name == name), None)

    def _named_by(self, title: str, key: str) -> Iterator[tuple[IniFile, str]]:
        """The files that an option names, each with the application there."""
        if ELSEWHERE not in self._plain[title][key]:
            return
        for word in _words(key, self._value(title, key)):
            if word.startswith(ELSEWHERE):
                path, _, name = word.removeprefix(ELSEWHERE).partition("#")
                yield self._file_beside(path, title, key), name or "main"

    def _file_beside(self, path: str, title: str, key: str) -> IniFile:
        path = unquote(path[2:] if path.startswith("///") else path)
        whole = os.path.abspath(os.path.join(self._beside, path))
        if whole not in self._files:
            try:
                IniFile(Path(whole), self._handed_on(title), self._files)
            except ConfigurationError as error:
                raise ConfigurationError(one_line(f"{self.place(title)} {key}: {error}")) from None
        return self._files[whole]

    def _handed_on(self, title: str) -> dict[str, str]:
        """The variables that another file sees beside its own: those of ``[DEFAULT]``, and what the section sets."""
        names = [name for name in self._interpolated.defaults() if name not in ("here", "__file__")]
        variables = {name: self._value("DEFAULT", name) for name in names}
        for key in self._plain[title]:
            if key.startswith("set "):
                variables[key.removeprefix("set ").strip()] = self._value(title, key)
        return variables

    def _value(self, title: str, key: str) -> str:
        try:
            return self._interpolated.get(title, key)
        except configparser.InterpolationError as error:
            name = key.removeprefix("set ").strip()
            unknown = getattr(error, "reference", "")
            may_be_shown = unknown.isidentifier() and not re.search("secret|password|url", name)
            hint = f"there is no %({unknown})s; " if may_be_shown else ""
            raise ConfigurationError(
                one_line(f"{self.place(title)} {name}: {hint}")
                + "takes %(here)s and variables of [DEFAULT]; write any other % as %%"
            ) from None


def _parted(title: str) -> Title:
    kind, _, name = (part.strip() for part in title.partition(":"))
    return Title(title, kind, name or "main", bool(name))


def _words(key: str, value: str) -> list[str]:
    """A pipeline names several; elsewhere a path may hold blanks."""
    return value.split() if key == "pipeline" else [value.strip()]


def _read(file: Path) -> tuple[str, Path]:
    try:
        return file.read_text("utf-8-sig"), file.resolve()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise ConfigurationError(one_line(f"{file}: cannot be read: {reason}")) from None


def _parser(parser: configparser.RawConfigParser) -> configparser.RawConfigParser:
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # the documented way to keep the case
    return parser


def _doubled(value: object) -> str:
    return str(value).replace("%", "%%")


def _what_is_wrong(error: configparser.Error) -> str:
    """The reason without the lines of the file that the error's own text shows: one of them may be a key."""
    if isinstance(error, configparser.DuplicateSectionError):
        return f"[{error.section}] is there twice (line {error.lineno}); put its options into one section"
    if isinstance(error, configparser.DuplicateOptionError):
        return f"[{error.section}] {error.option}: is there twice (line {error.lineno})"
    if isinstance(error, configparser.MissingSectionHeaderError):
        return f"line {error.lineno}: takes a section such as [taskqueue:default] before the first option"
    if isinstance(error, configparser.ParsingError):
        lines = ", ".join(str(number) for number, _line in error.errors)
        return f"line {lines}: takes a [section], option = value, or more of a value, which is indented"
    return type(error).__name__
