from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from taskqueue import context, queues
from taskqueue.context import Origin
from taskqueue.errors import BackendUnavailableError, BrokenSealError, UnknownQueueError
from taskqueue.interfaces import Record
from taskqueue.queues import Queue, Queues
from taskqueue.record import Keyring, encode

from .making_records import KEY, change, make_task


class Shelf:
    """As much of a backend as looking needs."""

    def __init__(self, *records: Record, error: Exception | None = None) -> None:
        self.records = {record.id: record for record in records}
        self.error = error

    def get(self, task_id: str) -> Record | None:
        if self.error is not None:
            raise self.error
        return self.records.get(task_id)


def make_queues(**shelves: Any) -> Queues:
    return Queues({name: Queue(name=name, backend=shelf) for name, shelf in shelves.items()})


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    before = queues._Installed.queues
    queues.install(None)
    yield
    queues.install(before)


def test_queues_are_in_the_order_of_their_names_and_the_first_is_the_default() -> None:
    found = make_queues(zebra=Shelf(), ant=Shelf(), mole=Shelf())
    assert list(found) == ["ant", "mole", "zebra"]
    assert found[None].name == "ant"
    assert len(found) == 3


def test_a_queue_that_is_named_default_is_the_default_whatever_comes_before_it() -> None:
    assert make_queues(batch=Shelf(), default=Shelf())[None].name == "default"


def test_a_queue_is_found_by_its_name() -> None:
    found = make_queues(ant=Shelf(), bee=Shelf())
    assert found["bee"].name == "bee"
    assert "bee" in found
    assert "cow" not in found


@pytest.mark.parametrize("name", ["cow", "", 7, ["bee"]])
def test_an_unknown_queue_is_an_error_that_names_the_known_ones(name: Any) -> None:
    with pytest.raises(UnknownQueueError, match="configured are: ant, bee"):
        make_queues(bee=Shelf(), ant=Shelf())[name]


@pytest.mark.parametrize("name", ["cow", None])
def test_without_any_queue_the_error_says_so(name: str | None) -> None:
    with pytest.raises(UnknownQueueError, match="configured are: none"):
        Queues({})[name]


def test_get_answers_with_its_default_as_mappings_do() -> None:
    found = make_queues(ant=Shelf())
    assert found.get("cow") is None
    assert found.get("cow", "nothing") == "nothing"
    assert found.get("ant") is found["ant"]
    assert dict(found.items()) == {"ant": found["ant"]}


def test_a_queue_does_not_show_its_keys() -> None:
    queue = Queue(name="ant", backend=Shelf(), keyring=Keyring([b"hunter2" * 5]))  # type: ignore[arg-type]  # a fake
    assert "hunter2" not in repr(queue)


def test_without_a_configuration_the_error_says_how_to_get_one() -> None:
    with pytest.raises(UnknownQueueError, match=r"TaskQueueFilter.*egg:wsgi-taskqueue.*config\.include"):
        queues.installed()


def test_the_queues_of_code_outside_of_requests_are_the_last_that_were_installed() -> None:
    first, second = make_queues(ant=Shelf()), make_queues(bee=Shelf())
    queues.install(first)
    queues.install(second)
    assert queues.installed() is second


# ---- get ---------------------------------------------------------------------------------------------------------


def test_a_task_is_found_wherever_it_is() -> None:
    record = encode(make_task(), Keyring())
    queues.install(make_queues(ant=Shelf(), bee=Shelf(change(record, state="ready", attempts=2))))
    task = queues.get(record.id)
    assert task is not None
    assert (task.id, task.state, task.attempts) == (record.id, "ready", 2)


def test_a_task_is_looked_for_in_the_queue_that_is_named() -> None:
    record = encode(make_task(), Keyring())
    queues.install(make_queues(ant=Shelf(), bee=Shelf(record)))
    assert queues.get(record.id, "ant") is None
    assert queues.get(record.id, "bee") is not None
    with pytest.raises(UnknownQueueError):
        queues.get(record.id, "cow")


def test_a_task_that_nobody_knows_is_none() -> None:
    queues.install(make_queues(ant=Shelf()))
    assert queues.get("unknown") is None


def test_looking_needs_no_key_but_a_record_under_a_wrong_id_is_told() -> None:
    record = encode(make_task(), Keyring([KEY]))
    moved = change(encode(make_task(), Keyring([KEY])), id="moved")
    queues.install(make_queues(ant=Shelf(record, moved)))
    assert queues.get(record.id) is not None
    with pytest.raises(BrokenSealError):
        queues.get("moved")


def test_a_backend_that_is_down_does_not_hide_a_task_in_another() -> None:
    record = encode(make_task(), Keyring())
    down = Shelf(error=BackendUnavailableError("down"))
    queues.install(make_queues(ant=down, bee=Shelf(record)))
    assert queues.get(record.id) is not None
    with pytest.raises(BackendUnavailableError):
        queues.get("unknown")


def test_a_request_looks_in_the_queues_of_its_own_site() -> None:
    record = encode(make_task(), Keyring())
    mine, others = make_queues(ant=Shelf(record)), make_queues(ant=Shelf())
    queues.install(others)
    assert queues.get(record.id) is None
    with context.active(Origin(environ={}, live_environ={}, body=None, queues=mine)):
        assert queues.get(record.id) is not None


def test_a_queue_that_is_not_there_is_answered_with_the_near_one() -> None:
    known = Queues({name: Queue(name, Shelf()) for name in ("default", "mail")})  # type: ignore[arg-type]
    with pytest.raises(UnknownQueueError, match=r"configured are: default, mail; did you mean default\?$"):
        known["defalt"]
    with pytest.raises(UnknownQueueError, match=r"configured are: default, mail$"):
        known["zzz"]
