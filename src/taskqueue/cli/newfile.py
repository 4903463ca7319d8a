"""Whether a file that is not there can be made, found out without making any. Knows no queues."""

from __future__ import annotations

import os
from pathlib import Path

from ..backends.filesystem import refuse_network
from ..errors import BackendUnavailableError

LONGEST_COMPANION = "-journal"  # SQLite's; without it no tables can be made


def why_not_made(file: Path) -> str | None:
    """Why a file that is not there cannot be made; None when it can, as far as that can be seen.

    Looking does not make it, not even for a moment: it would belong to whoever looks.
    """
    try:
        if file.is_symlink():
            return f"{file} is a link to {os.readlink(file)}, which is not there; remove the link, or give another path"
        refuse_network(str(file))
        folder = next((each for each in file.absolute().parents if os.path.lexists(each)), Path("/"))
        return _why_not_below(folder, file)
    except BackendUnavailableError as error:
        return str(error)
    except OSError as error:
        return f"{file} cannot be made: {error.strerror}; give another path"


def _why_not_below(folder: Path, file: Path) -> str | None:
    """The same, of the nearest folder that is there."""
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        return f"{file} is not there, and {folder} is no directory that can be written to"
    if not _holds_files(folder):
        return f"{file} is not there, and {folder} lies on a file system that holds no files; give another path"
    if not _has_room_beside(file.name, folder):
        longest = os.pathconf(folder, "PC_NAME_MAX") - len(LONGEST_COMPANION)
        return (
            f"{file} cannot be made: its name has {len(os.fsencode(file.name))} bytes, and may have {longest}, as "
            f"there are files beside it, up to {LONGEST_COMPANION}; give a shorter name"
        )
    return None


def _has_room_beside(name: str, folder: Path) -> bool:
    """Whether the names of the files beside it are not too long. One that is too long itself is told as it is."""
    return len(os.fsencode(name + LONGEST_COMPANION)) <= os.pathconf(folder, "PC_NAME_MAX")


def _holds_files(folder: Path) -> bool:
    """Whether files can be made in a folder at all. Those of the kernel's own file systems, such as ``/proc``, say that
    they can be written to."""
    try:
        # A file without a name, which nobody sees, and which is gone when it is closed. Not every disk has such files.
        os.close(os.open(folder, getattr(os, "O_TMPFILE", 0) | os.O_RDWR | os.O_CLOEXEC, 0o600))
    except OSError:
        return os.statvfs(folder).f_blocks > 0
    return True
