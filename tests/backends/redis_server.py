"""Private Redis servers for tests: each on a free port and a unix socket, in a folder of its own."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from pathlib import Path

import pytest

from taskqueue.backends.redis import RedisQueue

DEADLINE = 20.0
UNPACKED = Path(__file__).parents[2] / ".venv" / "redis" / "usr"


def find_program(name="redis-server"):
    """The program and the environment that it needs; skips the test where there is none, and fails in CI."""
    if found := shutil.which(name):
        return found, dict(os.environ)
    if (UNPACKED / "bin" / name).exists():
        libraries = ":".join(str(folder) for folder in (UNPACKED / "lib").iterdir())
        return str(UNPACKED / "bin" / name), {**os.environ, "LD_LIBRARY_PATH": libraries}
    message = f"there is no {name}; make test unpacks one"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)


def free_port():
    """A port that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


class Server:
    """One Redis server. ``options`` are those of its configuration file; it listens on ``port`` and ``socket_path``."""

    def __init__(self, **options):
        self.folder = Path(tempfile.mkdtemp(prefix="taskqueue-redis-"))
        self.port = options.get("port", free_port())
        self.cluster_port = options.get("cluster_port")
        self.socket_path = str(self.folder / "redis.sock")
        self._options = {
            "port": self.port,
            "bind": "127.0.0.1",
            "unixsocket": self.socket_path,
            "dir": self.folder,
            "save": '""',
            "daemonize": "no",
            "shutdown-timeout": 1,
            **{name.replace("_", "-"): value for name, value in options.items()},
        }
        self._process = None
        self._said = []
        self._spoken = threading.Condition()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *exc_info):
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self):
        """Start it, and wait until it takes connections."""
        program, environment = find_program()
        configuration = self.folder / "redis.conf"
        configuration.write_text("".join(f"{name} {value}\n" for name, value in self._options.items()))
        self._said = []
        self._process = subprocess.Popen(
            [program, str(configuration)], env=environment, stdout=subprocess.PIPE, text=True, errors="replace"
        )
        threading.Thread(target=self._listen, args=(self._process.stdout, self._said), daemon=True).start()
        self.expect("eady to accept connections")

    def _listen(self, output, said):
        with contextlib.closing(output):
            for line in output:
                with self._spoken:
                    said.append(line)
                    self._spoken.notify_all()
        with self._spoken:
            said.append("the end")
            self._spoken.notify_all()

    def expect(self, words):
        """Wait until its log says so."""
        with self._spoken:
            heard = self._spoken.wait_for(
                lambda: any(words in line or line == "the end" for line in self._said), DEADLINE
            )
            said = "".join(self._said[-20:])
        assert heard, f"Redis did not say {words!r} in time:\n{said}"
        assert any(words in line for line in self._said), f"Redis did not say {words!r}:\n{said}"

    def kill(self):
        """SIGKILL; wait until it is dead."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
            self._process.wait(DEADLINE)
            self._process = None

    def stop_still(self):
        """SIGSTOP: it answers nothing any more."""
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self):
        """SIGCONT."""
        self._process.send_signal(signal.SIGCONT)

    def ask(self, *command, **options):
        """One command of the test's own; bytes and integers as they come."""
        import redis

        with redis.Redis(unix_socket_path=self.socket_path, **options) as client:
            return client.execute_command(*command)

    def clients(self, kind="normal"):
        """The numbers of the connections that there are, but for the one that asks."""
        with_asker = self.ask("CLIENT", "LIST", "TYPE", kind).decode().splitlines()
        listed = [dict(word.partition("=")[::2] for word in line.split(" ")) for line in with_asker]
        return {client["id"] for client in listed if client["cmd"] != "client|list"}

    def has_written(self):
        """Whether its file has all that it was told; ``everysec`` does not wait for a disk that is slow."""
        return self.ask("INFO", "persistence").get("aof_buffer_length", 0) == 0

    @property
    def address(self):
        """The options with which a queue finds it."""
        return {"host": "127.0.0.1", "port": self.port}


class Opener:
    """Opens queues on one server, and closes them all."""

    def __init__(self, **address):
        self.address = address
        self._opened = []

    def __call__(self, name="default", **options):
        queue = RedisQueue(name=name, **{**self.address, **options})
        self._opened.append(queue)
        return queue

    def close(self):
        """Close what was opened."""
        for queue in self._opened:
            queue.close()
