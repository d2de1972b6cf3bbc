"""A cache in two layers: a part in memory over a table, each bounded by bytes."""

from __future__ import annotations

import sqlite3
import threading
from collections import OrderedDict, deque
from collections.abc import Sequence
from concurrent.futures import Future

from schemas.ports import Damaged, Unavailable
from sinks.sqlite.database import Database
from sinks.sqlite.lookup import select_in

PART = "cache"
_ROW_BYTES = 64
_MOST_PENDING = 32
_KEEP = 0.9

_SELECT = "SELECT key, value FROM cache WHERE namespace = {namespace} AND key IN ({keys})"
_INSERT = "INSERT OR REPLACE INTO cache (namespace, key, size, value) VALUES (?, ?, ?, ?)"
_TOTAL = "SELECT coalesce(sum(size), 0) FROM cache WHERE namespace = ?"
_BY_AGE = "SELECT seq, size FROM cache WHERE namespace = ? ORDER BY seq"
_DELETE = "DELETE FROM cache WHERE namespace = ? AND seq <= ?"


class SqliteCache:
    """:class:`schemas.ports.Cache` of one namespace. Entries go in the order they were put.

    ``limit`` bounds the table's bytes (keys, values and a share for the rows), ``memory`` those
    in memory. Errors are misses; puts that the writer cannot keep up with stay in memory only.
    An entry of more than a quarter of a bound is not kept under it. ``hits``, ``misses`` and
    ``memory_bytes`` tell how it does.
    """

    def __init__(
        self,
        database: Database,
        namespace: str,
        *,
        limit: int = 256 << 20,
        memory: int = 32 << 20,
    ) -> None:
        self._database = database
        self._namespace = namespace
        quoted = "'" + namespace.replace("'", "''") + "'"
        self._select = _SELECT.replace("{namespace}", quoted)
        self._limit = limit
        self._memory_limit = memory
        self._memory: OrderedDict[bytes, bytes] = OrderedDict()
        self.memory_bytes = 0
        self._table_bytes: int | None = None
        self._pending: deque[Future[None]] = deque()
        self._lock = threading.Lock()
        self.hits = 0
        self.misses = 0

    def get(self, keys: Sequence[bytes], /) -> Sequence[bytes | None]:
        """The values in the order of the keys; None where there is none or none can be read."""
        with self._lock:
            memory = self._memory
            found: dict[bytes, bytes] = {}
            for key in keys:
                value = memory.get(key)
                if value is not None:
                    memory.move_to_end(key)
                    found[key] = value
            missing = [key for key in dict.fromkeys(keys) if key not in found]
            for key, value in self._fetch(missing):
                found[key] = value
                self._remember(key, value)
            values = [found.get(key) for key in keys]
            misses = values.count(None)
            self.misses += misses
            self.hits += len(values) - misses
            return values

    def put(self, items: Sequence[tuple[bytes, bytes]], /) -> None:
        """Keeps the items, in memory at once. Does not wait and raises nothing."""
        with self._lock:
            for key, value in items:
                self._remember(key, value)
            while self._pending and self._pending[0].done():
                self._pending.popleft()
            rows = [
                (self._namespace, key, size, value)
                for key, value in items
                if (size := _size(key, value)) <= self._limit // 4
            ]
            if rows and len(self._pending) < _MOST_PENDING:
                self._pending.append(self._database.submit(PART, lambda c: self._write(c, rows)))

    def _fetch(self, keys: Sequence[bytes]) -> Sequence[tuple[bytes, bytes]]:
        if not keys:
            return ()
        try:
            rows = self._database.read(PART, lambda c: select_in(c, self._select, keys))
        except (Unavailable, Damaged):
            return ()
        return [(row[0], row[1]) for row in rows]

    def _remember(self, key: bytes, value: bytes) -> None:
        size = _size(key, value)
        if size > self._memory_limit // 4:
            return
        old = self._memory.pop(key, None)
        if old is not None:
            self.memory_bytes -= _size(key, old)
        self._memory[key] = value
        self.memory_bytes += size
        while self.memory_bytes > self._memory_limit:
            self.memory_bytes -= _size(*self._memory.popitem(last=False))

    def _write(
        self, connection: sqlite3.Connection, rows: Sequence[tuple[str, bytes, int, bytes]]
    ) -> None:
        """On the writer thread, which alone touches the estimate of the table's bytes. It counts
        replaced entries twice and is put right when it reaches the bound."""
        connection.executemany(_INSERT, rows)
        if self._table_bytes is None:
            (self._table_bytes,) = connection.execute(_TOTAL, (self._namespace,)).fetchone()
        else:
            self._table_bytes += sum(row[2] for row in rows)
        if self._table_bytes > self._limit:
            self._table_bytes = self._evict(connection)

    def _evict(self, connection: sqlite3.Connection) -> int:
        """Deletes the oldest entries down to a part of the bound; answers the bytes left."""
        (total,) = connection.execute(_TOTAL, (self._namespace,)).fetchone()
        excess = total - int(self._limit * _KEEP)
        if total <= self._limit:
            return int(total)
        freed = 0
        last = None
        cursor = connection.execute(_BY_AGE, (self._namespace,))
        for seq, size in cursor:
            freed += size
            last = seq
            if freed >= excess:
                break
        cursor.close()
        connection.execute(_DELETE, (self._namespace, last))
        return int(total - freed)


def _size(key: bytes, value: bytes) -> int:
    return len(key) + len(value) + _ROW_BYTES
