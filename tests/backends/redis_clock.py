"""Makes the scripts go by this process's ``time.time`` in place of the server's clock, so that a test can turn it.

The time travels as one more key, which the scripts' own keys do not reach; with the hash tag it stays in their slot.
"""

import contextlib
import time
from unittest import mock

from taskqueue.backends import redis, redis_owners, redis_scripts

_TURNED = "{string.match(KEYS[#KEYS], '}:(.*)'), '0'}"


def _turned(script):
    text = script.text.decode()
    assert text.count("redis.call('TIME')") == 1
    text = text.replace("redis.call('TIME')", _TURNED).encode()
    return script._replace(text=text, digest=redis_scripts.digest(text))


_SCRIPTS = {verb: _turned(script) for verb, script in redis_scripts.SCRIPTS.items()}
_of = redis_scripts.Keyspace.of


def _keys_and_time(keyspace, script):
    return (*_of(keyspace, script), f"{keyspace._tag}:{time.time()!r}")


@contextlib.contextmanager
def clock_of_this_process():
    """Within, all queues of this process go by its clock."""
    with (
        mock.patch.object(redis, "SCRIPTS", _SCRIPTS),
        mock.patch.object(redis_owners, "SCRIPTS", _SCRIPTS),
        mock.patch.object(redis_scripts.Keyspace, "of", _keys_and_time),
    ):
        yield
