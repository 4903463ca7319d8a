"""taskqueue: a task is a request that is made later, if the transaction that adds it commits.

What you import stands here::

    task_id = taskqueue.add("/reports/build", method="POST", params={"month": "2026-10"})
    taskqueue.get(task_id)          # the task: its state, its attempts, its last outcome
    taskqueue.current_task()        # inside a task's own request
    @taskqueue.task_only            # a view that answers 403 to everybody else
    taskqueue.register_witness(db)  # once: whom to ask after a crash whether a transaction committed

The house follows the road of a task:

======================  =======================================================================================
``producer``            the way in: ``add``, capturing the request, the data manager that stages and publishes
``backends``            where tasks wait: local, sqlite, redis, postgresql
``consumer``            the way out: threads that replay tasks, judge the outcome and settle it
``witnesses``           did it commit? ZODB and SQL databases that can say so afterwards
``keeper``              the process's own upkeep: its lease, what it could not publish yet, what is in doubt
``publisher``           the thread that publishes where a request need not wait for that
``record``              a task, its states, its encoding and its seal
``interfaces``          the contracts of a backend and of a witness
``context``             the request and the task that are active in this thread
``notices``             what happens to tasks, told to whoever listens; ``monitor.log`` makes log lines of it
``settings``            every option once
``queues``              this process's named queues
``configure``           where the parts meet: settings become queues and consumers
``wsgi``                the filter, the transaction middleware, and when consumers start
``paste``, ``pyramid``  doors for ini files and for Pyramid; ``testing`` for tests; ``cli`` for the command line
``zope``                the door for Zope and Plone: ``%import taskqueue`` in zope.conf, and our ZCML
======================  =======================================================================================
"""

from .context import current_task
from .errors import TaskQueueError
from .producer import add
from .queues import get
from .record import Outcome, State, Task
from .witnesses import register as register_witness
from .wsgi import task_only

__all__ = [
    "Outcome",
    "State",
    "Task",
    "TaskQueueError",
    "add",
    "current_task",
    "get",
    "register_witness",
    "task_only",
]
