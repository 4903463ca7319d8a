"""The contract of all backends, as tests that the author of one can run with pytest.

A backend is tested by a class of its own, which makes queues::

    class TestMine(BackendContract):
        @pytest.fixture
        def open_queue(self):
            ...  # yields a function of name, prefix and length_limit: queues in one and the same empty store

Each of these has a default, and no two queues of one test have the same name and prefix. A backend that does not go by
``time.time`` of this process overrides the fixture ``clock`` as well. ``making`` has the words in which the tests are
written, for further ones.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ...interfaces import TaskQueue

pytest.register_assert_rewrite(f"{__name__}.begun", f"{__name__}.looking", f"{__name__}.upkeep", f"{__name__}.waiting")
pytest.register_assert_rewrite(f"{__name__}.way_in", f"{__name__}.way_out", f"{__name__}.making")

from .begun import Begun  # noqa: E402  # after pytest knows that their assertions are to be explained
from .looking import Looking  # noqa: E402  # the same
from .making import Clock, beat  # noqa: E402  # the same
from .upkeep import Upkeep  # noqa: E402  # the same
from .waiting import Waiting  # noqa: E402  # the same
from .way_in import WayIn  # noqa: E402  # the same
from .way_out import WayOut  # noqa: E402  # the same

__all__ = ["BackendContract"]


class BackendContract(WayIn, WayOut, Begun, Upkeep, Looking, Waiting):
    """Every rule of ``interfaces.TaskQueue`` that a caller may rely on."""

    @pytest.fixture
    def clock(self, monkeypatch: pytest.MonkeyPatch) -> Clock:
        """The time by which a backend judges what is due and what is old, to be turned by the tests."""
        turned = Clock()
        monkeypatch.setattr("time.time", turned)
        return turned

    @pytest.fixture
    def queue(self, open_queue: Callable[..., TaskQueue]) -> TaskQueue:
        """An empty queue in which ``making.OWNER`` has a lease."""
        queue = open_queue()
        beat(queue)
        return queue
