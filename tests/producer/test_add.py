"""add: which request, which queue, which transaction."""

import pytest
import transaction
from transaction.interfaces import NoTransaction

from taskqueue import context, queues, record
from taskqueue.context import InnermostRequest
from taskqueue.errors import BackendUnavailableError, InvalidTaskError, UnknownQueueError
from taskqueue.keeper import process_keeper
from taskqueue.producer import CURRENT, add
from taskqueue.queues import Queue, Queues
from taskqueue.record import Keyring, Principal

from .fakes import FailingQueue, origin


@pytest.fixture
def framework():
    """A framework's door, which knows what is put into the list."""
    known = []

    def find():
        return known[-1] if known else None

    context.register_finder(find)
    yield known
    context._finders.remove(find)


def stored(queue, task_id):
    """The task as a consumer would read it."""
    return record.decode(queue.backend.get(task_id), queue.keyring)


def test_add_returns_the_id_of_the_task_that_the_commit_delivers(site, backend):
    task_id = add("/x", "POST", {"a": 1}, {"X-A": "1"}, "body", "default", delay=0, priority=2, max_attempts=3)
    transaction.commit()

    task = stored(site["default"], task_id)
    assert (task.id, task.state) == (task_id, "ready")
    assert (task.method, task.url, task.headers, task.payload) == ("POST", "/x?a=1", (("X-A", "1"),), b"body")
    assert (task.priority, task.max_attempts) == (2, 3)


def test_a_task_with_a_delay_waits_until_it_is_due(site, backend):
    task_id = add("/x", delay=3600)
    transaction.commit()

    assert backend.state(task_id) == "scheduled"


def test_without_a_queue_the_default_is_taken(site, backend, other_backend):
    task_id = add("/x")
    other_id = add("/x", queue="other")
    transaction.commit()

    assert backend.state(task_id) == "ready"
    assert other_backend.state(other_id) == "ready"


@pytest.mark.parametrize("queue", ["missing", 5, ["default"]])
def test_an_unknown_queue_is_refused_with_those_that_are_known(site, queue):
    with pytest.raises(UnknownQueueError, match="configured are: default, other"):
        add("/x", queue=queue)


def test_nothing_is_added_where_nothing_is_configured():
    with pytest.raises(UnknownQueueError, match="no queue is configured in this process"):
        add("/x")


def test_a_request_adds_to_the_queues_of_its_own_site(site, backend):
    own = FailingQueue("own")
    active = origin(queues=Queues({"own": Queue("own", own)}))
    with context.active(active):
        task_id = add("/x")
    transaction.commit()

    assert own.state(task_id) == "ready"
    assert backend.state(task_id) is None
    process_keeper().forget(active.queues["own"])


def test_a_record_is_sealed_with_the_key_of_its_queue(backend):
    sealed = Queue("default", backend, keyring=Keyring([b"k" * 32]))
    queues.install(Queues({"default": sealed}))
    task_id = add("/x", payload=None)
    transaction.commit()
    queues.install(None)

    assert stored(sealed, task_id).url == "/x"
    with pytest.raises(record.UnknownRecordError):
        record.decode(backend.get(task_id), Keyring([b"other" * 10]))
    process_keeper().forget(sealed)


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": b"/x"},
        {"url": add},
        {"params": "a=b"},
        {"headers": "a"},
        {"delay": "5"},
        {"priority": "high"},
        {"payload": {}},
        {"request": 5},
        {"transaction_manager": 5},
        {"transaction_manager": transaction.manager.begin},
    ],
)
def test_a_wrong_type_is_one_line_that_says_so_and_adds_nothing(site, backend, wrong):
    with pytest.raises(InvalidTaskError) as caught:
        add(**{"url": "/x", **wrong})
    transaction.commit()

    assert "\n" not in str(caught.value)
    assert backend.calls == []


def test_the_payload_of_the_active_request_is_the_default(site):
    active = origin({"CONTENT_TYPE": "a/b", "HTTP_COOKIE": "c=d"}, b"body")
    with context.active(active):
        first, second = add("/x", "POST"), add("/x", "POST", payload=CURRENT)
        none = add("/x", "POST", payload=None)
    transaction.commit()

    assert stored(site["default"], first).payload == stored(site["default"], second).payload == b"body"
    assert dict(stored(site["default"], first).headers) == {"Content-Type": "a/b", "Cookie": "c=d"}
    assert stored(site["default"], none).payload is None
    assert dict(stored(site["default"], none).headers) == {"Cookie": "c=d"}


def test_a_task_that_adds_a_task_is_its_parent(site):
    first = add("/x")
    transaction.commit()
    parent = stored(site["default"], first)
    sent = {"HTTP_X_TASK_ID": first, "HTTP_IDEMPOTENCY_KEY": first, "HTTP_COOKIE": "c=d"}
    with context.active(origin(sent, task=parent)):
        second = add("/y")
    transaction.commit()

    child = stored(site["default"], second)
    assert child.parent_id == first
    assert dict(child.headers) == {"Cookie": "c=d"}
    assert parent.parent_id is None


def test_the_user_that_the_framework_knows_is_kept(site, framework):
    framework.append(InnermostRequest(principal=Principal("joe", "pyramid")))
    with context.active(origin()):
        task_id = add("/x")
        of_another = add("/x", request={"HTTP_COOKIE": "a=b"})
    transaction.commit()

    assert stored(site["default"], task_id).principal == Principal("joe", "pyramid")
    assert stored(site["default"], of_another).principal is None


@pytest.mark.parametrize("headers", [{"Authorization": "Basic abc"}, iter([("cookie", None)])])
def test_of_credentials_that_are_given_nobody_knows_the_user(site, framework, headers):
    framework.append(InnermostRequest(principal=Principal("joe", "pyramid")))
    with context.active(origin({"HTTP_COOKIE": "a=b"})):
        task_id = add("/x", headers=headers)
    transaction.commit()

    assert stored(site["default"], task_id).principal is None


def test_a_given_request_is_copied_in_place_of_the_active_one(site):
    with context.active(origin({"HTTP_COOKIE": "active=1"})):
        task_id = add("/x", request={"HTTP_COOKIE": "given=1", "HTTP_HOST": "h", "wsgi.url_scheme": "https"})
    transaction.commit()

    task = stored(site["default"], task_id)
    assert dict(task.headers) == {"Cookie": "given=1", "Host": "h"}
    assert task.base_url == "https://h"


def test_the_active_request_when_given_is_known_as_the_filter_knows_it(site):
    active = origin({"HTTP_AUTHORIZATION": "Basic x"}, b"body", live_environ={"HTTP_AUTHORIZATION": "changed"})
    with context.active(active):
        task_id = add("/x", "POST", request=active.live_environ)
    transaction.commit()

    task = stored(site["default"], task_id)
    assert dict(task.headers) == {"Authorization": "Basic x"}
    assert task.payload == b"body"


# ---- which transaction ----


def manager_in_transaction():
    """A manager of its own, in explicit mode."""
    made = transaction.TransactionManager(explicit=True)
    made.begin()
    return made


def test_the_given_manager_comes_first_then_the_frameworks_then_the_requests_then_the_threads(site, backend, framework):
    given, of_framework, of_request = (manager_in_transaction() for _ in range(3))
    expected = []
    active = origin(live_environ={"tm.manager": of_request})
    expected.append((transaction.manager, add("/x")))
    with context.active(active):
        expected.append((of_request, add("/x")))
        framework.append(InnermostRequest())
        expected.append((of_request, add("/x")))
        framework.append(InnermostRequest(of_framework))
        expected.append((of_framework, add("/x")))
        expected.append((given, add("/x", transaction_manager=given)))

    for each in (given, of_framework, of_request, transaction.manager):
        before = set(backend.counted().elements())
        each.commit()
        ready = [task_id for _, task_id in expected if backend.state(task_id) == "ready"]
        assert ready == [task_id for owner, task_id in expected if owner is each], before
        backend.delete(ready)


def test_a_given_request_brings_its_transaction_manager(site, backend):
    of_request = manager_in_transaction()
    task_id = add("/x", request={"tm.manager": of_request})

    transaction.commit()
    assert backend.state(task_id) is None
    of_request.commit()
    assert backend.state(task_id) == "ready"


def test_explicit_mode_without_a_transaction_lets_no_transaction_out(site):
    with pytest.raises(NoTransaction):
        add("/x", transaction_manager=transaction.TransactionManager(explicit=True))


def test_a_backend_that_is_known_to_be_down_is_refused_at_once(site, backend, manager, told):
    backend.failures["beat"] = BackendUnavailableError("gone")  # before it is probed
    process_keeper().report_down(site["default"], BackendUnavailableError("gone"))

    with pytest.raises(BackendUnavailableError, match="'default' is unavailable"):
        add("/x", transaction_manager=manager)
    other_id = add("/x", queue="other", transaction_manager=manager)
    manager.commit()

    assert backend.calls == []
    assert site["other"].backend.get(other_id).state == "ready"


def test_what_joins_during_a_request_is_known_to_the_request_once(site, manager):
    active = origin()
    with context.active(active):
        for _ in range(3):
            add("/x", transaction_manager=manager)
        add("/x")

    assert len(active.joined) == 2
