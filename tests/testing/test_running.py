"""Running: in which order, until when, and what fails the test."""

import threading
import traceback

import pytest
import transaction

import taskqueue
from taskqueue import notices
from taskqueue.testing import captured, run_all

from .sites import PATIENCE_SECONDS, add, request, urls

pytest_plugins = ["taskqueue.testing"]


def test_tasks_run_in_order_and_what_they_add_afterwards(captured_tasks, make_site):
    ran = []

    def first(environ):
        ran.append("/first")
        taskqueue.add("/third")

    views = {
        "/first": first,
        "/second": lambda environ: ran.append("/second"),
        "/third": lambda environ: ran.append("/third"),
    }
    make_site(views)
    with transaction.manager:
        taskqueue.add("/first")
        taskqueue.add("/second")
    tasks = run_all()
    assert ran == urls(tasks) == ["/first", "/second", "/third"]
    assert [task.state for task in tasks] == ["done"] * 3
    assert captured_tasks[2].parent_id == captured_tasks[0].id


def test_the_higher_priority_runs_first_in_its_queue_and_the_older_task_among_queues(captured_tasks, make_site):
    paths = ("/low", "/high", "/other", "/last")
    make_site(dict.fromkeys(paths, lambda environ: None), {"a": {}, "b": {}})
    with transaction.manager:
        taskqueue.add("/low", queue="b")
        taskqueue.add("/other", queue="a")
        taskqueue.add("/high", queue="b", priority=1)
        taskqueue.add("/last", queue="a", priority=-1)
    assert urls(run_all()) == ["/high", "/low", "/other", "/last"]


def test_what_a_task_adds_in_a_transaction_that_aborts_never_runs(captured_tasks, make_site):
    def doomed(environ):
        taskqueue.add("/never")
        environ["tm.manager"].doom()

    make_site({"/doomed": doomed})
    add("/doomed")
    [task] = run_all(check=False)
    assert (task.state, task.last_outcome.status) == ("scheduled", 200)
    assert "its transaction aborted" in task.last_outcome.reason
    assert urls(captured_tasks) == ["/doomed"]


def test_a_replay_has_another_thread_and_the_callers_headers_and_is_a_task(captured_tasks, make_site):
    seen = {}

    def view(environ):
        seen.update(environ, thread=threading.get_ident(), task=taskqueue.current_task())

    guarded = taskqueue.task_only(lambda environ, start_response: view(environ))
    app = make_site(
        {"/": lambda environ: taskqueue.add("/task") and None, "/task": lambda environ: guarded(environ, None)}
    )
    request(app, cookie="user=ada")
    [task] = run_all()
    assert seen["thread"] != threading.get_ident()
    assert seen["task"].id == task.id == seen["HTTP_X_TASK_ID"]
    assert seen["HTTP_COOKIE"] == "user=ada"
    assert dict(task.headers)["Cookie"] == "user=ada"


def test_a_view_that_raises_fails_the_test_and_shows_where(captured_tasks, make_site):
    def a_view_with_a_mistake(environ):
        raise LookupError("a mistake")

    make_site({"/a": a_view_with_a_mistake, "/b": lambda environ: None})
    add("/a")
    add("/b")
    with pytest.raises(AssertionError, match=r"GET /a .*raised LookupError.*a mistake") as failure:
        run_all()
    frames = traceback.extract_tb(failure.value.__cause__.__traceback__)
    assert frames[-1].name == "a_view_with_a_mistake"
    assert [task.state for task in captured_tasks] == ["scheduled", "ready"]


@pytest.mark.parametrize(
    ("status", "state"), [("302 Found", "dead"), ("500 Oops", "scheduled"), ("404 No", "scheduled")]
)
def test_a_status_that_is_not_done_fails_the_test_unless_it_is_allowed(status, state, make_site):
    for check in (True, False):
        with captured():
            make_site({"/a": lambda environ: status})
            add("/a")
            if check:
                with pytest.raises(AssertionError, match=f"answered {status[:3]}"):
                    run_all()
            else:
                [task] = run_all(check=False)
                assert (task.state, task.last_outcome.status) == (state, int(status[:3]))
                assert task.last_outcome.body == status.encode()


def test_retries_run_at_once_until_done(captured_tasks, make_site):
    attempts = []

    def view(environ):
        attempts.append(environ["HTTP_X_TASK_ATTEMPT"])
        return None if len(attempts) == 3 else "503 Later" if len(attempts) == 1 else "500 Oops"

    make_site({"/a": view})
    add("/a")
    tasks = run_all(retry=True)
    assert [task.state for task in tasks] == ["scheduled", "scheduled", "done"]
    assert attempts == ["1", "1", "2"]  # a 503 spends no attempt


def test_retries_end_as_the_consumer_is_configured_and_then_the_test_fails(captured_tasks, make_site):
    make_site({"/a": lambda environ: "500 Oops"}, servers={"default": {"retry_max_count": 1}})
    add("/a")
    with pytest.raises(AssertionError, match="attempts used up"):
        run_all(retry=True)
    assert (captured_tasks[0].state, captured_tasks[0].attempts) == ("dead", 2)


def test_attempts_are_counted_over_several_runs(captured_tasks, make_site):
    make_site({"/a": lambda environ: "500 Oops"}, servers={"default": {"retry_max_count": 2}})
    add("/a")
    assert [task.attempts for task in run_all(check=False)] == [1]
    assert run_all(check=False) == []
    assert [task.attempts for task in run_all(check=False, retry=True)] == [2, 3]
    assert captured_tasks[0].state == "dead"


def test_delayed_tasks_run_only_when_asked_for_and_in_the_order_in_which_they_are_due(captured_tasks, make_site):
    make_site(dict.fromkeys(("/now", "/minute", "/hour"), lambda environ: None))
    with transaction.manager:
        taskqueue.add("/hour", delay=3600)
        taskqueue.add("/minute", delay=60)
        taskqueue.add("/now")
    assert urls(run_all()) == ["/now"]
    assert urls(run_all(delayed=True)) == ["/minute", "/hour"]


def test_a_task_that_adds_itself_does_not_run_for_ever(captured_tasks, make_site):
    make_site({"/again": lambda environ: taskqueue.add("/again") and None})
    add("/again")
    with pytest.raises(AssertionError, match=r"after 7 replays there is more to do:\n  1\. GET /again"):
        run_all(limit=7)
    assert len(captured_tasks) == 8


def test_a_conflict_that_never_ends_does_not_run_for_ever(captured_tasks, make_site):
    make_site({"/a": lambda environ: "409 Conflict"})
    add("/a")
    with pytest.raises(AssertionError, match="after 5 replays there is more to do"):
        run_all(retry=True, limit=5)


def test_as_many_tasks_as_the_limit_may_run(captured_tasks, make_site):
    make_site({"/a": lambda environ: None})
    add("/a")
    add("/a")
    assert len(run_all(limit=2)) == 2


def test_a_replay_that_does_not_end_fails_the_test(captured_tasks, make_site):
    may_end = threading.Event()
    ended = threading.Event()

    def view(environ):
        may_end.wait(PATIENCE_SECONDS)
        ended.set()

    make_site({"/a": view})
    add("/a")
    try:
        with pytest.raises(AssertionError, match=r"GET /a .*has not ended within 0\.05 s"):
            run_all(timeout=0.05)
    finally:
        may_end.set()
    assert ended.wait(PATIENCE_SECONDS)


def test_whoever_listens_hears_what_the_consumer_would_tell(captured_tasks, make_site):
    heard = []
    make_site({"/a": lambda environ: None})
    add("/a")

    def listener(notice):
        heard.append(notice.event)

    notices.listen(listener)
    try:
        run_all()
    finally:
        notices.unlisten(listener)
    assert heard == [notices.Event.STARTED, notices.Event.DONE]


def test_a_thousand_tasks_of_one_transaction_run(captured_tasks, make_site):
    make_site({"/a": lambda environ: None})
    with transaction.manager:
        for _ in range(1000):
            taskqueue.add("/a")
    assert len(run_all()) == 1000


def test_what_is_not_committed_fails_where_nothing_else_is_to_be_run(captured_tasks, make_site):
    make_site({"/first": lambda environ: None})
    taskqueue.add("/first")
    with pytest.raises(
        AssertionError, match="nothing to run; 1 not committed: the transaction of this thread is still"
    ):
        run_all()
    assert run_all(check=False) == []
    transaction.commit()
    assert urls(run_all()) == ["/first"]
    assert run_all() == []
