"""What the command line says of a zope.conf: the same as Zope does when it starts, in the form of a zope.conf."""

import json
from typing import NamedTuple

import pytest

from taskqueue.cli import main

from .instances import BIN, Instance
from .reading import write


class Ran(NamedTuple):
    status: int
    out: str
    err: str


@pytest.fixture
def run(capsys):
    def run(*arguments):
        status = main([str(each) for each in arguments])
        return Ran(status, *capsys.readouterr())

    return run


SQLITE = "type sqlite\npath tasks.db\n"


def test_warnings_are_in_the_form_of_a_zope_conf(run, tmp_path):
    consumer = "<taskqueue-server letters>\nqueue letters\nconsume no\n</taskqueue-server>\n"
    text = (
        f"%import taskqueue\n<taskqueue>\n{SQLITE}</taskqueue>\n<taskqueue letters>\n{SQLITE}</taskqueue>\n{consumer}"
    )
    warnings = json.loads(run("check", "--json", write(tmp_path, text)).out)["warnings"]
    assert warnings == [
        "queue 'default': nobody consumes it here; add <taskqueue-server />, or serve it elsewhere",
        "queue 'letters': nobody consumes it here, as its consumers say consume no",
    ]


def test_a_consumer_alone_has_a_queue_whose_hints_are_in_the_form_of_a_zope_conf(run, tmp_path):
    file = write(tmp_path, "%import taskqueue\n<taskqueue-server />\n")
    assert "its tasks end with the process; type sqlite keeps them" in run("check", file).out
    assert "with type sqlite it could" in run("list", file).err


INI = "[app:main]\nuse = egg:Zope#main\nzope_conf = %(here)s/zope.conf\nfilter-with = taskqueue\n"
FILTER = "[filter:taskqueue]\nuse = egg:wsgi-taskqueue\n"
OWN = "[taskqueue:default]\ntype = sqlite\npath = %(here)s/own.db\n[taskqueue-server:default]\n"
SECTIONS = f"%import taskqueue\n<taskqueue>\n{SQLITE}</taskqueue>\n<taskqueue-server/>\n"


def test_sections_in_both_files_are_refused_as_at_the_start(run, tmp_path):
    write(tmp_path, SECTIONS)
    ini = tmp_path / "zope.ini"
    ini.write_text(INI + FILTER + OWN)
    both = "zope.ini has sections [taskqueue…], and zope.conf has sections <taskqueue…>, too; keep one of them"
    for verb in ("check", "list", "status"):
        assert run(verb, ini) == (2, "", f"taskqueue: {both}\n")
    write(tmp_path, "")
    assert "own.db" in run("check", ini).out
    write(tmp_path, SECTIONS)
    ini.write_text(INI + FILTER)
    assert "var/tasks.db" in run("check", ini).out


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        ("<taskqeue default>\n</taskqeue>\n", "<taskqeue default>: is not a section; did you mean <taskqueue>?"),
        ("<taskqueue_server />\n", "<taskqueue_server />: is not a section; did you mean <taskqueue-server>?"),
        ("<zodb_bd main>\n</zodb_bd>\n", "unknown type name: 'zodb_bd'"),
        ("debug-mod on\n", "'debug-mod' is not a known key name"),
        ("debug-mode perhaps\n", "not a valid boolean value: 'perhaps'"),
        ("%import no_such_package\n", "could not load package no_such_package"),
        ("<zodb_db main>\n", "unclosed sections not allowed"),
    ],
)
def test_what_zope_would_not_start_with_is_one_line_and_status_2(run, tmp_path, lines, complaint):
    ini = tmp_path / "zope.ini"
    ini.write_text(INI + FILTER)
    for target in (write(tmp_path, SECTIONS + lines), ini):
        status, out, err = run("check", target)
        assert (status, out) == (2, "")
        assert err.startswith("taskqueue: zope.conf: ")
        assert complaint in err
        assert len(err.splitlines()) == 1


def test_a_variable_that_only_the_serving_process_has_is_a_warning(run, tmp_path):
    lines = "<environment>\n  KEY $(NO_SUCH_VARIABLE)\n</environment>\n"
    status, out, err = run("check", write(tmp_path, SECTIONS + lines))
    assert (status, err) == (0, "")
    assert "no replacement for 'NO_SUCH_VARIABLE'; what Zope says of the rest of the file was not looked at" in out


def test_verbs_that_only_look_need_nothing_of_what_others_have_in_the_file(run, tmp_path):
    assert run("list", write(tmp_path, SECTIONS + "<zodb_bd main>\n</zodb_bd>\n")).status == 0


@pytest.mark.process
def test_that_nothing_consumes_is_told_in_the_form_of_a_zope_conf(tmp_path):
    consumer = "<taskqueue-server>\nconsume no\n</taskqueue-server>\n"
    instance = Instance(tmp_path / "instance", f"%import taskqueue\n<taskqueue>\n{SQLITE}</taskqueue>\n{consumer}")
    status, printed = instance.run(BIN / "taskqueue", "serve", instance.zope_conf)
    assert status == 2
    assert "nothing to consume: there is no <taskqueue-server>, or each says consume no\n" in printed
