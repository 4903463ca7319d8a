"""What holds for all tests: they leave nothing to each other, and can be interrupted wherever they run."""

import signal
import threading

import pytest

from taskqueue import queues
from taskqueue.wsgi import Lifecycle

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell ignores it for what it starts in the background, and processes that tests start would ignore it, too.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True, scope="module")
def nothing_is_left_behind():
    """A file of tests may install queues for code outside of requests, and has to stop the consumers that it starts."""
    before, known = queues._Installed.queues, set(Lifecycle.all())
    yield
    queues.install(before)
    left = [each.name for each in threading.enumerate() if each.name.startswith("taskqueue-") and "fetch" in each.name]
    for lifecycle in set(Lifecycle.all()) - known:
        lifecycle.installation.close()
    assert not left, f"consumers that these tests have started still run: {left}"
