"""The class that a configuration names: ``type = journal_backend.queue.JournalQueue``."""

from .looking import Looking
from .upkeep import Upkeep
from .way_in import WayIn


class JournalQueue(WayIn, Upkeep, Looking):
    """A queue in a file, for one process."""
