"""A headless Chromium, told what to do by its DevTools protocol over a pair of pipes; nothing else is needed for it."""

import fcntl
import itertools
import json
import os
import shutil
import signal
import tempfile
import threading
from pathlib import Path

import pytest

from ..serving import PATIENCE_SECONDS, wait_until

UNPACKED = Path(__file__).parents[2] / ".venv" / "chromium" / "usr" / "lib"
ITS_READING_END, ITS_WRITING_END = 3, 4  # Chromium's own numbers
OPTIONS = (
    "--headless",
    "--no-sandbox",  # which does not work for root, as in containers
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--no-first-run",
    "--remote-debugging-pipe",
)


def find_program():
    """Where it is, and the environment that it needs; skips the test where there is none, and fails in CI."""
    if found := shutil.which("chromium"):
        return found, dict(os.environ)
    if (UNPACKED / "chromium" / "chromium").exists():
        libraries = ":".join(str(folder) for folder in (*UNPACKED.glob("*-linux-gnu*"), UNPACKED))
        return str(UNPACKED / "chromium" / "chromium"), {**os.environ, "LD_LIBRARY_PATH": libraries}
    message = "there is no chromium; make test-plone unpacks one"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)


class Chromium:
    """One window of it, with a profile of its own; a context manager."""

    def __init__(self, origin):
        self._origin = origin
        self._numbers = itertools.count(1)
        self._folder = Path(tempfile.mkdtemp(prefix="chromium-"))
        self._answers = {}
        self._changed = threading.Condition()
        self._session = None

    def __enter__(self):
        program, environ = find_program()
        reads, self._sending = _pipe()
        self._receiving, writes = _pipe()
        log = str(self._folder / "log")
        self._pid = os.posix_spawn(
            program,
            [program, *OPTIONS, f"--user-data-dir={self._folder / 'profile'}", "about:blank"],
            {**environ, "HOME": str(self._folder)},
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
                (os.POSIX_SPAWN_DUP2, reads, ITS_READING_END),
                (os.POSIX_SPAWN_DUP2, writes, ITS_WRITING_END),
            ],
            setpgroup=0,  # to end it with all of its helpers
        )
        os.close(reads)
        os.close(writes)
        threading.Thread(target=self._listen, daemon=True).start()
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        return self

    def __exit__(self, *error):
        os.killpg(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        os.close(self._sending)
        shutil.rmtree(self._folder, ignore_errors=True)

    def open(self, path):
        """Go to a page of the site, and wait until it is there."""
        self._call("Page.navigate", url=self._origin + path)
        self.wait_for("document.readyState == 'complete' && location.href != 'about:blank'")

    def evaluate(self, script):
        """What a line of JavaScript comes to in the page."""
        answer = self._call("Runtime.evaluate", expression=script, returnByValue=True)
        return answer["result"].get("value")

    def wait_for(self, script):
        """Wait until a line of JavaScript comes true; pages come and go meanwhile."""
        wait_until(lambda: self.evaluate(script), lambda: f"{script} did not come true in {self.page}")

    @property
    def page(self):
        """Where it is, and what stands there."""
        return self.evaluate("location.href + '\\n' + document.body.innerText")

    def fill(self, **fields):
        """Write into fields of a form, by their names."""
        for name, value in fields.items():
            self.evaluate(f"document.querySelector('[name={name}]').value = {json.dumps(value)}")

    def click(self, selector):
        """Click on something."""
        assert self.evaluate(f"(document.querySelector({json.dumps(selector)}) || {{}}).click?.() === undefined")

    def _call(self, method, **parameters):
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._sending, json.dumps(message).encode() + b"\0")
        with self._changed:
            assert self._changed.wait_for(lambda: number in self._answers, PATIENCE_SECONDS), (
                f"Chromium does not answer {method}; it said:\n{(self._folder / 'log').read_text()[-2000:]}"
            )
            answer = self._answers.pop(number)
        # A page that is left while it is asked has no answer.
        return answer.get("result", {"result": {}})

    def _listen(self):
        with os.fdopen(self._receiving, "rb", buffering=0) as source:
            rest = b""
            while part := source.read(65536):
                *messages, rest = (rest + part).split(b"\0")
                for message in map(json.loads, messages):
                    if "id" in message:
                        with self._changed:
                            self._answers[message["id"]] = message
                            self._changed.notify_all()


def _pipe():
    """Both ends, with numbers that are out of the way of Chromium's."""
    ends = os.pipe()
    moved = tuple(fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends)
    for end in ends:
        os.close(end)
    return moved
