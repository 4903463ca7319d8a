"""Kill cycles: processes that add or consume are killed at named places, others recover, then everything is counted.

This module runs as a process of its own: it imports everything and opens nothing, and each process of a cycle is a fork
of it. It reads jobs as lines of JSON and answers each with a line. One job is one backend with one application, in a
folder of its own. A batch of cycles is killed one after the other; then one more process recovers all of them, as the
product does it: with a consumer, its upkeep, and the keeper.
"""

import gc
import json
import logging
import os
import random
import select
import signal
import sys
import time
import traceback
from collections import Counter
from contextlib import suppress
from pathlib import Path

from .cycle_processes import PATIENCE_SECONDS, Site, add, consume_until_killed, recover
from .places import DOUBTS, IS_CONSUMED, Trap, cells, ways_out

BATCH = 16  # cycles that one process recovers
LINGER_SECONDS = 0.05  # where a task that was published too early would run in the process that is killed
TRIES = 3  # on a machine that is so busy that a store has not answered in time, nobody gets to where he would be killed


# ---- processes ---------------------------------------------------------------------------------------------------


_started_by = os.getppid()


def in_child(action):
    """Fork, and do something there; what it said, and whether it was killed. It ends when it is done."""
    if os.getppid() != _started_by:
        raise SystemExit("whoever wanted to know has ended")
    heard, says = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(heard)
        try:
            action(says)
        except BaseException as error:  # noqa: BLE001  # told to the parent, which counts it as a fault
            os.write(says, f"failed: {error!r}\n{traceback.format_exc()[-3000:]}".encode())
        finally:
            os._exit(0)
    os.close(says)
    said = _listen(heard, pid)
    _, status = os.waitpid(pid, 0)
    return said, os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


def _listen(heard, pid):
    deadline = time.monotonic() + 2 * PATIENCE_SECONDS
    said = b""
    while select.select([heard], [], [], max(0.0, deadline - time.monotonic()))[0]:
        part = os.read(heard, 65536)
        if not part:
            break
        said += part
    else:
        os.kill(pid, signal.SIGKILL)
        said += b"failed: it did not end in time"
    os.close(heard)
    return said.decode()


def _was_too_slow(said):
    return said.startswith("failed: BackendUnavailableError") and "in time" in said.partition("\n")[0]


# ---- a job -------------------------------------------------------------------------------------------------------


class Job:
    """One backend with one application: runs its cycles, and counts by cell."""

    def __init__(self, job):
        self._job = job
        self._site = Site(job)
        self._chance = random.Random(job["seed"])
        self._cells = {}
        self._faults = []
        self._prepared = 0
        self._next_cycle = 1
        self._marks_read = 0
        self._passes = {}
        self._is_shared = job["queue"].get("shared", False)

    def run(self):
        """All cycles; what was counted."""
        began = time.monotonic()
        self._do("create", self._site.create)
        self._count_passes()
        for _ in range(self._job["rounds"]):
            wanted = [cell for cell in self._cells_in() if self._is_wanted(cell)]
            self._chance.shuffle(wanted)
            for start in range(0, len(wanted), BATCH):
                self._batch_in(wanted[start : start + BATCH])
            for place in () if self._site.is_local else ways_out(self._is_shared):
                if self._is_wanted((IS_CONSUMED, place)):
                    self._batch_out(place)
        return {
            "cells": [[*cell, dict(counts)] for cell, counts in self._cells.items()],
            "faults": self._faults,
            "prepared": self._prepared,
            "seconds": time.monotonic() - began,
        }

    def _cells_in(self):
        return cells(self._job["application"], self._is_shared)

    def _is_wanted(self, cell):
        return cell[1] in self._job.get("places", [cell[1]])

    def _do(self, what, action, tries=1):
        """Something in a process of its own that must end by itself."""
        said, killed = in_child(action)
        if tries > 1 and _was_too_slow(said):
            return self._do(what, action, tries - 1)
        if killed or said.startswith("failed"):
            self._faults.append(f"{what}: {said or 'killed'}")
        return said

    def _count_passes(self):
        """How often each place is passed on each way, where nobody is killed."""
        wanted = [cell for cell in self._cells_in() if self._is_wanted(cell)]
        for way in {way: None for way, _ in wanted}:
            cycle = self._new_cycle()

            def count(says, way=way, cycle=cycle):
                trap = Trap(says)
                add(self._site, cycle, way, 2, trap)
                os.write(says, json.dumps(trap.passes).encode())

            said = self._do(f"counting, {way}", count)
            with suppress(ValueError):
                self._passes[way] = Counter(json.loads(said))
        self._recover({}, self._next_cycle)

    def _new_cycle(self):
        self._next_cycle += 1
        return self._next_cycle - 1

    def _nth(self, way, place, tasks):
        if place == "add.joined":
            return self._chance.randint(1, tasks)
        if place in DOUBTS:
            return 1  # how often somebody asks depends on the time
        return self._chance.randint(1, max(1, self._passes.get(way, Counter())[place]))

    # ---- the way in

    def _batch_in(self, chosen):
        first, batch = self._next_cycle, {}
        for way, place in chosen:
            for tries in range(TRIES, 0, -1):
                cycle, tasks = self._new_cycle(), self._chance.randint(1 + (way == "adds late"), 3)
                batch[cycle] = (way, place, tasks)
                if self._add_killed(cycle, way, place, tasks, tries):
                    break
        self._recover(batch, first)

    def _add_killed(self, cycle, way, place, tasks, tries):
        nth, seed = self._nth(way, place, tasks), self._chance.random()

        def killed(says):
            random.seed(seed)
            add(self._site, cycle, way, tasks, Trap(says, place, nth, LINGER_SECONDS * self._site.is_local))

        return self._see_killed((way, place), killed, tries)

    def _see_killed(self, cell, action, tries=1):
        """Whether that is over; else its transaction has failed, and it is to be tried again."""
        said, killed = in_child(action)
        counts = self._cells.setdefault(cell, Counter())
        counts["cycles"] += 1
        if said != "killed" or not killed:
            counts["missed"] += 1
            if tries > 1 and _was_too_slow(said):
                return False
            self._faults.append(f"{cell}: it was not killed there. {said}")
        return True

    # ---- the way out

    def _batch_out(self, place):
        """Tasks that wait, or are in doubt, and consumers that are killed with them."""
        first, batch, ready = self._next_cycle, {}, 0
        for number in range(2):
            cycle, tasks = self._new_cycle(), self._chance.randint(1, 3)
            batch[cycle] = (IS_CONSUMED, place, tasks)
            if place.startswith(("reclaim", "doubt")) and number == 0:
                self._leave_behind(cycle, tasks)
            else:
                ready += tasks
                self._add_well(cycle, tasks)
        nth = self._chance.randint(1, ready) if place.startswith("replay") else 1
        seed = self._chance.random()

        def killed(says):
            random.seed(seed)
            consume_until_killed(self._site, Trap(says, place, nth))

        self._see_killed((IS_CONSUMED, place), killed)
        self._recover(batch, first)

    def _add_well(self, cycle, tasks):
        self._do("adding", lambda says: add(self._site, cycle, "commits", tasks, Trap(says)), TRIES)

    def _leave_behind(self, cycle, tasks):
        """Tasks that are in doubt, of a transaction that has committed or not; or such as run, where none is ever."""
        if self._is_shared:
            self._add_well(cycle, tasks)
            in_child(lambda says: consume_until_killed(self._site, Trap(says, "replay.begun")))
        else:
            place = self._chance.choice(("hook.staged", "finish.begun", "before.tpc_finish"))
            in_child(lambda says: add(self._site, cycle, "commits", tasks, Trap(says, place)))

    # ---- afterwards

    def _recover(self, batch, first):
        early, seed = self._chance.random() < 0.7, self._chance.random()

        def recovering(says):
            random.seed(seed)
            recover(self._site, says, first, early)

        said = self._do("recovery", recovering)
        try:
            report = json.loads(said)
        except ValueError:
            self._faults.append(f"there is no report after {sorted(batch)}: {said}")
            return
        self._prepared += report["prepared"]
        self._faults += [f"told: {warning}" for warning in report["warnings"]]
        if {} in report["looks"][:-2]:
            self._faults.append(f"nothing was left, and then something was: {report['looks']}")
        if report["left"]:
            self._faults.append(f"not settled after {batch}: {report['left']}")
        marks = self._new_marks()
        for cycle, (way, place, tasks) in batch.items():
            self._judge(cycle, (way, place), tasks, report, marks)

    def _new_marks(self):
        path = Path(self._job["folder"]) / "marks"
        if not path.exists():
            return Counter()
        with path.open("rb") as file:
            file.seek(self._marks_read)
            lines = file.read()
        self._marks_read += len(lines)
        return Counter(lines.decode().split())

    def _judge(self, cycle, cell, tasks, report, marks):
        """What became of one cycle."""
        counts = self._cells.setdefault(cell, Counter())
        noted = {name: written.get(str(cycle)) for name, written in report["written"].items()}
        is_committed = any(noted.values())
        names = [f"{cycle}-{number}" for number in range(tasks)]
        counts["committed" if is_committed else "aborted"] += 1
        is_torn = is_committed and not all(noted.values())
        counts["torn"] += is_torn
        if is_torn and not self._site.is_local and not any(marks[f"torn:{name}"] for name in names):
            self._faults.append(f"{cell}: nobody was told that cycle {cycle} is torn")
        for name in names:
            effects = [effects.get(name, 0) for effects in report["effects"].values()]
            if is_committed and not min(effects) and not self._site.is_local:
                counts["lost"] += 1
                self._faults.append(f"{cell}: task {name} is lost: begun {marks[name]} times; noted {noted}")
            if not is_committed and (marks[name] or max(effects)):
                counts["phantom"] += 1
                self._faults.append(f"{cell}: task {name} ran, and its transaction did not commit")
            counts["duplicates"] += max(0, max(effects) - 1)


def main():
    """Do the jobs that come in."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.disable(logging.CRITICAL)
    gc.freeze()
    for line in sys.stdin:
        job = json.loads(line)
        Path(job["folder"]).mkdir(parents=True, exist_ok=True)
        print(json.dumps({"job": job, **Job(job).run()}), flush=True)


if __name__ == "__main__":
    main()
