"""The sections ``<taskqueue>`` and ``<taskqueue-server>`` of zope.conf, as ZConfig reads them.

Loaded by ``%import taskqueue``, while zope.conf is read and before anything of Zope is there, so nothing of Zope is
imported here. What was understood starts nothing. One file may be read several times in a process: each reading has
its own ``Sections``.

ZConfig wants a name for each section, tells no line of its errors to those who understand a section, and keeps no two
sections of one name, of whatever kind. So its parser hands these two kinds of section to ``Section`` below instead.
"""

from __future__ import annotations

import difflib
import re
import sys
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import zope.event
from ZConfig import ConfigurationError as ZConfigError
from ZConfig import SchemaError
from ZConfig.cfgparser import ZConfigParser

from .. import settings
from ..configure import Configuration, read_sections
from ..errors import ConfigurationError
from ..lifecycle import running_program
from ..settings import one_line

KINDS = ("taskqueue", "taskqueue-server")
NAMING = {"taskqueue": "queue", "taskqueue-server": "name"}  # the option that names what a section is about
HEADER = re.compile(r"(?P<kind>[^\s()]+)(?:\s+(?P<name>[^\s()]+))?\s*(?P<is_empty>/?)")
COMMANDS = frozenset({"runwsgi", "zconsole", "pserve"})  # they would print a traceback over the one line that matters


@dataclass(frozen=True)
class _Place(settings.Section):
    """A section of options, each with its own line."""

    file: str = ""
    header: str = ""
    line: int = 0
    lines: Mapping[str, int] = field(default_factory=dict)
    name_in_head: str = ""

    @property
    def head(self) -> str:
        """Not what an option gives: who writes ``name`` means the consumer."""
        return self.name_in_head

    def place_of(self, option: object) -> str:
        """File, line, section and option."""
        name = str(option)
        found = [
            line for given, line in self.lines.items() if given == name or given.startswith(name.removesuffix("…"))
        ]
        return f"{self.file}: line {found[0] if name and found else self.line}: {self.header} {name}".rstrip()


class Section:
    """One section while it is read, and afterwards. Its methods are what ZConfig calls on a matcher, and on a value."""

    def __init__(self, sections: Sections, definition: Any, kind: str, name: str, file: str, line: int) -> None:
        self.sections = sections
        self.kind = kind
        self.header = f"<{kind} {name}>" if name else f"<{kind}>"
        self.file = file
        self.line = line
        self._name = name
        self._definition = definition
        self._options: dict[str, str] = {}
        self._lines: dict[str, int] = {}

    # ---- while it is read

    def addValue(self, key: str, value: str, position: tuple[int, Any, str]) -> None:  # noqa: N802  # ZConfig's name
        """One line of it."""
        option = key.lower()  # as everywhere in zope.conf
        if option in self._options:
            there = self._lines[option]
            fail(
                ConfigurationError(f"{self.file}: line {position[0]}: {self.header} {option}: is in line {there}, too")
            )
        self._options[option] = value
        self._lines[option] = position[0]

    def finish(self) -> Section:
        """It has been read."""
        return self

    # ---- afterwards

    def getSectionDefinition(self) -> Any:  # noqa: N802  # ZConfig's name
        """The type that our component has declared, with ``understood`` as its datatype."""
        return self._definition

    def getSectionName(self) -> str:  # noqa: N802  # ZConfig's name
        """Zope keeps what it has read by this, so no two have the same."""
        return f"{self.kind}:{self.line}:{self.file}"

    def place(self, folder: str) -> _Place:
        """Its options, for the reader of all configurations. Relative paths begin at ``folder``."""
        options = dict(self._options)
        naming = NAMING[self.kind]
        place = _Place(
            name=options.pop(naming, self._name or "default"),
            options=options,
            place="",
            folder=folder,
            file=self.file,
            header=self.header,
            line=self.line,
            lines=self._lines,
            name_in_head=self._name,
        )
        if self.kind == "taskqueue" and self._name and place.name != self._name:
            raise place.error(
                naming, f"is {place.name!r}, and the section's head says {self._name!r}; takes the name once"
            )
        known = settings.QUEUE_OPTIONS if self.kind == "taskqueue" else settings.SERVER_OPTIONS
        for option in options:
            if option not in {each.name for each in known} and difflib.get_close_matches(option, [naming], cutoff=0.75):
                raise place.error(option, f"is not an option; did you mean {naming}?")
        return place


class Sections:
    """All sections of one reading of a zope.conf, in their order. ``folder`` tells where relative paths begin."""

    def __init__(self, source: str, folder: Callable[[], str]) -> None:
        self.source = source
        self.given: list[Section] = []
        self._folder = folder
        self._configuration: Configuration | None = None

    def understand(self) -> Configuration:
        """What they come to, worked out once. Raises ConfigurationError."""
        if self._configuration is None:
            folder = self._folder()
            queues, servers = ([each.place(folder) for each in self.given if each.kind == kind] for kind in KINDS)
            self._configuration = read_sections(queues, servers, self.source)
        return self._configuration


def understood(section: Any) -> Section:
    """The datatype of both kinds of section: understands all of them, when the last one has been read."""
    if not isinstance(section, Section):
        raise ZConfigError("this release of ZConfig reads sections in a way that taskqueue does not know")
    try:
        section.sections.understand()
    except ConfigurationError as error:
        fail(error)
    if _refuse_without_zcml not in zope.event.subscribers:
        zope.event.subscribers.append(_refuse_without_zcml)
    return section


def fail(error: ConfigurationError) -> NoReturn:
    """Leave with exit status 2 in a command of Zope's."""
    if running_program() not in COMMANDS and "plone.recipe.zope2instance.ctl" not in sys.modules:
        raise error
    sys.stderr.write(f"taskqueue: {error}\n")
    raise SystemExit(2) from None


def _refuse_without_zcml(event: object) -> None:
    """Zope has started. Without our ZCML a task's request is marked by nothing, and nobody looks as whom it runs."""
    if type(event).__name__ != "DatabaseOpenedWithRoot":
        return
    from App.config import getConfiguration  # noqa: PLC0415  # there is no Zope yet when this module is read

    from .utilities import is_zcml_loaded  # noqa: PLC0415  # the same

    given = sections_of(getConfiguration())
    if given is not None and not is_zcml_loaded():
        first = given.given[0]
        fail(
            ConfigurationError(
                f"{first.file}: line {first.line}: {first.header}: the ZCML of taskqueue is not loaded: put "
                '<include package="taskqueue"/> into site.zcml, or zcml = taskqueue into the part of the instance in '
                "buildout.cfg"
            )
        )


def sections_of(configuration: Any) -> Sections | None:
    """Those of a configuration of Zope's, None where there are none."""
    products = getattr(configuration, "product_config", None) or {}
    return next((each.sections for each in products.values() if isinstance(each, Section)), None)


# ---- ZConfig's parser --------------------------------------------------------------------------------------------


def folder_in(homes: Mapping[str, Any]) -> str:
    """Where relative paths begin: Zope's clienthome. What must last is there; buildout throws an instancehome away."""
    return str(homes.get("clienthome") or Path(str(homes.get("instancehome") or ".")) / "var")


_begin = ZConfigParser.start_section
_end = ZConfigParser.end_section


def _start_section(parser: Any, section: Any, rest: str) -> Any:
    """Begin a section: one of ours is read by ``Section``, all others as ever."""
    if isinstance(section, Section):
        where = f"{section.file}: line {parser.lineno}: {section.header}"
        fail(ConfigurationError(one_line(f"{where}: has options, and no section such as <{rest.strip()}> in it")))
    match = HEADER.fullmatch(rest.strip())
    kind = match["kind"].lower().removesuffix("/") if match else ""
    if parser.stack or match is None:
        return _begin(parser, section, rest)
    try:
        definition = parser.context.schema.gettype(kind)
    except SchemaError:
        _refuse_misspelt(parser, kind, rest)
        return _begin(parser, section, rest)  # which tells that the type is not known
    if kind not in KINDS:
        return _begin(parser, section, rest)
    name = (match["name"] or "").removesuffix("/")
    sections = _sections(parser.context, parser.url, section)
    ours = Section(sections, definition, kind, name, file_of(parser.url).name, parser.lineno)
    sections.given.append(ours)
    if rest.rstrip().endswith("/"):
        parser.context.endSection(section, kind, None, ours)
        return section
    parser.stack.append((kind, None, section))
    return ours


def _refuse_misspelt(parser: Any, kind: str, rest: str) -> None:
    """Where there is no such section: who reads the file for ours alone would pass it over."""
    near = difflib.get_close_matches(kind.replace("_", "-"), KINDS, n=1, cutoff=0.8)
    if near and kind not in KINDS:
        file = file_of(parser.url).name
        head = f"<{rest.strip()}>"
        fail(
            ConfigurationError(
                one_line(f"{file}: line {parser.lineno}: {head}: is not a section; did you mean <{near[0]}>?")
            )
        )


def _end_section(parser: Any, section: Any, rest: str) -> Any:
    """End a section. What opens as one of ours and closes as another is a slip that many have copied."""
    if isinstance(section, Section) and rest.strip().lower() != section.kind:
        closing, opening = f"</{rest.strip()}>", f"{section.header} of line {section.line}"
        fail(
            ConfigurationError(
                one_line(f"{section.file}: line {parser.lineno}: {closing}: closes {opening}; takes </{section.kind}>")
            )
        )
    return _end(parser, section, rest)


def _sections(context: Any, url: str, root: Any) -> Sections:
    found: Sections | None = context.__dict__.get("taskqueue_sections")
    if found is None:
        # The keys of the file, which are read before its sections are understood.
        found = context.taskqueue_sections = Sections(str(file_of(url)), lambda: folder_in(root._values))
    return found


def file_of(url: str | None) -> Path:
    """The file that ZConfig names by a URL."""
    return Path(urllib.request.url2pathname(urllib.parse.urlsplit(url or "zope.conf").path))


ZConfigParser.start_section = _start_section
ZConfigParser.end_section = _end_section
