"""How the applications and filters of an ini file are wired: what would surprise whoever serves it. Loads nothing.

Follows ``filter-with``, pipelines, filter-apps and composites as PasteDeploy does, each file by itself. What names a
function or somebody else's distribution is left to whoever serves. Knows no queues.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from ..inifiles import COMPOSITE_KINDS, SERVED_KINDS, IniFile
from .verb import did_you_mean

QUEUE_KINDS = ("taskqueue", "taskqueue-server")
DISTRIBUTION = "wsgi-taskqueue"
QUEUE_FILTER, TRANSACTION_FILTER = "the taskqueue filter", "the transaction filter"
FACTORIES = {
    "taskqueue.paste:filter_app_factory": QUEUE_FILTER,
    "taskqueue.paste:transaction_filter_app_factory": TRANSACTION_FILTER,
}
ENTRIES = ("main", "transaction")
NO_OPTIONS = ("use", "filter-with", "next", "paste.filter_app_factory")  # which PasteDeploy takes for itself
LONGEST_CHAIN = 50

# Filters and applications from the outside inwards, each told by what it is and where it stands.
Chain = Sequence[tuple[str | None, str]]


class _Section(NamedTuple):
    title: str
    kind: str
    name: str
    options: Mapping[str, str]

    @property
    def members(self) -> list[str]:
        """What a pipeline names: filters, and an application at its end."""
        return self.options.get("pipeline", "").split() if self.kind == "pipeline" else []


def warnings(file: Path) -> list[str]:
    """What an application that is served from this file would lack, or fail with; one line each."""
    outer, *inner = (_Wiring(each) for each in IniFile(file, {}).all_files())
    found = [each for wiring in (outer, *inner) for each in wiring.warnings()]
    return list(dict.fromkeys([*found, *outer.unused_filter(inner)]))


def errors(file: Path, app: str) -> list[str]:
    """Why an application of this file cannot be loaded, as far as the files tell; one line each."""
    outer = IniFile(file, {})
    served = outer.served(app or "main")
    found = (
        f"{each.name}: {problem.text}"
        for each in outer.all_files()
        for problem in _Wiring(each).fatal()
        if (each, problem.title) in served
    )
    return list(dict.fromkeys(found))


class _Problem(NamedTuple):
    title: str
    text: str


class _Wiring:
    """The sections of one file, and what is to be said of them."""

    def __init__(self, file: IniFile) -> None:
        self._file_name = file.name
        self._sections = [
            _Section(each.title, each.kind, each.name, dict(file.written(each.title))) for each in file.sections
        ]
        self._filters = {each.name: each for each in self._sections if each.kind == "filter"}
        self._apps = {each.name: each for each in self._sections if each.kind in SERVED_KINDS}

    def warnings(self) -> Iterator[str]:
        """What this file tells by itself."""
        for text in (*(problem.text for problem in self.fatal()), *self.transactions_outside()):
            yield f"{self._file_name}: {text}"

    def fatal(self) -> Iterator[_Problem]:
        """What cannot be loaded, where somebody loads that section."""
        yield from (*self.misnamed_distributions(), *self.unknown_names(), *self.needless_options())

    # ---- names ----

    def misnamed_distributions(self) -> Iterator[_Problem]:
        """``egg:taskqueue`` is a distribution of somebody else, and ours has two filters."""
        for section in self._sections:
            for option in ("use", "filter-with", "pipeline"):
                for word in section.options.get(option, "").split():
                    told = _misnamed(word)
                    if told is not None:
                        yield _Problem(section.title, f"[{section.title}] {option}: {told}")

    def unknown_names(self) -> Iterator[_Problem]:
        """A filter or an application that is named and is not there."""
        for section in self._sections:
            for option, word, known in self._named(section):
                if not _is_elsewhere(word) and word not in known:
                    kind = "filter" if known is self._filters else "app"
                    near = did_you_mean(word, known)
                    told = f"there is no section [{kind}:{word}] in this file{near}"
                    yield _Problem(section.title, f"[{section.title}] {option}: {told}")

    def _named(self, section: _Section) -> Iterator[tuple[str, str, Mapping[str, _Section]]]:
        if section.kind in (*SERVED_KINDS, "filter") and section.options.get("filter-with"):
            yield "filter-with", section.options["filter-with"].strip(), self._filters
        for word in section.members[:-1]:
            yield "pipeline", word, self._filters
        for word in section.members[-1:]:
            yield "pipeline", word, self._apps

    def needless_options(self) -> Iterator[_Problem]:
        """Options of a queue that stand in the section of the filter, which refuses to be served with them."""
        for section in self._sections:
            what = self._role(section) if section.kind in ("filter", "filter-app") else None
            for option in section.options if what is not None else ():
                if option not in NO_OPTIONS and not re.match(r"(set|get)\s", option):
                    hint = "queues and consumers have sections of their own, [taskqueue:NAME], [taskqueue-server:NAME]"
                    hint = hint if what == QUEUE_FILTER else f"{what} has none"
                    told = f"is not an option here, and an error when served; {hint}"
                    yield _Problem(section.title, f"[{section.title}] {option}: {told}")

    # ---- filters ----

    def unused_filter(self, inner: Sequence[_Wiring]) -> Iterator[str]:
        """Queues are configured, here or in files that this one names, and nothing that is served would see them."""
        files = (self, *inner)
        if not any(map(_Wiring._has_queues, files)) or not self._apps or any(map(_Wiring._is_filter_used, files)):
            return
        served = self._apps.get("main") or next(iter(self._apps.values()))
        ours = [name for name, each in self._filters.items() if self._role(each) == QUEUE_FILTER]
        name = ours[0] if ours else "taskqueue"
        cure = f"add filter-with = {name} to [{served.title}]"
        if served.kind == "pipeline":
            cure = f"begin pipeline = in [{served.title}] with {name}"
        if not ours:
            cure += f", and a section [filter:{name}] with use = egg:{DISTRIBUTION}"
        yield (
            f"{self._file_name}: nothing in this file uses the taskqueue filter, so an application served from it sees "
            f"none of these queues; {cure}"
        )

    def _has_queues(self) -> bool:
        return any(each.kind in QUEUE_KINDS for each in self._sections)

    def _is_filter_used(self) -> bool:
        for section in self._sections:
            if section.kind in COMPOSITE_KINDS:
                words = " ".join(section.options.values()).split()
            else:
                words = [section.options.get("filter-with", "").strip(), *section.members]
            if any(self._filter_role(word) == QUEUE_FILTER for word in words):
                return True
            if section.kind == "filter-app" and self._role(section) == QUEUE_FILTER:
                return True
        return False

    def transactions_outside(self) -> Iterator[str]:
        """A replay enters at the taskqueue filter: what stands outside of it does nothing for a task."""
        for section in self._apps.values():
            for chain in self._chains(section, 0):
                roles = [role for role, _ in chain]
                if QUEUE_FILTER not in roles or TRANSACTION_FILTER not in roles:
                    continue
                place = roles.index(QUEUE_FILTER)
                if TRANSACTION_FILTER in roles[:place] and TRANSACTION_FILTER not in roles[place:]:
                    transactions = chain[roles.index(TRANSACTION_FILTER)][1]
                    yield (
                        f"{TRANSACTION_FILTER} ({transactions}) stands outside of {QUEUE_FILTER} ({chain[place][1]}): "
                        "tasks would run without a transaction; the taskqueue filter belongs outside"
                    )

    def _chains(self, section: _Section, depth: int) -> Iterator[Chain]:
        """Every way from the outside of an application to the inside."""
        outside = self._around(section, depth)
        if section.kind == "filter-app":
            outside = [*outside, (self._role(section), f"[{section.title}]")]
        for word in section.members[:-1]:
            outside = [*outside, *self._filter_chain(word, depth)]
        inner = [self._apps[name] for name in self._inner(section) if name in self._apps and depth < LONGEST_CHAIN]
        if not inner:
            yield outside
        for each in inner:
            for chain in self._chains(each, depth + 1) if each is not section else ():
                yield [*outside, *chain]

    def _inner(self, section: _Section) -> Sequence[str]:
        if section.kind == "pipeline":
            return section.members[-1:]
        if section.kind == "filter-app":
            return [section.options.get("next", "").strip()]
        if section.kind in COMPOSITE_KINDS:
            return [value.strip() for option, value in section.options.items() if option not in NO_OPTIONS]
        return [section.options.get("use", "").strip()]

    def _around(self, section: _Section, depth: int) -> Chain:
        word = section.options.get("filter-with", "").strip()
        return self._filter_chain(word, depth + 1) if word and depth < LONGEST_CHAIN else []

    def _filter_chain(self, word: str, depth: int) -> Chain:
        """A filter, and before it those that stand around it."""
        section = self._filters.get(word)
        if section is None:
            return [(_role_of_use(word), word)]
        return [*self._around(section, depth), (self._role(section), f"[{section.title}]")]

    def _filter_role(self, word: str) -> str | None:
        section = self._filters.get(word)
        return self._role(section) if section is not None else _role_of_use(word)

    def _role(self, section: _Section) -> str | None:
        """Which of the two filters a section is, None for any other; it may ``use`` another section of the file."""
        for _ in range(LONGEST_CHAIN):
            factory = section.options.get("paste.filter_app_factory", "").strip()
            use = section.options.get("use", "").strip()
            if factory or use not in self._filters:
                return FACTORIES.get(factory) or _role_of_use(use)
            section = self._filters[use]
        return None


def _misnamed(word: str) -> str | None:
    """What is wrong with ``egg:…`` where it is, or was meant to be, ours."""
    distribution, _, entry = word.partition("#")
    if _folded(distribution) == "egg:taskqueue":
        right = f"egg:{DISTRIBUTION}" + (f"#{entry}" if entry else "")
        return f"{word} is something else; did you mean {right}?"
    if _folded(distribution) == f"egg:{DISTRIBUTION}" and entry not in ("", *ENTRIES):
        near = did_you_mean(entry, ENTRIES)
        return f"there is no {word}{near or '; there are: #' + ', #'.join(ENTRIES)}"
    return None


def _folded(word: str) -> str:
    return word.strip().lower().replace("_", "-")


def _is_elsewhere(word: str) -> bool:
    """Whether a name is a URI (egg:, config:, call:), or is made up when the file is loaded."""
    return ":" in word or "%(" in word


def _role_of_use(use: str) -> str | None:
    if use.startswith("call:"):
        return FACTORIES.get(use.removeprefix("call:").strip())
    distribution, _, entry = use.partition("#")
    if _folded(distribution) in (f"egg:{DISTRIBUTION}", "egg:taskqueue"):  # the latter is told of, and meant
        return {"": QUEUE_FILTER, "main": QUEUE_FILTER, "transaction": TRANSACTION_FILTER}.get(entry.strip())
    return TRANSACTION_FILTER if _folded(distribution) in ("egg:repoze.tm2", "egg:repoze.tm") else None
