"""Stores that another release has filled: old ones under today's code, and one store between two releases."""

import threading
from contextlib import contextmanager

import pytest

from taskqueue import notices
from taskqueue.consumer import Consumer
from taskqueue.interfaces import Migrating
from taskqueue.keeper import Keeper
from taskqueue.notices import Event
from taskqueue.queues import Queue
from taskqueue.record import Keyring, decode, decode_envelope, encode
from taskqueue.settings import ServerSettings

from ..making_records import make_task
from ..serving import wait_until
from .making import beat, publish
from .old_stores import FOLDER, IDS, KEYRING, OWNER, STATES, STORES, fill, task_in
from .processes import Child

DEADLINE = 20.0
FOR_EVER = 1e10  # old stores grow old

# A process of a newer release: what it encodes has version 2, and that is all it knows.
NEWER_RELEASE = """
    import threading
    from taskqueue import record as records
    records.VERSION = 2
    {code}
    from taskqueue.consumer import Consumer
    from taskqueue.keeper import Keeper
    from taskqueue.queues import Queue
    from taskqueue.settings import ServerSettings
    from tests.making_records import make_task

    def run(environ, start_response):
        start_response("200 OK", [])
        ran.append(environ["HTTP_X_TASK_ID"])
        return []

    ran, keeper = [], Keeper()
    task = make_task(queue="default", method="GET", payload=None)
    queue.publish([records.encode(task, records.Keyring())], 5.0)
    say(task.id)
    consumer = Consumer(ServerSettings(lease=5.0, renew=0.5), Queue("default", queue), run, keeper)
    while listen() != "stop":
        if consumer is not None:
            consumer.start()
        deadline = time.monotonic() + 10
        while queue.get(task.id).state != "done":
            queue.requeue([task.id])
            assert time.monotonic() < deadline, queue.get(task.id)
            threading.Event().wait(0.05)
        say(" ".join(ran))
    consumer.stop(5.0)
    keeper.stop()
"""


@pytest.fixture(params=STORES)
def store(request):
    opened = STORES[request.param]()
    yield opened
    opened.close()


def ids_by_state(queue):
    return {state: [each.id for each in queue.list([state])] for state in STATES}


@contextmanager
def consuming(queue, keyring):
    """Run what is in the queue; a list of environs, which grows."""
    ran = []

    def application(environ, start_response):
        start_response("200 OK", [])
        ran.append({**environ, "payload": environ["wsgi.input"].read()})
        return []

    keeper = Keeper()
    settings = ServerSettings(lease=5.0, renew=0.5, keep_done=FOR_EVER, keep_done_count=1000, keep_secrets=FOR_EVER)
    consumer = Consumer(settings, Queue("default", queue, keyring=keyring), application, keeper)
    consumer.start()
    try:
        yield ran
    finally:
        consumer.stop(DEADLINE)
        keeper.stop()


@pytest.fixture(params=sorted(FOLDER.iterdir()), ids=lambda file: file.stem)
def old_queue(request):
    """A queue in a store that an older release, or this one, has left."""
    store = STORES[request.param.stem.partition("_")[0]]()
    store.load(request.param.read_text())
    queue = store.open()
    if isinstance(queue, Migrating):
        queue.migrate()
    yield queue
    queue.close()
    store.close()


def test_there_is_an_old_store_of_each_backend():
    assert {file.stem.partition("_")[0] for file in FOLDER.iterdir()} == set(STORES)


# ---- old records under new code ------------------------------------------------------------------------------------


def test_each_state_of_an_old_store_is_read(old_queue):
    assert ids_by_state(old_queue) == {state: [IDS[state]] for state in STATES}
    for state in STATES:
        found, expected = decode(old_queue.get(IDS[state]), KEYRING), task_in(state)
        assert (found.url, found.principal, found.priority) == (expected.url, expected.principal, expected.priority)
        assert found.payload == (None if state == "done" else expected.payload)
        assert (found.state, found.due) == (state, expected.due)
    for state, status in (("done", 200), ("dead", 404)):
        assert decode(old_queue.get(IDS[state]), KEYRING).last_outcome.status == status
    assert {decode_envelope(each.envelope).owner for each in old_queue.staged()} == {OWNER}
    assert [(each.owner.id, each.alive) for each in old_queue.owners()] == [(OWNER, False)]


def test_an_old_store_is_drained_and_nothing_in_it_is_lost(old_queue):
    assert set(old_queue.requeue([IDS["dead"], IDS["scheduled"]])) == {IDS["dead"], IDS["scheduled"]}
    old_queue.reclaim(3)
    assert old_queue.settle([IDS["staged"], IDS["held"]], "publish") == 2
    with consuming(old_queue, KEYRING) as ran:
        wait_until(lambda: old_queue.counts().states["done"] == len(STATES))
    environs = {environ["HTTP_X_TASK_ID"]: environ for environ in ran}
    assert set(environs) == {IDS[state] for state in STATES if state != "done"}
    assert len(ran) == len(environs)
    for state in STATES[1:]:
        environ = environs[IDS[state]]
        assert environ["PATH_INFO"] == f"/{state}"
        assert environ["payload"] == task_in(state).payload
        assert environ["HTTP_COOKIE"] == f"session={state}"


def test_what_the_code_of_today_writes_it_would_find_again(store, request):
    """Otherwise the file of the next release would hold less than it seems to."""
    queue = store.open()
    fill(queue)
    queue.close()
    text = store.dump()
    again = type(store)()
    request.addfinalizer(again.close)
    again.load(text)
    queue = again.open()
    assert ids_by_state(queue) == {state: [IDS[state]] for state in STATES}
    queue.close()


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.sql")), ids=lambda file: file.stem)
def test_an_old_store_that_was_migrated_has_the_schema_of_a_new_one(file, request):
    schemas = []
    for text in (file.read_text(), None):
        store = STORES[file.stem.partition("_")[0]]()
        request.addfinalizer(store.close)
        if text is not None:
            store.load(text)
        queue = store.open()
        queue.migrate()
        queue.close()
        schemas.append(store.schema())
    assert schemas[0] == schemas[1]
    assert len(schemas[0]) > 10


# ---- two releases on one store -------------------------------------------------------------------------------------


def test_two_releases_on_one_store_leave_each_other_what_they_do_not_know(store):
    queue, told = store.open(), []
    heard = threading.Event()

    def listen(notice):
        if notice.event is Event.UNREADABLE:
            told.append(notice)
            heard.set()

    beat(queue)
    known = encode(make_task(queue="default", method="GET", payload=None), Keyring())
    notices.listen(listen)
    try:
        with Child(NEWER_RELEASE.format(code="; ".join(store.code.splitlines())), store.argument) as newer:
            unknown = newer.hear()
            with consuming(queue, Keyring()) as ran:
                publish(queue, known)
                wait_until(lambda: queue.get(known.id).state == "done")
                assert heard.wait(DEADLINE), "nobody was told of the record of a newer release"
                wait_until(lambda: queue.get(unknown).state == "scheduled")
            assert [environ["HTTP_X_TASK_ID"] for environ in ran] == [known.id]
            assert told[0].task_ids == (unknown,)
            assert "version 2" in told[0].detail
            assert "upgrade this instance" in told[0].detail
            left = queue.get(unknown)
            assert (left.attempts, left.deaths) == (0, 0)
            assert left.secrets is not None
            unread = encode(make_task(queue="default", method="GET", payload=None), Keyring())
            publish(queue, unread)
            newer.tell("consume")
            assert newer.hear() == unknown
            wait_until(lambda: queue.get(unread.id).state == "scheduled")
            assert queue.get(unread.id).attempts == 0
            newer.tell("stop")
            newer.end()
    finally:
        notices.unlisten(listen)
    queue.requeue([unread.id])
    with consuming(queue, Keyring()):
        wait_until(lambda: queue.counts().states["done"] == 3)
    queue.close()
