"""Tests as users of ``taskqueue.zope.testing`` write them, for both kinds of layer and both kinds of queue.

Run in a process of their own (``python -m tests.zope.layered``), as there can be one Zope in a process. The few lines
at the end do what zope.testrunner does with layers.
"""

import sys
import unittest

import pytest
import transaction
from OFS.Folder import manage_addFolder
from plone.testing import Layer
from zope.component import getGlobalSiteManager, getUtility, provideAdapter
from zope.interface import Interface
from zope.publisher.interfaces.browser import IDefaultBrowserLayer

import taskqueue
from taskqueue.interfaces import ITaskQueue
from taskqueue.zope.testing import (
    QUEUE_NAME,
    REDIS_TASK_QUEUE_FUNCTIONAL_TESTING,
    REDIS_TASK_QUEUE_INTEGRATION_TESTING,
    TASK_QUEUE_FUNCTIONAL_TESTING,
    TASK_QUEUE_INTEGRATION_TESTING,
    pending,
    run_tasks,
)

layers: list[Layer] = []


class View:
    """A task that leaves something in the database."""

    def __init__(self, context, request):
        self.context, self.request = context, request

    def __call__(self, title="", fail="", status=""):
        if fail:
            raise ValueError("no such title")
        self.request.response.setStatus(int(status or 200))
        self.context.manage_changeProperties(title=title)
        return "done"

    __doc__ = "it may be published"


class Integration(unittest.TestCase):
    layer = TASK_QUEUE_INTEGRATION_TESTING
    capability = "local"

    def test_what_is_added_is_pending_and_is_not_delivered(self):
        task_id = taskqueue.add("/folder/@@retitle", params={"title": "new"})
        assert [task.id for task in pending()] == [task_id]
        assert len(getUtility(ITaskQueue, name=QUEUE_NAME)) == 0

    def test_the_layer_has_the_type_of_queue_that_its_name_says(self):
        assert self.layer["taskqueue"].queue.type == self.capability

    def test_nothing_is_pending_at_first(self):
        assert pending() == ()
        assert run_tasks(self.layer) == []


class RedisIntegration(Integration):
    layer = REDIS_TASK_QUEUE_INTEGRATION_TESTING
    capability = "redis"


class Functional(unittest.TestCase):
    layer = TASK_QUEUE_FUNCTIONAL_TESTING

    def setUp(self):
        provideAdapter(View, (Interface, IDefaultBrowserLayer), Interface, name="retitle")
        app = self.layer["app"]
        manage_addFolder(app, "folder")
        transaction.commit()

    def tearDown(self):
        getGlobalSiteManager().unregisterAdapter(View, (Interface, IDefaultBrowserLayer), Interface, name="retitle")

    def test_a_committed_task_runs_through_the_publisher(self):
        taskqueue.add("/folder/@@retitle", params={"title": "new"})
        transaction.commit()
        queue = getUtility(ITaskQueue, name=QUEUE_NAME)
        assert len(queue) == 1
        [task] = run_tasks(self.layer)
        assert (task.state, task.last_outcome.status) == ("done", 200)
        transaction.begin()
        assert self.layer["app"].folder.title == "new"
        assert len(queue) == 0

    def test_an_aborted_task_does_not(self):
        taskqueue.add("/folder/@@retitle", params={"title": "new"})
        transaction.abort()
        assert run_tasks(self.layer) == []

    def test_what_one_test_leaves_the_next_does_not_see(self):
        assert len(getUtility(ITaskQueue, name=QUEUE_NAME)) == 0
        taskqueue.add("/folder/@@retitle")
        transaction.commit()

    test_what_one_test_leaves_the_next_does_not_see_either = test_what_one_test_leaves_the_next_does_not_see

    def test_a_task_that_fails_can_be_looked_at(self):
        taskqueue.add("/nowhere")
        transaction.commit()
        [task] = run_tasks(self.layer, check=False)
        assert (task.state, task.last_outcome.status) == ("scheduled", 404)

    def test_a_task_that_fails_fails_the_test_and_says_why(self):
        for url, reason in (
            (
                "/nowhere",
                r"^GET /nowhere is scheduled: answered 404; again in .*\. With check=False, run_tasks returns it$",
            ),
            ("/folder/@@retitle?fail=yes", r"^GET /folder/@@retitle is scheduled: .*ValueError: no such title"),
            ("/folder/@@retitle?status=302", r"^GET /folder/@@retitle is dead: answered 302"),
        ):
            taskqueue.add(url)
            transaction.commit()
            with pytest.raises(AssertionError, match=reason):
                run_tasks(self.layer)

    def test_what_is_not_committed_is_told(self):
        taskqueue.add("/folder/@@retitle")
        with pytest.raises(AssertionError, match="nothing to run; 1 not committed"):
            run_tasks(self.layer)


class RedisFunctional(Functional):
    layer = REDIS_TASK_QUEUE_FUNCTIONAL_TESTING


def bases_first(layer):
    for base in layer.__bases__:
        yield from bases_first(base)
    yield layer


def run(case):
    """All tests of one class, in its layer."""
    stack = list(dict.fromkeys(bases_first(case.layer)))
    for layer in stack:
        layer.setUp()
    failures = 0
    for test in unittest.defaultTestLoader.loadTestsFromTestCase(case):
        for layer in stack:
            layer.testSetUp()
        result = unittest.TestResult()
        test(result)
        for layer in reversed(stack):
            layer.testTearDown()
        for _test, trace in [*result.failures, *result.errors]:
            failures += 1
            print(test.id(), trace)
        print(test.id(), "ran", result.testsRun)
    for layer in reversed(stack):
        layer.tearDown()
    return failures


if __name__ == "__main__":
    sys.exit(sum(run(globals()[name]) for name in sys.argv[1:]))
