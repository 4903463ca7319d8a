"""What is written and taken back at once, to see whether a task could be added. Knows no store."""

from __future__ import annotations

import os

from ..interfaces import Record
from ..record import new_id

TRIAL_BYTES = 1500  # what a task weighs that has the headers of a browser; none that a store could compress


def trial() -> Record:
    """A record that nobody has added."""
    return Record(id=new_id(), body=os.urandom(TRIAL_BYTES))
