"""The ZODB as a witness: its storage keeps, with each transaction, what was noted in the transaction's extension data.

    extension data    ``taskqueue``: the list of the keys that were marked in this transaction
    position          the id, in hex, of the storage's last transaction before the commit

Who asks reads the history from the position on. Imports nothing of the ZODB: a database is known by what it can do.
"""

from __future__ import annotations

import base64
import contextlib
import itertools
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ..interfaces import Testimony, Witness, WitnessMark

__all__ = ["ZODBWitness"]

EXTENSION_NAME = "taskqueue"
LATE_SECONDS = 86400.0  # so long a commit may still land that was sent by somebody who is gone
CLOCKS_DIFFER_SECONDS = 300.0
REMEMBERED_KEYS = 10_000
OPENINGS = 10

_LAST_MOMENT = 64e9  # in the year 3998; the ids end a century later
_PACKED = "p"  # status of a transaction of which a pack has looked through the records
_COMMITTING = "Committing"  # ITransaction.status
_IN_MEMORY = frozenset(
    {"ZODB.MappingStorage.MappingStorage", "tempstorage.TemporaryStorage.TemporaryStorage"},
)


class ZODBWitness(Witness):
    """Asks one ``ZODB.DB``. The databases that are opened together with it have witnesses of their own."""

    kind = "zodb"

    def __init__(self, db: Any) -> None:
        self._db = db
        self._companions: dict[int, ZODBWitness] = {}
        self._is_believed = False  # what the storage names as its last transaction
        self._progress: dict[str, _Progress] = {}  # of keys that were searched for in vain

    def __repr__(self) -> str:
        return f"<ZODBWitness {self.database!r}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ZODBWitness) and other._db is self._db

    def __hash__(self) -> int:
        return hash((ZODBWitness, id(self._db)))

    @property
    def database(self) -> str:
        """The name that the configuration gives it: processes reach one storage by different ways."""
        return str(self._db.database_name)

    @property
    def is_gone(self) -> bool:
        """Whether the database was closed: another one of its name may have been opened since."""
        return not hasattr(getattr(self._db, "storage", None), "lastTransaction")

    def companions(self) -> Sequence[Witness]:
        """Witnesses of the other databases that are opened together with this one, as far as they are open by now."""
        others = [each for each in list(self._db.databases.values()) if each is not self._db]
        return [self._companions.setdefault(id(each), ZODBWitness(each)) for each in others]

    def recognises(self, data_manager: Any) -> bool:
        """A Connection of this database, or what undoes a transaction of it."""
        with contextlib.suppress(Exception):  # whatever the attribute of a stranger does
            return getattr(data_manager, "_db", None) is self._db
        return False

    def mark(self, key: str, transaction: Any, data_managers: Sequence[Any]) -> WitnessMark | None:
        """The storage records the transaction of each Connection that has joined, even when nothing is changed."""
        storage = _below(self._db.storage)
        if not data_managers or _is_in_memory(storage):
            return None
        noted = transaction.extension.get(EXTENSION_NAME)
        keys = noted if isinstance(noted, list) else []
        if key not in keys:
            if transaction.status == _COMMITTING:
                return self._mark_at(b"")  # the storage was told before: the key is not kept, so nobody will ever know
            transaction.setExtendedInfo(EXTENSION_NAME, [*keys, key])
        return self._mark_at(self._last_transaction(storage))

    def _last_transaction(self, storage: Any) -> bytes:
        """A FileStorage that was opened after a crash in the middle of a commit names the transaction that it has cut
        off as its last one, until the next commit. Once it has named one that is in its history, it is believed."""
        last: bytes = storage.lastTransaction() or b""
        if self._is_believed or not _keeps_history(storage):
            return last
        newest = [base64.b64decode(entry["id"]) for entry in storage.undoLog(0, -1)]
        if newest and newest[0] < last:
            return newest[0]
        self._is_believed = True
        return last

    def _mark_at(self, position: bytes) -> WitnessMark:
        return WitnessMark(kind=self.kind, database=self.database, position=position.hex(), marked_at=time.time())

    def testify(self, marks: Mapping[str, WitnessMark], timeout: float) -> Mapping[str, Testimony]:
        """Read the history once for all keys; what was read of it without finding a key is not read again for it."""
        deadline = time.monotonic() + timeout
        storage = _below(self._db.storage)
        if not marks or not _keeps_history(storage):
            return dict.fromkeys(marks, "unknown")
        searches = {key: self._progress.get(key) or _begin(mark) for key, mark in marks.items()}
        # Asked before the history is read: what somebody else may write is written later than what is read.
        is_ours_alone = _is_ours_alone(storage)
        # What commits from now on is nobody's question yet, and a file that grows while it is read looks damaged to the
        # ZODB. Of storages to which others commit, only the history itself tells what is in it.
        stop = storage.lastTransaction() if is_ours_alone else None
        seen = _read(storage, searches, deadline, stop)
        return {key: self._judge(key, searches[key], mark, seen, is_ours_alone) for key, mark in marks.items()}

    def _judge(self, key: str, search: _Progress, mark: WitnessMark, seen: _Seen, is_ours_alone: bool) -> Testimony:
        self._progress.pop(key, None)
        if key in seen.found:
            return "yes"
        proves_nothing = search.proves_nothing or seen.is_unreadable
        if seen.is_complete or seen.last > search.until:
            proves_nothing |= search.until not in seen.intact
        is_over = is_ours_alone or time.time() - mark.marked_at > LATE_SECONDS
        if seen.is_complete and is_over and not proves_nothing:
            return "no"
        # Also what is unknown is asked again and again, while it is held.
        self._remember(key, _Progress(max(seen.last, search.until), proves_nothing))
        return "unknown" if seen.is_complete and proves_nothing else "not yet"

    def _remember(self, key: str, progress: _Progress) -> None:
        self._progress[key] = progress
        for oldest in list(itertools.islice(self._progress, max(0, len(self._progress) - REMEMBERED_KEYS))):
            self._progress.pop(oldest, None)


# ---- storages ----------------------------------------------------------------------------------------------------


def _below(storage: Any) -> Any:
    """The storage that keeps the history: what lies below wrappers, and what a DemoStorage writes to.

    A BlobStorage, which instances of buildout have around their FileStorage, shows what is below it by no other name.
    """
    for _ in range(10):
        below = (
            getattr(storage, "changes", None)
            or getattr(storage, "base", None)
            or getattr(storage, "_BlobStorage__storage", None)
        )
        if below is None or not hasattr(below, "lastTransaction"):
            break
        storage = below
    return storage


def _is_in_memory(storage: Any) -> bool:
    """Whether it ends with the process: then whoever asks later has lost all of it anyway."""
    classes = getattr(storage, "__class__", type(storage)).__mro__  # of what is below a proxy
    return any(f"{each.__module__}.{each.__qualname__}" in _IN_MEMORY for each in classes)


def _keeps_history(storage: Any) -> bool:
    """Whether it keeps transactions with their extension data, which is what undo needs too."""
    supports_undo = getattr(storage, "supportsUndo", None)
    return hasattr(storage, "iterator") and supports_undo is not None and bool(supports_undo())


def _is_ours_alone(storage: Any) -> bool:
    """Whether nobody else can commit to it: a FileStorage that this process has locked, and holds open."""
    module = sys.modules.get("ZODB.FileStorage.FileStorage")
    if module is None or not isinstance(storage, module.FileStorage):
        return False
    file = getattr(storage, "_file", None)
    return hasattr(storage, "_lock_file") and not storage.isReadOnly() and not getattr(file, "closed", True)


# ---- histories ---------------------------------------------------------------------------------------------------


class _Progress(NamedTuple):
    """How far a key was searched for."""

    until: bytes  # a transaction; where that is not there any more as it was, some behind it may be gone as well
    proves_nothing: bool = False  # something is gone, or cannot be read: the key may have been there


def _begin(mark: WitnessMark) -> _Progress:
    """Where to begin; without a position a while before the mark, where there hardly is a transaction."""
    try:
        position = bytes.fromhex(mark.position)
    except ValueError:
        position = b""
    if len(position) == 8:
        return _Progress(position)
    return _Progress(_transaction_id_at(mark.marked_at - CLOCKS_DIFFER_SECONDS), proves_nothing=True)


class _Seen(NamedTuple):
    """What was read of a history."""

    found: set[str]  # keys
    intact: set[bytes]  # where searches began: not packed, and so is nothing behind them
    last: bytes  # the transaction read last
    is_complete: bool  # read to its end, not to the deadline
    is_unreadable: bool  # there is extension data that cannot be read, and may hold a key


def _read(storage: Any, searches: Mapping[str, _Progress], deadline: float, stop: bytes | None) -> _Seen:
    found: set[str] = set()
    intact: set[bytes] = set()
    beginnings = {search.until for search in searches.values()}
    first = last = min(beginnings)
    is_complete, is_unreadable = True, False
    with _transactions(storage, first, stop) as transactions:
        for record in transactions:
            last = record.tid
            if last in beginnings and record.status != _PACKED:
                intact.add(last)
            keys = _keys_in(record)
            if keys is None:
                is_unreadable = True
            else:
                found.update(key for key in keys if key in searches)
            if last > first and time.monotonic() > deadline:  # it gets on, however little time there is
                is_complete = False
                break
            if last == stop:
                break  # the next one may be half written
    return _Seen(found, intact, last, is_complete, is_unreadable)


def _transaction_id_at(seconds: float) -> bytes:
    """The lowest transaction id of a moment: minutes in a calendar of months with 31 days, and parts of the minute."""
    moment = time.gmtime(max(0.0, min(seconds, _LAST_MOMENT)))
    days = ((moment.tm_year - 1900) * 12 + moment.tm_mon - 1) * 31 + moment.tm_mday - 1
    minutes = (days * 24 + moment.tm_hour) * 60 + moment.tm_min
    return minutes.to_bytes(4, "big") + (moment.tm_sec * 2**32 // 60).to_bytes(4, "big")


@contextlib.contextmanager
def _transactions(storage: Any, start: bytes, stop: bytes | None) -> Iterator[Iterable[Any]]:
    transactions = _open_history(storage, start, stop)
    try:
        yield transactions
    finally:
        close = getattr(transactions, "close", None)  # of a FileStorage's: it holds the file open
        if close is not None:
            close()


def _open_history(storage: Any, start: bytes, stop: bytes | None) -> Iterable[Any]:
    """A FileStorage opens none while the end of its file is half written. Where that is by us, it is waited for."""
    for _ in range(OPENINGS if stop is not None else 0):
        try:
            return storage.iterator(start, stop)  # type: ignore[no-any-return]  # the ZODB publishes no types
        except (ValueError, AttributeError):  # the second one for small files, by a slip of the ZODB's
            storage.lastTransaction()  # has the lock under which it is written
    return storage.iterator(start, stop)  # type: ignore[no-any-return]  # the same


def _keys_in(record: Any) -> Iterable[str] | None:
    """What was marked in a transaction of the history; None when that cannot be read."""
    # Most transactions have nothing to do with us: where the bytes are at hand, they need not be unpickled.
    raw = getattr(record, "__dict__", {}).get("extension_bytes")
    if isinstance(raw, bytes) and EXTENSION_NAME.encode() not in raw:
        return ()
    try:
        keys = record.extension.get(EXTENSION_NAME, ())
    except Exception:  # noqa: BLE001  # a pickle of another's making may raise anything
        return None
    return [key for key in keys if isinstance(key, str)] if isinstance(keys, (list, tuple)) else ()
