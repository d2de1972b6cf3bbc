"""What the queues hold, by record: an index on disk, because a backlog may be large."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Mapping, Sequence
from typing import Any

from schemas.queues import ParkingQueue, RequestQueue
from schemas.records import STORES, RecordId, Store

_FRESH = 1.0
_SCHEMA = """
PRAGMA journal_mode = OFF;
PRAGMA cache_size = -8192;
CREATE TABLE parked (store, kind, id, version, PRIMARY KEY (kind, id, store)) WITHOUT ROWID;
CREATE TABLE requested (kind, id, PRIMARY KEY (kind, id)) WITHOUT ROWID;
"""


class Waiting:
    """Which records wait for a store, with the greatest version that does, and which events for
    an enrichment."""

    def __init__(self, parking: ParkingQueue, requests: RequestQueue | None) -> None:
        self._parking = parking
        self._requests = requests
        self._index: sqlite3.Connection | None = None
        self._read_at = 0.0

    def refresh(self) -> None:
        """Reads the queues again, if that was not done just now. Raises Unavailable."""
        if self._index is not None and time.monotonic() - self._read_at < _FRESH:
            return
        self.close()
        index = sqlite3.connect("", isolation_level=None)  # A file that goes with the connection.
        index.executescript(_SCHEMA)
        for store in STORES:
            waiting = self._parking.waiting(store)
            index.executemany(
                "INSERT INTO parked VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
                " version = max(version, excluded.version)",
                ((store, found.kind, found.id, version) for found, version in waiting),
            )
        if self._requests is not None:
            index.executemany(
                "INSERT OR IGNORE INTO requested VALUES (?, ?)",
                ((found.kind, found.id) for found in self._requests.waiting()),
            )
        self._index = index
        self._read_at = time.monotonic()

    def parked(self, ids: Sequence[RecordId]) -> Mapping[tuple[Store, RecordId], int]:
        """The greatest version of each that waits, by store."""
        rows = self._select("store, kind, id, version", "parked", ids)
        return {(store, RecordId(kind, id_)): version for store, kind, id_, version in rows}

    def requested(self, ids: Sequence[RecordId]) -> frozenset[RecordId]:
        """Those that are to be enriched."""
        rows = self._select("kind, id", "requested", ids)
        return frozenset(RecordId(kind, id_) for kind, id_ in rows)

    def close(self) -> None:
        if self._index is not None:
            self._index.close()
            self._index = None

    def _select(self, columns: str, table: str, ids: Sequence[RecordId]) -> list[tuple[Any, ...]]:
        assert self._index is not None
        if not ids:
            return []
        marks = ", ".join(["(?, ?)"] * len(ids))
        values = [part for one in ids for part in (one.kind, one.id)]
        # Joined in this order, because SQLite would scan the whole backlog for (kind, id) IN.
        query = f"WITH wanted (kind, id) AS (VALUES {marks})"
        joined = f"SELECT {columns} FROM wanted CROSS JOIN {table} USING (kind, id)"  # noqa: S608
        return self._index.execute(f"{query} {joined}", values).fetchall()
