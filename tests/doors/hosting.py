"""One bare application under any server: how each is started, which processes serve, and what became of tasks."""

import dataclasses
import fcntl
import json
import re
import subprocess
import sys
from pathlib import Path

from taskqueue.backends.sqlite import SQLiteQueue

from ..serving import APPS, Browser, Effects, Process, wait_until

BIN = Path(sys.executable).parent
ALL = 10_000

GUNICORN = ("gunicorn", "--no-control-socket", "--bind", "127.0.0.1:0")
UWSGI = ("uwsgi", "--http-socket", "127.0.0.1:0", "--module", "hosted", "--die-on-term", "--master", "--no-orphans")

INI = """\
[app:main]
use = call:hosted:main
filter-with = transaction

[filter:transaction]
use = egg:wsgi-taskqueue#transaction
filter-with = taskqueue

[filter:taskqueue]
use = egg:wsgi-taskqueue

[taskqueue:default]
type = sqlite
path = %(here)s/tasks.db

[taskqueue-server:default]
concurrent_limit = {limit}
lease = 2
renew = 0.5
grace = 10

[server:main]
use = egg:waitress#main
listen = 127.0.0.1:0

[server:gunicorn]
use = egg:gunicorn#main
bind = 127.0.0.1:0
workers = 2
control_socket_disable = true
"""


@dataclasses.dataclass(frozen=True)
class Server:
    """A command, and how it differs from the others."""

    name: str
    command: tuple[str, ...]
    by_ini: bool = False
    serves_itself: bool = False  # in the process that is started; else in two workers
    waits_for_a_request: bool = False
    status: int = 0  # after SIGTERM


SERVERS = (
    Server("pserve", ("pserve", "app.ini"), by_ini=True, serves_itself=True),
    Server("pserve with gunicorn", ("pserve", "app.ini", "--server-name", "gunicorn"), by_ini=True),
    Server(
        "waitress-serve",
        ("waitress-serve", "--listen=127.0.0.1:0", "hosted:app"),
        serves_itself=True,
        waits_for_a_request=True,
    ),
    Server("gunicorn", (*GUNICORN, "-w", "2", "hosted:app")),
    Server("gunicorn --preload", (*GUNICORN, "-w", "2", "--preload", "hosted:app")),
    Server("gunicorn --threads", (*GUNICORN, "-w", "2", "--threads", "2", "hosted:app")),
    Server("gunicorn --threads --preload", (*GUNICORN, "-w", "2", "--threads", "2", "--preload", "hosted:app")),
    Server("gunicorn --paste", (*GUNICORN, "-w", "2", "--paste", "app.ini"), by_ini=True),
    Server("uwsgi", (*UWSGI, "--enable-threads", "-p", "2")),
    Server("uwsgi --lazy-apps", (*UWSGI, "--enable-threads", "--lazy-apps", "-p", "2")),
    Server("uwsgi --threads", (*UWSGI, "--threads", "2", "-p", "2")),
)
BY_NAME = {server.name: server for server in SERVERS}


class Hosted:
    """A folder with the application's queue and what its views did; any number of servers may serve it."""

    def __init__(self, folder, stack):
        self.folder = folder
        self.effects = Effects(folder / "effects")
        self.queue = SQLiteQueue(name="default", path=folder / "tasks.db")
        self._stack = stack
        self._gate = stack.enter_context((folder / "gate").open("w"))
        fcntl.flock(self._gate, fcntl.LOCK_EX)
        stack.callback(self.queue.close)

    def serve(self, server, *options, limit=2, env=None):
        """Start a server, which is killed at the end of the test; its name may stand for it."""
        server = BY_NAME.get(server, server)
        if server.by_ini:
            (self.folder / "app.ini").write_text(INI.format(limit=limit))
        script, *arguments = server.command
        at = len(arguments) - 1 if script == "gunicorn" else len(arguments)  # the application is the last
        arguments[at:at] = options
        return self.run(BIN / script, *arguments, limit=limit, env={"HOSTED_BY_INI": "1"} if server.by_ini else env)

    def run(self, *command, limit=2, env=None):
        """Any other process, killed at the end of the test."""
        environment = {"HOSTED_FOLDER": str(self.folder), "HOSTED_LIMIT": str(limit), **(env or {})}
        return self._stack.enter_context(Process(*command, cwd=self.folder, env=environment))

    def open_gate(self):
        """Let what blocks go on, now and from now on."""
        fcntl.flock(self._gate, fcntl.LOCK_UN)

    def state_of(self, task_id):
        found = self.queue.get(task_id)
        return found and found.state

    def tasks(self):
        """All that is stored."""
        return self.queue.list(("staged", "held", "scheduled", "ready", "running", "done", "dead"), ALL)

    # ---- who consumes ----

    def consuming(self):
        """The pids of the owners that are alive and consume."""
        return sorted(each.owner.pid for each in self.queue.owners() if each.alive and each.owner.consumers)

    def wait_for_consuming(self, pids):
        """Wait until these processes consume, and no other."""
        wait_until(
            lambda: self.consuming() == sorted(pids),
            lambda: f"{sorted(pids)} should consume, and there are {self.consuming()}",
        )

    def consuming_by_status(self):
        """The same as ``consuming``, as people see it."""
        done = subprocess.run(
            [sys.executable, "-m", "taskqueue", "status", "hosted:app", "--json"],
            env={"PYTHONPATH": str(APPS), "HOSTED_FOLDER": str(self.folder), "PATH": ""},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        owners = json.loads(done.stdout)["owners"]
        return sorted(each["pid"] for each in owners if each["alive"] and each["consumers"])


def port_of(process):
    """The port that a server says it serves on."""
    said = process.wait_for_line(
        r"(?:Serving on|Listening at:) http://127\.0\.0\.1:\d+|bound to TCP address 127\.0\.0\.1:\d+"
    )
    return int(said[0].rpartition(":")[2])


def browser_of(process):
    """A client of that server."""
    return Browser(port_of(process))


def workers_of(process, count=2):
    """The pids of the newest workers that a server says it has forked."""
    line = r"Booting worker with pid: (\d+)|pawned uWSGI worker \d+ .*\((?:new )?pid: (\d+)"
    process.wait_for_line(line, count)
    found = [int(match[1] or match[2]) for match in re.finditer(line, process.output)]
    return found[-2:]
