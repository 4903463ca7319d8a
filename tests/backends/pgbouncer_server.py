"""A private PgBouncer in transaction mode before a private PostgreSQL server."""

import contextlib
import os
import shutil
import subprocess
import threading
from pathlib import Path

from .postgresql_server import DEADLINE, UNPACKED, environment, make_folder, missing, readable, unprivileged
from .redis_server import free_port

_CONFIGURATION = """
[databases]
* = host=127.0.0.1 port={server_port}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = trust
auth_file = {folder}/users
pool_mode = transaction
default_pool_size = {pool_size}
"""


def find_pgbouncer():
    """The program; skips the test where there is none, and fails in CI."""
    for place in (shutil.which("pgbouncer"), "/usr/sbin/pgbouncer", readable(UNPACKED) / "sbin" / "pgbouncer"):
        if place is not None and Path(place).exists():
            return str(place)
    return missing("pgbouncer")


class Pooler:
    """PgBouncer, by which a client gets another connection to ``server`` for each of its transactions."""

    def __init__(self, server, pool_size=2):
        self._server = server
        self.port = free_port()
        self._folder = make_folder("pgbouncer")
        self._pool_size = pool_size
        self._said = []
        self._spoken = threading.Condition()

    def __enter__(self):
        values = {"server_port": self._server.port, "port": self.port, "folder": self._folder}
        (self._folder / "pgbouncer.ini").write_text(_CONFIGURATION.format(pool_size=self._pool_size, **values))
        (self._folder / "users").write_text('"postgres" ""\n')
        for file in self._folder.iterdir():
            os.chmod(file, 0o644)
        self._process = subprocess.Popen(
            [find_pgbouncer(), str(self._folder / "pgbouncer.ini")],
            env=environment(),
            cwd="/",
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            **unprivileged(),
        )
        threading.Thread(target=self._listen, daemon=True).start()
        with self._spoken:
            heard = self._spoken.wait_for(lambda: any("process up" in line for line in self._said), DEADLINE)
        assert heard, f"PgBouncer did not start:\n{''.join(self._said)}"
        return self

    def __exit__(self, *exc_info):
        self._process.kill()
        self._process.wait(DEADLINE)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _listen(self):
        with contextlib.closing(self._process.stderr) as output:
            for line in output:
                with self._spoken:
                    self._said.append(line)
                    self._spoken.notify_all()

    def url(self, database_url):
        """The same database by way of the pooler."""
        return self._server.url(database_url.rpartition("/")[2], port=self.port)
