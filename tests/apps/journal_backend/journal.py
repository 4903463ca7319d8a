"""The file of one queue. Each line is a record as it is from then on. Knows no states."""

import fcntl
import os
from contextlib import contextmanager

import msgspec

from taskqueue.errors import BackendUnavailableError
from taskqueue.interfaces import Record


class Journal:
    """A file that one process has at a time."""

    def __init__(self, path, sync):
        self._path = path
        self._sync = sync
        self._file = self._lock = self._pid = None

    def refuse_in_child(self):
        """A forked child shares the file with its parent, and would write amid its lines."""
        if self._pid not in {None, os.getpid()}:
            raise BackendUnavailableError(f"{self._path}: is in use by the process that forked this one")

    def open(self):
        """What the file holds, by id; None when it was open already."""
        if self._file is not None:
            return None
        with self._explained():
            self._path.parent.mkdir(0o700, parents=True, exist_ok=True)
            self._lock = os.open(f"{self._path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            records = self._read()
            self._rewrite(records)
            self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
            self._pid = os.getpid()
        return records

    def try_appending(self, record):
        """Write a line, and take it back."""
        with self._explained():
            size = os.fstat(self._file).st_size
        self.append([record])
        with self._explained():
            os.ftruncate(self._file, size)

    def append(self, records):
        """Write lines, all or none."""
        lines = b"".join(msgspec.json.encode(record) + b"\n" for record in records)
        with self._explained():
            size = os.fstat(self._file).st_size
            try:
                while lines:
                    lines = lines[os.write(self._file, lines) :]
                if self._sync:
                    os.fsync(self._file)
            except OSError:
                os.ftruncate(self._file, size)  # what follows half a line could not be read
                raise

    def close(self):
        for descriptor in (self._file, self._lock):
            if descriptor is not None:
                os.close(descriptor)
        self._file = self._lock = self._pid = None

    def _read(self):
        if not self._path.exists():
            return {}
        *lines, _cut_short = self._path.read_bytes().split(b"\n")  # nobody was told that the last one is written
        records = msgspec.json.Decoder(Record)
        return {record.id: record for record in map(records.decode, lines)}

    def _rewrite(self, records):
        """Keep one line of each."""
        fresh = self._path.with_suffix(".new")
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.writelines(msgspec.json.encode(record) + b"\n" for record in records.values())
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, self._path)

    @contextmanager
    def _explained(self):
        """All that may go wrong is one error of one line."""
        try:
            yield
        except BlockingIOError:
            self.close()
            raise BackendUnavailableError(f"{self._path}: another process has it; stop that one") from None
        except msgspec.DecodeError as error:
            self.close()
            raise BackendUnavailableError(f"{self._path}: a line cannot be read: {error}") from error
        except OSError as error:
            self.close()
            raise BackendUnavailableError(f"{self._path}: {error.strerror}") from error
