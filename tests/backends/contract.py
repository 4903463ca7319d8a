"""The contract suite, as the tests of this folder use it."""

from taskqueue.testing.contract import BackendContract

__all__ = ["BackendContract"]
