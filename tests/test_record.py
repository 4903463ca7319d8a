from __future__ import annotations

import itertools
import json
import os
import threading
import time
import uuid
from contextlib import suppress
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskqueue import record as record_module
from taskqueue.errors import InvalidTaskError, RecordError
from taskqueue.interfaces import TaskQueue, WitnessMark
from taskqueue.notices import Event, Notice
from taskqueue.record import (
    STORED_STATES,
    TRANSITIONS,
    Envelope,
    Keyring,
    Outcome,
    Principal,
    State,
    Task,
    as_dict,
    decode,
    decode_envelope,
    encode,
    encode_part,
    is_secret_header,
    new_id,
)

from .making_records import KEY, OLD_KEY, SECRETS, body_of, change, make_task, parts_of

# ---- encoding ----------------------------------------------------------------------------------------------------

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
names = st.sampled_from(["Accept", "Cookie", "X-Thing", "Authorization", "x-csrf-token", "Content-Type"]) | texts
maybe_texts = st.none() | texts
integers = st.integers(-(2**63), 2**63 - 1)
moments = st.floats(allow_nan=False, allow_infinity=False)
tasks = st.builds(
    Task,
    id=st.builds(new_id),
    queue=texts,
    method=texts,
    url=texts,
    headers=st.lists(st.tuples(names, texts), max_size=6).map(tuple),
    payload=st.none() | st.binary(max_size=200),
    base_url=texts,
    connection=st.dictionaries(texts, texts, max_size=4),
    principal=st.none() | st.builds(Principal, texts, texts),
    priority=integers,
    due=moments,
    unique_name=maybe_texts,
    concurrency_key=maybe_texts,
    max_attempts=st.none() | integers,
    parent_id=maybe_texts,
    trace=maybe_texts,
    added_at=moments,
)
keyrings = st.sampled_from([Keyring(), Keyring([KEY]), Keyring([KEY, OLD_KEY])])


@given(tasks, keyrings)
def test_a_task_comes_back_as_it_was_encoded(task: Task, keyring: Keyring) -> None:
    found = decode(encode(task, keyring), keyring)
    assert sorted(found.headers) == sorted(task.headers)
    assert msgspec.structs.replace(found, headers=()) == msgspec.structs.replace(task, headers=())


@given(tasks)
def test_headers_of_one_name_keep_their_order(task: Task) -> None:
    found = decode(encode(task, Keyring()), None)
    for name in {name for name, _ in task.headers}:
        assert [value for each, value in found.headers if each == name] == [
            value for each, value in task.headers if each == name
        ]


def test_what_chooses_and_delays_is_told_to_the_backend() -> None:
    task = make_task(priority=7, due=1234.5)
    record = encode(task, Keyring())
    assert (record.id, record.priority, record.due) == (task.id, 7, 1234.5)


def test_credentials_and_payload_stand_in_the_secrets_and_nowhere_else() -> None:
    record = encode(make_task(), Keyring([KEY]))
    assert record.secrets is not None
    for secret in SECRETS:
        assert secret.encode() in record.secrets
        assert secret.encode() not in record.body
    assert b"text/html" in record.body


@pytest.mark.parametrize(
    "name",
    [
        *("Cookie", "AUTHORIZATION", "Proxy-Authorization", "X-Api-Key", "X_API_KEY", "X-CSRF-Token", "X-CSRFToken"),
        *("X-Auth-User", "Api-Key", "X-Client-Secret", "X-Password", "X-Hub-Signature-256", "X-Amz-Security-Token"),
    ],
)
def test_a_header_that_may_carry_credentials_is_known(name: str) -> None:
    assert is_secret_header(name)


@pytest.mark.parametrize("name", ["Accept", "Content-Type", "Host", "X-Request-Id", "Idempotency-Key", "Origin"])
def test_a_header_without_credentials_is_not_hidden(name: str) -> None:
    assert not is_secret_header(name)


@pytest.mark.parametrize(
    "fields",
    [
        {"url": "/\ud800"},
        {"headers": (("X-Thing", "\udfff"),)},
        {"headers": (("Cookie", "\udfff"),)},
        {"priority": 2**64},
        {"principal": Principal("\ud800")},
        {"payload": object()},
    ],
)
def test_what_no_record_can_hold_is_refused_without_showing_it(fields: dict[str, object]) -> None:
    with pytest.raises(InvalidTaskError, match="cannot be stored") as caught:
        encode(make_task(**fields), Keyring([KEY]))
    assert caught.value.__suppress_context__


def test_fields_of_a_later_release_are_ignored() -> None:
    task = make_task()
    record = encode(task, Keyring())
    version, kind, key_id, seal, fields = parts_of(record)
    later = msgspec.msgpack.encode({**msgspec.msgpack.decode(fields), "colour": ["blue", {"deep": True}]})
    secrets = msgspec.msgpack.encode({**msgspec.msgpack.decode(record.secrets), "shape": 3})
    found = decode(change(record, body=body_of((version, kind, key_id, seal, later)), secrets=secrets), Keyring())
    assert found == decode(record, Keyring())


def test_progress_is_what_the_columns_say_whatever_the_body_claims() -> None:
    claims = make_task(
        state="done",
        claim_number=99,
        attempts=98,
        deaths=97,
        suspect=True,
        owner="mallory",
        consumer="mallory",
        staged_at=1.0,
        published_at=2.0,
        first_claimed_at=3.0,
        claimed_at=4.0,
        finished_at=5.0,
        wiped=True,
        due=6.0,
        last_outcome=Outcome(state="done", reason="I say so"),
    )
    stored = change(encode(claims, Keyring()), state="running", claim_number=1, attempts=2, owner="us", due=0.0)
    found = decode(stored, Keyring())
    assert (found.state, found.claim_number, found.attempts, found.owner, found.due) == ("running", 1, 2, "us", 0.0)
    assert (found.deaths, found.suspect, found.consumer, found.wiped, found.last_outcome) == (0, False, "", False, None)
    times = (found.staged_at, found.published_at, found.first_claimed_at, found.claimed_at, found.finished_at)
    assert times == (None,) * 5


def test_payload_and_credentials_in_the_body_do_not_count() -> None:
    record = encode(make_task(headers=(), payload=None), Keyring())
    version, kind, key_id, seal, fields = parts_of(record)
    smuggled = msgspec.msgpack.encode({**msgspec.msgpack.decode(fields), "payload": b"smuggled"})
    found = decode(change(record, body=body_of((version, kind, key_id, seal, smuggled))), Keyring())
    assert found.payload is None


def test_a_wiped_record_says_so_and_has_neither_payload_nor_credentials() -> None:
    record = change(encode(make_task(), Keyring([KEY])), secrets=None)
    found = decode(record, Keyring([KEY]))
    assert found.wiped
    assert found.payload is None
    assert found.headers == (("Accept", "text/html"),)


def test_the_last_outcome_comes_with_the_task() -> None:
    outcome = Outcome(state="dead", reason="500", status=500, headers=(("A", "b"),), body=b"\xff", attempt=3)
    record = change(encode(make_task(), Keyring()), outcome=encode_part(outcome))
    assert decode(record, Keyring()).last_outcome == outcome


def test_an_envelope_comes_back() -> None:
    envelope = Envelope(
        transaction_id="t",
        owner="o",
        witnesses=(WitnessMark(kind="zodb", database="main", position="p"),),
        strangers=(),
    )
    assert decode_envelope(encode_part(envelope)) == envelope


@given(st.binary(max_size=60))
def test_an_envelope_that_is_none_is_a_record_error(data: bytes) -> None:
    with suppress(RecordError):
        assert isinstance(decode_envelope(data), Envelope)


def test_path_is_the_url_without_its_query() -> None:
    assert make_task(url="/a/b?c=d?e").path == "/a/b"


# ---- ids ---------------------------------------------------------------------------------------------------------


def test_an_id_is_a_uuid_of_version_7_made_now() -> None:
    found = uuid.UUID(new_id())
    assert str(found) == str(uuid.UUID(str(found)))
    assert (found.version, found.variant) == (7, uuid.RFC_4122)


def test_an_id_carries_the_time_in_milliseconds() -> None:
    before = time.time_ns() // 1_000_000
    made = uuid.UUID(new_id()).int >> 80
    # Ids made before in a great hurry may have drawn a little from the future.
    assert before - 1 <= made <= time.time_ns() // 1_000_000 + 1000


def test_ids_of_one_thread_sort_as_they_were_made() -> None:
    made = [new_id() for _ in range(20_000)]
    assert all(one < other for one, other in pairwise(made))


@pytest.mark.parametrize("step", [0, -1_000_000_000])
def test_ids_sort_even_when_the_clock_stands_or_goes_back(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    moments = itertools.count(time.time_ns(), step)
    monkeypatch.setattr(record_module.time, "time_ns", lambda: next(moments))
    made = [new_id() for _ in range(1000)]
    assert all(one < other for one, other in pairwise(made))
    assert len({each[:18] for each in made}) == 1000


def test_ids_of_several_threads_never_meet_and_sort_in_each() -> None:
    start = threading.Barrier(8)
    made: list[list[str]] = [[] for _ in range(8)]

    def make(mine: list[str]) -> None:
        start.wait(10)
        mine.extend(new_id() for _ in range(2000))

    threads = [threading.Thread(target=make, args=(mine,)) for mine in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive(), "a thread did not finish within 30 s"
    everything = [each for mine in made for each in mine]
    assert len(set(everything)) == 16_000
    assert len({each[:18] for each in everything}) == 16_000, "the ordered part must not repeat in a process"
    for mine in made:
        assert mine == sorted(mine)


def test_a_child_that_was_forked_while_an_id_was_made_can_make_ids() -> None:
    with record_module._id_lock:
        pid = os.fork()
        if pid == 0:
            os._exit(0 if record_module._id_lock.acquire(timeout=0) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


# ---- states ------------------------------------------------------------------------------------------------------


def test_nothing_leads_out_of_gone() -> None:
    assert [pair for pair in TRANSITIONS if pair[0] is State.GONE] == []
    assert State.GONE not in STORED_STATES


def test_every_verb_in_the_table_is_one_of_the_contract() -> None:
    assert {verb for _state, verb in TRANSITIONS} <= set(TaskQueue.__abstractmethods__)


def test_every_state_is_reached_from_nothing() -> None:
    reached: set[State | None] = {None}
    while True:
        further = {after for (before, _verb), afters in TRANSITIONS.items() if before in reached for after in afters}
        if further <= reached:
            break
        reached |= further
    assert reached - {None} == set(State)


@pytest.mark.parametrize("state", STORED_STATES)
def test_every_stored_state_can_come_to_an_end(state: State) -> None:
    reached = {state}
    while State.GONE not in reached:
        further = {after for (before, _verb), afters in TRANSITIONS.items() if before in reached for after in afters}
        assert not further <= reached, f"{state.value} never ends"
        reached |= further


def test_what_does_not_run_is_not_finished() -> None:
    finishing = {State.DONE, State.DEAD}
    for (before, verb), afters in TRANSITIONS.items():
        if finishing & set(afters):
            assert before is State.RUNNING, (before, verb)


def test_only_an_exchange_makes_a_task_run_and_only_one_that_is_ready() -> None:
    assert [pair for pair, afters in TRANSITIONS.items() if State.RUNNING in afters] == [(State.READY, "exchange")]


def test_a_done_task_never_runs_again() -> None:
    assert {after for (before, _), afters in TRANSITIONS.items() if before is State.DONE for after in afters} == {
        State.GONE
    }


def test_no_transition_is_listed_for_nothing() -> None:
    assert all(afters and before not in afters for (before, _verb), afters in TRANSITIONS.items())
    assert all(isinstance(after, State) for afters in TRANSITIONS.values() for after in afters)


def test_what_a_task_and_its_record_look_like_in_a_report_of_errors_shows_no_secrets() -> None:
    task = make_task()
    shown = f"{task!r} {encode(task, Keyring())!r} {Notice(event=Event.DONE, task=task)!r}"
    assert task.id in shown
    assert task.url not in shown
    assert not any(secret in shown for secret in SECRETS)


# ---- for people --------------------------------------------------------------------------------------------------


def test_a_task_for_people_shows_no_secrets() -> None:
    outcome = Outcome(
        state="dead", reason="no", headers=(("X-Auth-Token", SECRETS[0]), ("X-Kind", "plain")), body=b"\xffoops"
    )
    task = decode(change(encode(make_task(), Keyring()), outcome=encode_part(outcome)), None)
    shown = json.dumps(as_dict(task))
    assert not any(secret in shown for secret in SECRETS)
    assert "text/html" in shown
    assert "plain" in shown
    assert f"{len(SECRETS[2])} bytes" in shown


@given(tasks)
def test_a_task_for_people_is_json(task: Task) -> None:
    assert json.loads(json.dumps(as_dict(task)))["id"] == task.id


def test_a_task_for_people_names_every_field() -> None:
    assert set(as_dict(make_task())) == set(Task.__struct_fields__)
