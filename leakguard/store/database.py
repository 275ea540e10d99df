"""One SQLite file: a single writer behind a lock, a few read-only readers, errors in words.

WAL lets readers go on while the tick commits, and the tick commit while a reader is slow. Readers
are at most three connections, so that a crowd at the web page costs neither memory nor files.
"""

import contextlib
import os
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from leakguard.core.errors import StoreError
from leakguard.store.base import CorruptFile, TooManyReaders
from leakguard.store.schema import check_version, migrate
from leakguard.store.witness import Witness

MEMORY = ":memory:"
READERS = 3
BUSY_TIMEOUT_S = 2.0
READER_WAIT_S = 5.0
WAL_LIMIT_BYTES = 4 * 1024**2

_REASONS = {
    sqlite3.SQLITE_FULL: "the disk is full: free some space",
    sqlite3.SQLITE_READONLY: "it cannot be written: make file, folder and file system writable",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened: check that folder and permissions are right",
    sqlite3.SQLITE_PERM: "access is refused: check its owner and mode",
    sqlite3.SQLITE_BUSY: "another program holds it locked: end that program",
    sqlite3.SQLITE_LOCKED: "another program holds it locked: end that program",
    sqlite3.SQLITE_IOERR: "the disk reports an error: look at the kernel log",
}
_CORRUPT = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def explain(error: Exception, path: str) -> StoreError:
    """Say what a failure of SQLite or the file system means and what to do."""
    code = getattr(error, "sqlite_errorcode", None)
    primary = code & 0xFF if isinstance(code, int) else None
    if primary in _CORRUPT:
        return CorruptFile(f"state file {path} is damaged ({error})")
    reason = _REASONS.get(primary) if primary is not None else None
    return StoreError(f"state file {path}: {f'{reason} ({error})' if reason else error}")


@contextlib.contextmanager
def in_words(path: str) -> Iterator[None]:
    """Turn failures of SQLite and the file system into StoreError."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise explain(error, path) from error


class Database:
    """The connections to one state file. `path` may be `:memory:`."""

    def __init__(self, path: str, *, read_only: bool = False, max_bytes: int = 0) -> None:
        """Open it and bring it to this version's schema; `max_bytes` 0 means without bound."""
        self.path = path
        self.read_only = read_only
        self._in_memory = path == MEMORY
        self._lock = threading.RLock()
        self._slots = threading.BoundedSemaphore(READERS)
        self._idle: list[sqlite3.Connection] = []
        self._closed = False
        self._witness: Witness | None = None
        self._writer: sqlite3.Connection | None = None
        with in_words(path):
            if read_only:
                self._try_reader()
            else:
                self._open_writer(max_bytes)

    def _open_writer(self, max_bytes: int) -> None:
        if not self._in_memory:
            _make_private(self.path)
        self._writer = connection = _connect(self.path)
        try:
            if not self._in_memory:
                connection.execute("PRAGMA journal_mode=WAL")
                connection.execute(f"PRAGMA journal_size_limit={WAL_LIMIT_BYTES}")
            if max_bytes:
                page = connection.execute("PRAGMA page_size").fetchone()[0]
                connection.execute(f"PRAGMA max_page_count={max_bytes // page}")
            connection.execute("PRAGMA synchronous=NORMAL")
            connection.execute("PRAGMA cache_size=-1024")
            migrate(connection, self.path)
        except BaseException:
            connection.close()
            raise
        if not self._in_memory:
            self._witness = Witness(self.path)

    def _try_reader(self) -> None:
        connection = self._open_reader()
        try:
            check_version(connection, self.path)
        except BaseException:
            connection.close()
            raise
        self._idle.append(connection)

    def _open_reader(self) -> sqlite3.Connection:
        try:
            connection = _connect(f"file:{quote(self.path)}?mode=ro", uri=True)
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        except sqlite3.OperationalError:
            if not self.read_only:
                raise
            # On a read-only file system WAL cannot make its -shm file; as immutable it opens.
            connection = _connect(f"file:{quote(self.path)}?mode=ro&immutable=1", uri=True)
        connection.execute("PRAGMA cache_size=-256")
        return connection

    @contextlib.contextmanager
    def write(self, *, full: bool = False) -> Iterator[sqlite3.Connection]:
        """Run one transaction; `full` waits until the disk has it, also through a power cut."""
        with self._lock, in_words(self.path):
            connection = self._usable_writer()
            if full and not self._in_memory:
                connection.execute("PRAGMA synchronous=FULL")
            try:
                connection.execute("BEGIN IMMEDIATE")
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
            finally:
                if full and not self._in_memory:
                    connection.execute("PRAGMA synchronous=NORMAL")
            if self._witness is not None:
                self._witness.note()

    @contextlib.contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """Lend a connection for a few short queries."""
        if self._in_memory:
            with self._lock, in_words(self.path):
                yield self._usable_writer()
            return
        if not self._slots.acquire(timeout=READER_WAIT_S):
            raise TooManyReaders(f"state file {self.path}: too many readers at once, try again")
        try:
            with in_words(self.path):
                yield from self._lend()
        finally:
            self._slots.release()

    def _lend(self) -> Iterator[sqlite3.Connection]:
        self._refuse_closed()
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = self._open_reader()
        try:
            yield connection
        except BaseException:
            connection.close()
            raise
        self._idle.append(connection)
        if self._closed:  # meanwhile
            self._close_idle()

    def _refuse_closed(self) -> None:
        if self._closed:
            raise StoreError(f"state file {self.path} was closed")

    def _close_idle(self) -> None:
        with contextlib.suppress(IndexError):
            while True:
                self._idle.pop().close()

    def rescue(self, target: str) -> None:
        """Copy everything into a new file at `target`, also when our own was deleted."""
        with self._lock, in_words(target):
            if self._writer is None:
                raise StoreError(f"state file {self.path} was closed")
            copy = sqlite3.connect(target)
            try:
                self._writer.backup(copy)
            finally:
                copy.close()

    def close(self) -> None:
        """Close all connections; what is lent out is closed when it comes back."""
        with self._lock:
            self._closed = True
            self._close_idle()
            if self._writer is not None:
                with contextlib.suppress(sqlite3.Error):
                    self._writer.close()
                self._writer = None

    def _usable_writer(self) -> sqlite3.Connection:
        if self._writer is None:
            what = "was opened for reading only" if self.read_only else "was closed"
            raise StoreError(f"state file {self.path} {what}")
        if self._witness is not None and self._witness.was_written_to():
            self._check_contents(self._writer)
        return self._writer

    def _check_contents(self, writer: sqlite3.Connection) -> None:
        """Refuse a file that another program has written to, unless it is sound all the same.

        It also is when all that was overwritten is still in our log, which then mends it.
        """
        connection = self._open_reader()  # a new one: it has no page in its cache
        try:
            (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        finally:
            connection.close()
        if found != "ok":
            raise CorruptFile(f"state file {self.path} was overwritten by another program")
        writer.execute("PRAGMA wal_checkpoint")


def _connect(path: str, *, uri: bool = False) -> sqlite3.Connection:
    return sqlite3.connect(
        path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False, uri=uri
    )


def _make_private(path: str) -> None:
    """Create folder and file so that only the owner reads what services do.

    A file that is there is not opened: to close it again would drop the locks of other connections.
    """
    Path(path).absolute().parent.mkdir(mode=0o750, parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
