"""Where files lie, and whose they are. Knows no database.

Refuses file systems of other machines, whose locks cannot be trusted. What root makes, in a command beside a site of
somebody else, belongs to the owner of the folder it lies in: otherwise the site could not use its own queue.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

from ..errors import BackendUnavailableError

MOUNTS = Path("/proc/self/mountinfo")
NETWORK_TYPES = frozenset(
    {"afs", "beegfs", "ceph", "cifs", "coda", "davfs", "gfs", "gfs2", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs"}
    | {"nfs4", "ocfs2", "pvfs2", "smb2", "smb3", "smbfs", "fuse.ceph", "fuse.davfs", "fuse.gcsfuse", "fuse.glusterfs"}
    | {"fuse.rclone", "fuse.s3fs", "fuse.smbnetfs", "fuse.sshfs"}
)


def refuse_network(path: str) -> None:
    """Raise BackendUnavailableError when ``path`` lies, or would lie, on a network file system."""
    try:
        mounts = MOUNTS.read_text("utf-8", "surrogateescape")
    except OSError:
        return  # not Linux: nothing can be told
    kind = filesystem_type(os.path.realpath(path), mounts)
    if kind in NETWORK_TYPES:
        raise BackendUnavailableError(
            f"{path}: lies on a network file system ({kind}), whose locks cannot be trusted; "
            "choose a path on a disk of this machine"
        )


def make_folder(path: str) -> None:
    """Make a folder, and those above it, for their owner alone."""
    if not path or os.path.isdir(path):
        return
    make_folder(os.path.dirname(path))
    with suppress(FileExistsError):
        os.mkdir(path, 0o700)
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            give_to_owner_of_folder(path, descriptor)
        finally:
            os.close(descriptor)


def make_file(path: str) -> int:
    """Make a file for its owner alone, and open it. Raises FileExistsError."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    give_to_owner_of_folder(path, descriptor)
    return descriptor


def open_or_make_file(path: str) -> int:
    """Open a file, made if it is missing."""
    while True:
        try:
            return make_file(path)
        except FileExistsError:
            with suppress(FileNotFoundError):  # deleted between the two calls
                return os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)


def give_to_owner_of_folder(path: str, descriptor: int) -> None:
    """By its descriptor, since whoever owns the folder may put another file under the name."""
    if os.geteuid() != 0:
        return
    folder = os.stat(os.path.dirname(path) or ".")
    if folder.st_uid != 0:
        os.fchown(descriptor, folder.st_uid, folder.st_gid)


def filesystem_type(path: str, mounts: str) -> str:
    """The type of the file system that holds ``path``, from the text of Linux' ``/proc/self/mountinfo``."""
    longest, found = "", ""
    for line in mounts.splitlines():
        before, separator, after = line.partition(" - ")
        fields = before.split(" ")
        if not separator or len(fields) < 5:
            continue
        mounted_on = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), fields[4])
        is_inside = path == mounted_on or path.startswith(mounted_on.rstrip("/") + "/")
        # A later mount on the same place hides the earlier one.
        if is_inside and len(mounted_on) >= len(longest):
            longest, found = mounted_on, after.split(" ")[0]
    return found
