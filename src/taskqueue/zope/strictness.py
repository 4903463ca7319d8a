"""What Zope would say of a zope.conf when it starts: the file is read with Zope's own schema, and nothing starts.

Our own sections have been read before. Here it is about all others, of which Zope refuses what it does not know.
"""

from __future__ import annotations

from pathlib import Path

from ZConfig import ConfigurationError as ZConfigError
from ZConfig import SubstitutionReplacementError
from ZConfig.loader import ConfigLoader
from Zope2.Startup.options import ZopeWSGIOptions

from ..errors import ConfigurationError
from ..settings import one_line
from .sections import file_of


def refuse_unstartable(file: Path) -> str:
    """Raise ConfigurationError for what Zope would not start with; why that cannot be told here, empty when it can."""
    options = ZopeWSGIOptions()
    options.load_schema()
    try:
        ConfigLoader(options.schema).loadURL(file.resolve().as_uri())
    except SubstitutionReplacementError as error:
        # A variable of the environment that the serving process has, and this one need not have.
        return f"{_told(file, error)}; what Zope says of the rest of the file was not looked at"
    except ConfigurationError:
        raise
    except ZConfigError as error:
        raise ConfigurationError(_told(file, error)) from None
    except Exception as error:  # of somebody else's component
        raise ConfigurationError(one_line(f"{file.name}: {type(error).__name__}: {error}")) from error
    return ""


def _told(file: Path, error: ZConfigError) -> str:
    place = file_of(error.url).name if error.url else file.name
    line = f": line {error.lineno}" if (error.lineno or 0) > 0 else ""
    return one_line(f"{place}{line}: {str(error.message).strip()}")
