"""Kill cycles of Zope: instances that serve are killed at named places, others start, and then everything is counted.

This module runs as a process of its own, the zygote: it has read one instance's configuration and ZCML, has opened no
database and published nothing. Each instance is a fork of it in which ``runwsgi`` begins. It reads one job as a line of
JSON, and answers with a line.
"""

import contextlib
import gc
import http.client
import json
import os
import random
import signal
import sys
import threading
import time
import urllib.parse
from collections import Counter
from pathlib import Path

import zope.event
from zope.processlifetime import IProcessStarting
from Zope2.Startup import serve

from taskqueue import witnesses
from taskqueue.record import decode
from taskqueue.witnesses import zodb
from taskqueue.zope import site

from ..backends.redis_server import free_port
from . import zope_views
from .cycles import in_child
from .places import IS_CONSUMED, Trap

PATIENCE_SECONDS = 20.0
LOOK_SECONDS = 0.03
BATCH = 8  # cycles that one instance recovers
MOVING = ("scheduled", "ready", "running")
NEVER = "no place"


class Storage:
    """The storage of a running instance, as a trap sees it."""

    def __init__(self, kind):
        self._kind = kind

    def places(self):
        """Places inside of it: an object, its method, and the side of the call."""
        import Zope2

        storage = Zope2.DB.storage
        places = {"zodb.voted": (storage, "tpc_vote", "after"), "zodb.finished": (storage, "tpc_finish", "after")}
        if self._kind == "FileStorage":
            places |= {
                "zodb.unfinished": (storage, "_finish", "before"),
                "zodb.status in buffer": (storage, "_finish_finish", "before"),
                "zodb.status in file": (storage, "_finish_finish", "after"),
            }
        return places


class Instance:
    """One process that serves, from its first line on; ``drive`` is what somebody does with it over HTTP."""

    def __init__(self, job, says, drive, consumes, trap=None):
        self._job = job
        self._says = says
        self._drive = drive
        self._consumes = consumes
        self._trap = trap or Trap(says, NEVER)
        self._port = free_port()

    def serve(self):
        """As the command does it."""
        log = os.open(Path(self._job["folder"]) / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.environ["PROOF_CONSUME"] = self._consumes
        zope_views.trap = self._trap
        zope.event.subscribers.append(self._set_trap)
        threading.Thread(target=self._run_driver, daemon=True).start()
        sys.argv = ["runwsgi", self._job["ini"], f"http_port={self._port}"]
        with contextlib.suppress(SystemExit):
            serve.main(sys.argv)

    def _set_trap(self, event):
        if IProcessStarting.providedBy(event):
            backend = site._Site.installation.queues["default"].backend
            self._trap.set([Storage(self._job["storage"])], backend)
            if self._job.get("broken"):
                for witness in witnesses.registered():
                    witnesses.unregister(witness)

    def _run_driver(self):
        try:
            self._drive(self)
        except BaseException as error:  # noqa: BLE001  # told to the parent, which counts it as a fault
            os.write(self._says, f"failed: {error!r}".encode())
        os.kill(os.getpid(), signal.SIGTERM)

    def get(self, view, **params):
        """Status and text of an answer; it may be the first one."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            client = http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE_SECONDS)
            try:
                client.request("GET", f"/@@{view}?{urllib.parse.urlencode(params)}")
                answer = client.getresponse()
                return answer.status, answer.read().decode()
            except ConnectionRefusedError:
                if time.monotonic() > deadline:
                    raise
                threading.Event().wait(LOOK_SECONDS)
            finally:
                client.close()

    @property
    def backend(self):
        """Its queue, from inside."""
        return site._Site.installation.queues["default"].backend

    def states(self):
        """How many tasks there are in each state."""
        return {state: count for state, count in self.backend.counts().states.items() if count}

    def doubtful(self):
        """The cycles whose tasks are in doubt, and wait to be settled."""
        found = (decode(record, None).url for record in self.backend.list(("staged", "held"), limit=10_000))
        return sorted({int(url.partition("task=")[2].partition("-")[0]) for url in found})


class Job:
    """All cycles of one storage."""

    def __init__(self, job):
        self._job = job
        self._chance = random.Random(job["seed"])
        self._cells = {}
        self._faults = []
        self._next_cycle = 1
        self._cycles = {}
        self._told = []

    def run(self):
        """What was counted."""
        began = time.monotonic()
        self._live("preparing", lambda instance, _says: instance.get("prepare"), "no")
        for _ in range(self._job["rounds"]):
            wanted = [tuple(cell) for cell in self._job["cells"]]
            self._chance.shuffle(wanted)
            for start in range(0, len(wanted), BATCH):
                self._batch(wanted[start : start + BATCH])
        left = self._recover(late=True) if self._job["storage"] == "ZEO" else self._told[-1]
        if left["states"].keys() - {"done"}:
            self._faults.append(f"in the end there is left: {left['states']}")
        return {
            "cells": [[*cell, dict(counts)] for cell, counts in self._cells.items()],
            "faults": self._faults,
            "waited": max(len(report["doubtful"]) for report in self._told),
            "seconds": time.monotonic() - began,
        }

    def run_packed(self):
        """Cycles whose transactions a pack takes out of the history before anybody has asked; what there is then."""
        self._live("preparing", lambda instance, _says: instance.get("prepare"), "no")
        for cell in self._job["cells"]:
            self._kill_adding(tuple(cell))
        cycle, tasks = self._new_cycle(("commits", NEVER))
        self._live("adding", lambda it, _says: it.get("order", cycle=cycle, tasks=tasks, way="commits"), "no")
        in_child(lambda _says: pack(self._job["data_fs"]))
        self._job["storage"] = "packed"
        report = self._recover()
        return {"report": report, "faults": self._faults, "cycles": self._cycles, "last": cycle}

    # ---- instances

    def _live(self, what, drive, consumes):
        """An instance that must end by itself; what it said."""
        said, killed = in_child(lambda says: Instance(self._job, says, lambda it: drive(it, says), consumes).serve())
        if killed or said.startswith("failed"):
            self._faults.append(f"{what}: {said or 'killed'}")
        return said

    def _killed(self, cell, drive, consumes, nth):
        seed = self._chance.random()

        def begin(says):
            random.seed(seed)
            Instance(self._job, says, drive, consumes, Trap(says, cell[1], nth)).serve()

        said, killed = in_child(begin)
        counts = self._cells.setdefault(cell, Counter())
        counts["cycles"] += 1
        if said != "killed" or not killed:
            counts["missed"] += 1
            self._faults.append(f"{cell}: it was not killed there. {said}")

    # ---- cycles

    def _batch(self, cells):
        for cell in cells:
            if cell[0] == IS_CONSUMED:
                self._kill_consuming(cell)
            else:
                self._kill_adding(cell)
        self._judge(self._recover())

    def _new_cycle(self, cell, at_least=1):
        cycle, tasks = self._next_cycle, self._chance.randint(at_least, 3)
        self._next_cycle += 1
        self._cycles[cycle] = (cell, tasks)
        return cycle, tasks

    def _kill_adding(self, cell):
        way, place = cell
        cycle, tasks = self._new_cycle(cell, 1 + (way == "adds late"))
        nth = self._chance.randint(1, tasks - (way == "adds late")) if place == "add.joined" else 1

        def drive(instance):
            instance.get("order", cycle=cycle, tasks=tasks, way=way)
            threading.Event().wait(PATIENCE_SECONDS)  # what comes after the answer

        self._killed(cell, drive, "no", nth)

    def _kill_consuming(self, cell):
        place = cell[1]
        if place.startswith(("reclaim", "doubt")):
            self._kill_before(cell)
        else:
            cycle, tasks = self._new_cycle(cell)
            self._live("adding", lambda it, _says: it.get("order", cycle=cycle, tasks=tasks, way="commits"), "no")
        self._killed(cell, lambda _: threading.Event().wait(PATIENCE_SECONDS), "yes", 1)

    def _kill_before(self, cell):
        """Leave something behind that others have to look after: tasks in doubt."""
        cycle, tasks = self._new_cycle(cell)
        place = self._chance.choice(("finish.begun", "zodb.finished"))

        def drive(instance):
            instance.get("order", cycle=cycle, tasks=tasks, way="commits")

        in_child(lambda says: Instance(self._job, says, drive, "no", Trap(says, place)).serve())

    # ---- afterwards

    def _recover(self, late=False):
        """An instance that consumes until nothing moves any more; what there is then."""

        def look_until_quiet(instance, says):
            if late:
                zodb.LATE_SECONDS = 0.0
            deadline = time.monotonic() + PATIENCE_SECONDS
            quiet = 0
            while quiet < 2 and time.monotonic() < deadline:
                report = {**json.loads(instance.get("report")[1]), "states": instance.states()}
                report["doubtful"] = instance.doubtful()
                quiet = quiet + 1 if self._is_quiet(report, late) else 0
                threading.Event().wait(LOOK_SECONDS)
            os.write(says, json.dumps(report).encode())

        said = self._live("recovery", look_until_quiet, "yes")
        try:
            report = json.loads(said)
        except ValueError:
            report = {"written": {}, "effects": {}, "states": {"unknown": 1}, "doubtful": []}
        self._told.append(report)
        return report

    def _is_quiet(self, report, late):
        """Whether nothing moves, and nothing is staged but what a client of ZEO may not judge before a day is over."""
        committed = {int(cycle) for cycle in report["written"]}
        if self._job["storage"] == "packed":
            return report["states"].get("held") and not any(
                report["states"].get(state) for state in (*MOVING, "staged")
            )
        may_wait = self._job["storage"] == "ZEO" and not late
        unsettled = [cycle for cycle in report["doubtful"] if not may_wait or cycle in committed]
        return not unsettled and not any(report["states"].get(state) for state in MOVING)

    def _judge(self, report):
        """What became of the cycles since the last time."""
        marks = Counter(Path(os.environ["PROOF_MARKS"]).read_text().split())
        states = report["states"]
        if not self._is_quiet(report, late=False) or states.keys() - {"done", "staged", "held"}:
            self._faults.append(f"not settled: {states}")
        for cycle, (cell, tasks) in self._cycles.items():
            self._judge_cycle(cycle, cell, tasks, report, marks)
        self._cycles.clear()

    def _judge_cycle(self, cycle, cell, tasks, report, marks):
        counts = self._cells.setdefault(cell, Counter())
        is_committed = str(cycle) in report["written"]
        counts["committed" if is_committed else "aborted"] += 1
        counts["waiting"] += cycle in report["doubtful"]
        for name in (f"{cycle}-{number}" for number in range(tasks)):
            effects = report["effects"].get(name, 0)
            if is_committed and not effects:
                counts["lost"] += 1
                self._faults.append(f"{cell}: task {name} is lost: begun {marks[name]} times")
            if not is_committed and (effects or marks[name]):
                counts["phantom"] += 1
                self._faults.append(f"{cell}: task {name} ran, and its transaction did not commit")
            counts["duplicates"] += max(0, effects - 1)


def pack(data_fs):
    """Pack a FileStorage that nobody has open."""
    from ZODB.FileStorage import FileStorage
    from ZODB.serialize import referencesf

    storage = FileStorage(data_fs)
    storage.pack(time.time(), referencesf)
    storage.close()


def warm_up(zope_conf):
    """Read what an instance reads before it opens its database."""
    import OFS.Application
    import Zope2.App.zcml
    from AccessControl.SecurityManagement import newSecurityManager, noSecurityManager
    from AccessControl.users import system
    from Zope2.App import patches, startup  # noqa: F401  # the second: what starting imports
    from Zope2.Startup.run import _set_wsgi_config

    os.environ["PROOF_CONSUME"] = "no"
    _set_wsgi_config(zope_conf)
    patches.apply_patches()
    OFS.Application.import_products()
    newSecurityManager(None, system)
    Zope2.App.zcml.load_site()
    noSecurityManager()


def main():
    """Do the job that comes in."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    job = json.loads(sys.stdin.readline())
    os.environ["PROOF_MARKS"] = str(Path(job["folder"]) / "marks")
    Path(os.environ["PROOF_MARKS"]).touch()
    warm_up(job["zope_conf"])
    gc.freeze()
    told = Job(job).run_packed() if "data_fs" in job else Job(job).run()
    print(json.dumps({"job": job, **told}), flush=True)


if __name__ == "__main__":
    main()
