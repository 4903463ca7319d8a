"""What holds for all tests: they leave nothing to each other, and can be interrupted wherever they run."""

import contextlib
import functools
import signal
import threading

import pytest

from taskqueue import queues
from taskqueue.wsgi import Lifecycle

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell ignores it for what it starts in the background, and processes that tests start would ignore it, too.
    signal.signal(signal.SIGINT, signal.default_int_handler)

with contextlib.suppress(ImportError):  # the tests with Plone do without it
    from hypothesis import HealthCheck, settings

    # No example fails because the machine did something else meanwhile: the timeout of the whole test is enough.
    settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("patient")

FIGURES = "figures"


@pytest.fixture
def say(record_property):
    """Say what was measured: it is printed when all tests are over, whichever process they ran in."""
    return functools.partial(record_property, FIGURES)


def pytest_terminal_summary(terminalreporter):
    """Print what tests have said."""
    for report in [each for reports in terminalreporter.stats.values() for each in reports]:
        said = [text for name, text in getattr(report, "user_properties", ()) if name == FIGURES]
        if said and report.when == "call":
            terminalreporter.section(report.nodeid, sep="-")
            terminalreporter.write_line("\n".join(said))


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
