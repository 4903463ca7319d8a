"""Puts further statements into every transaction of this process's queues, and looks at all answers."""

import contextlib
from unittest import mock

from taskqueue.backends.postgresql_wire import Wire


@contextlib.contextmanager
def each_transaction(extend, look):
    """``extend(calls)`` is what is run in place of them; ``look(calls, answers)`` returns the answers to ``calls``."""
    begin, finish = Wire.begin, Wire.finish
    under_way = {}

    def begin_more(wire, calls, deadline, afterwards=()):
        under_way[wire] = calls
        return begin(wire, extend(calls), deadline, afterwards)

    def finish_more(wire, sent, deadline):
        return look(under_way.pop(wire), finish(wire, sent, deadline))

    with mock.patch.multiple(Wire, begin=begin_more, finish=finish_more):
        yield
