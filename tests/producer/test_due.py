"""A delay is counted by the clock that will judge it, the backend's; an eta is the moment that it names."""

from datetime import datetime, timedelta, timezone

import pytest
import transaction

from taskqueue.errors import BackendUnavailableError
from taskqueue.producer import add

HOUR = 3600.0


@pytest.fixture
def ahead(backend, monkeypatch):
    """A backend whose clock is an hour ahead of this process's; what it was asked."""
    asked = []
    now = backend.now

    def hour_ahead(timeout):
        asked.append(timeout)
        return now(timeout) + HOUR

    monkeypatch.setattr(backend, "now", hour_ahead)
    return asked


def due_in(backend, task_id):
    """In how many seconds a task is due, by the clock of the backend."""
    return backend.get(task_id).due - backend.now(1.0)


def test_a_delay_is_counted_by_the_clock_of_the_backend(site, backend, ahead):
    task_id = add("/x", delay=60)
    transaction.commit()
    assert 30 < due_in(backend, task_id) <= 60


def test_an_eta_is_left_as_it_is_and_asks_nobody(site, backend, ahead):
    moment = datetime.now(timezone.utc) + timedelta(days=1)
    task_id = add("/x", eta=moment)
    transaction.commit()
    assert backend.get(task_id).due == moment.timestamp()
    assert ahead == []


def test_without_a_delay_nobody_is_asked(site, backend, ahead):
    for delay in (None, 0):
        add("/x", delay=delay)
    transaction.commit()
    assert ahead == []


def test_who_gets_no_answer_is_refused_and_so_is_the_next_one_at_once(site, backend, monkeypatch):
    asked = []

    def no_answer(timeout):
        asked.append(timeout)
        raise BackendUnavailableError("no answer")

    monkeypatch.setattr(backend, "now", no_answer)
    backend.failures["beat"] = BackendUnavailableError("no answer to a probe, either")
    with pytest.raises(BackendUnavailableError, match="no answer"):
        add("/x", delay=60)
    with pytest.raises(BackendUnavailableError, match="is unavailable"):
        add("/x", delay=60)
    assert asked == [1.0]
