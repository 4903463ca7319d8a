"""The folder that the demo site is in: written when it is missing, and left alone where somebody has changed it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from ..errors import ConfigurationError

INI = "demo.ini"
MODULE = "demo_site"
FILES = (INI, f"{MODULE}.py", "page.html")
ON_DISK = "# Where tasks wait: in one file.\n[taskqueue:default]\ntype = sqlite\npath = %(here)s/var/tasks.db\n"
ON_REDIS = """\
# Where tasks wait: on a Redis server, under a prefix that nobody else there has.
[taskqueue:default]
type = redis
url = {url}
prefix = {prefix}
"""
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


def prepare(directory: Path, quick: bool = False, redis_url: str | None = None) -> Folder:
    """Write the files that are missing. Raises ConfigurationError when the folder cannot be used."""
    path = directory.absolute()
    written, changed = [], []
    try:
        path.mkdir(parents=True, exist_ok=True)
        _refuse_foreign(path)
        for name in FILES:
            patient, hurried = (_text(name, each, redis_url, path) for each in (False, True))
            known = {patient.encode(), hurried.encode()}
            if redis_url and name == INI and (path / name).exists():
                _refuse_other(path / name, known)
            # A URL may hold a password.
            if _write(path / name, hurried if quick else patient, 0o600 if redis_url else 0o666):
                written.append(name)
            elif (path / name).read_bytes() not in known:
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


def _text(name: str, quick: bool, redis_url: str | None, path: Path) -> str:
    """The same, with the queue on Redis where that is asked for."""
    text = original(name, quick)
    if not redis_url or name != INI:
        return text
    return text.replace(ON_DISK, ON_REDIS.format(url=redis_url.replace("%", "%%"), prefix=redis_prefix(path)))


def redis_prefix(path: Path) -> str:
    """Of the queue of the site in this folder: the consumers of another demo on its server would take its tasks."""
    return f"taskqueue-demo-{hashlib.sha256(os.fsencode(path)).hexdigest()[:12]}"


def _refuse_other(ini: Path, known: Collection[bytes]) -> None:
    """Who asks for Redis must not be served from a file that is there already and says something else."""
    if ini.read_bytes() not in known:
        raise ConfigurationError(
            f"{ini} is there already, and says something else; choose another --directory, or leave --redis out"
        )


def _write(path: Path, text: str, mode: int) -> bool:
    """Write a file unless it is there; whether it was not."""
    try:
        # Neither overwrites nor follows a link.
        number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with os.fdopen(number, "w", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        _refuse_foreign(path)
        return False
    return True


def _refuse_foreign(path: Path) -> None:
    """The site is code that is about to run as this user: somebody else's, put there in advance, must not."""
    if path.stat().st_uid != os.geteuid():
        raise ConfigurationError(f"{path} belongs to another user; choose another --directory")
