"""Real servers in processes of their own: start one, wait for what it prints, talk HTTP to it, end it."""

import contextlib
import http.client
import http.cookies
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.parse
from pathlib import Path

APPS = Path(__file__).parent / "apps"
PATIENCE_SECONDS = 30
STACKS_SIGNAL = signal.SIGRTMIN  # of no server


class Process:
    """A command whose output is read as it comes."""

    def __init__(self, *command, cwd=None, env=None):
        environ = {**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONPATH": str(APPS), **(env or {})}
        self._printed = []
        self._changed = threading.Condition()
        self._ended = False
        self.popen = subprocess.Popen(
            [str(part) for part in command],
            cwd=cwd,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        threading.Thread(target=self._read, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        if self.popen.poll() is None:
            self.popen.kill()
        self.popen.wait()

    @property
    def pid(self):
        return self.popen.pid

    @property
    def output(self):
        with self._changed:
            return "".join(self._printed)

    def wait_for_line(self, pattern, count=1):
        """The ``count``-th match of the pattern in what it prints."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        with self._changed:
            while True:
                matches = list(re.finditer(pattern, "".join(self._printed)))
                if len(matches) >= count:
                    return matches[count - 1]
                left = deadline - time.monotonic()
                if left <= 0 or self._ended:
                    raise AssertionError(f"{pattern!r} was not printed; this was:\n{''.join(self._printed)}")
                self._changed.wait(left)

    def end(self, signal_number):
        """Send a signal; the exit status."""
        self.popen.send_signal(signal_number)
        return self.wait()

    def wait(self):
        """The exit status. Whoever does not end is asked what it does, before a master out of patience kills it."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self.popen.wait(PATIENCE_SECONDS * 2 / 3)
        for pid in (self.pid, *_children_of(self.pid)):
            _ask_for_stacks(pid)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.popen.wait(PATIENCE_SECONDS / 3)
        raise AssertionError(f"it does not end, and had printed this:\n{self.output}")

    def _read(self):
        for line in self.popen.stdout:
            with self._changed:
                self._printed.append(line)
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()


def _children_of(pid):
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    return [int(line) for line in found.stdout.split()]


def _ask_for_stacks(pid):
    """Have a process print where its threads are, if it has said that it will."""
    with contextlib.suppress(OSError):
        handled = re.search(r"^SigCgt:\s*(\w+)$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)[1]
        if int(handled, 16) >> (STACKS_SIGNAL - 1) & 1:
            os.kill(pid, STACKS_SIGNAL)


def pserve(ini, **keywords):
    return Process(Path(sys.executable).parent / "pserve", ini, **keywords)


def port_of(process):
    """The port that waitress says it serves on."""
    return int(process.wait_for_line(r"Serving on http://127\.0\.0\.1:(\d+)")[1])


class Browser:
    """One user: keeps cookies, sends the CSRF token once it knows it."""

    def __init__(self, port, headers=None):
        self._port = port
        self._headers = dict(headers or {})
        self._cookies = http.cookies.SimpleCookie()
        self.token = None

    def login(self, user):
        assert self.post("/login", user=user)[0] == 200
        return self.home()

    def home(self):
        status, page = self.get("/home")
        assert status == 200, page
        self.token = json.loads(page)["token"]
        return self

    def get(self, path, **params):
        return self.request("GET", path + ("?" + urllib.parse.urlencode(params) if params else ""))

    def post(self, path, **params):
        body = urllib.parse.urlencode(params)
        return self.request("POST", path, body, {"Content-Type": "application/x-www-form-urlencoded"})

    def request(self, method, path, body=None, headers=None):
        """Status and text of the answer."""
        sent = {**self._headers, **(headers or {})}
        if self._cookies:
            sent["Cookie"] = "; ".join(f"{name}={morsel.coded_value}" for name, morsel in self._cookies.items())
        if self.token:
            sent["X-CSRF-Token"] = self.token
        with contextlib.closing(
            http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE_SECONDS)
        ) as client:
            client.request(method, path, body, sent)
            answer = client.getresponse()
            for name, value in answer.getheaders():
                if name.lower() == "set-cookie":
                    self._cookies.load(value)
            return answer.status, answer.read().decode("utf-8", "replace")


class Effects:
    """The file in which views note what they did."""

    def __init__(self, path):
        self.path = Path(path)

    def read(self):
        return [json.loads(line) for line in whole_lines(self.path)]

    def wait_for(self, count, **facts):
        """The first ``count`` effects that have these facts, once there are as many."""
        found = []

        def enough():
            found[:] = [effect for effect in self.read() if facts.items() <= effect.items()]
            return len(found) >= count

        wait_until(enough, lambda: f"waited for {count} times {facts}; there are: {self.read()}")
        return found[:count]


def whole_lines(path):
    """The lines of a file that others append to: without the last one, as long as it is being written."""
    if not path.exists():
        return []
    *lines, _being_written = path.read_text().split("\n")
    return lines


def wait_until(condition, explain=lambda: "the condition did not come true"):
    """Look at something outside this process until it is so; there is no event to wait for there."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, explain()
        pause.wait(0.01)
