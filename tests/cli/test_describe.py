import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskqueue.cli import describe
from taskqueue.cli.describe import Described, redacted, redacted_url
from taskqueue.interfaces import Record
from taskqueue.queues import Queue
from taskqueue.record import Keyring, Outcome, Principal, Task, encode, new_id

KEY, OTHER_KEY = b"k" * 32, b"o" * 32


def queue_with(*keys):
    return Queue(name="default", backend=None, keyring=Keyring(keys))


def encoded(keyring, **fields):
    return encode(Task(id=new_id(), queue="default", method="GET", url="/a", **fields), keyring)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("/a", "/a"),
        ("/a?", "/a"),
        ("/a?b=1&c=2", "/a?b=…&c=…"),
        ("/a?b=1;c=2", "/a?b=…&c=…"),
        ("/a?token", "/a?…"),
        ("/a?b=x=y", "/a?b=…"),
        ("/a?b=1?c=2", "/a?b=…"),
    ],
)
def test_a_url_keeps_the_names_of_its_query_and_no_value(url, shown):
    assert redacted_url(url) == shown


@given(st.lists(st.tuples(st.sampled_from(["a", "b"]), st.text(alphabet="0123456789%+/?=", min_size=1)), min_size=1))
def test_no_value_of_a_query_is_shown(pairs):
    shown = redacted_url("/path?" + "&".join(f"{name}={value}" for name, value in pairs))
    assert not set("0123456789%+") & set(shown)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("redirected to http://x/login?came_from=1", "redirected to http://x/login?came_from=…"),
        ("<a href='/x?a=1'>", "<a href='/x?a=…'>"),
        ("are you sure? yes", "are you sure? yes"),
    ],
)
def test_text_loses_the_values_of_the_queries_in_it(text, shown):
    assert redacted(text) == shown


def test_a_sealed_record_is_read_with_its_key():
    described = describe.read(queue_with(KEY), encoded(Keyring([KEY]), principal=Principal("ann")))
    assert (described.path, described.user, described.problem) == ("/a", "ann", "")


@pytest.mark.parametrize(
    ("sealed_with", "problem"), [((OTHER_KEY,), "which this configuration does not have"), ((), "has no seal")]
)
def test_a_record_that_would_not_be_run_is_looked_at_with_the_reason(sealed_with, problem):
    described = describe.read(queue_with(KEY), encoded(Keyring(sealed_with)))
    assert described.path == "/a"
    assert problem in described.problem
    assert describe.everything(described)["problem"] == described.problem
    assert describe.brief(described)["last"] == described.problem


def test_a_record_that_nobody_can_read_is_described_by_its_columns():
    record = Record(id="the-id", body=b"\xc1", secrets=b"never shown", state="ready", attempts=2, claimed_at=0.5)
    shown = describe.everything(describe.read(queue_with(), record))
    assert (shown["id"], shown["state"], shown["attempts"]) == ("the-id", "ready", 2)
    assert shown["claimed_at"] == "1970-01-01T00:00:00.500Z"
    assert "cannot be read" in shown["problem"]
    assert not {"body", "secrets", "outcome"} & shown.keys()


def test_an_envelope_that_cannot_be_read_says_so():
    record = Record(id="the-id", body=b"\xc1", state="held", envelope=b"\xc1")
    assert "cannot be read" in describe.everything(describe.read(queue_with(), record))["envelope"]


def test_variables_of_the_connection_lose_their_queries():
    connection = {"REMOTE_ADDR": "::1", "QUERY_STRING": "a=1", "REQUEST_URI": "/x?a=1", "HTTP_COOKIE": "c"}
    shown = describe.everything(describe.read(queue_with(), encoded(Keyring(), connection=connection)))
    assert shown["connection"] == {
        "REMOTE_ADDR": "::1",
        "QUERY_STRING": "…",
        "REQUEST_URI": "/x?a=…",
        "HTTP_COOKIE": "…",
    }


# ---- what the last replay came to --------------------------------------------------------------------------------


def described(reason, **fields):
    task = Task(
        id=new_id(),
        queue="default",
        method="GET",
        url="/a",
        last_outcome=Outcome(state="dead", reason=reason, **fields),
    )
    return Described(queue_with(), Record(id=task.id, body=b""), task)


@pytest.mark.parametrize(
    ("reason", "fields", "told"),
    [
        (
            "raised KeyError; attempts used up (4, allowed 4)",
            {"error": "KeyError: 'no such order: 42'"},
            "raised KeyError: 'no such order: 42'; attempts used up (4, allowed 4)",
        ),
        ("raised ValueError; again in 30 s", {"error": "ValueError: "}, "raised ValueError; again in 30 s"),
        ("raised ValueError", {"error": "ValueError: see /x?token=1"}, "raised ValueError: see /x?token=…"),
        (
            "answered 302",
            {"status": 302, "headers": (("Location", "http://x/require_login?came_from=/a"),)},
            "answered 302 to http://x/require_login?came_from=…",
        ),
        ("answered 302", {"status": 302}, "answered 302"),
        ("answered 201", {"status": 201, "headers": (("Location", "/a/1"),)}, "answered 201"),
        ("answered 500; again in 4 min", {"status": 500}, "answered 500; again in 4 min"),
        ("answered 401; attempts used up (3, allowed 3)", {}, "answered 401; attempts used up (3, allowed 3)"),
        ("not run: as anna; it would run as nobody", {}, "not run: as anna; it would run as nobody"),
    ],
)
def test_the_last_replay_is_told_with_its_cause(reason, fields, told):
    assert described(reason, **fields).told() == told


def test_what_is_too_long_loses_the_end_of_its_cause_and_not_what_came_of_it():
    failed = described("raised KeyError; again in 30 s", error=f"KeyError: {'x' * 400}")
    assert failed.told(50) == f"raised KeyError: {'x' * 17}…; again in 30 s"
    assert len(failed.told(50)) == 50
    assert described(f"not run: {'x' * 100}").told(20) == "not run: xxxxxxxxxx…"


def test_a_problem_is_told_in_place_of_the_last_replay():
    broken = Described(queue_with(), Record(id="1", body=b""), None, "the seal is not ours")
    assert (broken.told(), broken.told(9)) == ("the seal is not ours", "the seal…")


@given(st.text(), st.text(), st.integers(min_value=0, max_value=80))
def test_the_cause_is_cut_to_the_width_where_there_is_room(kind, text, width):
    failed = described(f"raised {kind}; again in 30 s", error=f"{kind}: {text}")
    assert len(failed.told(width)) <= max(width, len(failed.last) + 1)
