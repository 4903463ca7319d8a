from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from taskqueue import notices
from taskqueue.monitor import log
from taskqueue.notices import Event, Notice
from taskqueue.record import Outcome, Principal, Task

TASK = Task(
    id="0199-a",
    queue="default",
    method="POST",
    url="/reports/build?token=query-canary",
    headers=(("Authorization", "Bearer header-canary"), ("X-Own", "header-canary")),
    payload=b"payload-canary",
    principal=Principal("anna", "pyramid"),
    attempts=1,
)
REASON = "answered 503; again in 12 s"
CANARIES = ("query-canary", "header-canary", "payload-canary", "body-canary", "error-canary", "cookie-canary")


def outcome(**fields: Any) -> Outcome:
    kept = {
        "state": "scheduled",
        "reason": REASON,
        "status": 503,
        "headers": (("Location", "https://u:header-canary@site.example/login?next=query-canary#query-canary"),),
        "body": b"body-canary",
        "error": "ValueError: error-canary",
        "attempt": 2,
        "duration_seconds": 0.1234,
    }
    return Outcome(**{**kept, **fields})


def every_notice() -> list[Notice]:
    return [
        Notice(
            event=event,
            queue="default",
            consumer="worker",
            task=task,
            task_ids=("0199-a", "0199-b"),
            outcome=outcome(status=status),
            detail="some detail",
        )
        for event in Event
        for task in (TASK, None)
        for status in (None, 200, 302, 503)
    ]


@pytest.fixture(autouse=True)
def _install(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    caplog.set_level(logging.DEBUG, "taskqueue")
    log.install()
    yield
    notices.unlisten(log.log_notice)


def lines(caplog: pytest.LogCaptureFixture, logger: str = "taskqueue") -> list[tuple[str, str]]:
    return [(each.levelname, each.getMessage()) for each in caplog.records if each.name == logger]


# ---- who is told what --------------------------------------------------------------------------------------------


def test_a_retry_is_a_warning_with_its_reason(caplog):
    notices.tell(Event.RETRIED, queue="default", consumer="worker", task=TASK, outcome=outcome(), delay_seconds=12.0)
    assert lines(caplog) == [
        (
            "WARNING",
            "task 0199-a of queue default (POST /reports/build as anna), attempt 2 retried: " + REASON,
        )
    ]


def test_a_dead_task_is_an_error_with_id_url_user_status_and_attempt(caplog):
    notices.tell(Event.DEAD, queue="default", task=TASK, outcome=outcome(state="dead", reason="answered 422"))
    ((level, line),) = lines(caplog)
    assert level == "ERROR"
    for word in ("0199-a", "/reports/build", "anna", "422", "attempt 2"):
        assert word in line


def test_a_dead_task_that_could_not_be_read_is_told_by_its_id(caplog):
    notices.tell(
        Event.DEAD, queue="default", task_ids=("0199-a",), outcome=Outcome(state="dead", reason="the seal is broken")
    )
    assert lines(caplog) == [("ERROR", "task 0199-a of queue default dead: the seal is broken")]


def test_a_redirect_is_a_warning_with_the_path_of_its_location(caplog):
    notices.tell(
        Event.DEAD, queue="default", task=TASK, outcome=outcome(state="dead", status=302, reason="answered 302")
    )
    levels = [level for level, _ in lines(caplog)]
    assert levels == ["WARNING", "ERROR"]
    assert lines(caplog)[0][1].endswith("answered 302, not followed; Location: https://site.example/login")


@pytest.mark.parametrize(
    ("event", "level"),
    [
        (Event.ADDED, "DEBUG"),
        (Event.STARTED, "DEBUG"),
        (Event.DISCARDED, "ERROR"),
        (Event.RETURNED, "INFO"),
        (Event.REFUSED, "WARNING"),
        (Event.UNREADABLE, "ERROR"),
        (Event.OVERDUE, "ERROR"),
        (Event.RECLAIMED, "WARNING"),
        (Event.HELD, "WARNING"),
        (Event.SETTLED, "INFO"),
        (Event.TORN, "ERROR"),
        (Event.UNPUBLISHED, "ERROR"),
        (Event.PUBLISHED_LATE, "INFO"),
        (Event.BACKEND_DOWN, "ERROR"),
        (Event.BACKEND_UP, "WARNING"),
        (Event.CONSUMER_STARTED, "INFO"),
        (Event.CONSUMER_STOPPING, "INFO"),
        (Event.CONSUMER_STOPPED, "INFO"),
        (Event.CONSUMER_FAILED, "ERROR"),
        (Event.CONSUMER_REFUSED, "ERROR"),
        (Event.WARNING, "WARNING"),
    ],
)
def test_each_event_has_its_level_and_its_line(caplog, event, level):
    notices.tell(event, queue="default", consumer="worker", task_ids=("0199-a",), detail="some detail")
    ((said, line),) = lines(caplog)
    assert said == level
    assert "default" in line


def test_every_event_has_a_line(caplog):
    for notice in every_notice():
        caplog.clear()
        log.log_notice(notice)
        assert lines(caplog), notice.event


def test_the_detail_of_a_notice_is_in_its_line(caplog):
    notices.tell(Event.DISCARDED, task_ids=("0199-a",), detail="put a transaction manager inside")
    assert "put a transaction manager inside" in lines(caplog)[0][1]


def test_many_ids_are_counted(caplog):
    notices.tell(Event.RECLAIMED, queue="default", task_ids=tuple(f"id-{number}" for number in range(1000)))
    ((_, line),) = lines(caplog)
    assert "id-9 and 990 more" in line
    assert len(line) < 300


# ---- the access log ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("event", "word"),
    [(Event.DONE, "done"), (Event.RETRIED, "retried"), (Event.DEAD, "dead"), (Event.REFUSED, "refused")],
)
def test_the_access_log_has_one_line_for_each_replay(caplog, event, word):
    notices.tell(event, queue="default", consumer="worker", task=TASK, task_ids=("0199-a",), outcome=outcome())
    assert lines(caplog, "taskqueue.access") == [
        ("INFO", f"default 0199-a POST /reports/build 503 attempt=2 0.123s {word}")
    ]


def test_a_replay_without_response_has_a_dash_for_its_status(caplog):
    notices.tell(Event.RETRIED, queue="default", task=TASK, outcome=outcome(status=None))
    assert " - attempt=2 " in lines(caplog, "taskqueue.access")[0][1]


def test_what_was_not_replayed_is_not_in_the_access_log(caplog):
    notices.tell(Event.DEAD, queue="default", task=TASK, outcome=Outcome(state="dead", reason="its consumer died"))
    notices.tell(Event.REFUSED, queue="default", task_ids=("0199-a",))
    notices.tell(Event.STARTED, queue="default", task=TASK)
    assert not lines(caplog, "taskqueue.access")


# ---- what never appears ------------------------------------------------------------------------------------------


def test_no_secret_is_in_any_line(caplog):
    for notice in every_notice():
        log.log_notice(notice)
    assert len(caplog.records) > len(Event)
    for canary in CANARIES:
        assert canary not in caplog.text


def test_nothing_that_comes_from_outside_ends_a_line_or_colours_a_terminal(caplog):
    nasty = "a\r\nb\x1b[31m\u2028\u0085\x00\ud800c"
    task = Task(id=nasty, queue=nasty, method=nasty, url="/" + nasty, principal=Principal(nasty))
    for event in Event:
        for each in (task, None):
            log.log_notice(
                Notice(
                    event=event,
                    queue=nasty,
                    consumer=nasty,
                    task=each,
                    task_ids=(nasty,),
                    outcome=outcome(reason=nasty, status=302, headers=(("location", nasty),)),
                    detail=nasty,
                )
            )
    assert len(caplog.records) > len(Event)
    for record in caplog.records:
        assert record.getMessage().isprintable(), record.getMessage()


def test_a_blank_in_a_path_does_not_forge_the_fields_behind_it(caplog):
    task = Task(id="0199-a", queue="default", method="GET", url="/x 200 attempt=1 0.001s done")
    notices.tell(Event.DEAD, queue="default", task=task, outcome=outcome())
    assert len(lines(caplog, "taskqueue.access")[0][1].split()) == 8


# ---- a backend that is down --------------------------------------------------------------------------------------


def test_a_backend_that_is_down_is_said_once_however_many_meet_it(caplog):
    for consumer in ("", "one", "two"):
        notices.tell(Event.BACKEND_DOWN, queue="default", consumer=consumer, detail="no route")
    for consumer in ("one", "", "two"):
        notices.tell(Event.BACKEND_UP, queue="default", consumer=consumer)
    assert [level for level, _ in lines(caplog)] == ["ERROR", "DEBUG", "DEBUG", "DEBUG", "DEBUG", "WARNING"]


def test_the_next_time_it_is_down_it_is_said_again(caplog):
    for _ in range(2):
        notices.tell(Event.BACKEND_DOWN, queue="default", detail="no route")
        notices.tell(Event.BACKEND_UP, queue="default")
    assert [level for level, _ in lines(caplog)] == ["ERROR", "WARNING", "ERROR", "WARNING"]


def test_each_queue_is_said_for_itself(caplog):
    notices.tell(Event.BACKEND_DOWN, queue="default", detail="no route")
    notices.tell(Event.BACKEND_DOWN, queue="other", detail="no route")
    assert [level for level, _ in lines(caplog)] == ["ERROR", "ERROR"]


def test_one_that_stopped_while_it_was_down_is_not_waited_for(caplog):
    notices.tell(Event.BACKEND_DOWN, queue="default", consumer="one", detail="no route")
    notices.tell(Event.BACKEND_DOWN, queue="default", detail="no route")
    notices.tell(Event.CONSUMER_STOPPED, queue="default", consumer="one")
    notices.tell(Event.BACKEND_UP, queue="default")
    assert lines(caplog)[-1] == ("WARNING", "queue default is available again")


# ---- installing, and its cost ------------------------------------------------------------------------------------


def test_installing_twice_logs_once(caplog):
    log.install()
    notices.tell(Event.WARNING, detail="once")
    assert lines(caplog) == [("WARNING", "once")]


def test_nothing_is_made_for_a_level_that_nobody_wants(caplog):
    class Unreadable(str):
        def isprintable(self) -> bool:
            raise AssertionError("a line was made")

    caplog.set_level(logging.CRITICAL, "taskqueue")
    notices.listen(log.log_notice)
    log.log_notice(
        Notice(event=Event.RETRIED, task=Task(id=Unreadable("x"), queue="q", method="GET", url="/"), outcome=outcome())
    )
    assert not caplog.records


@pytest.mark.parametrize("level", [logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL])
@pytest.mark.parametrize("access_level", [logging.INFO, logging.WARNING])
def test_what_would_make_a_line_is_heard(caplog, level, access_level):
    caplog.set_level(level, "taskqueue")
    caplog.set_level(access_level, "taskqueue.access")
    for notice in every_notice():
        caplog.clear()
        log.log_notice(notice)
        assert log.log_notice.hears(notice.event, notice.outcome) or not caplog.records, notice


def test_a_task_without_trouble_is_not_heard_where_only_trouble_is_logged(caplog):
    caplog.set_level(logging.WARNING, "taskqueue")
    done = outcome(status=200)
    assert not log.log_notice.hears(Event.STARTED, None)
    assert not log.log_notice.hears(Event.DONE, done)
    assert log.log_notice.hears(Event.DONE, outcome(status=302))
