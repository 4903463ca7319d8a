"""A part of the contract suite, for backends that wait in more than one way."""

from taskqueue.testing.contract.waiting import Waiting, quiet

__all__ = ["Waiting", "quiet"]
