"""The benchmarks, in short: all are asked for the same work, and a figure whose tasks were not all counted is none."""

import dataclasses
import itertools
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks import (
    command,
    comparing,
    contestants,
    drawing,
    environments,
    goals,
    growth,
    measures,
    profiling,
    report,
    rounds,
)
from benchmarks.contestants import DRAINED, ours
from benchmarks.figures import Spread, percentile, short
from benchmarks.marks import BenchmarkError, Marks
from benchmarks.measures import Bench
from benchmarks.peers.given import MARK
from benchmarks.processes import ROOT, Workers, run_verb
from benchmarks.results import Results
from benchmarks.servers import POSTGRESQL, REDIS, SQLITE, running

from taskqueue import queues

TASKS = 60
STORES = (REDIS, SQLITE, POSTGRESQL)


@pytest.fixture(autouse=True)
def _forget_queues():
    yield
    queues.install(None)


@pytest.fixture
def bench(request, tmp_path):
    with running(tmp_path, (request.param,)) as started:
        if request.param in started.missing:
            pytest.skip(started.missing[request.param])
        yield Bench(started)


# ---- marks ----


def leave(path, *numbers):
    with path.open("ab") as file:
        file.writelines(MARK.pack(number, 1000 + at) for at, number in enumerate(numbers))


def test_each_task_leaves_one_mark(tmp_path):
    left = Marks(tmp_path / "marks")
    leave(left.path, 1, 0, 2)
    assert len(left) == 3
    assert left.check(3) == {1: 1000, 0: 1001, 2: 1002}
    assert left.before(1002) == {0, 1}


@pytest.mark.parametrize(
    ("numbers", "complaint"),
    [
        ([0, 2], "of 3 tasks, 1 left no mark"),
        ([0, 1, 2, 1], "1 left more than one"),
        ([0, 1, 2, 7], "1 marks are of tasks that were never added"),
        ([0, 1, 1], "1 left no mark, 1 left more than one"),
    ],
)
def test_a_mark_that_is_missing_doubled_or_unknown_spoils_the_figure(tmp_path, numbers, complaint):
    left = Marks(tmp_path / "marks")
    leave(left.path, *numbers)
    with pytest.raises(BenchmarkError, match=complaint):
        left.check(3)


def test_after_a_kill_a_task_may_have_run_twice_and_its_first_mark_counts(tmp_path):
    left = Marks(tmp_path / "marks")
    leave(left.path, 0, 1, 0)
    assert left.check(2, at_least_once=True) == {0: 1000, 1: 1001}


# ---- the work ----


@pytest.mark.process
@pytest.mark.parametrize(("bench", "store"), [(each, each) for each in STORES], indirect=["bench"])
def test_a_drain_counts_every_task_and_what_it_cost(bench, store):
    drained = bench.drain(ours(store, "WebOb", TASKS), TASKS)
    assert bench.counted == TASKS
    assert drained.rate > 0
    assert drained.memory_bytes > 10 * 1024 * 1024
    assert (drained.asked_per_task is None) == (store == SQLITE)


@pytest.mark.process
@pytest.mark.parametrize("bench", [SQLITE], indirect=True)
def test_one_task_at_a_time_tells_how_long_it_took_to_start(bench):
    found = bench.surprise(ours(SQLITE, "WebOb", 0), 3, 0.001)
    assert set(found) == {"p50", "p99", "whole"}
    assert found["whole"] >= found["p50"]


@pytest.mark.process
@pytest.mark.parametrize("bench", [SQLITE], indirect=True)
def test_what_is_timed_inside_of_a_process(bench):
    local = bench.local(contestants.WEBOB_LOCAL, 200)
    assert min(local["task"], local["call"]) > 0
    found = bench.adds(contestants.WEBOB_SQLITE, 3, 2, witness=True)
    assert min(found["with"], found["without"], found["trip"]) > 0


@pytest.mark.process
@pytest.mark.parametrize("bench", [SQLITE], indirect=True)
def test_a_consumer_of_pyramid_runs_the_same_tasks(bench):
    assert bench.drain(ours(SQLITE, "Pyramid", TASKS, view="pyramid"), TASKS).tasks == TASKS


@pytest.mark.process
@pytest.mark.parametrize("bench", [SQLITE], indirect=True)
def test_a_task_that_is_lost_ends_the_run(bench, monkeypatch):
    monkeypatch.setattr(measures.Watched, "states", lambda self: {"done": TASKS - 1, "dead": 1})
    run = rounds.Run(bench, rounds.QUICK)
    with pytest.raises(BenchmarkError, match="after the last mark the store says"):
        run._each((ours(SQLITE, "WebOb", TASKS),), lambda each: bench.drain(each, TASKS))


@pytest.mark.process
def test_a_worker_that_ends_is_told_with_what_it_said(tmp_path):
    left = Marks(tmp_path / "marks")
    said = pytest.raises(BenchmarkError, match=r"a worker ended with status 1[\s\S]*No module named")
    with Workers(sys.executable, "nobody", {"marks": str(left.path)}) as workers, said:
        workers.await_that(lambda: len(left) > 0, 60.0, "the first mark")


def test_a_verb_that_fails_tells_why(tmp_path):
    with pytest.raises(BenchmarkError, match="No module named"):
        run_verb(sys.executable, "nobody", {}, "feed", "1")


@pytest.mark.process
@pytest.mark.parametrize("bench", [SQLITE], indirect=True)
def test_a_peer_whose_environment_cannot_be_made_is_left_out_with_a_line(bench, monkeypatch, capsys):
    def refuse(name):
        raise environments.MissingError("no network")

    monkeypatch.setattr(contestants, "python_of", refuse)
    run = rounds.Run(bench, rounds.QUICK)
    assert list(run._taking_part((contestants.HUEY_SQLITE, contestants.WEBOB_SQLITE))) == [contestants.WEBOB_SQLITE]
    assert run.left_out == {"huey": "its environment cannot be made: no network"}
    assert "huey is left out" in capsys.readouterr().err


@pytest.mark.process
@pytest.mark.parametrize("bench", [SQLITE], indirect=True)
def test_a_peer_that_cannot_be_believed_is_told_and_we_end_the_run(bench):
    def doubt(contestant):
        raise BenchmarkError("2 left no mark")

    run = rounds.Run(bench, rounds.QUICK)
    other = dataclasses.replace(contestants.WEBOB_SQLITE, name="other")
    run._taking_part = lambda given: given
    run._each((other,), doubt)
    assert run.doubtful == [f"{other.key}: 2 left no mark"]
    with pytest.raises(BenchmarkError, match="2 left no mark"):
        run._each((contestants.WEBOB_SQLITE,), doubt)


@pytest.mark.process
def test_the_command_goes_through_all_and_writes_what_it_found(tmp_path, monkeypatch, capsys):
    little = rounds.Effort(
        rounds=1, scale=0.002, samples=2, gap_seconds=0.001, adds=2, local_tasks=100, idle_seconds=0.1
    )
    monkeypatch.setattr(command, "QUICK", little)
    monkeypatch.setattr(command, "MEASURED", tmp_path / "measured")
    monkeypatch.setattr(command, "_draw", lambda results, date: None)
    monkeypatch.setattr(measures, "SETTLE_SECONDS", 0.0)
    arguments = ("--quick", "--store", "sqlite", "--peer", "taskqueue", "--no-kill", "--publish")
    assert command.main([*arguments, "--json", str(tmp_path / "out.json"), "--folder", str(tmp_path)]) == 0
    numbers = json.loads((tmp_path / "out.json").read_text())["numbers"]
    assert len(numbers["rate"][contestants.WEBOB_SQLITE.key]) == 1
    assert len(numbers["idle"]) == 2
    assert {"latency p50", "threads", "add one with", "store bytes"} <= set(numbers)
    assert "of none was one missing" in capsys.readouterr().out
    assert (tmp_path / "measured" / "goals.csv").exists()
    assert {each.name for each in tmp_path.iterdir()} == {"out.json", "measured"}


@pytest.mark.process
@pytest.mark.parametrize("bench", [SQLITE], indirect=True)
def test_growth_counts_every_task_too(bench, monkeypatch):
    monkeypatch.setattr(growth, "FEW", 100)
    monkeypatch.setattr(growth, "CLAIMS", 20)
    monkeypatch.setattr(growth, "ENOUGH", 20)
    monkeypatch.setattr(growth, "SCHEDULED_LEAD", 1.0)
    grown = growth.Growth(bench, many=300, scheduled_seconds=0.1, soak_seconds=2.0, soak_rate=50.0)
    grown.waiting(SQLITE)
    grown.scheduled(SQLITE)
    course = grown.soak(SQLITE)
    assert bench.counted == 100
    assert sum(map(len, course.latencies.values())) == 95  # five of them failed once
    assert course.latency(50) > 0
    assert next(row[1] for row in grown.rows[1:] if row[2]).startswith("claim of ten, p99")


@pytest.mark.process
def test_the_profile_has_each_stage_of_a_task(capsys):
    assert profiling.main(["--store", "sqlite", "--tasks", "50", "--adds", "8"]) == 0
    printed = capsys.readouterr().out
    for stage in ("sqlite: a task is run", "the view", "store: exchange", "add: capture the request", "(elsewhere)"):
        assert stage in printed


# ---- two trees of our own ----


def git(folder, *arguments):
    subprocess.run(["git", "-c", "user.name=x", "-c", "user.email=x@x", *arguments], cwd=folder, check=True)


def test_another_tree_is_taken_from_git_as_it_was(tmp_path):
    module = tmp_path / "src" / "taskqueue.py"
    module.parent.mkdir()
    module.write_text("then")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", "--all")
    git(tmp_path, "commit", "--quiet", "--message=then")
    module.write_text("now")
    found = comparing.check_out("HEAD", tmp_path / "other", tmp_path)
    assert (Path(found) / "taskqueue.py").read_text() == "then"
    with pytest.raises(BenchmarkError, match=r"not a valid object name|not a tree object"):
        comparing.check_out("v0.0", tmp_path / "other", tmp_path)


@pytest.mark.process
@pytest.mark.parametrize("bench", [SQLITE], indirect=True)
def test_who_comes_from_another_tree_runs_its_code(bench, tmp_path):
    other = tmp_path / "src" / "taskqueue"
    other.mkdir(parents=True)
    (other / "__init__.py").write_text("raise SystemExit('this is the other tree')")
    contestant = dataclasses.replace(contestants.WEBOB_SQLITE, source=str(other.parent))
    with pytest.raises(BenchmarkError, match="this is the other tree"):
        bench.drain(contestant, TASKS)


@pytest.mark.process
def test_a_tree_compared_with_itself_has_ratios(monkeypatch, capsys):
    monkeypatch.setattr(comparing, "check_out", lambda *_: str(ROOT / "src"))
    given = ["--store", "sqlite", "--store", "local", "--rounds", "1", "--scale", "0.003", "--samples", "3"]
    assert comparing.main(given) == 0
    printed = capsys.readouterr().out
    measures = ("drain, sqlite, WebOb", "drain, sqlite, WebOb, synchronous normal", "add alone, sqlite", "idle, sqlite")
    for measure in (*measures, "add witnessed, sqlite", "local, local"):
        assert re.search(rf"^{measure}.*  -?\d\S+  +(tasks/s|µs|ms)$", printed, re.MULTILINE), measure


def test_a_ratio_is_made_within_each_round():
    results = Results()
    for here, there in ((10.0, 5.0), (30.0, 10.0), (8.0, 8.0)):
        results.put("drain, sqlite, WebOb", comparing.HERE, here)
        results.put("drain, sqlite, WebOb", comparing.THERE, there)
    assert comparing.table(results)[1] == ("drain, sqlite, WebOb", "10.0", "8.00", "2.00 (1.00 to 3.00)", "tasks/s")


# ---- names ----


def test_each_peer_has_a_script_and_its_versions():
    for name in {each.name for each in DRAINED if not each.is_ours}:
        assert (ROOT / "benchmarks" / "peers" / f"{name}.py").exists()
        lines = (environments.REQUIREMENTS / f"{name}.txt").read_text().splitlines()
        assert all("==" in line for line in lines), name
        assert environments.version_of(name)


def test_everybody_has_a_name_of_his_own():
    for table in (DRAINED, contestants.SURPRISED, contestants.WAITING, contestants.IDLE, contestants.KILLED):
        assert len({each.key for each in table}) == len(table)


# ---- arithmetic ----


def full_results(ours_rate=20_000.0, theirs_rate=5_000.0):
    results = Results()
    for each in DRAINED:
        for factor in (1.0, 1.1):
            results.put("rate", each.key, (ours_rate if each.is_ours else theirs_rate) * factor)
            results.put("cpu", each.key, 0.02 if each.is_ours else 0.1)
            results.put("memory", each.key, 40 * 2**20)
            results.put("asked", each.key, 0.01)
            results.put("store cpu", each.key, 0.01)
    for each in contestants.SURPRISED:
        for name in ("p50", "p99", "whole"):
            results.put(f"latency {name}", each.key, 0.0001 if each.is_ours else 0.001)
    for each in contestants.WAITING:
        results.put("threads", each.key, 1.01)
    for each in contestants.IDLE:
        results.put("idle", each.key, 0.0005)
    for each in contestants.KILLED:
        results.put("kill", each.key, 60.0)
    for each, label in itertools.product(rounds.ADDING, ("one", "ten", "witness")):
        for name, seconds in (("with", 2e-4), ("without", 1e-5), ("trip", 1e-4), ("client trip", 2e-4)):
            results.put(f"add {label} {name}", each.key, seconds)
        results.put("store cpu added", each.key, 0.1)
        results.put("store bytes", each.key, 2000.0)
    results.put("local", "task", 2e-5)
    results.put("local", "call", 1e-5)
    return results


def test_every_row_of_the_table_is_there_and_judged():
    rows = list(goals.reached(full_results()))
    judged = [row for row in rows if row.must is not None]
    assert len(judged) == 31
    assert {row.verdict for row in judged} <= {"aim", "must", "missed"}
    [drain] = [row for row in rows if row.what == "redis drain, WebOb"]
    assert (drain.reached.median, drain.verdict, drain.bound(drain.must)) == (4.0, "must", "≥ 3×")  # noqa: RUF001  # the sign is meant


@pytest.mark.parametrize(("rate", "verdict"), [(14_000, "missed"), (15_000, "must"), (26_000, "aim")])
def test_a_row_is_judged_by_its_median(rate, verdict):
    rows = goals.reached(full_results(ours_rate=rate))
    assert next(rows).verdict == verdict


def test_nothing_is_said_of_what_was_not_measured():
    assert list(goals.reached(Results())) == []
    assert [len(table) for table in report.tables(Results()).values()] == [1, 1, 1, 1]


def test_ratios_are_made_within_a_round():
    results = Results()
    for mine, theirs in ((2.0, 1.0), (30.0, 10.0)):
        results.put("rate", "mine", mine)
        results.put("rate", "theirs", theirs)
    assert results.ratio("rate", "mine", "theirs") == Spread(2.5, 2.0, 3.0)
    assert results.spread("rate", "mine") == Spread(16.0, 2.0, 30.0)


def test_the_tables_are_published_as_the_documents_include_them(tmp_path):
    found = report.tables(full_results())
    report.publish(tmp_path, "today, here", found)
    assert (tmp_path / "about.inc").read_text() == "today, here\n"
    assert {each.name for each in tmp_path.glob("*.csv")} == {f"{name}.csv" for name in found}
    assert "aim" in report.as_text(found["goals"])


def test_the_picture_has_a_bar_for_everybody_the_fastest_first():
    panels = drawing.drains(full_results())
    assert sum(len(panel["bars"]) for panel in panels) == len(DRAINED)
    assert all(panel["bars"][0]["is_ours"] for panel in panels)
    assert drawing.drains(Results()) == []


@pytest.mark.parametrize(("percent", "expected"), [(0, 1), (50, 50), (99, 99), (100, 100)])
def test_a_percentile_is_one_of_the_samples(percent, expected):
    assert percentile(range(100, 0, -1), percent) == expected


@pytest.mark.parametrize(
    ("number", "written"), [(12345.6, "12,346"), (12.34, "12.3"), (1.234, "1.23"), (0.0123, "0.012"), (0, "0.00")]
)
def test_three_digits_count(number, written):
    assert short(number) == written
