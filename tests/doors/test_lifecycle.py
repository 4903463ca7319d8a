"""When consumers start and stop, in processes that are no server's: forked ones, ending ones, ones without threads."""

import signal
import subprocess
import sys

import pytest

pytestmark = pytest.mark.process

PROGRAM = """
import atexit, logging, os, signal, sys, threading, types
from wsgiref.util import setup_testing_defaults

logging.basicConfig(stream=sys.stdout, format="%(levelname)s %(message)s", level=logging.INFO)

def app(environ, start_response):
    if environ["PATH_INFO"] == "/add":
        taskqueue.add("/task")
    elif environ["PATH_INFO"] == "/task":
        ran.append(taskqueue.current_task().id)
        enough.set()
    start_response("200 OK", [])
    return [b""]

def request(path="/"):
    environ = {"PATH_INFO": path}
    setup_testing_defaults(environ)
    for part in site(environ, lambda *arguments: None):
        pass

def consumers():
    return [each.name for each in threading.enumerate() if each.name.startswith("taskqueue-default")]

def status_of(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

def say(*words):
    # At once: where output is not buffered, print makes two writes of a line, and what is logged may come between.
    os.write(1, f"{' '.join(map(str, words))}\\n".encode())

ran, enough = [], threading.Event()
"""
MAKE_SITE = """
import taskqueue
from taskqueue.wsgi import Lifecycle, TaskQueueFilter, TransactionMiddleware

site = TaskQueueFilter(
    TransactionMiddleware(app),
    queues={"default": {"type": "sqlite", "path": "tasks.db"}},
    servers={"default": {"concurrent_limit": 2, "consume": CONSUME, "lease": 2, "renew": 0.5}},
)
"""
# The first line about a task is being written until the process has forked, or a second has passed.
SLOW_LOG = """
import io

class Slow(io.RawIOBase):
    def writable(self):
        return True

    def write(self, line):
        if b" attempt=" in bytes(line) and not writing.is_set():
            writing.set()
            forked.wait(1)
        return len(line)

writing, forked = threading.Event(), threading.Event()
logging.root.handlers[0].setStream(io.TextIOWrapper(io.BufferedWriter(Slow())))
"""
# A stand-in for the module that exists inside of uWSGI.
UWSGI = """
uwsgi = types.ModuleType("uwsgi")
uwsgi.worker_id = lambda: number
uwsgi.workers = lambda: looks.release() or [{"id": 1, "apps": apps}]
uwsgi.has_threads = 1
sys.modules["uwsgi"] = uwsgi
number, apps, looks = 0, [], threading.Semaphore(0)

def wait_for_looks():
    for _ in range(3):
        looks.acquire(timeout=20)
"""


@pytest.fixture
def run(tmp_path):
    def run(text, before="", consume="auto"):
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM + before + f"CONSUME = {consume!r}\n" + MAKE_SITE + text],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done.returncode, [line for line in done.stdout.splitlines() if line[:5] not in {"INFO ", "WARNI"}]

    return run


# ---- forks -------------------------------------------------------------------------------------------------------


def test_a_child_that_exits_in_good_order_stops_nothing_of_its_parents(run):
    code, printed = run(
        "request('/add'); enough.wait(20)\n"
        "pid = os.fork()\n"
        "if not pid: sys.exit(7)\n"
        "say(status_of(pid), site.installation.is_started, len(consumers()) > 0)\n"
        "enough.clear(); request('/add'); say(enough.wait(20))\n"
        "say([each.alive for each in site.installation.queues['default'].backend.owners()])\n"
    )
    assert (code, printed) == (0, ["7 True True", "True", "[True]"])


def test_a_child_is_ended_by_sigterm_as_if_we_were_not_there(run):
    code, printed = run(
        "request()\n"
        "reader, writer = os.pipe()\n"
        "pid = os.fork()\n"
        "if not pid:\n"
        "    os.write(writer, b'x'); threading.Event().wait(20); os._exit(9)\n"
        "os.read(reader, 1); os.kill(pid, signal.SIGTERM)\n"
        "say(status_of(pid), len(consumers()) > 0)\n"
    )
    assert (code, printed) == (0, [f"{-signal.SIGTERM} True"])


def test_a_process_that_has_not_consumed_is_ended_by_sigterm_as_if_we_were_not_there(run):
    code, printed = run("os.kill(os.getpid(), signal.SIGTERM); threading.Event().wait(20); say('survived')\n")
    assert (code, printed) == (-signal.SIGTERM, [])


def test_a_child_of_a_child_that_serves_is_left_alone_as_well(run):
    code, printed = run(
        "request()\n"
        "pid = os.fork()\n"
        "if not pid:\n"
        "    for _ in range(200):\n"  # its parent takes some of them
        "        request('/add')\n"
        "        if enough.wait(0.1): break\n"
        "    inner = os.fork()\n"
        "    if not inner: sys.exit(5 if not consumers() else 6)\n"
        "    say(len(ran) > 0, status_of(inner), len(consumers()) > 0, site.installation.is_started)\n"
        "    sys.exit(4)\n"
        "say(status_of(pid), len(consumers()) > 0)\n"
    )
    assert (code, printed) == (0, ["True 5 True True", "4 True"])


def test_a_child_that_is_forked_while_a_task_is_logged_writes_and_ends(run):
    """Nothing renews the lock inside of a buffered stream, so none of our threads may hold it then."""
    code, printed = run(
        "request('/add'); writing.wait(20)\n"
        "pid = os.fork()\n"
        "if not pid:\n"
        "    signal.alarm(20)\n"
        "    request('/add'); sys.exit(7)\n"
        "forked.set()\n"
        "say(writing.is_set(), status_of(pid))\n",
        before=SLOW_LOG,
    )
    assert (code, printed) == (0, ["True 7"])


def test_forks_amid_work_neither_hang_nor_disturb_it(run):
    """Each child adds as well, with whatever locks were held when it was forked."""
    code, printed = run(
        "def publish():\n"
        "    for _ in range(5): request('/add')\n"
        "adding = [threading.Thread(target=publish) for _ in range(3)]\n"
        "request()\n"
        "for each in adding: each.start()\n"
        "statuses = set()\n"
        "for _ in range(15):\n"
        "    pid = os.fork()\n"
        "    if not pid:\n"
        "        signal.alarm(20)\n"
        "        site.lifecycle.request_came = lambda: None\n"
        "        request('/add'); sys.exit(0)\n"
        "    statuses.add(status_of(pid))\n"
        "for each in adding: each.join()\n"
        "backend = site.installation.queues['default'].backend\n"
        "for _ in range(2000):\n"
        "    if backend.counts().states['done'] == 30: break\n"
        "    enough.clear(); enough.wait(0.01)\n"
        "say(statuses, backend.counts().states['done'], len(ran), len(set(ran)))\n"
    )
    assert (code, printed) == (0, ["{0} 30 30 30"])


def test_a_child_that_serves_consumes_whatever_lock_was_held_when_it_was_forked(run):
    code, printed = run(
        "with site.installation._lock:\n"  # as if another thread were just starting the consumers
        "    pid = os.fork()\n"
        "    if not pid:\n"
        "        signal.alarm(20)\n"
        "        request('/add'); sys.exit(7 if enough.wait(15) else 8)\n"
        "say(status_of(pid))\n"
    )
    assert (code, printed) == (0, ["7"])


# ---- the end -----------------------------------------------------------------------------------------------------


def test_nothing_starts_any_more_in_a_process_that_ends(run):
    code, printed = run(
        "atexit.register(lambda: say('late', len(consumers())))\n"  # runs after those that are registered later
        "atexit.register(lambda: site.lifecycle.start())\n"
        "request()\n"
        "say(len(consumers()) > 0)\n"
    )
    assert (code, printed) == (0, ["True", "late 0"])


def test_sigterm_ends_the_consumers_in_good_order_that_a_request_in_a_thread_has_started(run):
    code, printed = run(
        "thread = threading.Thread(target=request, args=('/add',)); thread.start(); thread.join(); enough.wait(20)\n"
        "atexit.register(lambda: say(len(consumers()) > 0))\n"  # runs before what stops them
        "os.kill(os.getpid(), signal.SIGTERM); threading.Event().wait(20); say('survived')\n"
    )
    assert (code, printed) == (128 + signal.SIGTERM, ["True"])


# ---- what is known of uWSGI --------------------------------------------------------------------------------------


def test_the_master_of_uwsgi_consumes_nothing_and_a_worker_does_once_it_has_the_application(run):
    code, printed = run(
        "say(len(consumers()), signal.getsignal(signal.SIGTERM) is signal.SIG_DFL)\n"
        "uwsgi.post_fork_hook()\n"  # in a mule
        "say([each.name for each in threading.enumerate() if each.name.startswith('taskqueue-u')])\n"
        "number = 1\n"
        "uwsgi.post_fork_hook()\n"
        "wait_for_looks()\n"
        "say(len(consumers()))\n"
        "apps.append('app')\n"
        "request('/add'); say(enough.wait(20))\n"
        "say(signal.getsignal(signal.SIGTERM) is signal.SIG_DFL)\n"
        "uwsgi.atexit(); say(len(consumers()))\n",
        before=UWSGI + "uwsgi.post_fork_hook = lambda: say('first')\nuwsgi.atexit = lambda: say('last')\n",
        consume="yes",
    )
    assert code == 0
    assert printed == ["0 True", "first", "[]", "first", "0", "True", "True", "last", "0"]


def test_a_worker_of_uwsgi_that_loads_the_application_itself_consumes_once_it_has_it(run):
    code, printed = run(
        "wait_for_looks()\n"
        "say(len(consumers())); apps.append('app')\n"
        "while not site.installation.is_started: enough.wait(0.01)\n"
        "say(site.installation.is_started)\n",
        before=UWSGI + "number = 1\n",
    )
    assert (code, printed) == (0, ["0", "True"])


def test_the_hook_of_uwsgis_own_decorators_is_shared(run):
    code, printed = run(
        "say(hasattr(uwsgi, 'post_fork_hook'), len(decorators.chain))\n",
        before=UWSGI
        + "decorators = types.ModuleType('uwsgidecorators')\n"
        + "decorators.chain = []; decorators.postfork = decorators.chain.append\n"
        + "sys.modules['uwsgidecorators'] = decorators\n",
    )
    assert (code, printed) == (0, ["False 1"])


@pytest.mark.parametrize("consume", ["auto", "yes"])
@pytest.mark.parametrize("in_master", [True, False])
def test_uwsgi_without_threads_is_told_once_what_to_set_and_adding_goes_on(run, consume, in_master):
    code, printed = run(
        ("number = 1\nuwsgi.post_fork_hook()\n" if in_master else "")
        + "apps.append('app')\n"
        + "for _ in range(3): request('/add')\n"
        + "site.lifecycle.start()\n"
        + "say(consumers(), site.installation.queues['default'].backend.counts().states['ready'])\n",
        before=UWSGI + "uwsgi.has_threads = 0\n" + ("" if in_master else "number = 1\n"),
        consume=consume,
    )
    assert code == 0
    error, left = printed
    assert error.startswith("ERROR taskqueue starts no consumers here: uWSGI runs no threads")
    assert "set enable-threads = true" in error
    assert left == "[] 3"
