from __future__ import annotations

from typing import Any

import msgspec
import pytest

from taskqueue.backends.local import LocalQueue
from taskqueue.consumer.attempt import Claim, Finished, attempt, give_back, give_up
from taskqueue.interfaces import Record
from taskqueue.notices import Event
from taskqueue.queues import Queue
from taskqueue.record import Keyring, Outcome, encode
from taskqueue.settings import ServerSettings

from .fakes import Site, answering, make_task

KEY = b"k" * 32
SETTINGS = ServerSettings(name="worker")
SEALED = Queue(name="default", backend=LocalQueue(name="default"), keyring=Keyring([KEY]))
OPEN = Queue(name="default", backend=LocalQueue(name="default"))


def claimed(url: str = "/", keyring: Keyring | None = None, **changes: Any) -> Record:
    record = encode(make_task(url), keyring or Keyring())
    return msgspec.structs.replace(record, **{"state": "running", "claim_number": 3, **changes})


def outcome_of(finished: Finished) -> Outcome:
    assert finished.settlement.outcome is not None
    return msgspec.msgpack.decode(finished.settlement.outcome, type=Outcome)


def never(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    raise AssertionError("this must not be run")


def test_a_sealed_record_that_was_moved_to_another_queue_is_not_run():
    record = claimed(keyring=Keyring([KEY]))
    other = Queue(name="other", backend=LocalQueue(name="other"), keyring=Keyring([KEY]))
    finished = attempt(Claim(record), never, other, SETTINGS)
    assert finished.settlement.state == "dead"
    assert "was moved in the store" in outcome_of(finished).reason


def test_a_claim_is_replayed_and_judged(site: Site):
    claim = Claim(claimed("/a"))
    finished = attempt(claim, answering(body=b"fine"), OPEN, SETTINGS)
    assert claim.task is not None
    assert claim.task.url == "/a"
    assert (finished.settlement.claim_number, finished.settlement.state) == (3, "done")
    assert outcome_of(finished).body == b"fine"
    assert [notice.event for notice in site.ears.heard] == [Event.STARTED]
    finished.tell()
    told = site.ears.of(Event.DONE)[0]
    assert (told.queue, told.consumer, told.task) == ("default", "worker", claim.task)
    assert told.outcome == outcome_of(finished)


def test_a_sealed_claim_is_replayed_where_its_key_is_known():
    finished = attempt(Claim(claimed(keyring=Keyring([KEY]))), answering(), SEALED, SETTINGS)
    assert finished.settlement.state == "done"


@pytest.mark.parametrize(
    "record",
    [
        claimed(keyring=Keyring([b"x" * 32])),
        claimed(body=msgspec.msgpack.encode((2, "request", "", b"", b""))),
        claimed(body=msgspec.msgpack.encode((1, "mail", "", b"", b""))),
    ],
    ids=["another key", "another version", "another kind"],
)
def test_what_another_may_know_how_to_run_is_left_and_reported(site: Site, record):
    finished = attempt(Claim(record), never, SEALED, SETTINGS)
    settlement = finished.settlement
    assert (settlement.state, settlement.attempts, settlement.outcome, settlement.wipe) == ("scheduled", 0, None, False)
    assert 54 <= settlement.delay <= 66
    finished.tell()
    assert [notice.event for notice in site.ears.heard] == [Event.UNREADABLE]
    assert site.ears.heard[0].task_ids == (record.id,)
    assert "again in" in site.ears.heard[0].detail


_sealed = claimed(keyring=Keyring([KEY]))


@pytest.mark.parametrize(
    "record",
    [
        claimed(),
        msgspec.structs.replace(_sealed, secrets=msgspec.msgpack.encode({"payload": b"another"})),
        msgspec.structs.replace(_sealed, id=claimed().id),
        msgspec.structs.replace(_sealed, secrets=None),
        claimed(body=b"garbage"),
        claimed(body=b""),
    ],
    ids=["no seal", "changed", "under another id", "wiped", "garbage", "nothing"],
)
def test_what_must_not_be_run_is_dead_with_its_secrets_kept(site: Site, record):
    finished = attempt(Claim(record), never, SEALED, SETTINGS)
    settlement = finished.settlement
    assert (settlement.state, settlement.attempts, settlement.wipe) == ("dead", 0, False)
    assert len(outcome_of(finished).reason) > 20
    finished.tell()
    assert [notice.event for notice in site.ears.heard] == [Event.UNREADABLE, Event.DEAD]
    assert site.ears.heard[1].task_ids == (record.id,)
    assert site.ears.heard[1].outcome == outcome_of(finished)


def test_a_record_whose_secrets_were_taken_away_is_not_run_even_without_keys():
    finished = attempt(Claim(claimed(secrets=None)), never, OPEN, SETTINGS)
    assert finished.settlement.state == "dead"


def test_what_has_not_started_goes_back_with_nothing_spent():
    settlement = give_back(claimed(), OPEN, SETTINGS).settlement
    assert (settlement.state, settlement.attempts, settlement.started) == ("ready", 0, False)
    assert (settlement.outcome, settlement.claim_number) == (None, 3)


def test_an_error_of_our_own_is_told_and_counts_as_an_attempt(site: Site):
    finished = give_up(claimed(), OPEN, SETTINGS, ValueError("canary"))
    assert (finished.settlement.state, finished.settlement.attempts) == ("scheduled", 1)
    assert [notice.event for notice in site.ears.heard] == [Event.CONSUMER_FAILED]
    assert "canary" not in site.ears.heard[0].detail
    assert give_up(claimed(attempts=10), OPEN, SETTINGS, ValueError()).settlement.state == "dead"
