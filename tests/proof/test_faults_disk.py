"""A disk that is full, and a file system that is read-only: who adds is told, what runs finishes, nothing is lost."""

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from taskqueue.errors import BackendUnavailableError

from .faults import LONG, Effects, Gate, Site, open_queue, wait_until

ADD_SECONDS = 2.0
GENEROUS_SECONDS = 2.0  # for a machine with other things to do
LEASE = {"lease": 2.0, "renew": 0.25}
SIZES = {"sqlite": "3m", "redis": "3m", "redis, always": "3m", "postgresql": "90m"}
ONE = {"concurrent_limit": 1, "prefetch": 0}  # at a time: what else was added waits while the first one runs
MOST_TRIES = 200


def run(*command):
    """Run it to its end; what it complained about, if it failed."""
    environ = {**os.environ, "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"}
    words = list(map(str, command))
    done = subprocess.run(words, capture_output=True, text=True, timeout=30, check=False, env=environ)
    return (done.stderr or "it failed").strip() if done.returncode else ""


class Disk:
    """A small file system of its own, where one may be mounted."""

    def __init__(self, *options):
        self.folder = Path(tempfile.mkdtemp(prefix="taskqueue-disk-"))
        self.folder.chmod(0o755)
        self._options = options
        self._filling = self.folder / "filling"

    def __enter__(self):
        if complaint := self.mount():
            self.folder.rmdir()
            pytest.skip(f"nothing can be mounted here: {complaint}")
        return self

    def __exit__(self, *exc_info):
        if self.folder.is_mount():
            self.unmount("--lazy")
        self.folder.rmdir()

    def mount(self):
        """Mount it; the complaint."""
        return run("mount", *self._options, self.folder)

    def unmount(self, *options):
        """Take it away, when nobody uses it: those whose server was killed end a moment after it."""
        complaints = []

        def is_gone():
            complaints.append(run("umount", *options, self.folder))
            return not complaints[-1]

        wait_until(is_gone, lambda: complaints[-1])

    def remount(self, how):
        """Change how it is mounted."""
        complaint = run("mount", "-o", f"remount,{how}", self.folder)
        assert not complaint, complaint

    def fill(self, leave_bytes):
        """Leave so much room, and no more."""
        with self._filling.open("ab", buffering=0) as filling:
            for size in (1 << 20, 4096, 1):
                with contextlib.suppress(OSError):
                    while True:
                        filling.write(bytes(size))
            filling.truncate(max(0, filling.tell() - leave_bytes))

    def make_room(self):
        """Leave room again."""
        self._filling.unlink()


@contextlib.contextmanager
def tmpfs(size):
    """A small one in memory."""
    with Disk("-t", "tmpfs", "-o", f"size={size},mode=0777", "tmpfs") as disk:
        yield disk


@contextlib.contextmanager
def ext4(folder, megabytes=96):
    """A small one in a file."""
    image = folder / "image"
    with image.open("wb") as file:
        file.truncate(megabytes << 20)
    make = shutil.which("mkfs.ext4", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    complaint = run(make, "-q", "-F", image) if make else "there is none"
    if complaint:
        pytest.skip(f"there is no mkfs.ext4, or it fails: {complaint}")
    with Disk("-t", "ext4", "-o", "loop", image) as disk:
        disk.folder.chmod(0o777)
        yield disk


@contextlib.contextmanager
def store_on(kind, disk, monkeypatch, **settings):
    """A queue that keeps everything on that disk, and the server, if there is one; settings are PostgreSQL's."""
    if kind == "sqlite":
        yield {"type": "sqlite", "path": str(disk.folder / "tasks.db")}, None
    elif kind.startswith("redis"):
        from ..backends.redis_server import Server

        appendfsync = "always" if kind.endswith("always") else "everysec"
        with Server(appendonly="yes", appendfsync=appendfsync, dir=disk.folder) as server:
            yield {"type": "redis", **server.address}, server
    else:
        from ..backends import postgresql_server

        postgresql_server._template(postgresql_server.DEBIAN)
        monkeypatch.setattr(tempfile, "tempdir", str(disk.folder))
        with postgresql_server.Server(**settings) as server:
            monkeypatch.undo()
            options = {"type": "postgresql", "url": server.create_database()}
            with open_queue(options) as queue:
                queue.migrate()
            yield options, server


def add_until_refused(site, payload_bytes):
    """Add until a request fails; the names of those that did not, and how it failed."""
    accepted = []
    for number in range(MOST_TRIES):
        answer = site.ask("add", path=f"/effect/{number}", payload_bytes=payload_bytes)
        assert answer["seconds"] < ADD_SECONDS + GENEROUS_SECONDS, answer
        if answer["status"] != 200:
            return accepted, answer
        accepted.append(str(number))
    raise AssertionError("nothing was refused")


def try_again_and_again(queue):
    """See whether it takes tasks, until it says that it does not."""
    for _ in range(MOST_TRIES):
        queue.try_adding(ADD_SECONDS)


def is_one_line_that_tells(answer):
    """Whether a request failed as it should: with an error of the backend, which says what to do."""
    return re.fullmatch(r"(BackendUnavailable|ServerRefused)Error: [^\n]+", answer["error"]) is not None


def ensure_alive(server):
    """Do what an operator does when a server has ended for want of room."""
    if server is not None and server._process.poll() is not None:
        server.kill()
        server.start()
        return True
    return False


def unsettled(seen):
    """How many tasks have not come to an end."""
    return sum(count for state, count in seen.counts().states.items() if state not in {"done", "dead"})


@pytest.mark.timeout(180)
@pytest.mark.parametrize("kind", SIZES)
def test_a_full_disk_refuses_who_adds_and_loses_nothing(kind, tmp_path, monkeypatch, say):
    with contextlib.ExitStack() as stack:
        disk = stack.enter_context(tmpfs(SIZES[kind]))
        queue, server = stack.enter_context(store_on(kind, disk, monkeypatch))
        gate = stack.enter_context(contextlib.closing(Gate(tmp_path)))
        site = stack.enter_context(Site(tmp_path, queue, server=ONE, **LEASE))
        effects = Effects(tmp_path)
        kept = site.consume().add("/block/kept")
        effects.wait_for("kept", "began")
        payload_bytes = 256 * 1024 if kind == "postgresql" else 64 * 1024
        disk.fill(8 * payload_bytes)
        accepted, refusal = add_until_refused(site, payload_bytes)
        assert is_one_line_that_tells(refusal), refusal
        again = site.ask("add", path="/effect/never")
        assert again["status"] == 200 or is_one_line_that_tells(again)
        accepted += ["never"] * (again["status"] == 200)
        gate.open()
        effects.wait_for("kept")
        disk.make_room()
        was_started = ensure_alive(server)
        wait_until(lambda: site.ask("add", path="/effect/last")["status"] == 200)
        for name in [*accepted, "last"]:
            effects.wait_for(name)
        with contextlib.closing(stack.enter_context(open_queue(queue))) as seen:
            wait_until(lambda: unsettled(seen) == 0, lambda: str(seen.counts()))  # a failed one may have been staged
            states = seen.counts().states
            record = seen.get(kept)
        ran = {line[1] for line in effects.read() if line[0] == "done"}
    say(
        f"{kind}, disk full: {len(accepted)} more taken, then refused in {refusal['seconds']:.2f} s "
        f"({refusal['error'].partition(': ')[2][:120]}); {len(ran)} of {len(accepted) + 2} done"
        + ("; the server had ended, and was started again" if was_started else "")
    )
    assert ran == {*accepted, "kept", "last"}
    assert (record.state, record.deaths) == ("done", 0)
    assert (states["done"], states["dead"]) == (len(accepted) + 2, 0)


@pytest.mark.timeout(180)
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_trying_to_add_tells_that_the_disk_is_full(kind, monkeypatch):
    with contextlib.ExitStack() as stack:
        disk = stack.enter_context(tmpfs(SIZES[kind]))
        queue, _ = stack.enter_context(store_on(kind, disk, monkeypatch))
        seen = stack.enter_context(contextlib.closing(stack.enter_context(open_queue(queue))))
        seen.try_adding(ADD_SECONDS)
        disk.fill(0)
        with pytest.raises(BackendUnavailableError, match="disk is full"):
            try_again_and_again(seen)  # there may be room for a few in pages that are there already
        disk.make_room()
        seen.try_adding(ADD_SECONDS)
        assert set(seen.counts().states.values()) == {0}


@pytest.mark.timeout(180)
@pytest.mark.parametrize("kind", ["sqlite", "redis, always", "postgresql"] if LONG else ["sqlite"])
def test_a_file_system_that_turns_read_only_loses_nothing(kind, tmp_path, monkeypatch, say):
    """As the kernel does it to a file system with an error; then somebody repairs it, and mounts it anew.

    What was not synced is gone then, as after a loss of power.
    """
    with contextlib.ExitStack() as stack:
        disk = stack.enter_context(ext4(tmp_path))
        queue, server = stack.enter_context(store_on(kind, disk, monkeypatch, fsync="on", full_page_writes="on"))
        run("sync", "--file-system", disk.folder)  # what has been there for long
        gate = stack.enter_context(contextlib.closing(Gate(tmp_path)))
        first = stack.enter_context(Site(tmp_path, queue, server={**ONE, "grace": "1 s"}, **LEASE))
        effects = Effects(tmp_path)
        first.consume()
        kept, waiting = [first.add(path) for path in ("/block/kept", "/effect/waiting")]
        effects.wait_for("kept", "began")
        disk.remount("abort")
        accepted, refusal = add_until_refused(first, 64 * 1024)
        assert is_one_line_that_tells(refusal), refusal
        gate.open()
        effects.wait_for("kept")
        if server is None:
            first.end()  # it has files open there
        else:
            server.kill()
        disk.unmount()
        run("e2fsck", "-p", tmp_path / "image")
        assert disk.mount() == ""
        if server is not None:
            server.start()
            second = first
        else:
            second = stack.enter_context(Site(tmp_path, queue, **LEASE)).consume()
        wait_until(lambda: second.ask("add", path="/effect/last")["status"] == 200)
        for name in ("waiting", "last"):
            effects.wait_for(name)
        with contextlib.closing(stack.enter_context(open_queue(queue))) as seen:
            wait_until(lambda: seen.get(kept).state == seen.get(waiting).state == "done", lambda: str(seen.counts()))
        runs = len(effects.of("kept"))
    say(
        f"{kind}, read-only: {len(accepted)} more taken, then refused in {refusal['seconds']:.2f} s "
        f"({refusal['error'].partition(': ')[2][:120]}); what ran had {runs} runs"
    )


def test_a_file_system_that_was_read_only_at_the_start_is_used_once_it_can_be_written(tmp_path):
    with contextlib.ExitStack() as stack:
        disk = stack.enter_context(tmpfs("3m"))
        queue = {"type": "sqlite", "path": str(disk.folder / "tasks.db")}
        with Site(tmp_path, queue) as adding:
            adding.add("/effect/waiting")
            adding.end()
        disk.remount("ro")
        site = stack.enter_context(Site(tmp_path, queue, **LEASE))
        site.ask("consume", waits=False)
        refusal = site.ask("add", path="/effect/never")
        assert (refusal["status"], is_one_line_that_tells(refusal)) == (500, True)
        disk.remount("rw")
        effects = Effects(tmp_path)
        effects.wait_for("waiting")
        wait_until(lambda: site.ask("add", path="/effect/last")["status"] == 200)
        effects.wait_for("last")
        assert effects.of("never") == []
        site.end()
