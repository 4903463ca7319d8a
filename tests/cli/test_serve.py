import fcntl
import os
import signal
import subprocess
import sys
import textwrap

import pytest

from ..serving import PATIENCE_SECONDS, Effects, Process
from .conftest import Site

pytestmark = pytest.mark.process

APPLICATION = """
    import fcntl, json, pathlib
    from taskqueue.wsgi import TaskQueueFilter

    here = pathlib.Path(__file__).parent

    def application(environ, start_response):
        with (here / "effects").open("a") as effects:
            effects.write(json.dumps({"path": environ["PATH_INFO"]}) + "\\n")
        if environ["PATH_INFO"] == "/slow":
            with (here / "gate").open() as gate:
                fcntl.flock(gate, fcntl.LOCK_SH)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"done"]

    def make_app(global_conf):
        return application

    def wrapped():
        return TaskQueueFilter(
            application,
            queues={"default": {"type": "sqlite", "path": str(here / "default.db")}},
            servers={"default": {}},
        )
"""
INI = """\
[app:main]
use = call:shop:make_app
filter-with = taskqueue

[app:other]
use = call:shop:make_app

[filter:taskqueue]
use = egg:wsgi-taskqueue

[taskqueue:default]
type = sqlite
path = %(here)s/default.db
base_url = http://localhost

[taskqueue-server:default]
queue = default
concurrent_limit = 2
"""
LOG = """
[loggers]
keys = root
[handlers]
keys = file
[formatters]
keys = plain
[logger_root]
level = INFO
handlers = file
[handler_file]
class = FileHandler
args = ("%(here)s/the.log",)
formatter = plain
[formatter_plain]
format = %(levelname)s: %(message)s
"""
STARTED = "consumer default takes from queue default \\(sqlite\\), 2 at a time\n"


class Shop(Site):
    """A site whose task at /slow runs until the gate is opened."""

    def __init__(self, folder, text):
        (folder / "shop.py").write_text(textwrap.dedent(APPLICATION))
        super().__init__(folder, text)
        self.effects = Effects(folder / "effects")
        self.gate = (folder / "gate").open("w")
        fcntl.flock(self.gate, fcntl.LOCK_EX)

    def open_gate(self):
        self.gate.close()

    def serve(self, target="app.ini"):
        command = (sys.executable, "-m", "taskqueue", "serve", target)
        return Process(*command, cwd=self.folder, env={"PYTHONPATH": str(self.folder)})

    def serve_in_vain(self, target="app.ini"):
        """What came of it where it ends by itself."""
        return subprocess.run(
            [sys.executable, "-m", "taskqueue", "serve", target],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(self.folder)},
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )


@pytest.fixture
def make_shop(tmp_path):
    made = []

    def make(text=INI):
        made.append(Shop(tmp_path, text))
        return made[-1]

    yield make
    for shop in made:
        shop.open_gate()
        shop.close()


def test_tasks_are_run_until_a_signal_comes(make_shop):
    shop = make_shop()
    task_id = shop.publish("/quick")
    with shop.serve() as process:
        process.wait_for_line(STARTED)
        shop.effects.wait_for(1, path="/quick")
        assert process.end(signal.SIGTERM) == 0
    assert shop.state(task_id) == "done"
    assert "SIGTERM: stopping" in process.output
    assert list(shop.backend().owners()) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_runs_is_finished_before_the_end(make_shop, number):
    shop = make_shop()
    task_id = shop.publish("/slow")
    with shop.serve() as process:
        shop.effects.wait_for(1, path="/slow")
        process.popen.send_signal(number)
        process.wait_for_line(f"{number.name}: stopping")
        assert shop.state(task_id) == "running"
        shop.open_gate()
        assert process.wait() == 0
    assert shop.state(task_id) == "done"
    assert "Traceback" not in process.output


def test_what_outlasts_the_grace_is_given_back_and_is_no_suspect(make_shop):
    shop = make_shop(INI + "grace = 0.1 s\n")
    task_id = shop.publish("/slow")
    with shop.serve() as process:
        shop.effects.wait_for(1, path="/slow")
        assert process.end(signal.SIGTERM) == 0
    assert "a task that still runs is given back" in process.output
    found = shop.backend().get(task_id)
    assert (found.state, found.attempts, found.deaths, found.suspect, found.owner) == ("ready", 0, 0, False, "")


def test_a_signal_that_came_while_it_was_stopped_ends_it_when_it_goes_on(make_shop):
    shop = make_shop()
    with shop.serve() as process:
        process.wait_for_line(STARTED)
        for number in (signal.SIGSTOP, signal.SIGTERM, signal.SIGCONT):
            process.popen.send_signal(number)
        assert process.wait() == 0
    assert "SIGTERM: stopping" in process.output


def test_a_second_signal_ends_it_at_once(make_shop):
    shop = make_shop()
    task_id = shop.publish("/slow")
    with shop.serve() as process:
        shop.effects.wait_for(1, path="/slow")
        process.popen.send_signal(signal.SIGTERM)
        process.wait_for_line("SIGTERM: stopping")
        assert process.end(signal.SIGTERM) == 128 + signal.SIGTERM
    assert shop.state(task_id) == "running"


def test_a_wrapped_application_is_served_without_an_ini_file(make_shop):
    shop = make_shop()
    shop.publish("/quick")
    with shop.serve("shop:wrapped()") as process:
        process.wait_for_line("consumer default takes from queue default")
        shop.effects.wait_for(1, path="/quick")
        assert process.end(signal.SIGTERM) == 0


PYRAMID = """
    from pyramid.config import Configurator
    from pyramid.response import Response

    def make_app(global_conf, **settings):
        with Configurator(settings=settings) as config:
            config.include("taskqueue.pyramid")
            config.add_route("quick", "/quick")
            config.add_view(lambda request: Response("done"), route_name="quick")
        return config.make_wsgi_app()
"""
PYRAMID_INI = """\
[app:main]
use = call:portal:make_app
taskqueue.queue.default.type = sqlite
taskqueue.queue.default.path = %(here)s/default.db
taskqueue.server.default.queue = default
"""


def test_a_pyramid_application_is_served_by_its_settings(make_shop):
    shop = make_shop(PYRAMID_INI)
    (shop.folder / "portal.py").write_text(textwrap.dedent(PYRAMID))
    task_id = shop.publish("/quick")
    with shop.serve() as process:
        process.wait_for_line("GET /quick 200")
        assert process.end(signal.SIGTERM) == 0
    assert shop.state(task_id) == "done"


def test_its_log_goes_to_standard_error(make_shop):
    shop = make_shop()
    with shop.serve() as process:
        process.wait_for_line(r"INFO +taskqueue: consumer default of queue default started")
        process.end(signal.SIGTERM)


def test_its_log_goes_where_the_ini_file_says(make_shop):
    shop = make_shop(INI + LOG)
    shop.publish("/quick")
    with shop.serve() as process:
        process.wait_for_line(STARTED)
        shop.effects.wait_for(1, path="/quick")
        assert process.end(signal.SIGTERM) == 0
    assert "INFO: consumer default of queue default started" in (shop.folder / "the.log").read_text()
    assert "INFO" not in process.output


@pytest.mark.parametrize(
    ("old", "new", "target", "complaint"),
    [
        (
            "",
            "",
            "app.ini#other",
            "app.ini#other: the application has no taskqueue filter: add `filter-with = taskqueue`",
        ),
        ("concurrent_limit = 2", "consume = no", "app.ini", "app.ini: nothing to consume"),
        ("[taskqueue-server:default]\nqueue = default\nconcurrent_limit = 2", "", "app.ini", "nothing to consume"),
        ("", "", "app.ini#nothing", "app.ini#nothing: cannot be loaded: LookupError"),
        ("use = call:shop:make_app", "use = call:shop:nothing", "app.ini", "cannot be loaded: "),
        (
            "use = call:shop:make_app",
            "use = call:shopp:make_app",
            "app.ini",
            "the folder that holds shopp in PYTHONPATH",
        ),
        ("use = call:shop:make_app", "use = egg:no-such-shop", "app.ini", "found for no-such-shop"),
        (
            "concurrent_limit = 2",
            "concurrent_limit = 0",
            "app.ini",
            "concurrent_limit: takes a whole number, 1 or more",
        ),
        ("[app:main]", "[app:main", "app.ini", "app.ini: "),
        ("", "", "nothing.ini", "nothing.ini: cannot be read: No such file or directory"),
        ("", "", "shop:application", "shop:application: has no taskqueue filter"),
        ("[app:main]", LOG.replace("FileHandler", "NoHandler") + "[app:main]", "app.ini", "sections of logging cannot"),
    ],
)
def test_what_cannot_be_served_is_one_line_and_status_2(make_shop, old, new, target, complaint):
    shop = make_shop()
    shop.ini.write_text(INI.replace(old, new, 1))
    ran = shop.serve_in_vain(target)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.startswith("taskqueue: ")
    assert ran.stderr.count("\n") == 1, ran.stderr
    assert complaint in ran.stderr
