"""What was configured, read into one ``Configuration``: from an ini file, Pyramid settings, or keywords.

Whatever cannot be used becomes a ConfigurationError of one line, which says where it stands and shows no secret. Knows
the options, but no backends: what options a type of queue has is asked of ``backend_options``, which is given.
"""

from __future__ import annotations

import configparser
import difflib
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .converters import boolean
from .errors import ConfigurationError
from .settings import Option, QueueSettings, Section, ServerSettings, one_line, read_queue, read_section, read_server

BackendOptions = Callable[[str], Sequence[Option]]

SECTION_KINDS = ("taskqueue", "taskqueue-server")
SETTING_KINDS = ("queue", "server")
AS_SETTING, AS_KEYWORD = (".", ""), ("['", "']")  # what stands around the name of an option
APP_KINDS = ("app", "application")
SERVED_KINDS = (*APP_KINDS, "composite", "composit", "pipeline", "filter-app")  # what PasteDeploy finds by its name
PYRAMID_OPTIONS = (Option("csrf_exempt", boolean, True, "whether tasks pass Pyramid's CSRF check"),)


@dataclass(frozen=True)
class Configuration:
    """What was understood: queues and consumers, and what it was read from."""

    queues: tuple[QueueSettings, ...]
    servers: tuple[ServerSettings, ...]
    source: str
    is_default: bool = False  # nothing was configured


# ---- the ini file ------------------------------------------------------------------------------------------------


def read_ini(
    path: str | os.PathLike[str],
    backend_options: BackendOptions,
    variables: Mapping[str, str] | None = None,
    app: str = "",
) -> Configuration:
    """The sections of an ini file; without any, the settings ``taskqueue.…`` of one of its ``[app:…]`` sections."""
    ini = _Ini(Path(path), variables or {})
    _refuse_unknown_app(ini, app)
    sections: dict[str, list[Section]] = {kind: [] for kind in SECTION_KINDS}
    for title in ini.titles():
        kind, _, name = (part.strip() for part in title.partition(":"))
        if kind in sections:
            sections[kind].append(Section(name or "default", ini.options(title), ini.place(title), folder=ini.folder))
        else:
            _refuse_misspelt(ini.place(title), kind)
    if any(sections.values()):
        _refuse_both(ini)
        return read_sections(sections["taskqueue"], sections["taskqueue-server"], str(path), backend_options)
    found = _find_app(ini, app)
    if found is None:
        return read_sections((), (), str(path), backend_options)
    settings = ini.options(found, prefix="taskqueue.")
    return replace(read_settings(settings, backend_options, ini.place(found)), source=str(path))


def _refuse_unknown_app(ini: _Ini, app: str) -> None:
    """``main`` need not be there: it is what is meant where nothing is named."""
    parts = [[part.strip() for part in title.partition(":")] for title in ini.titles()]
    names = sorted({name for kind, _, name in parts if kind in SERVED_KINDS and name})
    if app not in {"", "main", *names}:
        there = f"there are: {', '.join(names)}" if names else "there is none of any name"
        raise ConfigurationError(
            one_line(f"{ini.name}: has no application {app[:60]!r}, as #{app[:60]} asks for; {there}")
        )


def _refuse_both(ini: _Ini) -> None:
    """What serves would use one of them, and the command line would look at the other."""
    for title in ini.titles():
        if title.partition(":")[0].strip() in APP_KINDS and ini.has_settings(title, ("queue", "server")):
            raise ConfigurationError(
                one_line(f"{ini.place(title)} has settings taskqueue.queue.… or taskqueue.server.…, ")
                + "and this file has sections [taskqueue…], too; keep one of them"
            )


def _find_app(ini: _Ini, app: str) -> str | None:
    """The section of that application; of one that is a pipeline or the like, the first that has settings of ours."""
    titles = {}
    for title in ini.titles():
        kind, _, name = (part.strip() for part in title.partition(":"))
        if kind in APP_KINDS:
            titles[name] = title
    if app in titles:
        return titles[app]
    return next((title for title in titles.values() if ini.has_settings(title)), None)


class _Ini:
    """A file as PasteDeploy reads it, but that a section shows its own options only, and errors show no content."""

    def __init__(self, file: Path, variables: Mapping[str, str]) -> None:
        self.name = file.name
        try:
            content = file.read_text("utf-8-sig")
            resolved = file.resolve()
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
            raise ConfigurationError(one_line(f"{file}: cannot be read: {reason}")) from None
        self.folder = str(resolved.parent)
        defaults = {**variables, "here": self.folder, "__file__": str(resolved)}
        # Twice: as it stands, without [DEFAULT], to know which options are a section's own; and for their values.
        self._plain = _parser(configparser.RawConfigParser(default_section="\0"))
        self._interpolated = _parser(configparser.ConfigParser())
        self._interpolated.read_dict({"DEFAULT": {key: _doubled(value) for key, value in defaults.items()}})
        for parser in (self._plain, self._interpolated):
            try:
                parser.read_string(content, source=file.name)
            except configparser.Error as error:
                raise ConfigurationError(one_line(f"{file.name}: {_what_is_wrong(error)}")) from None

    def titles(self) -> Sequence[str]:
        return self._plain.sections()

    def place(self, title: str) -> str:
        return f"{self.name}: [{title}]"

    def has_settings(self, title: str, kinds: Sequence[str] = ("",)) -> bool:
        prefixes = tuple(f"taskqueue.{kind}" for kind in kinds)
        return any(key.removeprefix("set ").startswith(prefixes) for key in self._plain[title])

    def options(self, title: str, prefix: str = "") -> dict[str, str]:
        """The options of a section that begin with a prefix, their values interpolated."""
        options: dict[str, str] = {}
        for key in self._plain[title]:
            if not key.startswith(prefix):
                continue
            name = key.removeprefix("set ").strip()
            if name in options:
                raise ConfigurationError(one_line(f"{self.place(title)} {name}: is there twice, once after set"))
            try:
                options[name] = self._interpolated.get(title, key)
            except configparser.InterpolationError as error:
                unknown = getattr(error, "reference", "")
                may_be_shown = unknown.isidentifier() and not re.search("secret|password|url", name)
                hint = f"there is no %({unknown})s; " if may_be_shown else ""
                raise ConfigurationError(
                    one_line(f"{self.place(title)} {name}: {hint}")
                    + "takes %(here)s and variables of [DEFAULT]; write any other % as %%"
                ) from None
        return options


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


def _refuse_misspelt(place: str, kind: str) -> None:
    """``[taskqueue-sever:x]`` would be ignored by everybody, and its tasks would wait for ever."""
    near = difflib.get_close_matches(kind.lower().replace("_", "-"), SECTION_KINDS, n=1, cutoff=0.8)
    if near:
        raise ConfigurationError(one_line(f"{place}: is not a section; did you mean [{near[0]}:…]?"))


# ---- Pyramid settings --------------------------------------------------------------------------------------------


def read_settings(settings: Mapping[str, Any], backend_options: BackendOptions, source: str) -> Configuration:
    """``taskqueue.queue.NAME.OPTION`` and ``taskqueue.server.NAME.OPTION``, and what the Pyramid door itself reads."""
    found: dict[str, dict[str, dict[str, Any]]] = {kind: {} for kind in SETTING_KINDS}
    own: dict[str, Any] = {}
    for key, value in settings.items():
        parts = str(key).split(".")
        if parts[0] != "taskqueue":
            _refuse_misspelt_setting(source, parts)
        elif len(parts) == 2 and parts[1] in {option.name for option in PYRAMID_OPTIONS}:
            own[parts[1]] = value
        elif len(parts) >= 4 and parts[1] in found:
            found[parts[1]].setdefault(".".join(parts[2:-1]), {})[parts[-1]] = value
        else:
            raise ConfigurationError(one_line(f"{source}: {key}: is not a setting; {_nearest_setting(parts)}"))
    read_section(Section("", own, f"{source}: taskqueue", AS_SETTING), PYRAMID_OPTIONS)
    queues, servers = (
        [
            Section(name, options, f"{source}: taskqueue.{kind}.{name}", AS_SETTING)
            for name, options in found[kind].items()
        ]
        for kind in SETTING_KINDS
    )
    return read_sections(queues, servers, source, backend_options)


def _nearest_setting(parts: Sequence[str]) -> str:
    word = parts[1] if len(parts) > 1 else ""
    if word in SETTING_KINDS:
        return f"there is taskqueue.{word}.NAME.OPTION"
    options = [option.name for option in PYRAMID_OPTIONS]
    near = difflib.get_close_matches(word, [*SETTING_KINDS, *options], n=1, cutoff=0.6)
    if near:
        return f"did you mean taskqueue.{near[0]}{'' if near[0] in options else '.NAME.OPTION'}?"
    known = [f"taskqueue.{kind}.NAME.OPTION" for kind in SETTING_KINDS] + [f"taskqueue.{name}" for name in options]
    return "there are: " + ", ".join(known)


def _refuse_misspelt_setting(source: str, parts: Sequence[str]) -> None:
    if len(parts) >= 4 and parts[1] in SETTING_KINDS:
        folded = parts[0].lower().replace("_", "").replace("-", "")
        if difflib.get_close_matches(folded, ["taskqueue"], n=1, cutoff=0.8):
            key = ".".join(parts)
            hint = ".".join(["taskqueue", *parts[1:]])
            raise ConfigurationError(one_line(f"{source}: {key}: is not a setting; did you mean {hint}?"))


# ---- keywords ----------------------------------------------------------------------------------------------------


def read_keywords(queues: object, servers: object, backend_options: BackendOptions) -> Configuration:
    """Options by name of queue, and by name of consumer."""
    return read_sections(
        _keyword_sections("queues", queues), _keyword_sections("servers", servers), "keywords", backend_options
    )


def _keyword_sections(keyword: str, given: object) -> list[Section]:
    if given is None:
        return []
    if not isinstance(given, Mapping) or not all(isinstance(options, Mapping) for options in given.values()):
        raise ConfigurationError(f"{keyword}: takes a mapping of names to options, such as {{'default': {{}}}}")
    return [
        Section(str(name), dict(options), f"{keyword}[{str(name)!r}]", AS_KEYWORD) for name, options in given.items()
    ]


# ---- all of it together ------------------------------------------------------------------------------------------


def read_sections(
    queue_sections: Sequence[Section], server_sections: Sequence[Section], source: str, backend_options: BackendOptions
) -> Configuration:
    """Sections of queues and of consumers, wherever they stand; without any, the defaults."""
    if not queue_sections and not server_sections:
        return Configuration((QueueSettings(),), (ServerSettings(),), source, is_default=True)
    queues = [read_queue(section, backend_options) for section in queue_sections]
    servers = [read_server(section) for section in server_sections]
    _refuse_twice(queue_sections, [queue.queue for queue in queues])
    # Consumers of different queues may have one name: that of the instance, as buildout gives it.
    _refuse_twice(server_sections, [server.name for server in servers], [server.queue for server in servers])
    if not queues and {server.queue for server in servers} == {"default"}:
        queues = [QueueSettings()]
    known = {queue.queue for queue in queues}
    for section, server in zip(server_sections, servers, strict=True):
        if server.queue not in known:
            raise section.error("queue", _no_such_queue(server.queue, known))
    consumed = {server.queue for server in servers if server.consume != "no"}
    for section, queue in zip(queue_sections, queues, strict=False):
        if queue.type == "local" and queue.queue not in consumed:
            raise section.error(
                "type",
                f"a local queue is seen by this process only, and no consumer here takes from {queue.queue!r}: "
                f"add a consumer ([taskqueue-server:{queue.queue}], <taskqueue-server>, or servers=) with queue = "
                f"{queue.queue}, "
                "or use another type",
            )
    return Configuration(tuple(queues), tuple(servers), source)


def _refuse_twice(sections: Sequence[Section], names: Sequence[str], queues: Sequence[str] = ()) -> None:
    seen = list(zip(names, queues, strict=True)) if queues else list(names)
    for index, (section, name) in enumerate(zip(sections, names, strict=True)):
        if seen[index] in seen[:index]:
            raise section.error("", f"there is another {name!r}; takes a name that is there once")


def _no_such_queue(name: str, known: set[str]) -> str:
    near = difflib.get_close_matches(name, sorted(known), n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    return f"there is no queue {name!r}; configured are: {', '.join(sorted(known)) or 'none'}{hint}"
