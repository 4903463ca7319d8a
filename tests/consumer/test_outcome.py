from __future__ import annotations

from email.utils import formatdate
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskqueue.consumer import outcome
from taskqueue.consumer.outcome import TABLE, Answer, Judgement, backoff, judge
from taskqueue.consumer.replay import replay
from taskqueue.converters import OUTCOME_WORDS
from taskqueue.notices import Event
from taskqueue.record import Task
from taskqueue.settings import ServerSettings

from .fakes import answering, make_task

NOW = 1_800_000_000.0
DAY = 24 * 3600.0
SETTINGS = ServerSettings()


class TransientError(Exception):
    """Named as the transaction library names the root of all conflicts."""


class ReadConflictError(TransientError):
    """A child of it."""


class ConflictError(Exception):
    """Named as ZODB names it."""


def raising(error: BaseException) -> Any:
    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        raise error

    return application


def ending(transaction_end: str, status: str = "200 OK") -> Any:
    """An application whose transaction, which a door joined, ends so."""

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        environ["taskqueue.acknowledgement"].state = transaction_end
        start_response(status, [])
        return [b""]

    return application


def replayed(application: Any, task: Task | None = None, now: float = NOW, **settings: Any) -> Judgement:
    task = task or make_task()
    return judge(replay(application, task), task, ServerSettings(**settings), now, 0.5)


def tried(attempts: int, **fields: Any) -> Task:
    fields = {"claim_number": attempts + 1, "first_claimed_at": NOW - 60, **fields}
    return make_task(attempts=attempts, **fields)


# ---- the table, row by row, through real replays -----------------------------------------------------------------


@pytest.mark.parametrize("status", ["200 OK", "201 Created", "204 No Content", "299 Whatever"])
def test_2xx_is_done_and_its_secrets_are_wiped(status):
    judgement = replayed(answering(status))
    assert (judgement.event, judgement.state, judgement.attempts, judgement.wipe) == (Event.DONE, "done", 1, True)


def test_2xx_whose_transaction_committed_is_done():
    assert replayed(ending("committed")).state == "done"


def test_2xx_whose_transaction_aborted_is_tried_again():
    judgement = replayed(ending("aborted"))
    assert (judgement.event, judgement.state, judgement.attempts) == (Event.RETRIED, "scheduled", 1)
    assert "aborted" in judgement.outcome.reason


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "304 Not Modified", "307 T", "308 P"])
def test_3xx_is_dead_and_keeps_its_location(status):
    judgement = replayed(answering(status, [("Location", "/login")]))
    assert (judgement.event, judgement.state, judgement.wipe) == (Event.DEAD, "dead", False)
    assert judgement.outcome.headers == (("Location", "/login"),)


@pytest.mark.parametrize("status", ["401 Unauthorized", "403 Forbidden", "404 Not Found"])
def test_401_403_and_404_have_three_attempts_at_most(status):
    states = [replayed(answering(status), tried(attempts)).state for attempts in range(4)]
    assert states == ["scheduled", "scheduled", "dead", "dead"]


def test_three_attempts_at_most_are_fewer_where_fewer_are_configured():
    assert replayed(answering("404 Not Found"), tried(1), retry_max_count=1).state == "dead"


@pytest.mark.parametrize(
    "status", ["408 Timeout", "423 Locked", "425 Too Early", "500 Error", "502 Bad", "504 Late", "599 X"]
)
def test_what_may_pass_is_tried_until_its_attempts_are_used_up(status):
    judgements = [replayed(answering(status), tried(attempts)) for attempts in (0, 9, 10)]
    assert [each.state for each in judgements] == ["scheduled", "scheduled", "dead"]
    assert [each.attempts for each in judgements] == [1, 1, 1]


def test_an_exception_is_tried_until_its_attempts_are_used_up():
    judgements = [replayed(raising(ValueError("no")), tried(attempts)) for attempts in (0, 10)]
    assert [each.state for each in judgements] == ["scheduled", "dead"]
    assert judgements[0].outcome.status is None
    assert judgements[0].outcome.error == "ValueError: no"


@pytest.mark.parametrize("status", ["409 Conflict", "429 Too Many", "503 Unavailable"])
def test_a_conflict_or_a_busy_server_spends_no_attempt_on_the_first_day(status):
    judgement = replayed(answering(status), tried(10, first_claimed_at=NOW - DAY + 1))
    assert (judgement.state, judgement.attempts) == ("scheduled", 0)


@pytest.mark.parametrize("status", ["409 Conflict", "429 Too Many", "503 Unavailable"])
def test_after_the_first_day_they_spend_attempts_like_others(status):
    first = replayed(answering(status), tried(3, first_claimed_at=NOW - DAY))
    last = replayed(answering(status), tried(10, first_claimed_at=NOW - DAY))
    assert (first.state, first.attempts, last.state) == ("scheduled", 1, "dead")


@pytest.mark.parametrize("error", [TransientError("x"), ReadConflictError("x"), ConflictError("x")])
def test_a_conflict_is_known_by_the_names_of_its_classes(error):
    judgement = replayed(raising(error), tried(10))
    assert (judgement.state, judgement.attempts) == ("scheduled", 0)


def test_what_pyramid_marks_as_retryable_is_a_conflict():
    pyramid_retry = pytest.importorskip("pyramid_retry")
    error = RuntimeError("could not serialize access")
    pyramid_retry.mark_error_retryable(error)
    assert replayed(raising(error), tried(10)).attempts == 0


def test_the_real_transient_error_is_a_conflict():
    from transaction.interfaces import TransientError as RealTransientError

    assert outcome.is_conflict(RealTransientError())


@pytest.mark.parametrize("status", ["400 Bad", "402 Pay", "405 Method", "410 Gone", "413 Large", "422 U", "451 L"])
def test_any_other_4xx_is_dead(status):
    judgement = replayed(answering(status))
    assert (judgement.state, judgement.attempts, judgement.wipe) == ("dead", 1, False)


@pytest.mark.parametrize("status", ["100 Continue", "600 What", "999 Blocked"])
def test_a_status_that_ends_no_response_is_tried_again(status):
    assert replayed(answering(status)).state == "scheduled"


def test_a_task_says_for_itself_how_many_attempts_it_has():
    task = tried(1, max_attempts=2)
    assert replayed(answering("500 E"), task).state == "dead"
    assert replayed(answering("500 E"), tried(0, max_attempts=1), retry_max_count=5).state == "dead"
    assert replayed(answering("500 E"), tried(20, max_attempts=30)).state == "scheduled"


def test_without_retries_the_first_failure_is_the_last():
    assert replayed(answering("500 E"), tried(0), retry_max_count=0).state == "dead"


@pytest.mark.parametrize("status", ["200 OK", "302 Found", "401 Unauthorized", "503 Busy", None])
def test_what_a_door_refused_is_dead_at_once_with_its_reason_whatever_was_made_of_it(status):
    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        environ["taskqueue.acknowledgement"].refuse("of somebody\nelse")
        if status is None:
            raise TransientError
        start_response(status, [])
        return [b""]

    judgement = replayed(
        application, outcomes={"2xx": "done", "302": "done", "exception": "retry", "conflict": "retry"}
    )
    assert (judgement.state, judgement.outcome.reason) == ("dead", "not run: of somebody\\nelse")


def test_a_refusal_counts_for_the_transaction_that_was_joined_last():
    class Joinable:
        def join(self, _manager: Any) -> None:
            """Nothing to do."""

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        environ["taskqueue.acknowledgement"].refuse("at the first attempt")
        environ["taskqueue.acknowledgement"].join(Joinable())
        start_response("204 No Content", [])
        return []

    assert replayed(application).state == "done"


def test_the_table_has_one_row_for_each_ending_and_says_why():
    assert len({row.ended_in for row in TABLE}) == len(TABLE)
    assert all(row.why for row in TABLE)


# ---- settings change rows ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "overrides", "state"),
    [
        ("302 Found", {"302": "done"}, "done"),
        ("302 Found", {"3xx": "retry"}, "scheduled"),
        ("302 Found", {"3xx": "dead", "302": "done"}, "done"),
        ("303 See Other", {"3xx": "done", "302": "dead"}, "done"),
        ("422 Unprocessable", {"4xx": "retry"}, "scheduled"),
        ("200 OK", {"200": "dead"}, "dead"),
        ("500 Error", {"5xx": "dead"}, "dead"),
        ("409 Conflict", {"conflict": "dead"}, "dead"),
        ("409 Conflict", {"409": "retry", "conflict": "dead"}, "scheduled"),
    ],
)
def test_settings_change_rows_the_exact_one_first(status, overrides, state):
    assert replayed(answering(status), outcomes=overrides).state == state


def test_settings_change_what_an_exception_comes_to():
    assert replayed(raising(ValueError()), outcomes={"exception": "dead"}).state == "dead"
    assert replayed(raising(ConflictError()), outcomes={"exception": "dead"}).state == "scheduled"
    assert replayed(raising(ConflictError()), outcomes={"conflict": "dead"}).state == "dead"


def test_a_status_may_be_configured_to_be_a_conflict():
    judgement = replayed(answering("418 Teapot"), tried(10), outcomes={"418": "conflict"})
    assert (judgement.state, judgement.attempts) == ("scheduled", 0)


def test_an_aborted_transaction_is_not_configured_away():
    assert replayed(ending("aborted"), outcomes={"200": "done"}).state == "scheduled"
    assert replayed(ending("aborted", "302 Found"), outcomes={"302": "done"}).state == "scheduled"


def test_every_word_of_the_option_is_understood():
    for word in OUTCOME_WORDS:
        assert replayed(answering("418 Teapot"), outcomes={"418": word}).state in {"done", "scheduled", "dead"}


# ---- when again --------------------------------------------------------------------------------------------------


def test_the_formula_gives_app_engines_delays():
    delays = [backoff(retry, 10, 300, 3) for retry in range(1, 9)]
    assert delays == [10, 20, 40, 80, 160, 240, 300, 300]


@given(
    retry=st.integers(1, 10**9),
    minimum=st.floats(0, 10_000),
    maximum=st.floats(0, 10**6),
    doublings=st.integers(0, 10**18),
)
def test_the_delay_never_shrinks_and_never_passes_its_maximum(retry, minimum, maximum, doublings):
    delay = backoff(retry, minimum, maximum, doublings)
    assert 0 <= delay <= maximum
    assert delay <= backoff(retry + 1, minimum, maximum, doublings)
    assert delay >= min(minimum, maximum)


@given(
    attempts=st.integers(0, 9),
    claim_number=st.integers(1, 10**6),
    status=st.sampled_from(["408 X", "409 X", "429 X", "500 X", "503 X"]),
    fraction=st.floats(0, 1),
)
def test_the_jitter_is_a_tenth_at_most(attempts, claim_number, status, fraction):
    task = tried(attempts, claim_number=claim_number)
    answer = replay(answering(status), task)
    plain = judge(answer, task, SETTINGS, NOW, 0.5).delay_seconds
    assert plain * 0.899 <= judge(answer, task, SETTINGS, NOW, fraction).delay_seconds <= plain * 1.101
    assert 0.5 <= plain <= 3600


def test_conflicts_start_with_a_delay_of_their_own():
    assert replayed(answering("409 Conflict")).delay_seconds == 0.5
    assert replayed(raising(ConflictError())).delay_seconds == 0.5
    assert replayed(answering("503 Busy")).delay_seconds == 5.0
    assert replayed(answering("500 Error")).delay_seconds == 5.0


def test_the_delay_grows_with_the_claims_where_no_attempt_is_spent():
    delays = [replayed(answering("503 Busy"), tried(0, claim_number=number)).delay_seconds for number in (1, 2, 3, 4)]
    assert delays == [5.0, 10.0, 20.0, 40.0]


def test_the_delay_grows_with_the_attempts_and_not_with_claims_that_were_given_back():
    assert replayed(answering("500 Error"), tried(1, claim_number=9)).delay_seconds == 10.0


@pytest.mark.parametrize("status", ["408 X", "423 X", "429 X", "500 X", "503 X", "409 X", "404 X"])
def test_retry_after_in_seconds_takes_the_place_of_the_formula(status):
    assert 7 <= replayed(answering(status, [("retry-AFTER", " 7 ")])).delay_seconds <= 7.7


def test_retry_after_as_a_date_is_honoured():
    headers = [("Retry-After", formatdate(NOW + 90, usegmt=True))]
    assert 90 <= replayed(answering("503 Busy", headers)).delay_seconds <= 99


@pytest.mark.parametrize("value", ["999999", "9" * 5000, formatdate(NOW + 10**7, usegmt=True)])
def test_retry_after_is_honoured_up_to_an_hour(value):
    assert 3600 <= replayed(answering("500 X", [("Retry-After", value)])).delay_seconds <= 3960


@pytest.mark.parametrize("value", ["0", formatdate(NOW - 90, usegmt=True)])
def test_retry_after_does_not_hasten_the_first_step(value):
    assert replayed(answering("500 X", [("Retry-After", value)])).delay_seconds >= 5


@given(value=st.text())
def test_a_retry_after_that_nobody_understands_harms_nothing(value):
    delay = outcome.retry_after((("Retry-After", value),), NOW)
    assert delay is None or delay >= 0


@pytest.mark.parametrize("value", ["", "soon", "-5", "1.5", "²", "Wed, 99 Foo 2030 00:00:00 GMT", "inf"])
def test_such_a_retry_after_leaves_the_formula(value):
    assert replayed(answering("500 X", [("Retry-After", value)])).delay_seconds == 5.0


# ---- what is kept ------------------------------------------------------------------------------------------------


def test_the_outcome_tells_what_came_back():
    task = tried(2)
    answer = Answer(status=503, headers=(("X-A", "b"),), body=b"busy", duration_seconds=1.5)
    kept = judge(answer, task, SETTINGS, NOW, 0.5).outcome
    assert (kept.state, kept.status, kept.headers, kept.body) == ("scheduled", 503, (("X-A", "b"),), b"busy")
    assert (kept.attempt, kept.duration_seconds, kept.finished_at) == (3, 1.5, NOW)
    assert kept.reason == "answered 503; again in 20 s"


def test_a_dead_one_says_that_its_attempts_are_used_up():
    assert replayed(answering("500 X"), tried(10)).outcome.reason == "answered 500; attempts used up (11, allowed 11)"


def test_cookies_and_credentials_of_the_response_are_not_kept():
    names = ["Set-Cookie", "set-cookie", "Set-Cookie2", "X-CSRF-Token", "Authorization", "X-Kept"]
    kept = replayed(answering("200 OK", [(name, "canary") for name in names])).outcome
    assert kept.headers == (("X-Kept", "canary"),)


def test_few_headers_and_few_bytes_of_them_are_kept():
    many = replayed(answering("200 OK", [(f"X-{n}", "v") for n in range(200)])).outcome.headers
    large = replayed(answering("200 OK", [("X-A", "a" * 5000), ("X-B", "b" * 5000)])).outcome.headers
    assert len(many) == 50
    assert [name for name, _ in large] == ["X-A"]


def test_the_body_is_cut():
    assert len(replayed(answering(body=b"x" * 10_000)).outcome.body) == 4096


def test_the_text_of_an_exception_is_one_line_of_500_characters():
    kept = replayed(raising(ValueError("a\r\nb\0\x1b[31m" + "é" * 1000))).outcome
    assert kept.error.startswith("ValueError: a\\r\\nb\\x00\\x1b[31mé")
    assert len(kept.error) == 500
    assert kept.error.isprintable()


def test_the_text_of_an_exception_does_not_repeat_secrets_of_the_task():
    task = make_task(
        "/a?key=query-canary", headers=(("Authorization", "Bearer canary-token"),), payload=b"payload-canary"
    )
    error = ValueError("Bearer canary-token, canary-token, key=query-canary, payload-canary: bad")
    kept = replayed(raising(error), task).outcome
    assert "canary" not in kept.error
    assert kept.error.endswith(": bad")


def test_the_text_of_an_exception_does_not_repeat_a_single_cookie_of_the_task():
    task = make_task("/a", headers=(("Cookie", "first=1; session=canary-cookie; last=2"),))
    assert "canary" not in replayed(raising(ValueError("no session canary-cookie")), task).outcome.error


class UnspeakableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


class DeadlyError(Exception):
    def __str__(self) -> str:
        raise SystemExit("no text")


@pytest.mark.parametrize(
    "error", [UnspeakableError(), DeadlyError(), ValueError("\ud800"), SystemExit(3), KeyboardInterrupt()]
)
def test_any_exception_becomes_an_outcome_that_can_be_stored(error):
    judgement = replayed(raising(error))
    assert judgement.state == "scheduled"
    assert judgement.settlement("id", 1).outcome


def test_a_judgement_becomes_a_settlement_of_its_claim():
    judgement = replayed(answering("500 X"))
    settlement = judgement.settlement("an id", 7)
    assert (settlement.id, settlement.claim_number, settlement.state) == ("an id", 7, "scheduled")
    assert (settlement.delay, settlement.attempts, settlement.wipe, settlement.started) == (5.0, 1, False, True)
    assert msgspec.msgpack.decode(settlement.outcome or b"", type=type(judgement.outcome)) == judgement.outcome


def test_what_is_refused_is_dead_and_spends_nothing():
    judgement = outcome.refuse("a\nb", 2, NOW)
    assert (judgement.event, judgement.state, judgement.attempts, judgement.wipe) == (Event.DEAD, "dead", 0, False)
    assert judgement.outcome.reason == "a\\nb"


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.5, "0.5 s"), (12.4, "12 s"), (119, "119 s"), (300, "5 min"), (5400, "1.5 h")]
)
def test_delays_are_told_as_people_say_them(seconds, words):
    assert outcome.duration_in_words(seconds) == words


@given(status=st.integers(100, 999), attempts=st.integers(0, 20), fraction=st.floats(0, 1))
def test_every_status_comes_to_something_that_the_store_takes(status, attempts, fraction):
    task = tried(attempts)
    judgement = judge(Answer(status=status), task, SETTINGS, NOW, fraction)
    assert judgement.attempts in {0, 1}
    assert judgement.wipe is (judgement.state == "done")
    assert (judgement.delay_seconds > 0) is (judgement.state == "scheduled")
    assert judgement.outcome.state == judgement.state
