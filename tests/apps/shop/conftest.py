"""What the tests of the shop share."""

import pytest

from taskqueue.testing import captured_tasks  # noqa: F401  # a fixture: pytest finds it here


@pytest.fixture(autouse=True)
def _no_task_runs_by_itself(captured_tasks):  # noqa: F811  # asks for the fixture by its name
    """Every test of the shop captures, whether it looks at its tasks or not."""
