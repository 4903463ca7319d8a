"""A SQLite file with its connections: one that writes, one that reads, one that watches. Knows no tasks.

Whatever goes wrong with the file becomes a BackendUnavailableError of one line; the connection is then thrown away, and
the next call opens another. These are the dangers, and what is done about them:

- Writers that wait only for SQLite's own lock starve each other, and a checkpoint beside a commit has corrupted files
  (SQLite 3.7.0 to 3.51.2). So all writes and checkpoints of all processes happen under one lock on a file beside it.
- A file that is deleted or replaced while open takes writes that nobody sees. So each use looks what has its name.
- SQLite's locks are wrong in a forked child, even for connections that it opens itself, while its memory holds
  connections of the parent. So all are closed before a fork, and opened again after it.
- Closing any other descriptor of the file drops SQLite's locks on it (POSIX). So nothing but SQLite opens the file.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from weakref import WeakValueDictionary

from ..errors import BackendReplacedError, BackendUnavailableError
from ..forks import held_back
from ..interfaces import SchemaStatus
from .deadlines import Deadline
from .errands import Errands
from .faults import LOCKED, explain
from .filelocks import WriteLock
from .filesystem import make_file, make_folder, refuse_network
from .rowchanges import set_up
from .schema import SCHEMA_VERSION, Layout
from .sessions import (
    Identity,
    Session,
    Slot,
    Synchronous,
    connect,
    identify,
    prepare_to_write,
    set_patience,
    use_write_ahead_log,
)

DEFAULT_TIMEOUT = 5.0  # of verbs that are given none
# Of the write-ahead log, before a commit copies it into the file. The larger it is, the more of its pages are copied
# only once: in a drain that took 22 µs a task with 4 MiB, and 9 with these.
CHECKPOINT_BYTES = 16 * 1024 * 1024
# What the log is written over then takes less time than what it grows by. But it still has what was wiped: so now and
# then it is emptied, and when readers have kept it from being copied.
EMPTY_LOG_BYTES = 2 * CHECKPOINT_BYTES
EMPTY_LOG_SECONDS = 60.0
EMPTY_LOG_AGAIN_SECONDS = 1.0  # when it cannot be, as while somebody reads
FORK_PATIENCE_SECONDS = 5.0


class Database:
    """The file, as one queue object uses it. Inert until it is used."""

    def __init__(self, path: str, layout: Layout, synchronous: Synchronous = "full") -> None:
        self.path = path
        self._synchronous = synchronous
        self._log_path = f"{self.path}-wal"
        self._layout = layout
        self._start()
        _databases[id(self)] = self

    def _start(self) -> None:
        self._reader, self._watcher, self._writer = Slot(), Slot(), Slot()
        self._write_lock = WriteLock(f"{self.path}.lock")
        self._identity: Identity | None = None
        self._identifying = threading.Lock()
        self._version = -1
        self._empty_log_at, self._empty_log_due = EMPTY_LOG_BYTES, Deadline(EMPTY_LOG_SECONDS)
        self._log: Identity | None = None  # the write-ahead log that belongs to the file as we know it
        self.errands = Errands(f"taskqueue-{os.path.basename(self.path)}")
        self._is_replaced = self._has_failed = self._forked_in_use = False
        self._opened_pid: int | None = None

    # ---- using ----

    @contextmanager
    def writing(self, timeout: float | None = None) -> Iterator[Session]:
        """A transaction that writes; committed at the end of the block, rolled back when the block raises."""
        with self.alone(timeout) as session, session.transaction():
            self._writer.has_begun = True
            yield session

    @contextmanager
    def alone(self, timeout: float | None = None) -> Iterator[Session]:
        """Be the only one who writes. Each statement is a transaction of its own, where none is begun."""
        deadline = Deadline(DEFAULT_TIMEOUT if timeout is None else timeout)
        with self._using(self._writer, deadline), self._locked(deadline):
            session = self._session(self._writer, deadline)
            set_patience(session, deadline)
            yield session
            self.let_others_write(session)

    def let_others_write(self, session: Session) -> None:
        """Be the only one no longer, before the end of ``alone``: what is still to be done there only reads."""
        if self._write_lock.is_held:
            self._empty_log(session)
            self._write_lock.release()

    @contextmanager
    def reading(self, timeout: float = DEFAULT_TIMEOUT) -> Iterator[Session]:
        """A connection to read with, beside which others write; each statement sees the newest commits."""
        deadline = Deadline(timeout)
        with self._using(self._reader, deadline):
            session = self._session(self._reader, deadline)
            set_patience(session, deadline)
            self._reader.has_begun = True
            yield session

    def has_changed(self) -> bool:
        """Whether anything was committed since the last call, or may have been. Never raises, never waits."""
        if self._is_inherited() or not self._watcher.lock.acquire(blocking=False):
            return False
        try:
            return self._watch()
        except (sqlite3.Error, OSError):
            self._watcher.discard()
            return False
        finally:
            self._watcher.lock.release()

    def schema(self) -> SchemaStatus:
        """Which version of the schema the file has. Makes no file."""
        deadline = Deadline(DEFAULT_TIMEOUT)
        with self._using(self._reader, deadline):
            if identify(self.path) is None:
                return SchemaStatus(found=0, known=SCHEMA_VERSION)
            refuse_network(self.path)
            with closing(self._connected(deadline)) as connection:
                return self._layout.status(connection)

    def migrate(self) -> list[int]:
        """Create what is missing, and raise the schema; the versions that it was raised to."""
        deadline = Deadline(DEFAULT_TIMEOUT)
        with self._using(self._writer, deadline), self._locked(deadline):
            self._create_file()
            with closing(self._connected(deadline)) as connection:
                if not self._layout.status(connection).found:
                    use_write_ahead_log(connection)
                return self._layout.migrate(connection)

    def close(self) -> None:
        """Close all connections; they are opened again when needed. One that is in use for too long stays open."""
        deadline = Deadline(DEFAULT_TIMEOUT)
        for slot in self._slots():
            if slot.lock.acquire(timeout=deadline.remaining()):
                slot.discard()
                if slot is self._writer:
                    self._write_lock.close()
                slot.lock.release()
        with self._identifying:
            self._identity = None
            self._opened_pid = None

    def _slots(self) -> tuple[Slot, ...]:
        """All places, in the order of locking: a reader may wait for the writer, never the other way round."""
        return self._reader, self._watcher, self._writer

    @contextmanager
    def _using(self, slot: Slot, deadline: Deadline) -> Iterator[None]:
        if self._is_inherited():
            raise BackendUnavailableError(
                f"{self.path}: this process was forked while its parent used the file; start it anew, or load the "
                "application after the fork (lazy-apps = true of uWSGI)"
            )
        is_held = False
        try:  # first: an interrupt may come anywhere
            is_held = slot.lock.acquire(timeout=deadline.remaining())
            if not is_held:
                what = "other threads of this process use it for too long; try again" if slot.has_begun else LOCKED
                raise BackendUnavailableError(f"{self.path}: {what}")
            slot.has_begun = False
            yield
        except (sqlite3.Error, OSError) as error:
            slot.discard()
            self._has_failed = True
            what = "is a directory; name a file in it" if os.path.isdir(self.path) else explain(error)
            raise BackendUnavailableError(f"{self.path}: {what}") from error
        finally:
            if is_held:
                slot.lock.release()

    def _is_inherited(self) -> bool:
        """Whether connections may be a parent's. A server written in C forks without what Python does for us then."""
        return self._forked_in_use or self._opened_pid not in {None, os.getpid()}

    @contextmanager
    def _locked(self, deadline: Deadline) -> Iterator[None]:
        """Be the only one of all processes who writes or checkpoints."""
        self._check_identity(self._writer)
        if self._writer.session is None:
            refuse_network(self.path)
            make_folder(os.path.dirname(self.path))
        with self._write_lock.held(deadline):
            yield

    # ---- opening ----

    def _session(self, slot: Slot, deadline: Deadline) -> Session:
        self._check_identity(slot)
        if slot.is_spent or slot.is_left_open():
            slot.discard()
        if slot.session is None:
            slot.session = self._open(slot, deadline)
        return slot.session

    def _check_identity(self, slot: Slot) -> None:
        """See what has the file's name now. Raises once when it is not what this process has used so far."""
        found = identify(self.path)
        if slot.session is not None and slot.session.identity != found:
            slot.discard()
        with self._identifying:
            if self._identity in {None, found}:
                return
            self._identity = None
            self._is_replaced = True
        what = "was deleted" if found is None else "was replaced by another file"
        raise BackendReplacedError(
            f"{self.path}: {what} while in use, and the tasks in it are out of reach; the next call opens it anew"
        )

    def _open(self, slot: Slot, deadline: Deadline) -> Session:
        if self._has_failed:
            self._has_failed = slot is not self._writer
            _discard_idle(self.path)
        if slot is self._writer:
            self._create_file()
        elif identify(self.path) is None or self._is_replaced:
            self._create(deadline)
        else:
            refuse_network(self.path)
        session = Session(self._connected(deadline), identify(self.path))
        try:
            number = self._layout.find(session.connection)
            if number is None and slot is self._writer:
                use_write_ahead_log(session.connection)
                number = self._layout.create(session.connection)
            elif number is None:
                self._create(deadline)
                number = self._layout.find(session.connection)
        except BaseException:
            session.connection.close()
            raise
        if slot is self._writer:
            prepare_to_write(session, CHECKPOINT_BYTES)
            set_up(session)
        session.queue = number or 0
        with self._identifying:
            self._identity = session.identity
            self._log = identify(self._log_path)
        return session

    def _create(self, deadline: Deadline) -> None:
        """Have the writer create what is missing, so that two processes never do so at the same time."""
        with self.writing(deadline.remaining()):
            pass

    def _create_file(self) -> None:
        """Make the file if it is missing, and see that the log beside it belongs to it. Under the write lock."""
        try:
            os.close(make_file(self.path))
            is_foreign = True
        except FileExistsError:
            # SQLite would write the log of the file that was replaced into the one that replaced it.
            is_foreign = self._is_replaced and self._log is not None and identify(self._log_path) == self._log
        mode = os.stat(self.path).st_mode & 0o777
        for companion in (self._log_path, f"{self.path}-shm"):
            with suppress(FileNotFoundError, PermissionError):
                if is_foreign:
                    # Others may still have it mapped, and must not share it with us.
                    os.unlink(companion)
                else:
                    # SQLite makes them with the mode of the file, which may have been read-only then.
                    os.chmod(companion, mode)
        self._is_replaced = False

    def _connected(self, deadline: Deadline) -> sqlite3.Connection:
        self._opened_pid = os.getpid()
        return connect(self.path, self._synchronous, deadline)

    # ---- the write-ahead log ----

    def _empty_log(self, session: Session) -> None:
        """Copy the log into the file, and empty it, if it is time to. What was committed is safe without it, so it may
        fail."""
        try:
            status = os.stat(self._log_path)
            self._log, log_bytes = (status.st_dev, status.st_ino), status.st_size
            if log_bytes < self._empty_log_at and self._empty_log_due.remaining() > 0:
                return
            self._empty_log_due = Deadline(EMPTY_LOG_AGAIN_SECONDS)
            set_patience(session, Deadline(0.0))
            (busy, _, _) = session.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            if busy:
                self._empty_log_at = log_bytes + CHECKPOINT_BYTES
            else:
                self._empty_log_at, self._empty_log_due = EMPTY_LOG_BYTES, Deadline(EMPTY_LOG_SECONDS)
        except (sqlite3.Error, OSError):
            self._writer.is_spent = True

    def _watch(self) -> bool:
        found = identify(self.path)
        session = self._watcher.session
        if session is not None and session.identity != found:
            self._watcher.discard()
            return True  # whoever exchanges now is told what happened to the file
        if found is None:
            return False
        if session is None:
            session = self._watcher.session = Session(self._connected(Deadline(0)), found)
            self._version = -1
        (version,) = session.run("PRAGMA data_version").fetchone()
        changed, self._version = version != self._version, version
        return bool(changed)


def _discard_idle(path: str) -> None:
    """Close what is open of a file and not in use just now.

    Connections of one process share what SQLite knows of a file, such as that it cannot be written; only when all of
    them are closed is it found out anew.
    """
    for database in _all_databases():
        for slot in database._slots() if database.path == path else ():
            if slot.lock.acquire(blocking=False):
                slot.discard()
                slot.lock.release()


# ---- forks -------------------------------------------------------------------------------------------------------

_databases: WeakValueDictionary[int, Database] = WeakValueDictionary()
_forking = threading.Lock()
_stopped: list[Slot] = []  # whose locks the thread that forks holds
_in_use: list[Database] = []


def _all_databases() -> list[Database]:
    return [database for reference in _databases.valuerefs() if (database := reference()) is not None]


def _close_before_fork() -> None:
    held_back.close()  # first: whoever is told something may use a database
    _forking.acquire()
    deadline = Deadline(FORK_PATIENCE_SECONDS)
    for database in _all_databases():
        for slot in database._slots():
            if slot.lock.acquire(timeout=deadline.remaining()):
                _stopped.append(slot)
                slot.discard()
            elif database not in _in_use:
                _in_use.append(database)


def _go_on_in_parent() -> None:
    for slot in _stopped:
        slot.lock.release()
    _stopped.clear()
    _in_use.clear()
    _forking.release()


def _start_in_child() -> None:
    global _forking  # noqa: PLW0603  # the one that the child inherits is held
    _forking = threading.Lock()
    in_use = list(_in_use)
    _stopped.clear()
    _in_use.clear()
    for database in _all_databases():
        # A connection that could not be closed is kept for ever: closing it here would harm the parent's.
        _kept_for_ever.extend(slot for slot in database._slots() if slot.session is not None)
        database._write_lock.close()
        database._start()
        database._forked_in_use = database in in_use


_kept_for_ever: list[Slot] = []

os.register_at_fork(before=_close_before_fork, after_in_parent=_go_on_in_parent, after_in_child=_start_in_child)
