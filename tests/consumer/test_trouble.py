from __future__ import annotations

from collections.abc import Iterator

import pytest

from taskqueue import notices
from taskqueue.consumer.trouble import LONGEST_PAUSE_SECONDS, Trouble, describe
from taskqueue.errors import BackendUnavailableError
from taskqueue.notices import Event

from .fakes import Ears


@pytest.fixture
def ears() -> Iterator[Ears]:
    made = Ears()
    notices.listen(made)
    yield made
    notices.unlisten(made)


def test_trouble_is_told_at_its_beginning_and_at_its_end(ears):
    trouble = Trouble("default", "worker")
    for _ in range(5):
        trouble.goes_on(BackendUnavailableError("it is down"))
    trouble.is_over()
    trouble.is_over()
    assert [(n.event, n.queue, n.consumer, n.detail) for n in ears.heard] == [
        (Event.BACKEND_DOWN, "default", "worker", "it is down"),
        (Event.BACKEND_UP, "default", "worker", ""),
    ]


def test_an_error_that_is_not_the_backends_is_our_own(ears):
    Trouble("default", "worker").goes_on(ValueError("canary"))
    assert [n.event for n in ears.heard] == [Event.CONSUMER_FAILED]


def test_what_others_have_told_is_not_told_again(ears):
    trouble = Trouble("default", "worker")
    trouble.goes_on(BackendUnavailableError("down"), told_by_others=True)
    trouble.is_over()
    assert not ears.heard


def test_the_pauses_grow_up_to_a_limit_and_begin_anew():
    trouble = Trouble("default", "worker")
    pauses = [trouble.goes_on(ValueError()) for _ in range(2000)]
    assert pauses[0] <= 0.1
    assert all(0 < pause <= LONGEST_PAUSE_SECONDS for pause in pauses)
    assert all(pause >= LONGEST_PAUSE_SECONDS / 2 for pause in pauses[10:])
    assert trouble
    trouble.is_over()
    assert not trouble
    assert trouble.goes_on(ValueError()) <= 0.1


def test_an_error_of_others_is_told_by_its_type_and_place_and_not_by_its_text():
    try:
        raise KeyError("canary")
    except KeyError as error:
        described = describe(error)
    assert described.startswith("KeyError in test_an_error_of_others")
    assert "test_trouble.py:" in described
    assert "canary" not in described


def test_an_error_of_ours_is_told_by_its_text_in_one_line():
    assert describe(BackendUnavailableError("no\nroute")) == "no\\nroute"
    assert len(describe(BackendUnavailableError("x" * 9999))) == 300
