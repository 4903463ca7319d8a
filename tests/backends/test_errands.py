"""Calls that another thread makes: answered, in order, and without keeping who wants the answer."""

import gc
import threading
import weakref

import pytest

from taskqueue.backends import errands
from taskqueue.backends.errands import Errands

PATIENCE_SECONDS = 30.0


@pytest.fixture
def made():
    given = Errands("errands-of-this-test")
    yield given
    given.close()


def threads():
    return [thread for thread in threading.enumerate() if thread.name == "errands-of-this-test"]


def test_calls_are_made_in_their_order_by_one_thread(made):
    begun = [made.begin(lambda _, place=place: (place, threading.current_thread())) for place in range(20)]
    places, callers = zip(*[each.end() for each in begun], strict=True)
    assert places == tuple(range(20))
    assert list(set(callers)) == threads()
    assert threading.current_thread() not in callers


def test_what_went_wrong_is_raised_where_the_answer_is_wanted(made):
    def fail(_):
        raise LookupError("nothing there")

    begun = made.begin(fail)
    with pytest.raises(LookupError, match="nothing there"):
        begun.end()
    assert made.begin(lambda _: "next").end() == "next"


def test_who_has_begun_a_call_goes_on_when_it_is_let_go(made, monkeypatch):
    monkeypatch.setattr(errands, "PATIENCE_SECONDS", PATIENCE_SECONDS)
    may_end, said = threading.Event(), []

    def call(let_go):
        said.append("prepared")
        let_go()
        let_go()
        assert may_end.wait(PATIENCE_SECONDS)
        return "over"

    begun = made.begin(call)
    assert said == ["prepared"]
    assert not begun.is_here()
    may_end.set()
    assert begun.end() == "over"
    assert begun.is_here()


def test_who_has_begun_a_call_that_waits_for_others_goes_on_all_the_same(made):
    may_end = threading.Event()
    begun = made.begin(lambda _: may_end.wait(PATIENCE_SECONDS))
    behind = made.begin(lambda _: "behind")
    assert not any(each.is_here() for each in (begun, behind))
    may_end.set()
    assert begun.end()
    assert behind.end() == "behind"


def test_a_thread_that_has_nothing_to_do_ends_and_another_comes(made, monkeypatch):
    monkeypatch.setattr(errands, "IDLE_SECONDS", 0.001)
    for _ in range(3):
        assert made.begin(lambda _: "made").end() == "made"
        for thread in threads():
            thread.join(PATIENCE_SECONDS)
        assert threads() == []


def test_closing_waits_for_what_was_begun_and_ends_the_thread(made):
    may_end = threading.Event()
    begun = [made.begin(lambda _: may_end.wait(PATIENCE_SECONDS)), made.begin(lambda _: "behind")]
    (thread,) = threads()
    closing = threading.Thread(target=made.close)
    closing.start()
    assert not any(each.is_here() for each in begun)
    may_end.set()
    closing.join(PATIENCE_SECONDS)
    assert all(each.is_here() for each in begun)
    assert not thread.is_alive()
    assert [each.end() for each in begun] == [True, "behind"]
    assert made.begin(lambda _: "again").end() == "again"


def test_closing_does_not_wait_for_what_is_begun_meanwhile(made):
    may_end = threading.Event()
    first = made.begin(lambda _: may_end.wait(PATIENCE_SECONDS))
    (thread,) = threads()
    join, is_waited_for = thread.join, threading.Event()
    thread.join = lambda: (is_waited_for.set(), join())
    closing = threading.Thread(target=made.close)
    closing.start()
    assert is_waited_for.wait(PATIENCE_SECONDS)
    assert made.begin(lambda _: "meanwhile").end() == "meanwhile"
    may_end.set()
    closing.join(PATIENCE_SECONDS)
    assert not closing.is_alive()
    assert first.end()


def test_where_no_thread_can_be_started_a_call_is_made_by_who_wants_its_answer(made, monkeypatch):
    def refuse(thread):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as full:
        full.setattr(threading.Thread, "start", refuse)
        begun = made.begin(lambda _: threading.current_thread())
    assert begun.is_here()
    assert begun.end() is threading.current_thread()
    assert made.begin(lambda _: threading.current_thread()).end() in threads()


def test_what_went_wrong_is_not_kept(made):
    class LostError(Exception):
        """Something that knows what it was called with."""

    def call(given):
        def fail(_):
            raise LostError(given)

        return fail

    class Given:
        pass

    given, gone = Given(), threading.Event()
    weakref.finalize(given, gone.set)
    gc.disable()
    try:
        begun = made.begin(call(given))
        del given
        with pytest.raises(LostError):
            begun.end()
        del begun
        assert gone.wait(PATIENCE_SECONDS)
    finally:
        gc.enable()


def test_what_was_called_is_not_kept(made):
    class Kept:
        def __call__(self, _):
            return "made"

    kept, gone = Kept(), threading.Event()
    weakref.finalize(kept, gone.set)
    assert made.begin(kept).end() == "made"
    del kept
    assert gone.wait(PATIENCE_SECONDS)
