import pytest
from zope.component import getUtilitiesFor, getUtility
from zope.interface.verify import verifyObject
from zope.schema.interfaces import IVocabularyFactory

from taskqueue.configure import Installation, read_keywords
from taskqueue.interfaces import ITaskQueue
from taskqueue.zope import utilities


@pytest.fixture(autouse=True)
def nothing_left():
    yield
    utilities.publish(None)


def queues(*names):
    return Installation(read_keywords({key: {} for key in names}, {name: {"queue": name} for name in names})).queues


def test_queues_are_utilities_by_name_and_their_length_is_what_waits():
    utilities.publish(queues("mail", "default"))
    queue = getUtility(ITaskQueue, name="mail")
    assert verifyObject(ITaskQueue, queue)
    assert len(queue) == 0


def test_those_of_another_configuration_take_their_place():
    utilities.publish(queues("mail", "default"))
    utilities.publish(queues("letters"))
    assert [name for name, _ in getUtilitiesFor(ITaskQueue)] == ["letters"]
    utilities.publish(None)
    assert list(getUtilitiesFor(ITaskQueue)) == []


def test_the_vocabulary_has_their_names_in_order():
    factory = utilities.QueueNames()
    assert verifyObject(IVocabularyFactory, factory)
    assert list(factory(None)) == []
    utilities.publish(queues("mail", "default"))
    assert [(term.value, term.token) for term in factory(None)] == [("default", "default"), ("mail", "mail")]
