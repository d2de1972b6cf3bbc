"""What the suite needs of a sink besides its port: open it again, break it, see all it holds."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from schemas.ports import Sink
from schemas.records import Store
from sinks.sqlite import database as sqlite_database
from sinks.sqlite.database import Database

Outage = Callable[[], AbstractContextManager[None]]


class Harness(Protocol):
    """One sink on storage of its own."""

    store: Store
    outages: Mapping[str, Outage]

    def open(self) -> Sink[Any]:
        """A sink on the storage, which is kept from one call to the next."""
        ...

    def current(self) -> Sink[Any]:
        """The sink opened last: an outage may have to open it anew."""
        ...

    def dump(self) -> object:
        """All that is stored and should not depend on the order of arrival, comparable."""
        ...

    def close(self) -> None: ...


class SqliteHarness:
    """A sink of ``sinks/sqlite`` on a file of its own."""

    tables: Mapping[Store, tuple[str, ...]] = {
        "graph": ("graph_record", "graph_node", "graph_edge"),
        "vector": ("vector_record",),
        "timeseries": ("timeseries_point",),
        "search": ("search_document", "search_index"),
    }

    def __init__(self, folder: Path, make: Callable[[Database], Sink[Any]]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "memory.db"
        self._make = make
        self._database: Database | None = None
        self.store = self.open().store
        tables = (*self.tables[self.store], f"{self.store}_tombstone")
        self.outages = {"locked": self._locked} | {
            f"{table} gone": lambda table=table: self._without(table) for table in tables
        }

    def open(self) -> Sink[Any]:
        self.close()
        self._database = Database.open(self.path)
        self._sink = self._make(self._database)
        return self._sink

    def current(self) -> Sink[Any]:
        return self._sink

    def close(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None

    def dump(self) -> object:
        """Rows of all tables of the store, without the file's own row ids, sorted."""
        with contextlib.closing(sqlite3.connect(self.path)) as connection:
            return [
                sorted(connection.execute(sql).fetchall(), key=repr) for sql in _DUMP[self.store]
            ]

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Another process holds the file for longer than we wait."""
        self.close()
        patience, sqlite_database.BUSY_MS = sqlite_database.BUSY_MS, 20
        self.open()
        other = sqlite3.connect(self.path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            other.execute("ROLLBACK")
            other.close()
            sqlite_database.BUSY_MS = patience

    @contextlib.contextmanager
    def _without(self, table: str) -> Iterator[None]:
        self._alter(f"ALTER TABLE {table} RENAME TO {table}_away")
        try:
            yield
        finally:
            self._alter(f"ALTER TABLE {table}_away RENAME TO {table}")

    def _alter(self, sql: str) -> None:
        with contextlib.closing(sqlite3.connect(self.path, isolation_level=None)) as connection:
            connection.execute(sql)


_STAMP = (
    'kind, id, version, time, topic, "partition", "offset", log_timestamp, pipeline, tenant, '
    "user, sha256"
)
_DUMP: Mapping[Store, tuple[str, ...]] = {
    "graph": (
        f"SELECT {_STAMP} FROM graph_record",
        "SELECT n.label, n.key, n.properties, n.registers, n.text_hash, "
        "n.created_at, n.user_id, n.session_id, o.kind, o.id "
        "FROM graph_node AS n LEFT JOIN graph_record AS o ON o.record = n.owner",
        "SELECT s.label, s.key, e.type, t.label, t.key, e.properties, o.kind, o.id "
        "FROM graph_edge AS e JOIN graph_node AS s ON s.node = e.source "
        "JOIN graph_node AS t ON t.node = e.target "
        "LEFT JOIN graph_record AS o ON o.record = e.owner",
    ),
    "vector": (f"SELECT {_STAMP}, model, text_hash, metadata, embedding FROM vector_record",),
    "timeseries": (
        f"SELECT {_STAMP}, time_ns, day, tags, fields, model, status, prompt_tokens, "
        "latency_ms, cost_pico_usd, cost_status FROM timeseries_point",
    ),
    "search": (
        f"SELECT {_STAMP}, session, model, fields, text FROM search_document",
        "SELECT d.id, d.kind FROM search_index JOIN search_document AS d "
        "ON d.record = search_index.rowid WHERE search_index MATCH 'document OR words'",
    ),
}
