import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.process
def test_a_layer_of_ours_stands_on_that_of_a_site():
    ran = subprocess.run(
        [sys.executable, "-m", "tests.plone.layered"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout.count(" ran 1\n") == 1
