"""Whether a file that is not there can be made, found out without making any. Knows no queues."""

from __future__ import annotations

import os
from pathlib import Path

from ..backends.filesystem import refuse_network
from ..errors import BackendUnavailableError


def why_not_made(file: Path) -> str | None:
    """Why a file that is not there cannot be made; None when it can, as far as that can be seen.

    Looking does not make it, not even for a moment: it would belong to whoever looks.
    """
    try:
        if file.is_symlink():
            return f"{file} is a link to {os.readlink(file)}, which is not there; remove the link, or give another path"
        refuse_network(str(file))
        folder = next((each for each in file.absolute().parents if os.path.lexists(each)), Path("/"))
        if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
            return f"{file} is not there, and {folder} is no directory that can be written to"
        if not _holds_files(folder):
            return f"{file} is not there, and {folder} lies on a file system that holds no files; give another path"
    except BackendUnavailableError as error:
        return str(error)
    except OSError as error:
        return f"{file} cannot be made: {error.strerror}; give another path"
    return None


def _holds_files(folder: Path) -> bool:
    """Whether files can be made in a folder at all. Those of the kernel's own file systems, such as ``/proc``, say that
    they can be written to."""
    try:
        # A file without a name, which nobody sees, and which is gone when it is closed. Not every disk has such files.
        os.close(os.open(folder, getattr(os, "O_TMPFILE", 0) | os.O_RDWR | os.O_CLOEXEC, 0o600))
    except OSError:
        return os.statvfs(folder).f_blocks > 0
    return True
