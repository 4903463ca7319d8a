"""Files of Zope's: which is a zope.conf, what it configures, and its application. Zope starts for that alone."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from .. import readers
from ..configure import Configuration
from ..errors import ConfigurationError

ZCONFIG_LINE = re.compile(r"^[ \t]*(%(import|define|include)\s|<\w[^>\n]*>\s*$|instancehome\s)", re.MULTILINE)
INI_LINE = re.compile(r"^\[[^\]\n]+\]\s*$", re.MULTILINE)
NAMED = re.compile(r"^zope_conf\s*[=:]\s*(?P<path>\S.*?)\s*$", re.MULTILINE)
NAMED_BY_FACTORY = re.compile(r"^\s*use\s*[=:]\s*egg:Zope2?(#main)?\s*$", re.MULTILINE)


def is_zope_conf(file: Path) -> bool:
    """Whether a file is written as a zope.conf is, whatever its name."""
    content = _content(file)
    return ZCONFIG_LINE.search(content) is not None and INI_LINE.search(content) is None


def named_in(ini: Path) -> Path | None:
    """The zope.conf that an ini file of Zope's names, None where it is not Zope's."""
    content = _content(ini)
    match = NAMED.search(content)
    if match is None or NAMED_BY_FACTORY.search(content) is None:
        return None
    folder = ini.resolve().parent
    return folder / match["path"].replace("%(here)s", str(folder))


def read(file: Path) -> Configuration:
    """The configuration in a zope.conf. Raises ConfigurationError."""
    try:
        from ..zope.reading import read_zope_conf  # noqa: PLC0415  # it needs ZConfig, which comes with an extra
    except ImportError as error:
        raise ConfigurationError(f"{file.name} is a zope.conf: install wsgi-taskqueue[zope] ({error})") from None
    return read_zope_conf(file)


def refuse_both(configuration: Configuration, zope_conf: Path) -> None:
    """Raise ConfigurationError where an ini file has sections, and the zope.conf that it names has, too."""
    # Without Zope, or its zope.conf, an ini file with sections of its own can still be looked at.
    if zope_conf.is_file() and find_spec("ZConfig") is not None:
        readers.refuse_both(configuration, read(zope_conf))


def refuse_unstartable(file: Path) -> str:
    """Raise ConfigurationError for what Zope would not start with; why that cannot be told here, empty when it can."""
    try:
        from ..zope.strictness import refuse_unstartable as refuse  # noqa: PLC0415  # it needs some of Zope
    except ImportError as error:
        return f"{file.name}: what Zope says of it cannot be told here ({error})"
    return refuse(file)


def load(file: Path) -> Any:
    """Zope's application: this starts Zope."""
    from ..zope.site import load_application  # noqa: PLC0415  # it needs all of Zope

    return load_application(file)


def _content(file: Path) -> str:
    try:
        return file.read_text("utf-8", "replace")
    except OSError:
        return ""  # whoever reads it tells why
