import pytest

from taskqueue.backends.filesystem import NETWORK_TYPES, filesystem_type

MOUNTS = r"""
21 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
22 21 0:5 / /proc rw - proc proc rw
23 21 0:40 / /srv rw shared:2 - nfs4 server:/export rw,vers=4.2
24 23 0:41 / /srv/local rw - tmpfs tmpfs rw
25 21 0:42 / /mnt/my\040disk rw - cifs //server/share rw
26 21 0:43 / /over rw - nfs server:/x rw
27 26 0:44 / /over rw - xfs /dev/vdb rw
28 21 0:45 / /home/u/remote rw master:1 propagate_from:2 - fuse.sshfs u@h: rw
a line that means nothing
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/lib/tasks.db", "ext4"),
        ("/srv/tasks.db", "nfs4"),
        ("/srv", "nfs4"),
        ("/srvother/tasks.db", "ext4"),
        ("/srv/local/tasks.db", "tmpfs"),
        ("/mnt/my disk/tasks.db", "cifs"),
        ("/over/tasks.db", "xfs"),
        ("/home/u/remote/deep/tasks.db", "fuse.sshfs"),
    ],
)
def test_a_path_lies_on_the_innermost_and_latest_mount(path, kind):
    assert filesystem_type(path, MOUNTS) == kind


def test_what_cannot_be_told_is_no_network():
    assert filesystem_type("/x", "") not in NETWORK_TYPES


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "zfs", "tmpfs", "overlay", "fuse.fuse-overlayfs", "virtiofs"])
def test_file_systems_of_this_machine_are_allowed(kind):
    assert kind not in NETWORK_TYPES
