"""The contract suite, as the tests of this folder use it."""

from taskqueue.testing.contract import BackendContract
from taskqueue.testing.contract.way_out import WayOut

__all__ = ["BackendContract", "ContractSmoke"]


class ContractSmoke(WayOut):
    """A part of the contract, where the whole of it is run on the same code elsewhere."""

    clock = BackendContract.clock
    queue = BackendContract.queue
