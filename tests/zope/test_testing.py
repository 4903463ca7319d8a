import os
import subprocess
import sys
from pathlib import Path

import pytest

from ..backends.redis_server import Server

ROOT = Path(__file__).parents[2]


def run(*cases, **environ):
    return subprocess.run(
        [sys.executable, "-m", "tests.zope.layered", *cases],
        cwd=ROOT,
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.process
def test_layers_with_a_local_queue():
    ran = run("Integration", "Functional")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout.count(" ran 1\n") == 10


@pytest.mark.process
def test_layers_with_a_queue_on_redis():
    with Server() as server:
        ran = run("RedisIntegration", "RedisFunctional", TASKQUEUE_TEST_REDIS=f"unix://{server.socket_path}")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout.count(" ran 1\n") == 10
