"""SIGKILL at random times, with four adding and two consuming processes: nothing lost, nothing phantom."""

import json
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from sqlalchemy import select

from taskqueue.consumer.prefetch import AHEAD_LIMIT

from . import running
from .faults import wait_until
from .random_kills import ADDED, CONCURRENCY, EFFECT, make_engine
from .running import BACKENDS, LONG, ONE_PHASE, ROOT, SHARED

ADDING, CONSUMING = 4, 2
KILLS = 200 if LONG else 15
LONGEST_PAUSE_SECONDS = 0.25
AFTERWARDS, WITH_TRANSACTION = "afterwards", "with-transaction"


@pytest.fixture(scope="module")
def jobs(tmp_path_factory):
    with running.servers() as (redis, postgresql):
        yield running.Jobs(tmp_path_factory.mktemp("kills"), redis, postgresql)


class Processes:
    """The processes of one run, which are killed and started again."""

    def __init__(self, settings):
        self._settings = settings
        self._chance = random.Random(settings["seed"])
        self._running = []
        self.kills = Counter()

    def __enter__(self):
        command = [sys.executable, "-m", "tests.proof.random_kills"]
        self._zygote = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        return self

    def __exit__(self, *exc_info):
        self.kill_all()
        self._zygote.stdin.close()
        self._zygote.stdout.close()
        self._zygote.wait(60)

    def do(self, role):
        """Have a process do something, to its end; what it returned."""
        return self._tell(role=role, settings=self._settings)

    def start(self, role):
        """Start a process that goes on until it is killed."""
        pid = self._tell(role=role, settings=self._settings, seed=self._chance.random())
        self._running.append((role, pid))

    def kill_some(self, count):
        """Kill one after the other, at random times, and start another one each time."""
        never = threading.Event()
        for _ in range(count):
            never.wait(self._chance.random() * LONGEST_PAUSE_SECONDS)  # the time itself is what is tried here
            self.start(self._kill(self._chance.randrange(len(self._running))))

    def kill_all(self):
        """Kill all that are left."""
        while self._running:
            self._kill(0)

    def _kill(self, index):
        role, pid = self._running.pop(index)
        assert self._tell(kill=pid) == "killed"
        self.kills[role] += 1
        return role

    def _tell(self, **command):
        print(json.dumps(command), file=self._zygote.stdin, flush=True)
        return json.loads(self._zygote.stdout.readline())


def kill_randomly(jobs, backend, acknowledge, say):
    """Let tasks be added and consumed under kills, then all that is left be done; how many of what there were."""
    settings = jobs.make(backend, ONE_PHASE, acknowledge=acknowledge)
    Path(settings["folder"]).mkdir()
    began = time.monotonic()
    with Processes(settings) as processes:
        assert processes.do("create") is None
        for role in ("add",) * ADDING + ("consume",) * CONSUMING:
            processes.start(role)
        wait_until(lambda: len(added(settings)) > ADDING, "nobody commits")  # however slow the machine is
        processes.kill_some(KILLS)
        processes.kill_all()
        left = processes.do("drain")
    counted = {**count(settings), "left": left, "kills": dict(processes.kills)}
    say(f"{backend}, acknowledge = {acknowledge}, {time.monotonic() - began:.0f} s: {counted}")
    return counted


def added(settings):
    """The tasks whose transactions have committed."""
    with make_engine(settings["sql_url"]).connect() as connection:
        return {row.task for row in connection.execute(select(ADDED.c.task))}


def count(settings):
    """What the rows tell."""
    committed = added(settings)
    with make_engine(settings["sql_url"]).connect() as connection:
        effects = Counter(row.task for row in connection.execute(select(EFFECT.c.task)))
    ran = set((Path(settings["folder"]) / "ran").read_text().split())
    return {
        "committed": len(committed),
        "lost": len(committed - effects.keys()),
        "phantom": len((ran | effects.keys()) - committed),
        "duplicates": effects.total() - len(effects),
    }


@pytest.mark.timeout(600)
@pytest.mark.parametrize("backend", (*BACKENDS, SHARED) if LONG else ("sqlite", "postgresql"))
def test_nothing_is_lost_and_nothing_phantom_whenever_a_process_is_killed(jobs, backend, say):
    counted = kill_randomly(jobs, backend, AFTERWARDS, say)
    assert counted["left"] == {}
    assert (counted["lost"], counted["phantom"]) == (0, 0)
    assert counted["duplicates"] <= counted["kills"]["consume"] * (CONCURRENCY + AHEAD_LIMIT)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("backend", (*BACKENDS, SHARED) if LONG else (SHARED,))
def test_every_effect_happens_once_when_tasks_end_with_their_transaction(jobs, backend, say):
    counted = kill_randomly(jobs, backend, WITH_TRANSACTION, say)
    assert counted["left"] == {}
    assert (counted["lost"], counted["phantom"], counted["duplicates"]) == (0, 0, 0)
