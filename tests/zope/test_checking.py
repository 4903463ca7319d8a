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


@pytest.mark.process
def test_that_nothing_consumes_is_told_in_the_form_of_a_zope_conf(tmp_path):
    consumer = "<taskqueue-server>\nconsume no\n</taskqueue-server>\n"
    instance = Instance(tmp_path / "instance", f"%import taskqueue\n<taskqueue>\n{SQLITE}</taskqueue>\n{consumer}")
    status, printed = instance.run(BIN / "taskqueue", "serve", instance.zope_conf)
    assert status == 2
    assert "nothing to consume: there is no <taskqueue-server>, or each says consume no\n" in printed
