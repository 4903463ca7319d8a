"""Clocks of other processes, which can be moved while they run, with libfaketime; the monotonic one stays as it is."""

import os
import shutil
from pathlib import Path

import pytest

UNPACKED = Path(__file__).parents[2] / ".venv" / "faketime"
HOUR = 3600


def find_library():
    """libfaketime, for programs with several threads; skips the test where there is none, and fails in CI."""
    for found in UNPACKED.glob("usr/lib/*/faketime/libfaketimeMT.so.1"):
        return found
    message = "there is no libfaketime; make test unpacks one"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)
    return None


class Clock:
    """The clock of those processes that are started with ``environ``."""

    def __init__(self, folder):
        folder.mkdir()
        folder.chmod(0o755)
        library = shutil.copy(find_library(), folder)  # where a server's user can read it
        self._offset = folder / "offset"
        self.move(0)
        self.environ = {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(self._offset),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }

    def move(self, seconds):
        """So many seconds ahead of the true time, or behind it."""
        written = self._offset.with_suffix(".new")
        written.write_text(f"{seconds:+d}\n")
        written.chmod(0o644)
        written.replace(self._offset)
