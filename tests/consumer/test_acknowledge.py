from __future__ import annotations

import pytest
import transaction
from transaction.interfaces import IDataManagerSavepoint, ISavepointDataManager
from zope.interface import classImplements
from zope.interface.verify import verifyObject

from taskqueue.consumer.acknowledge import Acknowledgement


class Objector:
    """A data manager that fails in one of its verbs."""

    def __init__(self, verb: str, key: str = "m") -> None:
        self._verb = verb
        self._key = key

    def __getattr__(self, name: str):
        def method(*arguments):
            if name == self._verb:
                raise RuntimeError(f"objects in {name}")

        return method

    def sortKey(self) -> str:  # noqa: N802  # the name that the transaction library asks for
        return self._key


@pytest.fixture
def manager() -> transaction.TransactionManager:
    return transaction.TransactionManager(explicit=True)


def test_it_is_a_savepoint_data_manager_by_its_methods():
    class Claimed(Acknowledgement):
        pass

    classImplements(Claimed, ISavepointDataManager)
    assert verifyObject(ISavepointDataManager, Claimed())
    assert verifyObject(IDataManagerSavepoint, Claimed().savepoint(), tentative=True)


def test_nothing_is_known_before_a_transaction_ends(manager):
    acknowledgement = Acknowledgement()
    assert acknowledgement.committed is None
    acknowledgement.join(manager.begin())
    assert acknowledgement.state is None


def test_a_commit_is_seen(manager):
    acknowledgement = Acknowledgement()
    acknowledgement.join(manager.begin())
    manager.commit()
    assert acknowledgement.state == "committed"
    assert acknowledgement.committed is True


def test_an_abort_is_seen(manager):
    acknowledgement = Acknowledgement()
    acknowledgement.join(manager.begin())
    manager.abort()
    assert acknowledgement.state == "aborted"
    assert acknowledgement.committed is False


@pytest.mark.parametrize("verb", ["tpc_begin", "commit", "tpc_vote", "tpc_finish"])
def test_an_objection_of_another_is_an_abort(manager, verb):
    acknowledgement = Acknowledgement()
    begun = manager.begin()
    acknowledgement.join(begun)
    begun.join(Objector(verb))
    with pytest.raises(RuntimeError, match="objects"):
        manager.commit()
    assert acknowledgement.state == "aborted"


def test_one_that_commits_in_its_vote_comes_before():
    assert Acknowledgement().sortKey() > "~sqlalchemy:1"
    assert Acknowledgement().sortKey() > "~!taskqueue:default"


def test_the_last_transaction_that_was_joined_counts(manager):
    acknowledgement = Acknowledgement()
    acknowledgement.join(manager.begin())
    manager.abort()
    acknowledgement.join(manager.begin())
    assert acknowledgement.state is None
    manager.commit()
    assert acknowledgement.state == "committed"


def test_a_transaction_that_was_replaced_is_not_heard_any_more(manager):
    acknowledgement = Acknowledgement()
    first = manager.begin()
    acknowledgement.join(first)
    other = transaction.TransactionManager(explicit=True)
    acknowledgement.join(other.begin())
    first.abort()
    assert acknowledgement.state is None
    other.commit()
    assert acknowledgement.state == "committed"


def test_an_abort_after_the_finish_does_not_take_it_back(manager):
    acknowledgement = Acknowledgement()
    begun = manager.begin()
    acknowledgement.join(begun)
    manager.commit()
    acknowledgement.tpc_abort(begun)
    acknowledgement.abort(begun)
    assert acknowledgement.state == "committed"


def test_joining_the_same_transaction_again_changes_nothing(manager):
    acknowledgement = Acknowledgement()
    begun = manager.begin()
    acknowledgement.join(begun)
    acknowledgement.join(begun)
    assert begun._resources == [acknowledgement]


def test_a_rollback_to_a_savepoint_does_not_abort_it(manager):
    acknowledgement = Acknowledgement()
    acknowledgement.join(manager.begin())
    savepoint = manager.savepoint()
    savepoint.rollback()
    manager.commit()
    assert acknowledgement.state == "committed"
