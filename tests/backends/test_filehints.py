import os
import threading
from pathlib import Path

import pytest

from taskqueue.backends import filehints
from taskqueue.backends.filehints import FileHints

from ..serving import wait_until
from .processes import DEADLINE, Fork, held_by_another_thread

QUEUE = ("taskqueue", "default")
FAR = 60.0  # longer than any test may take


@pytest.fixture
def path(tmp_path):
    (tmp_path / "tasks.db").touch()
    return str(tmp_path / "tasks.db")


@pytest.fixture
def folder(path):
    return Path(f"{path}.waiting")


@pytest.fixture
def make(path):
    made = []

    def make(queue=QUEUE, has_changed=lambda: False):
        made.append(FileHints(path, queue, has_changed))
        return made[-1]

    yield make
    for hints in made:
        hints.close()


def settled(hints):
    """The number of who has heard all there was to hear."""
    return hints.wait(hints.wait(0, 0.0), 0.0)


class Waiter:
    """A thread that waits once."""

    def __init__(self, hints, seen, timeout=FAR):
        self.number = None
        self._thread = threading.Thread(target=self._wait, args=(hints, seen, timeout), daemon=True)
        self._thread.start()

    def _wait(self, hints, seen, timeout):
        self.number = hints.wait(seen, timeout)

    def end(self):
        self._thread.join(DEADLINE)
        assert not self._thread.is_alive(), "it still waits"
        return self.number


def until_someone_listens(hints):
    wait_until(lambda: hints._someone_listens)


def test_nothing_is_made_before_somebody_waits(make, folder):
    hints = make()
    hints.give()
    hints.spread()
    hints.close()
    assert not folder.exists()


def test_the_first_wait_ends_at_once_since_it_has_not_heard_what_came_before(make):
    assert make().wait(0, FAR) != 0


def test_other_objects_of_the_queue_are_woken_and_those_of_others_are_not(make):
    one, two, other = make(), make(), make(("taskqueue", "other"))
    seen, others = settled(two), settled(other)
    one.spread()
    assert two.wait(seen, FAR) != seen
    assert other.wait(others, 0.0) == others


def test_a_hint_for_this_process_wakes_no_other_object(make):
    one, two = make(), make()
    seen = settled(two)
    one.give()
    assert two.wait(seen, 0.0) == seen


def test_who_spreads_a_hint_hears_it_once(make):
    hints = make()
    seen = settled(hints)
    hints.spread()
    seen = hints.wait(seen, FAR)
    assert hints.wait(seen, 0.0) == seen


def test_who_waits_beside_the_one_who_listens_takes_over_from_it(make):
    hints, other = make(), make()
    seen = settled(hints)
    first = Waiter(hints, seen, timeout=0.2)
    until_someone_listens(hints)
    second = Waiter(hints, seen)
    assert first.end() == seen
    until_someone_listens(hints)
    other.spread()
    assert second.end() != seen


def test_closing_wakes_who_waits_and_deletes_the_pipe(make, folder):
    hints = make()
    waiter = Waiter(hints, settled(hints))
    until_someone_listens(hints)
    hints.close()
    waiter.end()
    assert list(folder.iterdir()) == []
    assert hints._pipe is None


def test_after_closing_one_can_wait_again(make, folder):
    hints, other = make(), make()
    settled(hints)
    hints.close()
    seen = settled(hints)
    other.spread()
    assert hints.wait(seen, FAR) != seen


def test_a_deleted_folder_is_made_again_and_counts_as_a_hint(make, folder):
    hints, other = make(), make()
    seen = settled(hints)
    next(folder.iterdir()).unlink()
    folder.rmdir()
    seen, before = hints.wait(seen, FAR), seen
    assert seen != before
    other.spread()
    assert hints.wait(seen, FAR) != seen


def test_without_the_file_there_is_no_pipe(make, path, folder):
    os.unlink(path)
    hints = make()
    assert hints.wait(0, 0.0) == 0
    assert not folder.exists()


def test_without_a_pipe_who_waits_looks_and_tries_again_after_a_while(make, folder, monkeypatch):
    answers = iter([False, False, True])
    folder.touch()  # so that no folder can be made of it
    hints = make(has_changed=lambda: next(answers))
    assert hints.wait(0, FAR) == 1
    assert list(answers) == []
    folder.unlink()
    monkeypatch.setattr(hints, "_has_changed", lambda: True)
    assert hints.wait(1, FAR) == 2
    assert hints._pipe is None
    monkeypatch.setattr(hints, "_next_try", filehints.Deadline(0.0))
    assert hints.wait(2, FAR) == 3
    assert hints._pipe is not None


def test_a_forked_child_has_a_pipe_of_its_own(make, folder):
    hints = make()
    seen = settled(hints)
    (parents,) = folder.iterdir()

    def wait():
        settled(hints)
        assert len(list(folder.iterdir())) == 2
        hints.close()
        assert list(folder.iterdir()) == [parents]

    with held_by_another_thread(hints._given):
        child = Fork(wait)
    child.end()
    make().spread()
    assert hints.wait(seen, FAR) != seen


def test_a_child_of_which_nobody_was_told_has_a_pipe_of_its_own(make, folder):
    """As when a server that is written in C forks."""
    hints = make()
    settled(hints)
    parents = hints._pipe
    hints._pid = -1
    settled(hints)
    assert hints._pid == os.getpid()
    assert hints._pipe is not parents
    assert [each.name for each in folder.iterdir()] == [hints._pipe.name]
