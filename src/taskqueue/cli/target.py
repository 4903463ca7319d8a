"""What the first argument of a verb names: the configuration of a site, its queues, and which of them can be reached.

An ini file and a zope.conf are only read: their application is not loaded, unless it is to be served.
``module:attribute`` is imported, as its configuration is in the code.
"""

from __future__ import annotations

import contextlib
import importlib
import re
import sys
import traceback
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any, TypeVar

from paste.deploy import loadapp

from .. import spelling
from ..configure import Configuration, Installation, read_ini
from ..errors import BackendError, ConfigurationError, UnknownQueueError
from ..interfaces import Migrating, Record
from ..queues import Queue
from ..settings import QueueSettings
from ..wsgi import Lifecycle
from . import wiring, zopeconf
from .screen import Screen
from .verb import FailedError, did_you_mean

INI_SUFFIXES = (".ini", ".cfg", ".conf")
INNER_ATTRIBUTES = ("wsgi_app", "app", "application")  # where wrappers keep what they wrap
MAXIMUM_DEPTH = 50
PAGE_SIZE = 100
NO_ID = "none"  # of any task: to ask for it shows whether a store answers
NO_TABLES = "there are no tables yet; the first task, the first consumer, or taskqueue migrate, makes them"

_opened: list[Installation] = []

Loaded = TypeVar("Loaded")


@dataclass(frozen=True)
class Target:
    """One site as this process sees it."""

    text: str
    installation: Installation

    def select(self, name: str | None) -> list[Queue]:
        """The queue of that name, or all. Raises UnknownQueueError with the near one."""
        queues = self.installation.queues
        if name is None:
            return list(queues.values())
        if name not in queues:
            known = ", ".join(queues) or "none"
            hint = did_you_mean(name, queues)
            raise UnknownQueueError(f"there is no queue {name!r}; configured are: {known}{hint}")
        return [queues[name]]

    def reach(self, name: str | None, screen: Screen, may_be_empty: bool = False) -> list[Queue]:
        """Those of ``select`` whose store can be looked at from here; what is left out is told. Raises FailedError when
        none can; where nothing has been made yet, only unless that is as good as an empty queue."""
        chosen = self.select(name)
        hidden = {queue.name: reason for queue in chosen if (reason := self.out_of_reach(queue)) is not None}
        reachable = [queue for queue in chosen if queue.name not in hidden]
        silent: dict[str, str] = {}
        missing: dict[str, str] = {}
        for queue in reachable:
            try:
                reason = self.nothing_yet(queue)
                if reason is not None:
                    missing[queue.name] = reason
                else:
                    queue.backend.get(NO_ID)
            except BackendError as error:
                silent[queue.name] = str(error) or type(error).__name__
        found = [queue for queue in reachable if queue.name not in silent and queue.name not in missing]
        reasons = [*silent.values(), *hidden.values(), *missing.values()]
        if not found and (silent or not (may_be_empty and missing)):
            raise FailedError(reasons[0] if reasons else f"{self.text}: no queue is configured")
        for each, reason in silent.items():
            screen.note(f"left out: queue {each!r}: {reason}")
        for line in (*(f"left out: {reason}" for reason in hidden.values()), *missing.values()):
            screen.note(line)
        screen.is_partial = bool(silent)
        return found

    def out_of_reach(self, queue: Queue) -> str | None:
        """Why a queue cannot be looked at from this process; None when it can."""
        if "shared" in queue.backend.capabilities:
            return None
        is_durable = "durable" in queue.backend.capabilities
        lives = "it belongs to" if is_durable else "it lives in the memory of"
        durable = spelling.option(self._settings_of(queue).place, "type", "sqlite")
        return (
            f"queue {queue.name!r} is {queue.type}: {lives} the process that serves, "
            f"and cannot be reached from here; with {durable} it could"
        )

    def nothing_yet(self, queue: Queue) -> str | None:
        """What a queue has not got yet; None when there is a store. Raises BackendError when it cannot be asked.

        Looking must not make it: a mistyped path would show an empty queue, and what was made would belong to whoever
        looked.
        """
        file = self.file_of(queue)
        if file is not None and not file.exists():
            return f"queue {queue.name!r}: there is no file {file} yet; the first task, or the first consumer, makes it"
        if isinstance(queue.backend, Migrating) and not queue.backend.schema().found:
            return f"queue {queue.name!r}: {NO_TABLES}"
        return None

    def file_of(self, queue: Queue) -> Path | None:
        """The file that holds a queue, None for one that is held otherwise."""
        if queue.type != "sqlite":
            return None
        return Path(self._settings_of(queue).backend_options["path"])

    def _settings_of(self, queue: Queue) -> QueueSettings:
        return next(each for each in self.installation.configuration.queues if each.queue == queue.name)


def open_target(text: str) -> Target:
    """The site that an argument names; the application of an ini file is not loaded. Raises ConfigurationError."""
    ini = _ini_file(text)
    installation = Installation(_read_file(*ini)) if ini is not None else _import_installation(text)[1]
    _opened.append(installation)
    return Target(text, installation)


def _read_file(file: Path, app: str) -> Configuration:
    """A zope.conf, or an ini file; where one of Zope's has no sections of its own, the zope.conf that it names."""
    if zopeconf.is_zope_conf(file):
        return zopeconf.read(file)
    configuration = read_ini(file, app=app)
    zope_conf = zopeconf.named_in(file)
    if zope_conf is None:
        return configuration
    if configuration.is_default:
        return zopeconf.read(zope_conf)
    zopeconf.refuse_both(configuration, zope_conf)
    return configuration


def zope_conf_of(text: str) -> Path | None:
    """The zope.conf that an argument names, or that its ini file names; None for what is not Zope's."""
    ini = _ini_file(text)
    if ini is None:
        return None
    return ini[0] if zopeconf.is_zope_conf(ini[0]) else zopeconf.named_in(ini[0])


def close_targets() -> None:
    """Close what verbs have opened in this process: connections, and the lease of one that added."""
    while _opened:
        _opened.pop().close()


def load_target(text: str) -> tuple[object, list[Lifecycle]]:
    """The application that an argument names, loaded to be served, and what decides over its consumers: none when it
    has no filter. The application must be kept as long as it is to serve."""
    ini = _ini_file(text)
    if ini is None:
        application, installation = _import_installation(text)
        return application, [each for each in Lifecycle.all() if each.installation is installation]
    refuse_unloadable(text)
    file, name = ini
    before = set(Lifecycle.all())
    uri = f"config:{file.resolve()}" + (f"#{name}" if name else "")
    if zopeconf.is_zope_conf(file):
        application = _loaded(text, lambda: zopeconf.load(file))
    else:
        application = _loaded(text, lambda: loadapp(uri, global_conf={"__script__": "taskqueue"}))
    return application, [each for each in Lifecycle.all() if each not in before and not each.is_withdrawn]


def refuse_unloadable(text: str) -> None:
    """Raise ConfigurationError for an ini file of which no application can be served, as far as it tells by itself."""
    ini = _ini_file(text)
    if ini is not None and not zopeconf.is_zope_conf(ini[0]):
        for error in wiring.errors(*ini):
            raise ConfigurationError(error)


def ini_file_of(text: str) -> Path | None:
    """The ini file that an argument names, None when it names a module."""
    ini = _ini_file(text)
    return ini[0] if ini is not None and not zopeconf.is_zope_conf(ini[0]) else None


def find_task(queues: Collection[Queue], task_id: str) -> tuple[Queue, Record] | None:
    """The task of that id, in whichever queue it is."""
    for queue in queues:
        record = queue.backend.get(task_id)
        if record is not None:
            return queue, record
    return None


def is_id(text: str) -> bool:
    """Whether a text has the form of an id that ``add`` makes."""
    return re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", text) is not None


def unknown_task(queues: Collection[Queue], task_id: str) -> str:
    """The line for an id that nobody knows."""
    hint = "" if is_id(task_id) else "; an id is given in full"
    return f"no task {task_id!r} in {', '.join(queue.name for queue in queues)}: it is unknown, or gone{hint}"


def every_record(
    queue: Queue, states: Collection[str], after: str = "", newest_first: bool = False, page_size: int = PAGE_SIZE
) -> Iterator[Record]:
    """All records in these states, page by page."""
    while True:
        page = queue.backend.list(states, limit=page_size, after=after, newest_first=newest_first)
        yield from page
        if len(page) < page_size:
            return
        after = page[-1].id


# ---- ini or module -----------------------------------------------------------------------------------------------


def _ini_file(text: str) -> tuple[Path, str] | None:
    path, _, name = text.removeprefix("config:").partition("#")
    file = Path(path)
    _refuse_module_file(text)
    if path and (file.suffix in INI_SUFFIXES or "/" in path or file.is_file()):
        return file, name
    if re.fullmatch(r"[\w.]+:[\w.]+(\(\))?", text):
        return None
    raise ConfigurationError(
        f"{text!r} is no target: takes an ini file (app.ini), a zope.conf, or module:attribute of an application that "
        f"is wrapped in taskqueue.wsgi.TaskQueueFilter{_module_hint(text)}"
    )


def _refuse_module_file(text: str) -> None:
    """``shop.py`` and ``shop.py:app`` name a file where a module is named without it."""
    match = re.fullmatch(r"(?P<folder>(?:.*/)?)(?P<module>\w+)\.py(?P<attribute>:[\w.]+(?:\(\))?)?", text)
    if match is not None:
        place = f", in the folder {match['folder']}" if match["folder"] else ""
        raise ConfigurationError(
            f"{text!r} is no target: a module is named without .py; "
            f"did you mean {match['module']}{match['attribute'] or ':app'}{place}?"
        )


def _module_hint(text: str) -> str:
    """For the name of a module alone; what looks like a mistyped ini file is none."""
    is_name = re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", text) is not None
    if not is_name or ("." in text and not Path(text.replace(".", "/") + ".py").is_file()):
        return ""
    return f"; did you mean {text}:app, where app is the application's name in that module?"


def _import_installation(text: str) -> tuple[object, Installation]:
    attribute = _loaded(text, lambda: _import_attribute(text))
    installation = _installation_within(attribute)
    if installation is None:
        everywhere = [lifecycle.installation for lifecycle in Lifecycle.all()]
        if len(everywhere) != 1:
            raise ConfigurationError(
                f"{text}: has no taskqueue filter: wrap it, as in "
                "app.wsgi_app = taskqueue.wsgi.TaskQueueFilter(app.wsgi_app, queues=…, servers=…)"
            )
        installation = everywhere[0]
    return attribute, installation


def _import_attribute(text: str) -> Any:
    module_name, _, path = text.partition(":")
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    found: Any = importlib.import_module(module_name)
    for name in path.removesuffix("()").split("."):
        found = getattr(found, name)
    return found() if path.endswith("()") else found


def _installation_within(application: Any) -> Installation | None:
    """The installation of the filter somewhere in a chain of wrappers."""
    waiting, seen = [application], 0
    while waiting and seen < MAXIMUM_DEPTH:
        each, seen = waiting.pop(0), seen + 1
        found = getattr(each, "installation", None)
        if isinstance(found, Installation):
            return found
        waiting += [inner for name in INNER_ATTRIBUTES if (inner := getattr(each, name, None)) is not None]
    return None


def _loaded(text: str, load: Callable[[], Loaded]) -> Loaded:
    """Load somebody else's code: what it prints is no output of ours, and what it raises becomes one line."""
    arguments = sys.argv
    # Consumers start by themselves in programs that are known to serve; this one decides for itself, whatever it is
    # called ("__main__.py", a server that embeds it).
    sys.argv = ["taskqueue", *arguments[1:]]
    try:
        with contextlib.redirect_stdout(sys.stderr):
            return load()
    except ConfigurationError:
        raise
    except Exception as error:
        hint = _path_hint(text, error)
        raise ConfigurationError(f"{text}: cannot be loaded: {_in_one_line(error)}{hint}") from error
    finally:
        sys.argv = arguments


def _path_hint(text: str, error: Exception) -> str:
    """For a module that is not found where it was looked for; one that it imports in turn is its own affair."""
    module_name = text.partition(":")[0]
    if not isinstance(error, ModuleNotFoundError) or error.name is None:
        return ""
    if isinstance(error, PackageNotFoundError):
        return "; install it"
    if _ini_file(text) is not None:
        return f"; install it, or name the folder that holds {error.name.partition('.')[0]} in PYTHONPATH"
    if not f"{module_name}.".startswith(f"{error.name}."):
        return ""
    return f"; run it in the folder that holds {error.name.partition('.')[0]}, or name that folder in PYTHONPATH"


def _in_one_line(error: Exception) -> str:
    frames = [each for each in traceback.extract_tb(error.__traceback__) if _is_theirs(each.filename)]
    place = f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {' '.join(str(error).split())}{place}"


def _is_theirs(filename: str) -> bool:
    """Whether a frame tells the user anything: not those of the machinery of imports, and not ours."""
    return not filename.startswith("<") and filename not in (__file__, importlib.__file__)
