"""The reconciliation queues: records that a store could not take, until it can."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future

from schemas.items import Kind
from schemas.queues import Parked
from schemas.records import STORES, Record, RecordId, Store
from sinks.common.packing import pack, unpack_record
from sinks.sqlite.database import Database
from sinks.sqlite.errors import FILE_CODES

PART = "parking"

_PARK = (
    "INSERT OR REPLACE INTO parking (store, kind, id, version, code, record)"
    " SELECT ?1, ?2, ?3, ?4, ?5, ?6 WHERE NOT EXISTS"
    " (SELECT 1 FROM parking WHERE store = ?1 AND kind = ?2 AND id = ?3 AND version >= ?4)"
)
_TAKE = (
    "SELECT sequence, record, code, attempts FROM parking"
    " WHERE store = ? AND sequence > ? ORDER BY sequence LIMIT ?"
)
_SETTLE = "DELETE FROM parking WHERE sequence = ?"
_FAILED = "UPDATE parking SET attempts = attempts + 1, code = ? WHERE sequence = ?"
_WAITING = (
    "SELECT sequence, kind, id, version FROM parking WHERE store = ? AND sequence > ?"
    " ORDER BY sequence LIMIT 5000"
)
_BACKLOG = "SELECT store, count(*) FROM parking GROUP BY store"


class SqliteParking:
    """:class:`schemas.queues.ParkingQueue`, keyed by store and record: of an id only the greatest
    version waits. A version that replaces another stands at the end, so that settling the one that
    was taken does not take the new one away."""

    outages = FILE_CODES

    def __init__(self, database: Database) -> None:
        self._database = database

    def park(self, store: Store, records: Sequence[tuple[Record, str]], /) -> None:
        """See :meth:`schemas.queues.Parking.park`."""
        self.submit(store, records).result()

    def submit(self, store: Store, records: Sequence[tuple[Record, str]], /) -> Future[None]:
        """As :meth:`park`, without waiting."""
        rows = [
            (store, r.stamp.kind, r.stamp.id, r.stamp.version, code, pack(r)) for r, code in records
        ]
        return self._many(_PARK, rows)

    def take(self, store: Store, limit: int, /, after: int = 0) -> Sequence[Parked]:
        """See :meth:`schemas.queues.ParkingQueue.take`."""

        def read(connection: sqlite3.Connection) -> list[tuple[int, bytes, str, int]]:
            return connection.execute(_TAKE, (store, after, limit)).fetchall()

        return [
            Parked(sequence, store, unpack_record(store, record), code, attempts)
            for sequence, record, code, attempts in self._database.read(PART, read)
        ]

    def settle(self, done: Sequence[Parked], /) -> None:
        """See :meth:`schemas.queues.ParkingQueue.settle`. Durable when it returns."""
        self._many(_SETTLE, [(parked.sequence,) for parked in done]).result()

    def failed(self, tried: Sequence[tuple[Parked, str]], /) -> None:
        """See :meth:`schemas.queues.ParkingQueue.failed`."""
        self._many(_FAILED, [(code, parked.sequence) for parked, code in tried]).result()

    def waiting(self, store: Store, /) -> Iterator[tuple[RecordId, int]]:
        """See :meth:`schemas.queues.ParkingQueue.waiting`."""
        after = 0
        while found := self._page(store, after):
            after = found[-1][0]
            yield from ((RecordId(kind, id_), version) for _, kind, id_, version in found)

    def caught_up(self, store: Store, /) -> bool:  # noqa: ARG002
        """See :meth:`schemas.queues.ParkingQueue.caught_up`."""
        return True

    def release(self, store: Store, /) -> None:
        """See :meth:`schemas.queues.ParkingQueue.release`."""

    def backlog(self) -> Mapping[Store, int]:
        """How many wait, of every store."""
        counts = self._database.read(PART, lambda c: c.execute(_BACKLOG).fetchall())
        return dict.fromkeys(STORES, 0) | dict(counts)

    def _page(self, store: Store, after: int) -> list[tuple[int, Kind, str, int]]:
        return self._database.read(PART, lambda c: c.execute(_WAITING, (store, after)).fetchall())

    def _many(self, statement: str, rows: Sequence[tuple[object, ...]]) -> Future[None]:
        def job(connection: sqlite3.Connection) -> None:
            connection.executemany(statement, rows)

        return self._database.submit(PART, job)
