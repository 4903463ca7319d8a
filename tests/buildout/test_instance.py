"""What the files of buildout give: ``bin/instance`` serves, and consumes. Built anew, of eggs that are there."""

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from ..backends.redis_server import Server, free_port
from ..serving import Browser, Process, wait_until

pytestmark = pytest.mark.process

ROOT = Path(__file__).parents[2]
BUILDOUT = ROOT / "bin" / "buildout"
HERE = """
[buildout]
extends = {root}/{extended}
develop = {root}
eggs-directory = {root}/eggs
parts = instance

[instance]
http-address = 127.0.0.1:{port}
"""


@pytest.fixture
def folder(tmp_path):
    if not BUILDOUT.exists() or not (ROOT / "eggs").exists():
        pytest.skip("buildout has not built anything here: make test-buildout does")
    shutil.copytree(ROOT / "develop-eggs", tmp_path / "develop-eggs")
    return tmp_path


class Built:
    """An instance that a file of ours, with a few lines more, has given."""

    def __init__(self, folder, extended):
        self.folder = folder
        self.port = free_port()
        (folder / "buildout.cfg").write_text(HERE.format(root=ROOT, extended=extended, port=self.port))
        built = subprocess.run([BUILDOUT, "-N"], cwd=folder, capture_output=True, text=True, check=False)
        assert built.returncode == 0, built.stdout + built.stderr

    def cli(self, verb, *arguments):
        """``bin/taskqueue VERB zope.conf``; what it says as JSON."""
        command = [self.folder / "bin" / "taskqueue", verb, self.folder / "parts" / "instance" / "etc" / "zope.conf"]
        ran = subprocess.run([*command, *arguments, "--json"], capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return json.loads(ran.stdout)

    def done(self):
        [queue] = self.cli("status")["queues"]
        return queue["counts"]["done"]


def serves_and_consumes(built):
    """Start it as somebody does who develops; a task that is added to it runs, and it ends when it is told."""
    with Process(built.folder / "bin" / "instance", "fg", cwd=built.folder) as process:
        server = int(process.wait_for_line(r"Starting server in PID (\d+)")[1])  # which has a process of its own
        try:
            process.wait_for_line(f"Serving on http://127.0.0.1:{built.port}")
            process.wait_for_line("consumer instance of queue default started")
            assert Browser(built.port).get("/")[0] == 200
            built.cli("add", "/")
            wait_until(lambda: built.done() == 1, lambda: f"the task is not done:\n{process.output}")
        finally:
            os.kill(server, signal.SIGTERM)
        process.wait_for_line("consumer instance of queue default stopped: 1 done")
        process.wait()


@pytest.mark.timeout(300)
def test_an_instance_serves_and_consumes(folder):
    serves_and_consumes(Built(folder, "buildout.cfg"))
    assert (folder / "var" / "instance" / "tasks.db").exists()


@pytest.mark.timeout(300)
def test_an_instance_with_its_queue_on_redis_serves_and_consumes(folder):
    with Server() as redis:
        (folder / "var").mkdir()
        (folder / "var" / "redis.sock").symlink_to(redis.socket_path)
        serves_and_consumes(Built(folder, "redis.cfg"))
    assert not (folder / "var" / "instance" / "tasks.db").exists()
