"""What to do when a database file cannot be used, told from the words of the error. Knows no connection."""

from __future__ import annotations

import errno
import os
import sqlite3

# Words of SQLite's errors, and what to do about them.
_WAIT = "another process uses it for too long; see which with fuser, and try again"
_CURES = (
    ("locked", _WAIT),
    ("busy", _WAIT),
    ("readonly", "run this as the user of the site, or give that user the right to write it and its directory"),
    ("read-only", "run this as the user of the site, or give that user the right to write it and its directory"),
    ("permission", "run this as the user of the site, or give that user the right to write it and its directory"),
    ("unable to open", "run this as the user of the site, or give that user the right to write it and its directory"),
    ("full", "make room on its file system"),
    ("space", "make room on its file system"),
    ("quota", "make room on its file system"),
    ("too large", "raise the limit on the size of files"),
    ("i/o error", "see that its disk has room and is sound"),
    ("not a database", "give another path, or move it away, and a new one is created"),
    ("no such file", "see that its directory can be made there, or give another path"),
    ("malformed", "stop all processes that use it, and recover it with sqlite3's .recover"),
)
LOCKED = f"database is locked; {_WAIT}"  # for those who would have waited behind one who waits


def explain(error: sqlite3.Error | OSError) -> str:
    """What went wrong, and what to do about it, in one line."""
    text = os.strerror(error.errno or errno.EIO) if isinstance(error, OSError) else str(error)
    text = " ".join(text.split())
    cure = next((cure for word, cure in _CURES if word in text.lower()), "see that it is a file of this program")
    return f"{text}; {cure}"
