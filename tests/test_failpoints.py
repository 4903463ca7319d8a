from __future__ import annotations

import ast
import threading
from pathlib import Path

import pytest

import taskqueue
from taskqueue import failpoints
from taskqueue.failpoints import armed, reach

SOURCE = Path(taskqueue.__file__).parent


def reached_in_the_product() -> list[str]:
    """The names that the product's code hands to ``reach``."""
    found = []
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
                function = node.func
                name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
                if name == "reach":
                    found.append(str(node.args[0].value))
    return found


def test_a_place_that_is_not_armed_does_nothing() -> None:
    for name in failpoints.NAMES:
        reach(name)
    reach("a place that nobody knows")


def test_an_armed_place_acts_each_time_for_the_block() -> None:
    passed: list[str] = []
    with armed("vote.done", lambda: passed.append("vote.done")):
        reach("vote.begun")
        reach("vote.done")
        reach("vote.done")
    reach("vote.done")
    assert passed == ["vote.done", "vote.done"]


def test_what_it_raises_comes_out_where_the_place_is() -> None:
    def fail() -> None:
        raise KeyboardInterrupt

    with armed("hook.begun", fail), pytest.raises(KeyboardInterrupt):
        reach("hook.begun")


def test_it_is_disarmed_when_the_block_is_left_by_an_error() -> None:
    with pytest.raises(ZeroDivisionError), armed("hook.begun", lambda: 1 / 0):
        reach("hook.begun")
    reach("hook.begun")


def test_several_places_are_armed_at_a_time() -> None:
    passed: list[str] = []
    with armed("vote.begun", lambda: passed.append("begun")), armed("vote.done", lambda: passed.append("done")):
        reach("vote.done")
        reach("vote.begun")
    assert passed == ["done", "begun"]


def test_any_thread_that_comes_by_is_met() -> None:
    passed: list[str] = []
    with armed("claim.taken", lambda: passed.append(threading.current_thread().name)):
        thread = threading.Thread(target=lambda: reach("claim.taken"), name="another")
        thread.start()
        thread.join(20)
    assert passed == ["another"]


def test_an_unknown_place_is_refused_with_the_known_ones() -> None:
    with pytest.raises(KeyError, match=r"no failpoint 'vote\.end'; there are: add\.joined, hook\.begun"):
        armed("vote.end", lambda: None).__enter__()


def test_every_name_is_a_place_in_the_product_and_every_place_has_a_name() -> None:
    places = reached_in_the_product()
    assert sorted(set(places)) == sorted(failpoints.NAMES)
    assert len(failpoints.NAMES) == len(set(failpoints.NAMES))


def test_nothing_in_the_product_arms_a_place() -> None:
    assert [path for path in SOURCE.rglob("*.py") if "armed(" in path.read_text("utf-8")] == [SOURCE / "failpoints.py"]
