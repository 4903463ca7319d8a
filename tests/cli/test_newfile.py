import os
import sys
from pathlib import Path

import pytest

from taskqueue.backends import filesystem
from taskqueue.cli.newfile import why_not_made


@pytest.mark.parametrize("name", ["tasks.db", "var/tasks.db", "var/deep/tasks.db"])
def test_nothing_is_made_where_a_file_could_be(tmp_path, name):
    before = os.stat(tmp_path)
    assert why_not_made(tmp_path / name) is None
    assert list(tmp_path.iterdir()) == []
    assert os.stat(tmp_path).st_mtime_ns == before.st_mtime_ns


@pytest.mark.parametrize("name", ["a" * 247, "ä" * 123])
def test_a_long_name_leaves_room_for_those_beside_it(tmp_path, name):
    assert why_not_made(tmp_path / name) is None
    assert why_not_made(tmp_path / "folder" / name) is None


@pytest.mark.parametrize("name", ["a" * 248, "a" * 255, "ä" * 124])
def test_a_name_beside_which_there_is_no_room_is_told(tmp_path, name):
    size = len(name.encode())
    for file in (tmp_path / name, tmp_path / "folder" / name):
        assert why_not_made(file) == (
            f"{file} cannot be made: its name has {size} bytes, and may have 247, as there are files beside it, up to "
            "-journal; give a shorter name"
        )
    assert list(tmp_path.iterdir()) == []


def test_a_relative_path_begins_where_the_process_stands(in_folder, tmp_path):
    (tmp_path / "app.ini").touch()
    assert why_not_made(in_folder / "tasks.db") is None
    folder = tmp_path / "app.ini"
    assert why_not_made(in_folder / "app.ini" / "tasks.db") == (
        f"app.ini/tasks.db is not there, and {folder} is no directory that can be written to"
    )


@pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc")
@pytest.mark.parametrize("name", ["tasks.db", "var/tasks.db"])
def test_the_kernels_own_file_systems_hold_no_files(name):
    assert why_not_made(Path("/proc") / name) == (
        f"/proc/{name} is not there, and /proc lies on a file system that holds no files; give another path"
    )


def test_a_link_that_leads_nowhere_is_told(tmp_path):
    link = tmp_path / "tasks.db"
    link.symlink_to(tmp_path / "gone" / "tasks.db")
    assert why_not_made(link) == (
        f"{link} is a link to {tmp_path}/gone/tasks.db, which is not there; remove the link, or give another path"
    )


def test_a_folder_that_is_a_link_to_nowhere_is_no_directory(tmp_path):
    (tmp_path / "var").symlink_to(tmp_path / "gone")
    assert why_not_made(tmp_path / "var" / "tasks.db") == (
        f"{tmp_path}/var/tasks.db is not there, and {tmp_path}/var is no directory that can be written to"
    )


def test_a_name_that_is_too_long_is_told(tmp_path):
    file = tmp_path / ("x" * 300)
    assert why_not_made(file) == f"{file} cannot be made: File name too long; give another path"


def test_a_network_file_system_is_told_as_the_site_would_tell_it(tmp_path, monkeypatch):
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"1 0 8:1 / / rw - ext4 /dev/vda rw\n2 1 0:50 / {tmp_path} rw - nfs4 server:/export rw\n")
    monkeypatch.setattr(filesystem, "MOUNTS", mounts)
    file = tmp_path / "tasks.db"
    assert why_not_made(file) == (
        f"{file}: lies on a network file system (nfs4), whose locks cannot be trusted; "
        "choose a path on a disk of this machine"
    )
