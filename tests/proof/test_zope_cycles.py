"""SIGKILL of serving instances of Zope at every named place, on a FileStorage and on ZEO: no task lost, no phantom."""

import json
import subprocess
import sys

import pytest

from ..zope.clients import Client, zeo_server
from ..zope.instances import Instance
from . import places, running
from .running import LONG, ROOT

ROUNDS = 10 if LONG else 1
SECTIONS = """
%import taskqueue
<taskqueue>
  type sqlite
  path tasks.db
</taskqueue>
<taskqueue-server>
  concurrent_limit 2
  consume $(PROOF_CONSUME)
  lease 2 s
  renew 200 ms
  max_deaths 1000
  min_backoff 10 ms
  conflict_backoff 10 ms
</taskqueue-server>
"""
ZCML = """
<configure xmlns="http://namespaces.zope.org/zope" xmlns:browser="http://namespaces.zope.org/browser">
  <include package="taskqueue" />
  <browser:page name="prepare" for="*" class="tests.proof.zope_views.Prepare" permission="zope2.Public" />
  <browser:page name="order" for="*" class="tests.proof.zope_views.Order" permission="zope2.Public" />
  <browser:page name="effect" for="*" class="tests.proof.zope_views.Effect" permission="zope2.Public" />
  <browser:page name="report" for="*" class="tests.proof.zope_views.Report" permission="zope2.Public" />
</configure>
"""
# A client of ZEO sees only the two ends of what the server does.
INSIDE_OF_FILES = {"zodb.unfinished", "zodb.status in buffer", "zodb.status in file"}


def cells_of(storage):
    """The ways and places for one kind of storage."""
    cells = [*places.cells("ZODB"), *((places.IS_CONSUMED, place) for place in places.ways_out())]
    if storage == "ZEO":
        cells = [cell for cell in cells if cell[1] not in INSIDE_OF_FILES]
    return cells if LONG else cells[storage == "ZEO" :: 3]  # the short form has other ones of each


def run(instance, storage, **options):
    """What a zygote of an instance reports."""
    instance.zope_ini.write_text(instance.zope_ini.read_text().replace("127.0.0.1:0", "127.0.0.1:%(http_port)s"))
    job = {
        "folder": str(instance.folder),
        "zope_conf": str(instance.zope_conf),
        "ini": str(instance.zope_ini),
        "storage": storage,
        "backend": "sqlite",
        "application": f"Zope on {storage}",
        "cells": cells_of(storage),
        "rounds": ROUNDS,
        "seed": 1,
        **options,
    }
    done = subprocess.run(
        [sys.executable, "-m", "tests.proof.zope_cycles"],
        input=json.dumps(job) + "\n",
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0
    return json.loads(done.stdout)


def judge(report, say):
    """Nothing lost, nothing phantom, at every place."""
    say(f"{report['job']['application']}: {report['seconds']:.0f} s, {dict(running.total([report]))}")
    assert running.faults([report]) == []
    counted = running.total([report])
    assert (counted["lost"], counted["phantom"], counted["missed"]) == (0, 0, 0)
    assert counted["committed"]
    assert counted["aborted"]
    seen = {(way, place) for way, place, counts in report["cells"] if counts["cycles"]}
    assert seen == {tuple(cell) for cell in report["job"]["cells"]}
    return counted


@pytest.mark.process
@pytest.mark.timeout(3600)
def test_an_instance_on_a_file_storage_may_be_killed_anywhere(tmp_path, say):
    report = run(Instance(tmp_path / "instance", sections=SECTIONS, zcml=ZCML), "FileStorage")
    assert judge(report, say)["waiting"] == 0


@pytest.mark.process
@pytest.mark.timeout(3600)
def test_an_instance_on_zeo_may_be_killed_anywhere_and_what_did_not_commit_waits_for_a_day(tmp_path, say):
    with zeo_server(tmp_path / "Data.fs", tmp_path) as port:
        report = run(Client(tmp_path / "instance", port, sections=SECTIONS, zcml=ZCML), "ZEO")
    assert judge(report, say)["waiting"] >= 1


@pytest.mark.process
def test_what_a_pack_took_out_of_the_history_is_held_and_not_guessed(tmp_path):
    instance = Instance(tmp_path / "instance", sections=SECTIONS, zcml=ZCML)
    cells = [("commits", "hook.staged"), ("commits", "finish.begun")]
    told = run(instance, "FileStorage", cells=cells, data_fs=str(instance.folder / "var" / "Data.fs"))
    assert told["faults"] == []
    report, last = told["report"], told["last"]
    assert set(report["written"]) == {"2", str(last)}  # one has committed, one has not, and nobody can tell any more
    assert report["doubtful"] == [1, 2]
    assert {name.partition("-")[0] for name in report["effects"]} == {str(last)}
    assert set(report["states"]) == {"done", "held"}
    marks = (instance.folder / "marks").read_text().split()
    assert {name.partition("-")[0] for name in marks} == {str(last)}


@pytest.mark.process
def test_a_product_that_presumes_an_abort_is_found_to_lose_tasks(tmp_path):
    sections = SECTIONS.replace("path tasks.db", "path tasks.db\n  in_doubt discard")
    cells = [("commits", place) for place in ("finish.begun", "zodb.finished")]
    instance = Instance(tmp_path / "instance", sections=sections, zcml=ZCML)
    report = run(instance, "FileStorage", cells=cells, broken=True)
    assert running.total([report])["lost"] >= 2
    assert "is lost" in "\n".join(running.faults([report]))
