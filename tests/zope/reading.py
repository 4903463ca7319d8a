"""Reads a zope.conf in both ways: as Zope does, with its schema and all of ZConfig, and as the command line does."""

import textwrap
from functools import lru_cache
from pathlib import Path

from ZConfig.loader import ConfigLoader
from Zope2.Startup.options import ZopeWSGIOptions

from taskqueue.zope.reading import read_zope_conf
from taskqueue.zope.sections import sections_of

HEAD = """\
%define INSTANCE {folder}
instancehome $INSTANCE
<zodb_db main>
  <mappingstorage/>
  mount-point /
</zodb_db>
"""
FIRST_LINE = HEAD.count("\n") + 1  # of what a test writes below


@lru_cache(maxsize=1)
def schema():
    options = ZopeWSGIOptions()
    options.load_schema()
    return options.schema


def write(folder, text, name="zope.conf"):
    file = Path(folder) / name
    (Path(folder) / "var").mkdir(exist_ok=True)
    file.write_text(HEAD.format(folder=folder) + textwrap.dedent(text), "utf-8")
    return file


def as_zope_does(file):
    """The configuration; Zope starts only after this."""
    root, _handlers = ConfigLoader(schema()).loadURL(str(file))
    return sections_of(root).understand()


def as_the_command_line_does(file):
    return read_zope_conf(file)


READERS = {"zope": as_zope_does, "cli": as_the_command_line_does}
