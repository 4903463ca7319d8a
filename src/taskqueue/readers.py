"""What was configured, read into one ``Configuration``: from an ini file, Pyramid settings, or keywords.

Whatever cannot be used becomes a ConfigurationError of one line, which says where it stands and shows no secret. Knows
the options, but no backends: what options a type of queue has is asked of ``backend_options``, which is given.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from . import spelling
from .converters import boolean
from .errors import ConfigurationError
from .inifiles import APP_KINDS, SERVED_KINDS, IniFile
from .settings import Option, QueueSettings, Section, ServerSettings, one_line, read_queue, read_section, read_server

BackendOptions = Callable[[str], Sequence[Option]]

SECTION_KINDS = ("taskqueue", "taskqueue-server")
SETTING_KINDS = ("queue", "server")
AS_SETTING, AS_KEYWORD = (".", ""), ("['", "']")  # what stands around the name of an option
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
    """The sections of an ini file and of those that it names; without any, the settings ``taskqueue.…`` of one of its
    applications."""
    ini = IniFile(Path(path), variables or {})
    _refuse_unknown_app(ini, app)
    _refuse_misspelt_settings(ini)
    sections = _ini_sections(ini)
    if sections:
        _refuse_both(ini)
        _read_given(ini, app, backend_options)  # what is wrong there is so for the application, too
        queues, servers = (
            [section for (each, _name), section in sections.items() if each == kind] for kind in SECTION_KINDS
        )
        return read_sections(queues, servers, str(path), backend_options)
    return replace(_read_given(ini, app, backend_options), source=str(path))


def _read_given(ini: IniFile, app: str, backend_options: BackendOptions) -> Configuration:
    given = _find_settings(ini, app)
    return read_settings(given.settings, backend_options, given.place)


def _refuse_unknown_app(ini: IniFile, app: str) -> None:
    """``main`` need not be there: it is what is meant where nothing is named."""
    names = sorted({each.name for each in ini.sections if each.kind in SERVED_KINDS and each.has_name})
    if app not in {"", "main", *names}:
        there = f"there are: {', '.join(names)}" if names else "there is none of any name"
        raise ConfigurationError(
            one_line(f"{ini.name}: has no application {app[:60]!r}, as #{app[:60]} asks for; {there}")
        )


def _ini_sections(ini: IniFile, outside: Sequence[IniFile] = ()) -> dict[tuple[str, str], Section]:
    """The sections of a file, in place of those of the same name in the file that it names."""
    found: dict[tuple[str, str], Section] = {}
    holder, around = ini, (*outside, ini)
    for inner in ini.named_files():
        theirs = _ini_sections(inner, around) if inner not in around else {}
        if theirs and found and theirs != found:
            raise ConfigurationError(
                one_line(f"{ini.name} names {holder.name} and {inner.name}, and both have sections [taskqueue…]; ")
                + "keep them in one of the files"
            )
        if theirs:
            found, holder = theirs, inner
    return found | _own_sections(ini)


def _own_sections(ini: IniFile) -> dict[tuple[str, str], Section]:
    found: dict[tuple[str, str], Section] = {}
    for each in ini.sections:
        if each.kind not in SECTION_KINDS:
            _refuse_misspelt(ini.place(each.title), each.kind)
            continue
        name = each.name if each.has_name else "default"
        section = Section(name, ini.options(each.title), ini.place(each.title), folder=ini.folder)
        if (each.kind, name) in found:
            raise section.error("", f"there is another {name!r}; takes a name that is there once")
        found[each.kind, name] = section
    return found


def _refuse_both(ini: IniFile) -> None:
    """What serves would use one of them, and the command line would look at the other."""
    files = ini.all_files()
    holder = next(each for each in files if _own_sections(each))
    for file in files:
        for each in file.sections:
            if each.kind in APP_KINDS and _has_settings(file, each.title, ("queue", "server")):
                there = "this file" if holder is file else holder.name
                raise ConfigurationError(
                    one_line(f"{file.place(each.title)} has settings taskqueue.queue.… or taskqueue.server.…, ")
                    + one_line(f"and {there} has sections [taskqueue…], too; keep one of them")
                )


def refuse_both(configuration: Configuration, of_zope: Configuration) -> None:
    """Raise ConfigurationError where both an ini file and the zope.conf that it serves configure something."""
    if not of_zope.is_default:
        raise ConfigurationError(
            one_line(f"{Path(configuration.source).name} has sections [taskqueue…], and {Path(of_zope.source).name} ")
            + "has sections <taskqueue…>, too; keep one of them"
        )


def _refuse_misspelt_settings(ini: IniFile) -> None:
    """``taskqueues.queue.x.type`` would be ignored here, and be an error to the application."""
    for file in ini.all_files():
        for each in file.sections:
            for key in file.written(each.title) if each.kind in APP_KINDS else ():
                _refuse_misspelt_setting(file.place(each.title), key.removeprefix("set ").split("."))


def _has_settings(file: IniFile, title: str, kinds: Sequence[str] = ("",)) -> bool:
    prefixes = tuple(f"taskqueue.{kind}" for kind in kinds)
    return any(key.removeprefix("set ").startswith(prefixes) for key in file.written(title))


@dataclass(frozen=True)
class _Given:
    """Settings of one application, and where they stand."""

    settings: Mapping[str, str]
    place: str


def _find_settings(ini: IniFile, app: str) -> _Given:
    """The settings of that application; of one that is none itself, the first there are."""
    found = _settings_of(ini.application(app or "main"))
    is_app = any(each.kind in APP_KINDS and each.name == app for each in ini.sections)
    if found.settings or is_app:
        return found
    apps = ((file, each.title) for file in ini.all_files() for each in file.sections if each.kind in APP_KINDS)
    every = (_settings_of(file.chain(title)) for file, title in apps)
    return next((each for each in every if each.settings), found)


def _settings_of(chain: Sequence[tuple[IniFile, str]]) -> _Given:
    """Those of a section, in place of those that it takes over by ``use``."""
    settings: dict[str, str] = {}
    places: list[str] = []
    for file, title in reversed(chain):
        if _has_settings(file, title):
            settings |= file.options(title, prefix="taskqueue.")
            places.insert(0, file.place(title))
    return _Given(settings, ", ".join(places))


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
    if parts[0] != "taskqueue" and len(parts) >= 4 and parts[1] in SETTING_KINDS:
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
        queues = [QueueSettings(place=server_sections[0].place_of("queue"))]
    known = {queue.queue for queue in queues}
    _refuse_name_for_queue(server_sections, servers, known)
    for section, server in zip(server_sections, servers, strict=True):
        if server.queue not in known:
            raise section.error("queue", _no_such_queue(server.queue, known))
    consumed = {server.queue for server in servers if server.consume != "no"}
    for section, queue in zip(queue_sections, queues, strict=False):
        if queue.type == "local" and queue.queue not in consumed:
            raise section.error(
                "type",
                f"a local queue is seen by this process only, and no consumer here takes from {queue.queue!r}: "
                f"add {spelling.consumer(section.place_of('type'), queue.queue)}, or use another type",
            )
    return Configuration(tuple(queues), tuple(servers), source)


def _refuse_twice(sections: Sequence[Section], names: Sequence[str], queues: Sequence[str] = ()) -> None:
    seen = list(zip(names, queues, strict=True)) if queues else list(names)
    for index, (section, name) in enumerate(zip(sections, names, strict=True)):
        if seen[index] in seen[:index]:
            raise section.error("", f"there is another {name!r}; takes a name that is there once")


def _refuse_name_for_queue(sections: Sequence[Section], servers: Sequence[ServerSettings], known: set[str]) -> None:
    """``[taskqueue-server:mail]`` names a consumer. Who meant the queue would wait for ever for the tasks of that."""
    forgotten = known - {server.queue for server in servers}
    for section, server in zip(sections, servers, strict=True):
        if section.head in forgotten and "queue" not in section.options:
            raise section.error(
                "queue",
                f"is not given, so that this consumer takes from {server.queue!r}, and none takes from "
                f"{section.head!r}, the name that it has; takes {section.head}, or {server.queue} if that is meant",
            )


def _no_such_queue(name: str, known: set[str]) -> str:
    near = difflib.get_close_matches(name, sorted(known), n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    return f"there is no queue {name!r}; configured are: {', '.join(sorted(known)) or 'none'}{hint}"
