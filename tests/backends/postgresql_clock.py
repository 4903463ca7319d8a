"""Makes statements go by this process's ``time.time`` in place of the server's clock, so that a test can turn it."""

import contextlib
import time
from unittest import mock

from taskqueue.backends.postgresql_wire import Wire

SERVERS_CLOCK = "CAST(extract(epoch FROM clock_timestamp()) AS double precision)"


@contextlib.contextmanager
def clock_of_this_process():
    """Within, all queues of this process go by its clock."""
    run = Wire.run

    def run_turned(wire, statements, deadline):
        now = f"CAST({time.time()!r} AS double precision)"
        turned = [(each._replace(text=each.text.replace(SERVERS_CLOCK, now)), given) for each, given in statements]
        return run(wire, turned, deadline)

    with mock.patch.object(Wire, "run", run_turned):
        yield
