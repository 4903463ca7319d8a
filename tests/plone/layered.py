"""A test as authors of add-ons write it: a layer of ours on that of ``plone.app.testing``.

Run in a process of its own (``python -m tests.plone.layered``), as there can be one Zope in a process.
"""

import base64
import sys
import unittest

import transaction
from plone.app.testing import (
    PLONE_FIXTURE,
    TEST_USER_ID,
    TEST_USER_NAME,
    TEST_USER_PASSWORD,
    FunctionalTesting,
    setRoles,
)

import taskqueue
from taskqueue.zope.testing import TaskQueueLayer, run_tasks
from tests.zope.layered import run

TASK_QUEUE = TaskQueueLayer(bases=(PLONE_FIXTURE,), name="MyAddOn:TaskQueue")
CREDENTIALS = base64.b64encode(f"{TEST_USER_NAME}:{TEST_USER_PASSWORD}".encode()).decode()


class Functional(unittest.TestCase):
    layer = FunctionalTesting(bases=(TASK_QUEUE,), name="MyAddOn:Functional")

    def test_a_task_runs_in_the_site_as_the_user_that_it_is_given(self):
        site = self.layer["portal"]
        setRoles(site, TEST_USER_ID, ["Manager"])
        taskqueue.add(
            "/plone/manage_changeProperties",
            params={"title": "changed"},
            headers={"Authorization": f"Basic {CREDENTIALS}"},
        )
        transaction.commit()
        [task] = run_tasks(self.layer)
        assert (task.state, task.last_outcome.status) == ("done", 200)
        transaction.begin()
        assert site.title == "changed"


if __name__ == "__main__":
    sys.exit(run(Functional))
