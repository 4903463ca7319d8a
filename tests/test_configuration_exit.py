"""A wrong configuration ends the programs that are given it: one line, exit status 2, no traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.process

PATIENCE_SECONDS = 60
SECRET = "hunter2"

MODULE = """
from pyramid.config import Configurator
from taskqueue.wsgi import TaskQueueFilter

def plain(global_conf, **settings):
    return application

def pyramid(global_conf, **settings):
    config = Configurator(settings=settings)
    config.include("taskqueue.pyramid")
    return config.make_wsgi_app()

def application(environ, start_response):
    start_response("200 OK", [])
    return [b""]

def lazily(**keywords):
    return lambda: TaskQueueFilter(application, **keywords)

wrong_option = lazily(queues={"mail": {"type": "sqlite", "path": "x", "lenght_limit": 5}})
wrong_value = lazily(servers={"default": {"lease": -1}})
wrong_secret = lazily(queues={"mail": {"type": "sqlite", "path": "x", "secret": "hunter2"}})
wrong_server = lazily(servers={"default": {"queue": "nowhere"}})
wrong_mapping = lazily(queues=["mail"])
"""

SERVER = "[server:main]\nuse = egg:waitress\nlisten = 127.0.0.1:0\n"
FILTERED = "[app:main]\npaste.app_factory = site_module:plain\nfilter-with = taskqueue\n" + SERVER
FILTERED += "[filter:taskqueue]\nuse = egg:wsgi-taskqueue\n"
PYRAMID = "[app:main]\npaste.app_factory = site_module:pyramid\n" + SERVER.replace("[server", "{settings}[server")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "site_module.py").write_text(MODULE)
    return tmp_path


def line_of(folder: Path, *command: str) -> str:
    """The one line that a command ends with."""
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder), "PYTHONWARNINGS": "ignore"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    everything = done.stdout + done.stderr
    assert done.returncode == 2, everything
    assert "Traceback" not in everything
    assert SECRET not in everything
    lines = done.stderr.splitlines()
    assert len(lines) == 1, everything
    assert not (folder / "tasks.db").exists()
    return lines[0]


PSERVE = (str(Path(sys.executable).parent / "pserve"), "site.ini")
CHECK = (sys.executable, "-m", "taskqueue", "check")

WRONG_SECTIONS = [
    ("[taskqueue:mail]\ntype = sqlite\n", "site.ini: [taskqueue:mail] path: is missing; it takes the file"),
    ("[taskqueue-server:x]\nlease = soon\n", "site.ini: [taskqueue-server:x] lease: takes a duration such as"),
    ("[taskqueue-server:x]\nconcurrent_limit = -1\n", "concurrent_limit: takes a whole number, 1 or more, not '-1'"),
    ("[taskqueue-server:x]\nzzz = 1\n", "site.ini: [taskqueue-server:x] zzz: is not an option; there are: "),
    ("[taskqueue-server:x]\nretry_max_cuont = 1\n", "did you mean retry_max_count?"),
    ("[taskqueue-sever:x]\n", "site.ini: [taskqueue-sever:x]: is not a section; did you mean [taskqueue-server:…]?"),
    ("[taskqueue:default]\ntype = no_such_module.Queue\n", "site.ini: [taskqueue:default] type: takes the dotted path"),
    (f"[taskqueue:default]\nsecret = {SECRET}\n", "site.ini: [taskqueue:default] secret: takes keys of 32 characters"),
    ("[taskqueue:default]\n", "site.ini: [taskqueue:default] type: a local queue is seen by this process only"),
    ("[taskqueue:mail]\ntype = sqlite\npath = 100%\n", "site.ini: [taskqueue:mail] path: takes %(here)s"),
]


@pytest.mark.parametrize(("sections", "expected"), WRONG_SECTIONS[:7])
def test_pserve_ends_with_one_line_about_a_section(folder: Path, sections: str, expected: str) -> None:
    (folder / "site.ini").write_text(FILTERED + sections)
    line = line_of(folder, *PSERVE)
    assert line.startswith("taskqueue: ")
    assert expected in line


def test_pserve_ends_with_one_line_about_an_option_of_a_filter(folder: Path) -> None:
    (folder / "site.ini").write_text(FILTERED + "path = tasks.db\n")
    assert "site.ini: [filter:…] path: is not an option here" in line_of(folder, *PSERVE)
    wrong = FILTERED.replace("egg:wsgi-taskqueue", "egg:wsgi-taskqueue#transaction") + "commit = always\n"
    (folder / "site.ini").write_text(wrong)
    assert "site.ini: [filter:…] commit: is not an option here" in line_of(folder, *PSERVE)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ("taskqueue.queue.mail.type = sqlite\n", "taskqueue.queue.mail.path: is missing; it takes the file"),
        ("taskqueue.server.x.lease = soon\n", "taskqueue.server.x.lease: takes a duration such as"),
        ("taskqueue.server.x.grace = -1\n", "taskqueue.server.x.grace: takes a duration"),
        ("taskqueue.server.x.zzz = 1\n", "taskqueue.server.x.zzz: is not an option; there are: "),
        ("taskqueue.server.x.leese = 1\n", "taskqueue.server.x.leese: is not an option; did you mean lease?"),
        ("taskqueue.sever.x.lease = 1\n", "taskqueue.sever.x.lease: is not a setting; did you mean taskqueue.server"),
        (f"taskqueue.queue.default.secret = {SECRET}\n", "taskqueue.queue.default.secret: takes keys of 32"),
        ("taskqueue.csrf_exempt = perhaps\n", "taskqueue.csrf_exempt: takes true or false"),
    ],
)
def test_pserve_ends_with_one_line_about_a_pyramid_setting(folder: Path, settings: str, expected: str) -> None:
    (folder / "site.ini").write_text(PYRAMID.format(settings=settings))
    line = line_of(folder, *PSERVE)
    assert line.startswith("taskqueue: ")
    assert expected in line


@pytest.mark.parametrize(("sections", "expected"), WRONG_SECTIONS[5:])
def test_check_ends_with_one_line_about_a_section(folder: Path, sections: str, expected: str) -> None:
    (folder / "site.ini").write_text(FILTERED + sections)
    assert expected in line_of(folder, *CHECK, "site.ini")


def test_check_ends_with_one_line_about_a_file(folder: Path) -> None:
    assert "site.ini: cannot be read: No such file or directory" in line_of(folder, *CHECK, "site.ini")
    (folder / "site.ini").write_bytes(b"[app:main]\n\xff")
    assert "site.ini: cannot be read: it is not UTF-8 text" in line_of(folder, *CHECK, "site.ini")
    (folder / "site.ini").write_text(f"[taskqueue:mail]\nsecret =\n{SECRET}\n")
    assert "site.ini: line 3: takes a [section]" in line_of(folder, *CHECK, "site.ini")


@pytest.mark.parametrize(
    ("attribute", "expected"),
    [
        ("wrong_option", "queues['mail']['lenght_limit']: is not an option; did you mean length_limit?"),
        ("wrong_value", "servers['default']['lease']: takes a duration"),
        ("wrong_secret", "queues['mail']['secret']: takes keys of 32 characters"),
        ("wrong_server", "servers['default']['queue']: there is no queue 'nowhere'; configured are: none"),
        ("wrong_mapping", "queues: takes a mapping of names to options"),
    ],
)
def test_check_ends_with_one_line_about_a_keyword(folder: Path, attribute: str, expected: str) -> None:
    assert expected in line_of(folder, *CHECK, f"site_module:{attribute}()")
