"""A site of two queues, whose backends can be told to fail."""

import pytest
import transaction

from taskqueue import notices, queues, witnesses
from taskqueue.keeper import process_keeper
from taskqueue.queues import Queue, Queues

from ..witnesses.fakes import FakeWitness
from .fakes import FailingQueue, Told


@pytest.fixture
def backend():
    """The backend of the first queue."""
    return FailingQueue("default")


@pytest.fixture
def other_backend():
    """The backend of the second queue."""
    return FailingQueue("other")


@pytest.fixture
def site(backend, other_backend):
    """The queues of this process; whatever a test left is forgotten afterwards."""
    configured = Queues({"default": Queue("default", backend), "other": Queue("other", other_backend)})
    queues.install(configured)
    yield configured
    queues.install(None)
    transaction.manager.abort()
    for each in (backend, other_backend):
        each.failures.clear()
        each.before.clear()
    for queue in configured.values():
        process_keeper().forget(queue)


@pytest.fixture
def manager(site):
    """A transaction manager in explicit mode with a transaction."""
    made = transaction.TransactionManager(explicit=True)
    made.begin()
    yield made
    if made._txn is not None:
        made.abort()


@pytest.fixture
def witness(monkeypatch):
    """The one witness of this process: it marks what has its ``database``."""
    made = FakeWitness()
    monkeypatch.setattr(witnesses, "_witnesses", [made])
    return made


@pytest.fixture
def told():
    """What was told while the test ran."""
    listener = Told()
    notices.listen(listener)
    yield listener
    notices.unlisten(listener)
