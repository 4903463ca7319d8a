"""Where a file lies: refuses file systems of other machines, whose locks cannot be trusted. Knows no database."""

from __future__ import annotations

import os
import re
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
