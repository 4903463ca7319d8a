"""Kill a process at a moment of its commit."""

import json
import signal
import sys
from pathlib import Path

import msgspec

from taskqueue.interfaces import WitnessMark

from ..serving import Process

PROGRAM = Path(__file__).with_name("committing.py")


def kill_at(moment, kind, address, key):
    """SIGKILL; the mark that it had left."""
    with Process(sys.executable, PROGRAM, kind, address, key, moment) as process:
        marked = process.wait_for_line(r'\{.*"moment": "marked".*\}')
        process.wait_for_line(f'"moment": "{moment}"')
        process.end(signal.SIGKILL)
    return msgspec.convert(json.loads(marked[0])["mark"], WitnessMark)
