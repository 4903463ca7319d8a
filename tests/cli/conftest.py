"""Sites of SQLite queues whose tasks are brought into any state, and the command line run on them."""

import io
import json
import os
import re
import sqlite3
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from taskqueue.cli import main
from taskqueue.configure import Installation, read_ini
from taskqueue.interfaces import Owner, Settlement
from taskqueue.record import Envelope, Outcome, Task, encode, encode_part, new_id

INI = """\
[taskqueue:default]
type = sqlite
path = %(here)s/default.db
base_url = http://localhost

[taskqueue:mail]
type = sqlite
path = %(here)s/mail.db
base_url = http://localhost

[taskqueue-server:default]
queue = default

[taskqueue-server:mail]
queue = mail
"""
LOCAL_INI = """\
[taskqueue:default]
type = local

[taskqueue-server:default]
queue = default
"""


class Site:
    """One configuration in a folder of its own, and its queues as the site itself uses them."""

    def __init__(self, folder, text=INI):
        self.folder = folder
        self.ini = folder / "app.ini"
        self.ini.write_text(text)
        self.installation = Installation(read_ini(self.ini))

    def backend(self, queue="default"):
        return self.installation.queues[queue].backend

    def publish(self, url="/work", queue="default", **fields):
        """The id of a task that is ready, or scheduled."""
        record = self.encode(url, queue, **fields)
        self.backend(queue).publish([record], 5)
        return record.id

    def encode(self, url="/work", queue="default", **fields):
        fields = {"id": new_id(), "method": "GET", "added_at": 1_700_000_000.0} | fields
        return encode(Task(queue=queue, url=url, **fields), self.installation.queues[queue].keyring)

    def owner(self, queue="default", consumers=("default",)):
        """The id of an owner that is alive until ``retire``."""
        owner = Owner(id=new_id(), host="a-host", pid=os.getpid(), started_at=1_700_000_000.0, consumers=consumers)
        self.backend(queue).beat(owner, 60, 5)
        return owner.id

    def killed_owner(self, queue="default", consumers=("default",), act=None):
        """The id of an owner whose process has ended without retiring; ``act`` is called while it is alive."""
        installation = Installation(read_ini(self.ini))
        backend = installation.queues[queue].backend
        owner = Owner(id=new_id(), host="a-host", pid=4321, started_at=1_700_000_000.0, consumers=consumers)
        backend.beat(owner, 60, 5)
        if act is not None:
            act(owner.id)
        backend.close()  # frees its lock, as the end of its process does
        return owner.id

    def change_owner(self, owner, queue="default", **columns):
        """Write into the store behind everybody's back."""
        self._change("owner", owner, queue, columns)

    def claim(self, owner, queue="default"):
        """The one task that is claimed."""
        (record,) = self.backend(queue).exchange(owner, "default", [], 1).claimed
        return record

    def settle(self, owner, record, state, queue="default", reason="answered", wipe=False, **outcome):
        part = encode_part(Outcome(state=state, reason=reason, **outcome))
        settlement = Settlement(
            id=record.id, claim_number=record.claim_number, state=state, attempts=1, outcome=part, wipe=wipe
        )
        assert not self.backend(queue).exchange(owner, "default", [settlement], 0).refused

    def finish(self, state="done", queue="default", url="/work", wipe=False, reason="answered", error="", **fields):
        """The id of a task that was run."""
        owner = self.owner(queue)
        task_id = self.publish(url, queue, **fields)
        self.settle(owner, self.claim(owner, queue), state, queue, reason, wipe, error=error)
        self.backend(queue).retire(owner)
        return task_id

    def stage(self, owner, queue="default", url="/work", envelope=(), **fields):
        record = self.encode(url, queue, **fields)
        envelope = encode_part(Envelope(**{"transaction_id": "the-transaction", "owner": owner, **dict(envelope)}))
        self.backend(queue).stage([record], envelope, owner, 5)
        return record.id

    def hold(self, queue="default", url="/work", **fields):
        """The id of a task whose owner died between staging and publishing."""
        owner = self.owner(queue, consumers=())
        task_id = self.stage(owner, queue, url, **fields)
        self.backend(queue).retire(owner)
        self.backend(queue).reclaim(3)
        assert self.state(task_id, queue) == "held"
        return task_id

    def state(self, task_id, queue="default"):
        record = self.backend(queue).get(task_id)
        return record.state if record is not None else None

    def change_row(self, task_id, queue="default", **columns):
        """Write into the store behind everybody's back."""
        self._change("task", task_id, queue, columns)

    def _change(self, table, row_id, queue, columns):
        with sqlite3.connect(self.folder / f"{queue}.db") as connection:
            changes = ", ".join(f"{name} = ?" for name in columns)
            connection.execute(f"UPDATE {table} SET {changes} WHERE id = ?", [*columns.values(), row_id])
        connection.close()

    def close(self):
        self.installation.close()


@pytest.fixture
def make_site(tmp_path):
    """Make sites of some configuration, each in the test's folder."""
    made = []

    def make(text=INI):
        made.append(Site(tmp_path, text))
        return made[-1]

    yield make
    for site in made:
        site.close()


@pytest.fixture
def site(make_site):
    """Two queues, default and mail, whose files exist."""
    made = make_site()
    for queue in made.installation.queues.values():
        queue.backend.counts()
    return made


@pytest.fixture
def local_ini(tmp_path):
    file = tmp_path / "local.ini"
    file.write_text(LOCAL_INI)
    return file


class Ran(NamedTuple):
    """What one call of the command line came to."""

    status: int
    out: str
    err: str

    @property
    def document(self):
        """The one JSON document on standard output."""
        return json.loads(self.out)

    @property
    def complaint(self):
        """The one line on standard error, when there is nothing else on it."""
        assert re.fullmatch(r"taskqueue: [^\n]+\n", self.err), f"not one line: {self.err!r}"
        assert "Traceback" not in self.out
        return self.err.removeprefix("taskqueue: ").rstrip("\n")


@pytest.fixture
def run(capsys):
    """Run a verb in this process."""

    def call(*arguments):
        capsys.readouterr()
        status = main([str(argument) for argument in arguments])
        return Ran(status, *capsys.readouterr())

    return call


@pytest.fixture
def answer(monkeypatch):
    """Sit at the terminal, and type one line."""

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    def type_line(text):
        monkeypatch.setattr(sys, "stdin", Terminal(text))

    return type_line


@pytest.fixture
def in_folder(tmp_path, monkeypatch):
    """Stand in the test's folder."""
    monkeypatch.chdir(tmp_path)
    return Path()
