"""A part of the contract suite, for backends that wait in more than one way."""

from taskqueue.testing.contract.waiting import Waiting, quiet

__all__ = ["Waiting", "listening", "quiet"]

DEADLINE = 20.0


def listening(queue):
    """Wait until a queue has begun to listen to others, which is a hint; the number to wait with for the next one.

    The number of before is looked up: the hint may be there before a first ``wait`` could return it.
    """
    return queue.wait(queue._hints._number, DEADLINE)


class Connecting:
    """For the contract of a backend that connects in the background to listen."""

    def listen(self, queue):
        listening(queue)
