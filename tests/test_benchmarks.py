"""The benchmarks, in short: every row is there, and a figure whose tasks were not all counted is none."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks.figures import Figure, percentile, summarise
from benchmarks.marks import BenchmarkError, Marks
from benchmarks.shop import Shop
from benchmarks.stores import STORES, why_not

from taskqueue import queues

ROOT = Path(__file__).parent.parent
ADDS, TASKS, SAMPLES, ROUNDS = 3, 8, 4, 2
COUNTED = {
    "add": 3 * ADDS,
    "drain, 1 thread": TASKS,
    "drain, 4 threads": TASKS,
    "latency p50": SAMPLES + 1,
    "latency p99": SAMPLES + 1,
}
SMALL = ("--rounds", ROUNDS, "--adds", ADDS, "--tasks", TASKS, "--samples", SAMPLES)


@pytest.fixture(autouse=True)
def _forget_queues():
    yield
    queues.install(None)


def run(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@pytest.mark.process
@pytest.mark.parametrize("name", STORES)
def test_each_round_of_each_measure_counts_every_task(name, tmp_path):
    if reason := why_not(name):
        pytest.skip(reason)
    ended = run(*SMALL, "--backend", name, "--json", tmp_path / "out.json", "--folder", tmp_path)
    assert ended.returncode == 0, ended.stderr
    written = json.loads((tmp_path / "out.json").read_text())
    counted = [(figure["backend"], figure["measure"], figure["marks"]) for figure in written["figures"]]
    assert sorted(counted) == sorted(
        (name, measure, marks) for measure, marks in COUNTED.items() for _ in range(ROUNDS)
    )
    assert list(written["stores"]) == [name]
    assert f"{ROUNDS * (3 * ADDS + 2 * TASKS + SAMPLES + 1)} marks were counted" in ended.stdout
    assert list(tmp_path.iterdir()) == [tmp_path / "out.json"]


@pytest.mark.process
def test_the_table_has_each_row_and_its_floors(tmp_path):
    ended = run(*SMALL, "--backend", "sqlite", "--backend", "local", "--folder", tmp_path)
    assert ended.returncode == 0, ended.stderr
    for name in ("sqlite", "local"):
        for measure in COUNTED:
            [line] = [line for line in ended.stdout.splitlines() if line.split("  ")[0] == name and measure in line]
            assert line.count(" to ") == 2, line  # the range of the figure, and of its ratio
    for floor in ("a transaction", "a WSGI call", "a hand-off", "one fdatasync", "one INSERT"):
        assert floor in ended.stdout


def test_without_a_redis_server_it_says_so_and_measures_the_rest(monkeypatch, capsys):
    from benchmarks import command

    monkeypatch.setattr(command, "why_not", lambda name: "there is no redis-server" if name == "redis" else "")
    assert command.main([*map(str, SMALL), "--backend", "redis", "--backend", "local"]) == 0
    printed = capsys.readouterr().out
    assert "redis: not measured: there is no redis-server" in printed
    assert "drain, 4 threads" in printed


def test_nothing_to_measure_is_an_error(monkeypatch, capsys):
    from benchmarks import command

    monkeypatch.setattr(command, "why_not", lambda name: "there is no redis-server")
    assert command.main(["--backend", "redis"]) == 1
    assert "nothing to measure" in capsys.readouterr().err


def test_each_task_leaves_one_mark():
    marks = Marks()
    for number in (1, 0, 2):
        marks.leave(number, at=number / 10)
    assert marks.check(3) == {0: 0.0, 1: 0.1, 2: 0.2}


@pytest.mark.parametrize(
    ("numbers", "complaint"),
    [
        ([0, 2], "of 3 tasks, 1 left no mark"),
        ([0, 1, 2, 1], "1 left more than one"),
        ([0, 1, 2, 7], "1 marks are of tasks that were never added"),
        ([0, 1, 1], "1 left no mark, 1 left more than one"),
    ],
)
def test_a_mark_that_is_missing_doubled_or_unknown_spoils_the_figure(numbers, complaint):
    marks = Marks()
    for number in numbers:
        marks.leave(number, at=0.0)
    with pytest.raises(BenchmarkError, match=complaint):
        marks.check(3)


def test_a_task_that_stumbles_spoils_the_figure(monkeypatch):
    with Shop({"type": "local"}) as shop:
        shop.feed(2)
        monkeypatch.setattr(shop.marks, "leave", lambda number, at: 1 / number)  # of task 0 it raises
        shop.start()
        with pytest.raises(BenchmarkError, match="retried"):
            shop.await_all()


def test_a_task_that_leaves_no_mark_spoils_the_figure(monkeypatch):
    with Shop({"type": "local"}) as shop:
        leave = shop.marks.leave
        shop.feed(2)
        monkeypatch.setattr(shop.marks, "leave", lambda number, at: number and leave(number, at))
        shop.start()
        shop.await_all()
        with pytest.raises(BenchmarkError, match="1 left no mark"):
            shop.finish()


def test_a_task_that_was_not_run_spoils_the_figure():
    with Shop({"type": "local"}) as shop:
        shop.feed(2)
        with pytest.raises(BenchmarkError, match="of 2 tasks the store says"):
            shop.finish()


def test_ratios_are_made_within_a_round():
    first = Figure("local", "add", seconds=2.0, floors={"floor": 1.0}, marks=3)
    second = Figure("local", "add", seconds=30.0, floors={"floor": 10.0}, marks=4)
    other = Figure("sqlite", "add", seconds=5.0, floors={"floor": 1.0}, marks=5)
    local, sqlite = summarise([first, other, second])
    assert (local.backend, sqlite.backend) == ("local", "sqlite")
    assert (local.seconds.lowest, local.seconds.median, local.seconds.highest) == (2.0, 16.0, 30.0)
    assert (local.ratios["floor"].lowest, local.ratios["floor"].highest) == (2.0, 3.0)
    assert local.marks == 7


@pytest.mark.parametrize(("percent", "expected"), [(0, 1), (50, 50), (99, 99), (100, 100)])
def test_a_percentile_is_one_of_the_samples(percent, expected):
    assert percentile(range(100, 0, -1), percent) == expected
