"""Layers for plone.testing: a Zope whose code can add tasks, and ``run_tasks`` to make them happen.

==========================================  ===================================================================
``TASK_QUEUE_FIXTURE``                      what the others stand on; a base for layers of your own
``TASK_QUEUE_INTEGRATION_TESTING``          nothing commits, so nothing is delivered: tests look at ``pending``
``TASK_QUEUE_FUNCTIONAL_TESTING``           a test commits, and ``run_tasks`` replays through the real publisher
``REDIS_TASK_QUEUE_FIXTURE``, and so on     the same on a Redis server
==========================================  ===================================================================

Their queue is the utility ``ITaskQueue`` of the name ``test-queue``. No consumer runs beside a test. The server is the
one that the environment variable ``TASKQUEUE_TEST_REDIS`` names, else ``redis://localhost:6379/0``; what a test leaves
there is removed, and nothing else is touched.
"""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Mapping
from typing import Any

import transaction
from plone.testing import Layer, zca, zope
from zope.configuration import xmlconfig
from ZPublisher.httpexceptions import HTTPExceptionHandler
from ZPublisher.WSGIPublisher import publish_module

import taskqueue

from .. import context, queues
from ..configure import Installation, install, read_keywords
from ..consumer.attempt import Claim, attempt
from ..producer.joining import pending as pending_in
from ..queues import Queue
from ..record import State, Task, decode
from ..settings import ServerSettings
from ..wsgi import TaskQueueFilter
from . import utilities
from .publishing import cleanly
from .requests import find_request

QUEUE_NAME = "test-queue"
REDIS_VARIABLE = "TASKQUEUE_TEST_REDIS"
OWNER = "zope-testing"
PATIENCE_SECONDS = 60.0
STATES = ("ready", "scheduled", "done", "dead")


class TaskQueueLayer(Layer):  # type: ignore[misc]  # plone.testing publishes no types
    """Our ZCML, one queue, and the way in for its tasks. ``queue`` has its options; without any it is local."""

    defaultBases = (zope.STARTUP,)  # noqa: N815  # the name is plone.testing's

    def __init__(self, queue: Mapping[str, Any] | None = None, **keywords: Any) -> None:
        super().__init__(**keywords)
        self._queue = dict(queue or {})

    def queue_options(self) -> Mapping[str, Any]:
        """The options of its queue, as of now."""
        return self._queue

    def setUp(self) -> None:
        """Load the ZCML, and make the queue."""
        self["configurationContext"] = zca.stackConfigurationContext(self.get("configurationContext"))
        xmlconfig.file("configure.zcml", taskqueue, context=self["configurationContext"])
        prefix = f"test-{secrets.token_hex(4)}"  # of this run: nothing of anybody else is seen or removed
        installation = install(
            read_keywords(
                {QUEUE_NAME: {"prefix": prefix, "base_url": "http://nohost", **self.queue_options()}},
                {"test": {"queue": QUEUE_NAME}},
            )
        )
        context.register_finder(find_request)
        queues.watch_installed(utilities.publish)
        self["taskqueue"] = _Tasks(installation)

    def testTearDown(self) -> None:  # noqa: N802  # the name is plone.testing's
        """Leave no task to the next test."""
        self["taskqueue"].purge()

    def tearDown(self) -> None:
        """Take all of it away."""
        queues.watch_installed(None)
        utilities.publish(None)
        queues.install(None)
        self["taskqueue"].installation.close()
        del self["taskqueue"]
        del self["configurationContext"]


class RedisTaskQueueLayer(TaskQueueLayer):
    """The same on a Redis server."""

    def queue_options(self) -> Mapping[str, Any]:
        """Those of the server that is there for tests."""
        return {"type": "redis", "url": os.environ.get(REDIS_VARIABLE, "redis://localhost:6379/0")}


class _Tasks:
    """The tasks of a layer: its resource ``taskqueue``."""

    def __init__(self, installation: Installation) -> None:
        self.installation = installation
        self.queue: Queue = installation.queues[QUEUE_NAME]
        application = HTTPExceptionHandler(publish_module)
        self._gate = TaskQueueFilter(application, lifecycle=_NoLifecycle(installation))  # type: ignore[arg-type]  # it is called for nothing else
        self._application = cleanly(self._gate.replay)

    def run(self, check: bool, limit: int = 1000) -> list[Task]:
        """Replay what is ready, one after the other, until nothing is, each in another thread; as they were then."""
        __tracebackhide__ = True
        ran: list[Task] = []
        while True:
            claimed = self.queue.backend.exchange(OWNER, "test", [], 1, alone=True).claimed
            if not claimed:
                break
            if len(ran) >= limit:
                raise AssertionError(f"after {limit} replays there is more to do: does a task add itself?")
            ran.append(self._replay(Claim(claimed[0])))
            if check and ran[-1].state != State.DONE:
                raise AssertionError(_failure(ran[-1]))
        if check and not ran and (count := len(pending())):
            raise AssertionError(f"nothing to run; {count} not committed: transaction.commit() comes before run_tasks")
        return ran

    def _replay(self, claim: Claim) -> Task:
        settings: ServerSettings = self.installation.servers[0]
        finished: list[Any] = []
        thread = threading.Thread(
            target=lambda: finished.append(attempt(claim, self._application, self.queue, settings)), daemon=True
        )
        thread.start()
        thread.join(PATIENCE_SECONDS)
        if not finished:
            raise AssertionError(f"a task did not end within {PATIENCE_SECONDS:g} s: does it wait for this test?")
        self.queue.backend.exchange(OWNER, "test", [finished[0].settlement], 0)
        return decode(self.queue.backend.get(claim.record.id) or claim.record, self.queue.keyring)

    def purge(self) -> None:
        """Forget all tasks."""
        self.queue.backend.release(OWNER, "test", ())
        self.queue.backend.purge(STATES)


class _NoLifecycle:
    """No consumer ever starts: the gate asks for nothing but this."""

    def __init__(self, installation: Installation) -> None:
        self.installation = installation
        self.application: Any = None


def pending() -> tuple[Task, ...]:
    """What the current transaction would deliver if it committed now."""
    return pending_in(transaction.manager)


def run_tasks(layer: Any, *, check: bool = True) -> list[Task]:
    """Replay what the committed transactions of a test have added, and what these tasks add in turn.

    Each runs in another thread, through the real publisher, as it would in a consumer. Returns the tasks as they are
    afterwards: ``state``, ``last_outcome``.

    :param check: fail with AssertionError when a task ends in anything but done, such as a 404, and when nothing ran,
        since what the test added is not committed.
    """
    __tracebackhide__ = True
    tasks: _Tasks = layer["taskqueue"]
    return tasks.run(check)


def _failure(task: Task) -> str:
    outcome = task.last_outcome
    told = "was not run" if outcome is None else outcome.reason + (f" ({outcome.error})" if outcome.error else "")
    return f"{task.method} {task.path} is {task.state}: {told}. With check=False, run_tasks returns it"


TASK_QUEUE_FIXTURE = TaskQueueLayer(name="TaskQueue:Fixture")
TASK_QUEUE_INTEGRATION_TESTING = zope.IntegrationTesting(bases=(TASK_QUEUE_FIXTURE,), name="TaskQueue:Integration")
TASK_QUEUE_FUNCTIONAL_TESTING = zope.FunctionalTesting(bases=(TASK_QUEUE_FIXTURE,), name="TaskQueue:Functional")

REDIS_TASK_QUEUE_FIXTURE = RedisTaskQueueLayer(name="RedisTaskQueue:Fixture")
REDIS_TASK_QUEUE_INTEGRATION_TESTING = zope.IntegrationTesting(
    bases=(REDIS_TASK_QUEUE_FIXTURE,), name="RedisTaskQueue:Integration"
)
REDIS_TASK_QUEUE_FUNCTIONAL_TESTING = zope.FunctionalTesting(
    bases=(REDIS_TASK_QUEUE_FIXTURE,), name="RedisTaskQueue:Functional"
)
