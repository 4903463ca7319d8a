"""A zope.conf read for its sections ``<taskqueue…>`` alone: no schema, no Zope, and nothing starts.

The command line reads it so. Whatever else stands in the file is left alone, also what cannot be understood here, as
an environment variable that only the serving process has.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import ZConfig
from ZConfig.cfgparser import ZConfigParser
from ZConfig.loader import Resource

from ..configure import Configuration
from ..errors import ConfigurationError
from ..settings import one_line
from .sections import KINDS, Section, Sections, file_of, folder_in

HOMES = ("instancehome", "clienthome")


def read_zope_conf(file: Path) -> Configuration:
    """The configuration in a zope.conf. Raises ConfigurationError."""
    context = _Context(str(file))
    context.read(file.resolve().as_uri(), context.root, {})
    return context.taskqueue_sections.understand()


class _Ignored:
    """A section of somebody else; of the whole file, the two keys that say where relative paths begin."""

    def __init__(self, *wanted: str) -> None:
        self.wanted = wanted
        self.values: dict[str, str] = {}

    def addValue(self, key: str, value: str, _position: object) -> None:  # noqa: N802  # ZConfig's name
        self.values[key.lower()] = value


class _Context:
    """What ZConfig's parser calls while it reads. Its own schema, too, which knows our two types once imported."""

    def __init__(self, source: str) -> None:
        self.root = _Ignored(*HOMES)
        self.schema = self
        self.taskqueue_sections = Sections(source, lambda: folder_in(self.root.values))
        self._is_imported = False

    def read(self, url: str, section: Any, defines: dict[str, str]) -> None:
        """Read one file. Raises ConfigurationError."""
        path = file_of(url)
        try:
            resource = Resource(io.StringIO(path.read_text("utf-8")), url)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
            raise ConfigurationError(one_line(f"{path}: cannot be read: {reason}")) from None
        parser = _Parser(resource, self, defines)
        try:
            parser.parse(section)
        except ZConfig.ConfigurationError as error:
            message = str(error.message).partition("\n")[0]
            raise ConfigurationError(one_line(f"{path.name}: line {parser.lineno}: {message}")) from None

    # ---- what the parser calls

    def gettype(self, name: str) -> None:
        """Raises for a type that is not known here."""
        if not (self._is_imported and name in KINDS):
            raise ZConfig.SchemaError(f"unknown type name: {name!r}")

    def startSection(self, _parent: object, type_: str, _name: object) -> _Ignored:  # noqa: N802  # ZConfig's name
        """A section of somebody else, or one of ours in a wrong place."""
        if type_ in KINDS:
            raise ZConfig.ConfigurationError(
                f"<{type_}>: stands in no other section, and takes a line %import taskqueue somewhere before it"
            )
        return _Ignored()

    def endSection(self, *_arguments: object) -> None:  # noqa: N802  # ZConfig's name
        """Nothing is to be done."""

    def importSchemaComponent(self, package: str) -> None:  # noqa: N802  # ZConfig's name
        """What others declare is not needed."""
        self._is_imported |= package == "taskqueue"

    def includeConfiguration(self, section: Any, url: str, defines: dict[str, str]) -> None:  # noqa: N802  # the same
        """Another file, as if its lines stood here."""
        self.read(url if "://" in url else urljoin("file://", url), section, defines)


class _Parser(ZConfigParser):  # type: ignore[misc]  # ZConfig publishes no types
    """Looks at the lines that are of use here, and at no others."""

    __slots__ = ()

    def handle_key_value(self, section: Any, rest: str) -> None:
        key = rest.split(None, 1)[0].lower()
        if isinstance(section, Section) or key in section.wanted:
            super().handle_key_value(section, rest)
