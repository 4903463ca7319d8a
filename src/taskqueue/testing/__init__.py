"""The door for tests: what a test adds is captured, looked at, and replayed when the test says so.

While a capture is active, tasks go to queues in memory in place of those that are configured, and no consumer starts.
All else is the real thing: the transaction decides what is delivered, and each replay goes through the consumer's own
code, in a thread of its own. Needs no test framework; with pytest there is the fixture ``captured_tasks``. It has no
asserts that pytest could explain better, and whoever imports it early should not be warned: PYTEST_DONT_REWRITE.
"""

from __future__ import annotations

from collections.abc import Iterator

from .asserting import assert_added, assert_nothing_added
from .capturing import Captured, captured
from .running import run_all

__all__ = ["Captured", "assert_added", "assert_nothing_added", "captured", "run_all"]

try:
    import pytest
except ImportError:
    pass  # everything else works without it
else:

    @pytest.fixture
    def captured_tasks() -> Iterator[Captured]:
        """What the test adds and commits: nothing of it runs before ``taskqueue.testing.run_all`` says so."""
        with captured() as tasks:
            yield tasks
