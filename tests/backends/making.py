"""The words in which the contract's tests are written, for those of this folder."""

from taskqueue.testing.contract.making import *  # noqa: F403  # all of them, and what they are made of
