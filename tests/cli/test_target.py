import subprocess
import sys
import textwrap

import pytest

from ..serving import PATIENCE_SECONDS

APPLICATION = """
    from taskqueue.wsgi import TaskQueueFilter, TransactionMiddleware

    print("loading")

    def application(environ, start_response):
        start_response("200 OK", [])
        return [b""]

    def make_app(queue="default", consume="yes"):
        return TaskQueueFilter(
            TransactionMiddleware(application),
            queues={queue: {"type": "sqlite", "path": queue + ".db", "base_url": "http://localhost"}},
            servers={queue: {"queue": queue, "consume": consume}},
        )
"""


SQLITE_INI = "[taskqueue:default]\ntype = sqlite\npath = default.db\n"


def in_process(folder, *arguments):
    """The command line in a process of its own, as modules stay imported."""
    return subprocess.run(
        [sys.executable, "-m", "taskqueue", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=folder,
        timeout=PATIENCE_SECONDS,
        check=False,
    )


@pytest.fixture
def module(tmp_path):
    """Write a module that is found from the test's folder."""

    def write(text):
        (tmp_path / "shop.py").write_text(textwrap.dedent(APPLICATION) + textwrap.dedent(text))
        return tmp_path

    return write


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("app = make_app()", "shop:app"),
        ("", "shop:make_app()"),
        ("class Web:\n    pass\nweb = Web()\nweb.app = make_app()", "shop:web.app"),
        ("class Web:\n    pass\nweb = Web()\nweb.wsgi_app = make_app()", "shop:web"),
        ("app = TransactionMiddleware(TransactionMiddleware(make_app()))", "shop:app"),
        (
            "import flask\napp = flask.Flask('shop')\napp.wsgi_app = make_app()\napp.wsgi_app.app = app.wsgi_app",
            "shop:app",
        ),
        ("kept = make_app()\ndef app(environ, start_response):\n    return kept(environ, start_response)", "shop:app"),
    ],
)
def test_the_filter_is_found_wherever_it_is_in_the_application(module, text, target):
    ran = in_process(module(text), "check", target, "--json")
    assert ran.returncode == 0, ran.stderr
    assert '"type": "sqlite"' in ran.stdout


def test_one_of_several_filters_is_found_through_its_application(module):
    folder = module("one, two = make_app('one'), make_app('two')")
    assert '"name": "two"' in in_process(folder, "check", "shop:two", "--json").stdout


def test_several_filters_of_which_none_is_named_are_an_error(module):
    folder = module("one, two = make_app('one'), make_app('two')")
    ran = in_process(folder, "check", "shop:application")
    assert ran.returncode == 2
    assert ran.stderr.endswith("queues=…, servers=…)\n")
    assert "shop:application: has no taskqueue filter" in ran.stderr


def test_looking_at_an_application_starts_no_consumer(module):
    folder = module("app = make_app(consume='yes')\nprint('started:', app.installation.is_started)")
    ran = in_process(folder, "add", "shop:app", "/x")
    assert (ran.returncode, ran.stderr) == (0, "loading\nstarted: False\n")


def test_what_an_application_prints_is_no_output_of_ours(module):
    ran = in_process(module("app = make_app()"), "check", "shop:app", "--json")
    assert ran.stdout.startswith("{")
    assert ran.stderr == "loading\n"


@pytest.mark.parametrize(
    ("text", "target", "reason"),
    [
        ("", "shop:nothing", "AttributeError: module 'shop' has no attribute 'nothing'"),
        ("", "shopp:app", "ModuleNotFoundError: No module named 'shopp'"),
        ("raise KeyError('one\\ntwo')", "shop:app", "KeyError: 'one\\ntwo' ("),
        ("app = (", "shop:app", "SyntaxError: "),
        ("app = TaskQueueFilter(application, queues={'a': {'typ': 'sqlite'}})", "shop:app", "did you mean type?"),
    ],
)
def test_an_application_that_cannot_be_loaded_is_one_line(module, text, target, reason):
    ran = in_process(module(text), "list", target)
    assert (ran.returncode, ran.stdout) == (2, "")
    (line,) = [each for each in ran.stderr.splitlines() if each != "loading"]
    assert line.startswith("taskqueue: ")
    assert reason in line


def test_a_module_that_is_not_found_gets_a_hint_where_to_run_it(module):
    ran = in_process(module(""), "list", "shopp.web:app")
    assert ran.stderr.endswith("; run it in the folder that holds shopp, or name that folder in PYTHONPATH\n")


def test_a_module_that_another_one_lacks_gets_no_hint(module):
    ran = in_process(module("import no_such_module"), "list", "shop:app")
    assert "No module named 'no_such_module'" in ran.stderr
    assert "PYTHONPATH" not in ran.stderr


@pytest.mark.parametrize(
    ("target", "suggestion"),
    [
        ("shop", "shop:app, where app is the application's name in that module?"),
        ("shop.py", "shop:app?"),
        ("shop.py:web.app", "shop:web.app?"),
        ("src/shop.py:app", "shop:app, in the folder src/?"),
    ],
)
def test_a_module_that_is_named_otherwise_gets_a_suggestion(run, in_folder, target, suggestion):
    (in_folder / "shop.py").write_text("app = None\n")
    ran = run("list", target)
    assert ran.status == 2
    assert ran.complaint.endswith(f"; did you mean {suggestion}")


def test_the_line_of_an_application_that_raises_is_named(module):
    folder = module("def fail():\n    raise RuntimeError('no')\nfail()")
    ran = in_process(folder, "list", "shop:app")
    assert f"RuntimeError: no ({folder}/shop.py, line " in ran.stderr


@pytest.mark.parametrize("target", ["", "app", "app.in", "a b:c", "app.yaml", "#main"])
def test_what_is_no_target_is_misuse(run, in_folder, target):
    ran = run("list", target)
    assert ran.status == 2
    assert "is no target: takes an ini file" in ran.complaint


@pytest.mark.parametrize("target", ["nothing.ini", "./nothing", "config:nothing.ini#main", "../nothing/app.ini"])
def test_a_file_that_is_not_there_is_one_line(run, in_folder, target):
    ran = run("list", target)
    assert ran.status == 2
    assert "cannot be read: No such file or directory" in ran.complaint


@pytest.mark.parametrize("prefix", ["", "config:"])
@pytest.mark.parametrize("suffix", ["", "#main"])
def test_an_ini_file_may_be_written_as_elsewhere(run, site, prefix, suffix):
    assert run("list", f"{prefix}{site.ini}{suffix}").status == 0


def test_an_ini_file_is_not_loaded(run, site):
    site.ini.write_text(site.ini.read_text() + "[app:main]\nuse = egg:not-installed-anywhere\n")
    assert run("list", site.ini).status == 0


def test_settings_are_those_of_the_application_that_is_named(run, tmp_path):
    ini = tmp_path / "app.ini"
    ini.write_text(
        "[app:one]\ntaskqueue.queue.first.type = sqlite\ntaskqueue.queue.first.path = %(here)s/1.db\n"
        "[app:two]\ntaskqueue.queue.second.type = sqlite\ntaskqueue.queue.second.path = %(here)s/2.db\n"
    )
    names = [run("check", f"{ini}{name}", "--json").document["queues"][0]["name"] for name in ("", "#one", "#two")]
    assert names == ["first", "first", "second"]


@pytest.mark.parametrize("application", ["[app:main]\nfilter-with = x\n[filter:x]\nuse = egg:wsgi-taskqueue\n", ""])
def test_an_application_may_be_taken_from_another_file(run, site, application):
    site.ini.write_text(site.ini.read_text() + application)
    outer = site.folder / "prod.ini"
    outer.write_text("[app:main]\nuse = config:app.ini\n")
    task_id = run("add", outer, "/x").out.strip()
    assert run("list", site.ini, "--json").document[0]["id"] == task_id
    warnings = run("check", outer, "--json").document["warnings"]
    assert [warning[:43] for warning in warnings] == (
        [] if application else ["prod.ini: nothing in this file uses the tas"]
    )


def test_an_application_that_is_not_there_is_refused(run, site):
    site.ini.write_text(site.ini.read_text() + "[composite:shop]\nuse = egg:Paste#urlmap\n")
    ran = run("list", f"{site.ini}#shpo")
    assert ran.status == 2
    assert "has no application 'shpo', as #shpo asks for; there are: " in ran.complaint
    assert "shop" in ran.complaint
    assert run("list", f"{site.ini}#shop").status == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["status"],
        ["list"],
        ["show", "x"],
        ["wait", "x"],
        ["add", "/x"],
        ["retry", "x"],
        ["retry", "--dead"],
        ["delete", "x"],
        ["purge", "--yes"],
        ["pause"],
        ["resume"],
        ["resolve", "x", "--publish"],
    ],
)
def test_a_local_queue_cannot_be_reached_and_one_line_says_why(run, local_ini, arguments):
    ran = run(arguments[0], local_ini, *arguments[1:])
    assert (ran.status, ran.out) == (1, "")
    assert "queue 'default' is local: it lives in the memory of the process that serves" in ran.complaint


@pytest.mark.parametrize(
    "arguments", [["show", "x"], ["wait", "x"], ["retry", "x"], ["purge", "--yes"], ["pause", "--all"]]
)
def test_looking_creates_no_file(run, make_site, arguments):
    site = make_site()
    ran = run(arguments[0], site.ini, *arguments[1:])
    assert ran.status == 1
    assert ran.complaint.startswith(f"queue 'default': there is no file {site.folder}/default.db yet")
    assert [file.name for file in site.folder.iterdir()] == ["app.ini"]


@pytest.mark.parametrize("verb", ["list", "resolve"])
def test_a_file_that_is_not_there_yet_is_an_empty_queue(run, make_site, verb):
    site = make_site(SQLITE_INI)
    ran = run(verb, site.ini, "--json")
    assert (ran.status, ran.document) == (0, [])
    assert ran.complaint.startswith(f"queue 'default': there is no file {site.folder}/default.db yet")
    assert [file.name for file in site.folder.iterdir()] == ["app.ini"]


def test_a_queue_that_cannot_be_reached_is_left_out_beside_one_that_can(run, make_site):
    site = make_site()
    task_id = site.publish(queue="mail")
    ran = run("list", site.ini, "--json")
    assert ran.status == 0
    assert [each["id"] for each in ran.document] == [task_id]
    assert ran.complaint.startswith("queue 'default': there is no file")


def test_a_local_queue_is_left_out_beside_one_that_can_be_reached(run, make_site):
    site = make_site(SQLITE_INI + "[taskqueue:mail]\n[taskqueue-server:mail]\nqueue = mail\n")
    site.publish()
    ran = run("list", site.ini)
    assert ran.status == 0
    assert ran.complaint.startswith("left out: queue 'mail' is local")


@pytest.fixture
def broken(make_site):
    """A site one of whose two stores cannot be read, with a dead task in the other."""
    site = make_site()
    (site.folder / "default.db").write_text("not a database")
    site.dead = site.finish("dead", "mail")
    return site


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["list"], "0199"),
        (["retry", "--dead"], "retried"),
        (["purge", "--dead", "--yes"], "mail: 1 task deleted"),
        (["pause", "--all"], "paused mail"),
        (["resolve"], "nothing is held"),
    ],
)
def test_what_cannot_be_asked_is_left_out_beside_what_can_and_told(run, broken, arguments, told):
    verb, *others = arguments
    ran = run(verb, broken.ini, *others)
    assert ran.status == 1
    assert (broken.dead if verb == "list" else told) in ran.out
    assert ran.err.startswith(f"taskqueue: left out: queue 'default': {broken.folder}/default.db")


@pytest.mark.parametrize("verb", ["show", "retry"])
def test_a_task_is_found_beside_a_store_that_cannot_be_asked(run, broken, verb):
    assert run(verb, broken.ini, broken.dead).status == 0


def test_a_queue_that_cannot_be_asked_and_was_named_is_told_alone(run, broken):
    ran = run("list", broken.ini, "--queue", "default")
    assert (ran.status, ran.out) == (1, "")
    assert ran.complaint.startswith(f"{broken.folder}/default.db")
