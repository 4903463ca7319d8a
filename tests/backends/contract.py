"""The contract of all backends. A backend is tested by a class of its own:

    class TestMine(BackendContract):
        @pytest.fixture
        def open_queue(self):
            ...  # yields a function of (name, prefix, length_limit): queues in one and the same empty store

It may override the fixture ``clock``, when time goes by another clock than this process's ``time.time``.
"""

import pytest

from .contract_looking import Looking
from .contract_upkeep import Upkeep
from .contract_waiting import Waiting
from .contract_way_in import WayIn
from .contract_way_out import WayOut
from .making import beat


class BackendContract(WayIn, WayOut, Upkeep, Looking, Waiting):
    """Every rule of ``interfaces.TaskQueue`` that a caller may rely on."""

    @pytest.fixture
    def queue(self, open_queue):
        """An empty queue in which OWNER has a lease."""
        queue = open_queue()
        beat(queue)
        return queue
