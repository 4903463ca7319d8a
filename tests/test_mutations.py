"""The mutations follow the code that they change: each can still be made."""

import subprocess
import sys
from pathlib import Path

PROGRAM = Path(__file__).parent / "backends" / "mutations.py"


def test_every_mutation_can_be_made():
    ran = subprocess.run([sys.executable, PROGRAM, "--none"], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.endswith(" mutations can be made\n")
