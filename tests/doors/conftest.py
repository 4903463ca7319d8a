"""Sites under test: a folder with an ini file, an effects file and a gate, served by real servers."""

import contextlib
import fcntl

import pytest

from ..serving import Effects, pserve

INI = """\
[app:main]
use = call:ledger:main
filter-with = taskqueue
retry.attempts = 3
ledger.policy = {policy}
ledger.effects = %(here)s/effects
ledger.gate = %(here)s/gate
{app_settings}

[filter:taskqueue]
use = egg:wsgi-taskqueue

[taskqueue:default]
type = sqlite
path = %(here)s/var/tasks.db

[taskqueue-server:default]
queue = default
concurrent_limit = 4
min_backoff = 0.05
conflict_backoff = 0.05
lease = 2
renew = 0.5
grace = 20
{server_settings}

[server:main]
use = egg:waitress#main
listen = 127.0.0.1:0

[loggers]
keys = root

[handlers]
keys = console

[formatters]
keys = plain

[logger_root]
level = INFO
handlers = console

[handler_console]
class = StreamHandler
args = (sys.stderr,)
formatter = plain

[formatter_plain]
format = %(levelname)s %(name)s %(message)s
"""


class Site:
    """One folder with one configuration; any number of instances may serve it."""

    def __init__(self, folder, stack):
        self.folder = folder
        self._stack = stack
        self.effects = Effects(folder / "effects")
        self._gate = stack.enter_context((folder / "gate").open("w"))
        fcntl.flock(self._gate, fcntl.LOCK_EX)
        self.configure()

    def configure(self, policy="cookie", app_settings="", server_settings="", ini=INI, name="app.ini"):
        text = ini.format(policy=policy, app_settings=app_settings, server_settings=server_settings)
        (self.folder / name).write_text(text)
        return self.folder / name

    def serve(self, *arguments, name="app.ini"):
        """An instance under pserve, killed at the end of the test."""
        return self._stack.enter_context(pserve(self.folder / name, *arguments, cwd=self.folder))

    def run(self, process):
        """Any other process, killed at the end of the test."""
        return self._stack.enter_context(process)

    def open_gate(self):
        """Let the tasks that block go on, now and from now on."""
        fcntl.flock(self._gate, fcntl.LOCK_UN)


@pytest.fixture
def site(tmp_path):
    with contextlib.ExitStack() as stack:
        yield Site(tmp_path, stack)
