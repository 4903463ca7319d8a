"""A server that stalls: who adds waits two seconds at most, once, and nobody else waits, whoever holds which lock."""

import contextlib
import functools
import statistics
import threading
import time
from wsgiref.util import setup_testing_defaults

import pytest
import transaction
import ZODB
from persistent.mapping import PersistentMapping
from ZODB.FileStorage import FileStorage

import taskqueue
from taskqueue import configure, failpoints, witnesses
from taskqueue.keeper import process_keeper
from taskqueue.producer.datamanager import TaskDataManager
from taskqueue.transactions import TransactionMiddleware
from taskqueue.wsgi import TaskQueueFilter

from ..backends.fault_proxy import FaultProxy, commits_tasks
from .faults import DEADLINE, LONG, wait_until

ADD_SECONDS = 2.0
GENEROUS_SECONDS = 1.5  # for a machine with other things to do
RISE_SECONDS = 0.05 if LONG else 1.0  # behind a lock it would be two; the short form runs on any disk
OUTAGES = 5 if LONG else 1
LONG_STALL_SECONDS = 30.0
QUIET_SECONDS = 2.0 if LONG else 1.0
COMMITTERS = ("first", "second", "third", "fourth", "fifth", "sixth")
WRITERS = ("neighbour", "both", "none", "next")  # each has an object of its own: there are no conflicts


@pytest.fixture
def behind(request):
    """A proxy before a server, and the options of a queue that goes through it."""
    with contextlib.ExitStack() as stack:
        if request.param == "redis":
            from ..backends.redis_server import Server

            server = stack.enter_context(Server(appendonly="yes"))
            proxy = stack.enter_context(FaultProxy(server.port))
            yield proxy, {"type": "redis", **proxy.address}
        else:
            from ..backends.postgresql_server import new_database, shared_server

            server = shared_server()
            database = stack.enter_context(new_database(server)).rpartition("/")[2]
            proxy = stack.enter_context(FaultProxy(server.port, commits_tasks))
            yield proxy, {"type": "postgresql", "url": server.url(database, port=proxy.port)}


@pytest.fixture
def db(tmp_path):
    """A ZODB in a file, as its users have it, with its fsyncs."""
    db = ZODB.DB(FileStorage(str(tmp_path / "Data.fs")), pool_size=20)
    with db.transaction() as connection:
        for name in WRITERS:
            connection.root()[name] = PersistentMapping()
    witness = taskqueue.register_witness(db)
    yield db
    witnesses.unregister(witness)
    db.close()


class Site:
    """An application whose requests write to the ZODB, or add, or both, or neither."""

    def __init__(self, db, queue):
        self._db = db
        configuration = configure.read_keywords({"default": queue}, {"default": {"consume": "no"}})
        self._filter = TaskQueueFilter(self._opened, configuration=configuration, program="proof")
        self.close = self._filter.installation.close
        self.backend = self._filter.installation.queues["default"].backend
        self.ids = {}  # of the tasks that were added, by the name of the request

    def request(self, name, *does):
        """Whether it succeeded, and the seconds that it took."""
        environ = {"PATH_INFO": f"/{name}", "proof.does": does}
        setup_testing_defaults(environ)
        statuses = []
        began = time.monotonic()
        try:
            self._filter(environ, lambda status, headers, error=None: statuses.append(status)).close()
        except Exception as error:  # noqa: BLE001  # looked at by the test
            statuses = [str(error)]
        return statuses[-1], time.monotonic() - began

    def _opened(self, environ, start_response):
        with contextlib.ExitStack() as environ["proof.opened"]:
            return TransactionMiddleware(self._view)(environ, start_response)

    def _view(self, environ, start_response):
        does = environ["proof.does"]
        if "write" in does:
            connection = environ["proof.opened"].enter_context(contextlib.closing(self._db.open(environ["tm.manager"])))
            connection.root()[environ["PATH_INFO"][1:]]["does"] = does
        if "add" in does:
            self.ids[environ["PATH_INFO"][1:]] = taskqueue.add("/task")
        start_response("200 OK", [])
        return [b""]

    def is_up(self):
        """Whether tasks are taken."""
        return self.request("probe", "add")[0] == "200 OK"


class Neighbour:
    """Another thread, which commits to the same ZODB as fast as it can, and writes down how long each took."""

    def __init__(self, db):
        self._db = db
        self.commits = []  # when each began, when it ended
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *exc_info):
        self._stopped.set()
        self._thread.join(DEADLINE)
        assert not self._thread.is_alive(), "it does not come to an end"

    def _run(self):
        manager = transaction.TransactionManager()
        connection = self._db.open(manager)
        while not self._stopped.is_set():
            manager.begin()
            connection.root()["neighbour"]["count"] = len(self.commits)
            began = time.monotonic()
            manager.commit()
            self.commits.append((began, time.monotonic()))
        connection.close()

    def between(self, began, ended):
        """How long those commits took that overlap with this time, which has passed."""
        wait_until(lambda: self.commits and self.commits[-1][0] > ended, "the neighbour commits no more")
        return [until - since for since, until in list(self.commits) if until >= began and since <= ended]


def p99(seconds):
    """The 99th of a hundred; the worst when there are fewer."""
    return statistics.quantiles(seconds, n=100)[-1] if len(seconds) >= 100 else max(seconds)


def side_by_side(*acts):
    """Do all at once, each in a thread; what they returned, and when it began and ended."""
    answers = [None] * len(acts)

    def do(number, act):
        answers[number] = act()

    threads = [threading.Thread(target=do, args=each, daemon=True) for each in enumerate(acts)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE)
    assert None not in answers, "a request does not come to an end"
    return answers, began, time.monotonic()


def quiet(neighbour):
    """The commits of some seconds in which nothing else happens; enough of them, however slow the disk is."""
    began, there_were = time.monotonic(), len(neighbour.commits)
    wait_until(lambda: time.monotonic() - began >= QUIET_SECONDS and len(neighbour.commits) > there_were + 100)
    return neighbour.between(began, time.monotonic())


def outage(site, proxy, neighbour, stall_seconds=0.0):
    """Let the server stall while two requests add; the neighbour's commits while they waited, and until the end."""
    wait_until(site.is_up, "the queue does not come up")
    proxy.stall()
    try:
        answers, began, ended = side_by_side(
            lambda: site.request("both", "write", "add"),
            lambda: site.request("only", "add"),
            lambda: site.request("none", "write"),
        )
        (both, both_seconds), (only, only_seconds), (none, none_seconds) = answers
        assert "200 OK" not in (both, only)
        assert ADD_SECONDS / 2 < max(both_seconds, only_seconds) < ADD_SECONDS + GENEROUS_SECONDS
        assert (none, none_seconds < GENEROUS_SECONDS) == ("200 OK", True)
        while True:  # whoever comes next does not wait again
            status, seconds = site.request("next", "write", "add")
            assert status != "200 OK"
            assert "unavailable" in status
            assert "\n" not in status
            assert seconds < GENEROUS_SECONDS
            status, seconds = site.request("none", "write")
            assert (status, seconds < GENEROUS_SECONDS) == ("200 OK", True)
            if time.monotonic() - began >= stall_seconds:
                break
        return neighbour.between(began, ended), neighbour.between(ended, time.monotonic())
    finally:
        proxy.mend()


def told(name, commits):
    """Some words with figures."""
    if not commits:
        return f"{name}: no commits"
    return f"{name}: {len(commits):,} commits, p99 {p99(commits) * 1000:.1f} ms, worst {max(commits) * 1000:.1f} ms"


@pytest.mark.timeout(300)
@pytest.mark.parametrize("behind", ["redis", "postgresql"], indirect=True)
def test_a_server_that_stalls_holds_up_no_commit_of_the_zodb(behind, db, say):
    proxy, options = behind
    site = Site(db, options)
    with contextlib.closing(site), Neighbour(db) as neighbour:
        before, waiting, later = [], [], []
        for number in range(OUTAGES):
            wait_until(site.is_up, "the queue does not come up")
            before += quiet(neighbour)
            found = outage(site, proxy, neighbour, LONG_STALL_SECONDS if LONG and not number else 0.0)
            waiting += found[0]
            later += found[1]
        wait_until(site.is_up, "the queue does not come up again")
        assert process_keeper().unpublished() == 0
    phases = {"before": before, "while requests wait for it": waiting, "later": later}
    say(f"{options['type']} stalls; " + "; ".join(told(name, commits) for name, commits in phases.items()))
    assert p99(waiting) - p99(before) < RISE_SECONDS
    if LONG:
        assert len(later) > 1000
        assert p99(later) - p99(before) < RISE_SECONDS


@pytest.fixture
def server(request):
    """A server, the options of a queue on it, and what has all of its processes stand still."""
    with contextlib.ExitStack() as stack:
        if request.param == "redis":
            from ..backends.redis_server import Server

            server = stack.enter_context(Server())
            yield server, {"type": "redis", **server.address}, server.stop_still
        else:
            from ..backends.postgresql_server import new_database, shared_server

            server = shared_server()
            options = {"type": "postgresql", "url": stack.enter_context(new_database(server))}
            yield server, options, server.stop_still_with_all


@pytest.mark.timeout(300)
@pytest.mark.parametrize("server", ["redis", "postgresql"], indirect=True)
def test_what_a_server_carries_out_after_a_stall_is_no_commit_of_who_has_given_up(server, say):
    """It falls silent when some have staged and the next thing that each of them does is its commit."""
    server, options, stop_still = server
    ready = threading.Barrier(len(COMMITTERS), action=stop_still)
    site = Site(None, options)
    with contextlib.closing(site):
        wait_until(site.is_up, "the queue does not come up")
        with failpoints.armed("finish.begun", lambda: ready.wait(DEADLINE)):
            try:
                answers, _, _ = side_by_side(*(functools.partial(site.request, name, "add") for name in COMMITTERS))
            finally:
                server.go_on()
        wait_until(site.is_up, "the queue does not come up again")
        wait_until(lambda: not site.backend.staged(), "what failed is not discarded")
        found = {name: site.backend.get(site.ids[name]) for name in COMMITTERS}
    say(f"{options['type']}: {len(COMMITTERS)} commits to a server that stalls, {answers[0][0]!r}")
    assert [status for status, _ in answers if status == "200 OK"] == []
    assert [record for record in found.values() if record is not None] == []


@pytest.mark.skipif(not LONG, reason="TASKQUEUE_PROOF=long runs it")
@pytest.mark.parametrize("behind", ["redis"], indirect=True)
def test_the_measure_notices_a_request_that_waits_with_a_lock(behind, db, monkeypatch, say):
    """Staging in the vote, where the ZODB has its commit lock already, is what this protects from."""
    proxy, options = behind

    def mark_only(manager):
        manager._enlist()
        manager._company.leave_marks()

    monkeypatch.setattr(TaskDataManager, "_before_commit", mark_only)
    site = Site(db, options)
    with contextlib.closing(site), Neighbour(db) as neighbour:
        wait_until(site.is_up, "the queue does not come up")
        proxy.stall()
        _, began, ended = side_by_side(lambda: site.request("both", "write", "add"))
        waiting = neighbour.between(began, ended)
        proxy.mend()
    assert began + ADD_SECONDS / 2 < ended
    say("staged in the vote; " + told("while a request waits", waiting))
    assert p99(waiting) > 10 * RISE_SECONDS
