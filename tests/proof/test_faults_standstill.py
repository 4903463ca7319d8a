"""Processes that stand still for longer than their leases, and go on: nothing is lost, what comes late changes nothing.

They are stopped with SIGSTOP: one that adds between staging and its commit, one between its commit and publishing, and
one in the middle of a task. With ``sqlite`` the kernel knows that they live, so nobody takes anything from them.
"""

import contextlib
import time

import psycopg
import pytest

from ..backends.postgresql_server import new_database, shared_server
from .faults import DEADLINE, KINDS, LONG, Effects, Gate, Site, open_queue, store, wait_until

LEASE = {"lease": 60.0, "renew": 15.0} if LONG else {"lease": 0.6, "renew": 0.1}
STANDSTILL_SECONDS = 75.0 if LONG else 1.5
PATIENCE_SECONDS = 4 * STANDSTILL_SECONDS + DEADLINE
ADDED = {"hook.staged": "1-0", "finish.begun": "2-0"}  # where each of those that add stands still, and its task


def written(url):
    """What requests have committed in the application's own database."""
    with psycopg.connect(url) as connection:
        names = {f"{cycle}-0" for (cycle,) in connection.execute("SELECT cycle FROM written").fetchall()}
    return names & set(ADDED.values())


@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", KINDS if LONG else KINDS[:2])
def test_who_stands_still_for_longer_than_its_lease_loses_nothing_and_changes_nothing(kind, tmp_path, say):
    with contextlib.ExitStack() as stack:
        url = stack.enter_context(new_database(shared_server()))
        sql = url.replace("postgresql:", "postgresql+psycopg:")
        queue = stack.enter_context(store(kind, tmp_path))
        seen = stack.enter_context(open_queue(queue))
        gate = stack.enter_context(contextlib.closing(Gate(tmp_path)))
        job = {"sql": sql, "server": {"concurrent_limit": 4}, **LEASE}
        effects = Effects(tmp_path)
        slow = stack.enter_context(Site(tmp_path, queue, creates=True, **job))
        running = slow.consume().add("/block/3-0")
        effects.wait_for("3-0", "began")
        slow.stop_still()
        began = time.monotonic()
        adding = {}
        for place, name in ADDED.items():
            site = adding[name] = stack.enter_context(Site(tmp_path, queue, **job))
            site.ask("take_lease", **LEASE)
            site.ask("stop_at", name=place)
            site.order(do="add", path=f"/effect/{name}")
            site.wait_for_standstill()
        stack.enter_context(Site(tmp_path, queue, **job)).consume()
        assert written(url) == {"2-0"}
        if kind == "sqlite":
            wait_until(lambda: time.monotonic() - began >= STANDSTILL_SECONDS, seconds=PATIENCE_SECONDS)
            assert len(effects.read()) == 1
        else:  # others take over what can be taken over
            wait_until(lambda: len(effects.of("3-0", "began")) == 2, seconds=PATIENCE_SECONDS)
            gate.open()  # what was taken over is a suspect, and runs alone
            wait_until(lambda: effects.of("2-0") and seen.get(running).state == "done", seconds=PATIENCE_SECONDS)
        stood_still = time.monotonic() - began
        gate.open()
        settled = seen.get(running)
        for site in (slow, *adding.values()):
            site.go_on()
        slow.hear()
        answers = {name: site.hear() for name, site in adding.items()}
        effects.wait_for("3-0", count=1 if kind == "sqlite" else 2)
        wait_until(lambda: not sum(seen.counts().states[each] for each in ("staged", "held", "ready", "running")))
        if kind != "sqlite":
            wait_until(lambda: "settled too late" in slow.log)
            assert seen.get(running) == settled
        record = seen.get(running)
        committed = written(url)
        runs = {name: len(effects.of(name)) for name in ADDED.values()}
    say(
        f"{kind}: three processes stood still for {stood_still:.1f} s, leases {LEASE['lease']:g} s; "
        f"committed {sorted(committed)}, runs {runs}, the task that ran has claim {record.claim_number}"
    )
    assert {name for name, answer in answers.items() if answer["status"] == 200} == committed
    assert runs == {name: int(name in committed) for name in runs}
    assert "2-0" in committed
    assert (record.state, record.claim_number) == ("done", 1 if kind == "sqlite" else 2)
