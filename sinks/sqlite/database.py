"""The one SQLite file: one writer thread with group commit, and a read connection per thread."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple, TypeVar
from weakref import WeakSet

from schemas.ports import Damaged, Unavailable
from sinks.sqlite import layout
from sinks.sqlite.errors import concerns_file, translate

T = TypeVar("T")

GROUP = 32
"""Most jobs in one transaction: what a fault of the file can fail at once."""
BUSY_MS = 2_000
WAL_PAGES = 4_000
WAL_BYTES = 64 << 20
_CHECK_EVERY = 64
_PRAGMAS = (
    "PRAGMA secure_delete = ON",
    "PRAGMA temp_store = MEMORY",
    "PRAGMA cache_size = -32768",
)


class _Connection(sqlite3.Connection):
    """A connection that weak references can name (the C type's instances cannot). ``busy`` is held
    while a statement runs: closing a connection under one ends the process."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.busy = threading.RLock()


class _Item(NamedTuple):
    part: str
    job: Callable[[sqlite3.Connection], Any] | None
    future: Future[Any]


class Database:
    """One file for everything, safe to use from several threads and beside other processes.

    Writes are jobs: functions of a connection that run on the one writer thread, first in first
    out, as many as are waiting (up to :data:`GROUP`) in one transaction, each in a savepoint of
    its own. A job must not commit, roll back or keep the connection. What one thread submits
    commits in that order, so whatever a later job has made durable, the earlier ones have too,
    unless their futures say otherwise.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection, store_set: str) -> None:
        self.path = path
        self.store_set = store_set
        self._writer = connection
        self._queue: SimpleQueue[_Item | None] = SimpleQueue()
        self._gate = threading.Lock()
        self._closed = False
        self._wrote = False
        self._local = threading.local()
        self._readers: WeakSet[_Connection] = WeakSet()
        self._thread = threading.Thread(target=self._serve, name="sqlite-writer", daemon=True)
        self._thread.start()

    @classmethod
    def open(cls, path: Path, *, durable: bool = False) -> Database:
        """Opens the file, making or migrating it where needed.

        ``durable``: a power loss takes nothing that was confirmed (needed where offsets live
        elsewhere); else it rolls the whole file back to a consistent earlier moment. Raises
        Damaged (not a database, corrupt, newer than this program) and Unavailable.
        """
        connection: sqlite3.Connection | None = None
        try:
            # SQLite would make the file readable to all; its journals take over the mode.
            os.close(os.open(path, os.O_RDONLY | os.O_CREAT, 0o600))
            layout.check_header(path)
            connection = _connect(path)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            connection.execute(f"PRAGMA wal_autocheckpoint = {WAL_PAGES}")
            connection.execute(f"PRAGMA journal_size_limit = {WAL_BYTES}")
            return cls(path, connection, layout.prepare(connection, path.name))
        except sqlite3.Error as error:
            _close(connection)
            raise translate("database", error) from None
        except OSError:
            _close(connection)
            raise Unavailable("database", "cannot_open") from None
        except BaseException:
            _close(connection)
            raise

    def reader(self) -> _Connection:
        """This thread's connection for reading, where no other thread closes the database
        meanwhile. Fetch everything at once: a cursor left open holds a snapshot and lets the
        journal grow."""
        connection: _Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            made = _connect(self.path, "PRAGMA query_only = 1")
            with self._gate:
                if self._closed:
                    made.close()
                    raise Unavailable("database", "closed")
                self._readers.add(made)
            self._local.connection = connection = made
        return connection

    def read(self, part: str, query: Callable[[sqlite3.Connection], T]) -> T:
        """Runs a query on this thread's reader. Raises Unavailable or Damaged as jobs do; a query
        that :meth:`close` finds at work is ``interrupted``."""
        try:
            connection = self.reader()
            with connection.busy:
                if self._closed:
                    raise Unavailable("database", "closed")
                return query(connection)
        except sqlite3.Error as error:
            raise translate(part, error) from None

    def submit(self, part: str, job: Callable[[sqlite3.Connection], T]) -> Future[T]:
        """Queues a job; its future resolves after the commit.

        The future raises Unavailable with ``part`` where only this job's tables or values are at
        fault, with ``database`` where the file is (full, locked, read-only, …: every job of the
        transaction fails, later ones are tried anew); Damaged where the file is corrupt; and what
        the job itself raises.
        """
        future: Future[T] = Future()
        with self._gate:
            if self._closed:
                future.set_exception(Unavailable("database", "closed"))
            else:
                self._queue.put(_Item(part, job, future))
        return future

    def run(self, part: str, job: Callable[[sqlite3.Connection], T]) -> T:
        """Runs a job and waits until it is committed."""
        return self.submit(part, job).result()

    def flush(self) -> None:
        """Waits until all that was submitted is committed or has failed; raises nothing."""
        future: Future[None] = Future()
        with self._gate:
            if self._closed:
                return
            self._queue.put(_Item("database", None, future))
        future.result()

    def close(self) -> None:
        """Waits for what was submitted, folds the journal into the file, closes everything."""
        with self._gate:
            if self._closed:
                return
            self._closed = True
            self._queue.put(None)
        self._thread.join()
        for reader in list(self._readers):
            reader.interrupt()
            with reader.busy:
                reader.close()
        # The journal may stay beside the file (another process is at work, the disk is full):
        # who opens it next recovers it. A command that only read leaves it to the worker.
        if self._wrote:
            with contextlib.suppress(sqlite3.Error):
                self._writer.execute("PRAGMA busy_timeout = 0")
                self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        self._writer.close()

    def _serve(self) -> None:
        """The writer thread: a group at a time until closed."""
        commits = 0
        going = True
        while going:
            item = self._queue.get()
            group: list[_Item] = []
            while item is not None:
                group.append(item)
                if len(group) == GROUP:
                    break
                try:
                    item = self._queue.get_nowait()
                except Empty:
                    break
            going = item is not None
            self._commit([i for i in group if i.future.set_running_or_notify_cancel()])
            commits += 1
            if commits % _CHECK_EVERY == 0:
                self._bound_journal()

    def _commit(self, group: list[_Item]) -> None:
        """One transaction. Futures resolve only after it, in order."""
        outcomes: list[tuple[Any, BaseException | None]] = []
        writer = self._writer
        try:
            if any(item.job for item in group):
                writer.execute("BEGIN IMMEDIATE")
                outcomes = [self._one(item) for item in group]
                writer.execute("COMMIT")
                self._wrote = True
            else:
                outcomes = [(None, None)] * len(group)
        except BaseException as error:
            failure = translate("database", error) if isinstance(error, sqlite3.Error) else error
            self._roll_back()
            outcomes = [(None, failure if item.job else None) for item in group]
        for item, (result, failed) in zip(group, outcomes, strict=True):
            if failed is None:
                item.future.set_result(result)
            else:
                item.future.set_exception(failed)

    def _one(self, item: _Item) -> tuple[Any, BaseException | None]:
        """Runs one job in its savepoint. Raises what concerns the whole file."""
        if item.job is None:
            return None, None
        writer = self._writer
        writer.execute("SAVEPOINT job")
        try:
            result = item.job(writer)
        except Exception as error:
            if not writer.in_transaction or (
                isinstance(error, sqlite3.Error) and concerns_file(error)
            ):
                raise
            writer.execute("ROLLBACK TO job")
            writer.execute("RELEASE job")
            if isinstance(error, sqlite3.Error):
                return None, translate(item.part, error)
            return None, error
        writer.execute("RELEASE job")
        return result, None

    def _roll_back(self) -> None:
        if self._writer.in_transaction:
            # SQLite has rolled back by itself where this fails.
            with contextlib.suppress(sqlite3.Error):
                self._writer.execute("ROLLBACK")

    def _bound_journal(self) -> None:
        """Readers that overlap without a gap can keep the journal from starting over."""
        try:
            if self.path.with_name(self.path.name + "-wal").stat().st_size > 2 * WAL_BYTES:
                self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except (OSError, sqlite3.Error):
            pass  # Whatever is wrong shows in the next job.


def _connect(path: Path, *pragmas: str) -> _Connection:
    connection = sqlite3.connect(
        path,
        timeout=BUSY_MS / 1000,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=512,
        factory=_Connection,
    )
    try:
        for pragma in (*_PRAGMAS, *pragmas):
            connection.execute(pragma)
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _close(connection: sqlite3.Connection | None) -> None:
    if connection is not None:
        connection.close()


__all__ = ["Damaged", "Database", "Unavailable"]
