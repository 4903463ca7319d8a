"""Makes statements go by this process's ``time.time`` in place of the server's clock, so that a test can turn it."""

import contextlib
import functools
import time

from taskqueue.backends.postgresql_statements import Statement

from .postgresql_wires import each_transaction

SERVERS_CLOCK = "CAST(extract(epoch FROM clock_timestamp()) AS double precision)"
TURNED_CLOCK = "CAST(current_setting('taskqueue_test.now') AS double precision)"
TURN = Statement("turn", "SELECT set_config('taskqueue_test.now', $1, true)", ("now",), is_often=True)


@functools.cache
def turned(statement):
    """The same statement by the other clock; its text does not change with the time, so that it is planned as ever."""
    return statement._replace(text=statement.text.replace(SERVERS_CLOCK, TURNED_CLOCK))


@contextlib.contextmanager
def clock_of_this_process():
    """Within, all queues of this process go by its clock."""

    def turned_calls(calls):
        return [(TURN, {"now": repr(time.time())}), *((turned(statement), given) for statement, given in calls)]

    with each_transaction(turned_calls, lambda _, answers: answers[1:]):
        yield
