"""The names of the package that sites move from: each has its place in the documentation, and leads to something."""

import re
from pathlib import Path

import pytest
from zope.dottedname.resolve import resolve

DOCUMENT = (Path(__file__).parents[2] / "docs" / "howto" / "moving.rst").read_text()
TABLE = re.search(r"^=+ +=+\ncollective.*?\n=+ +=+\n(.*?)\n=+ +=+$", DOCUMENT, re.MULTILINE | re.DOTALL)[1]
ROWS = [tuple(part.strip() for part in re.split(" {2,}", row, maxsplit=1)) for row in TABLE.splitlines()]
OLD = {
    "add",
    "reset",
    "make_task",
    "TaskQueueBase",
    "LocalVolatileTaskQueue",
    "TaskQueuesVocabulary",
    "TaskQueueTransactionDataManager",
    "DummySavepoint",
    "RedisTaskQueue",
    "RedisTaskQueueTDM",
    "ITaskQueue",
    "ITaskQueueLayer",
    "TaskQueueFactory",
    "TaskQueueServerFactory",
    "TaskQueueServer",
    "TaskRequest",
    "TaskChannel",
    "make_request_and_response",
    "make_env",
    "setLanguageBindings",
    "TaskQueueAuthPlugin",
    "queues",
    "config",
    "TASK_QUEUE_FIXTURE",
    "TASK_QUEUE_INTEGRATION_TESTING",
    "TASK_QUEUE_FUNCTIONAL_TESTING",
    "TASK_QUEUE_ZSERVER_FIXTURE",
    "REDIS_TASK_QUEUE_FIXTURE",
    "REDIS_TASK_QUEUE_INTEGRATION_TESTING",
    "REDIS_TASK_QUEUE_FUNCTIONAL_TESTING",
    "REDIS_TASK_QUEUE_ZSERVER_FIXTURE",
    "TaskQueueServerLayer",
    "LocalTaskQueueServerLayer",
    "RedisTaskQueueServerLayer",
    "runAsyncTest",
    "ZSERVER_FIXTURE",
}


def test_every_old_name_is_in_the_table():
    named = {name.rpartition(".")[2] for old, _new in ROWS for name in re.findall(r"``([^`]+)``", old)}
    assert named >= OLD


@pytest.mark.parametrize("row", ROWS, ids=[old for old, _new in ROWS])
def test_every_new_name_is_there(row):
    names = re.findall(r"``(taskqueue\.[\w.]+)(?:\(\)[\w.]*|:\w+)?``", row[1])
    assert names or "``taskqueue." not in row[1], "it has no name that leads anywhere"
    for name in names:
        if name not in ("taskqueue.queues", "taskqueue.access"):  # a vocabulary, and a logger
            assert resolve(name) is not None
