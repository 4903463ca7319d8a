"""Instances of Zope in folders of their own: made, configured, filled, and served by the commands that Zope brings."""

import base64
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

from ZODB.FileStorage import FileStorage

from taskqueue.backends.sqlite import SQLiteQueue
from taskqueue.record import decode

from ..serving import APPS, PATIENCE_SECONDS, Browser, Effects, Process, port_of, wait_until

BIN = Path(sys.executable).parent
SITE_ZCML = '<include package="zope_site"/>\n'
DURABLE = """
%import taskqueue
<taskqueue>
  type sqlite
  path tasks.db
  csrf_exempt true
</taskqueue>
<taskqueue-server>
  concurrent_limit 4
  min_backoff 20 ms
  conflict_backoff 20 ms
  max_backoff 100 ms
</taskqueue-server>
"""
INI = """
[app:zope]
use = egg:Zope#main
zope_conf = %(here)s/zope.conf

[server:main]
use = egg:waitress#main
listen = 127.0.0.1:0
threads = 4
trusted_proxy = 127.0.0.1
trusted_proxy_headers = x-forwarded-for x-forwarded-host x-forwarded-proto x-forwarded-port
clear_untrusted_proxy_headers = true

[filter:taskqueue]
use = egg:wsgi-taskqueue

[pipeline:main]
pipeline = {filters} egg:Zope#httpexceptions zope

[loggers]
keys = root

[handlers]
keys = console

[formatters]
keys = plain

[formatter_plain]
format = %(levelname)s %(name)s: %(message)s

[logger_root]
level = INFO
handlers = console

[handler_console]
class = StreamHandler
args = (sys.stdout,)
formatter = plain
"""


class Instance:
    """One folder as ``mkwsgiinstance`` makes it."""

    def __init__(self, folder, sections=DURABLE, filters="taskqueue", zcml=SITE_ZCML, more_ini=""):
        self.folder = Path(folder)
        subprocess.run([BIN / "mkwsgiinstance", "-d", self.folder, "-u", "admin:secret"], check=True)
        self.zope_conf = self.folder / "etc" / "zope.conf"
        self._conf_before = self.zope_conf.read_text()
        self.zope_ini = self.folder / "etc" / "zope.ini"
        self.effects = Effects(self.folder / "effects")
        (self.folder / "etc" / "package-includes").mkdir()
        (self.folder / "etc" / "package-includes" / "site-configure.zcml").write_text(zcml)
        self.configure(sections, filters, more_ini)

    def configure(self, sections=DURABLE, filters="taskqueue", more_ini=""):
        """Write its two files of configuration."""
        self.zope_conf.write_text(self._conf_before + sections)
        self.zope_ini.write_text(INI.replace("{filters}", filters) + more_ini)

    @property
    def environ(self):
        return {"ZOPE_SITE_EFFECTS": str(self.effects.path)}

    def copy_of(self, other):
        """The database of another one."""
        shutil.copytree(other.folder / "var", self.folder / "var", dirs_exist_ok=True)

    def run(self, *command):
        """One of Zope's commands, which ends; its exit status and all that it printed."""
        ran = subprocess.run(
            [str(part) for part in command],
            env={**os.environ, "PYTHONPATH": str(APPS), **self.environ},
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
        return ran.returncode, ran.stdout + ran.stderr

    def script(self, file):
        """Run a file by ``zconsole run``."""
        status, printed = self.run(BIN / "zconsole", "run", self.zope_conf, file)
        assert status == 0, printed
        return printed

    def serve(self, *command):
        """Start it, by ``runwsgi`` or by another command; a context manager."""
        return Process(*(command or [BIN / "runwsgi"]), self.zope_ini, env=self.environ)

    def cli(self, verb, *arguments):
        """``taskqueue VERB etc/zope.conf``; what it says as JSON."""
        status, printed = self.run(BIN / "taskqueue", verb, self.zope_conf, *arguments, "--json")
        assert status == 0, printed
        return json.loads(printed)

    def task(self, task_id):
        """One task, as the command line shows it."""
        return self.cli("show", task_id)

    def principal(self, task_id):
        """Who added a task, as its record says."""
        queue = SQLiteQueue(name="default", path=self.folder / "var" / "tasks.db")
        try:
            return decode(queue.get(task_id), None).principal
        finally:
            queue.close()

    def marked_transactions(self):
        """The transactions of the database in whose history a task has left its mark."""
        storage = FileStorage(str(self.folder / "var" / "Data.fs"), read_only=True)
        try:
            return [each.tid for each in storage.iterator() if "taskqueue" in each.extension]
        finally:
            storage.close()

    def states(self):
        """How many tasks its SQLite queue has in each state."""
        with sqlite3.connect(f"file:{self.folder}/var/tasks.db?mode=ro", uri=True) as database:
            return dict(database.execute("SELECT state, count(*) FROM task GROUP BY state"))


def served(process):
    """An anonymous browser of what a process serves."""
    return Browser(port_of(process))


def as_user(process, user, password, **headers):
    """A browser that sends basic credentials."""
    credentials = base64.b64encode(f"{user}:{password}".encode()).decode()
    return Browser(port_of(process), {"Authorization": f"Basic {credentials}", **headers})


def until(condition, process):
    """Wait for something outside; tell what the server printed when it does not come."""
    wait_until(condition, lambda: f"it did not come true; the server printed:\n{process.output}")
