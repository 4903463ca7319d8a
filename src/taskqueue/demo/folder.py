"""The folder that the demo site is in: written when it is missing, and left alone where somebody has changed it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from ..errors import ConfigurationError

INI = "demo.ini"
MODULE = "demo_site"
FILES = (INI, f"{MODULE}.py", "page.html")
# What a rehearsal does not wait for: the same lines, with less patience.
QUICK = {"min_backoff = 1 s": "min_backoff = 200 ms", "long_seconds = 5": "long_seconds = 1"}


@dataclass(frozen=True)
class Folder:
    """The folder, and what was found in it."""

    path: Path
    written: tuple[str, ...]  # files that were not there
    changed: tuple[str, ...]  # files that are there, and are not as they were written

    @property
    def ini(self) -> Path:
        """The configuration of the site."""
        return self.path / INI


def prepare(directory: Path, quick: bool = False) -> Folder:
    """Write the files that are missing. Raises ConfigurationError when the folder cannot be used."""
    path = directory.absolute()
    written, changed = [], []
    try:
        path.mkdir(parents=True, exist_ok=True)
        _refuse_foreign(path)
        for name in FILES:
            if _write(path / name, original(name, quick)):
                written.append(name)
            elif (path / name).read_bytes() not in {original(name).encode(), original(name, quick=True).encode()}:
                changed.append(name)
    except OSError as error:
        raise ConfigurationError(
            f"{directory} cannot be used: {error.strerror or error}; choose another --directory"
        ) from None
    return Folder(path, tuple(written), tuple(changed))


def original(name: str, quick: bool = False) -> str:
    """A file as it is written into the folder."""
    text = resources.files(__package__).joinpath("files", name).read_text("utf-8")
    if quick and name == INI:
        for line, quicker in QUICK.items():
            text = text.replace(line, quicker)
    return text


def _write(path: Path, text: str) -> bool:
    """Write a file unless it is there; whether it was not."""
    try:
        with path.open("x", encoding="utf-8") as file:  # neither overwrites nor follows a link
            file.write(text)
    except FileExistsError:
        _refuse_foreign(path)
        return False
    return True


def _refuse_foreign(path: Path) -> None:
    """The site is code that is about to run as this user: somebody else's, put there in advance, must not."""
    if path.stat().st_uid != os.geteuid():
        raise ConfigurationError(f"{path} belongs to another user; choose another --directory")
