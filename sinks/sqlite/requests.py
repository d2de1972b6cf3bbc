"""The enrichment queue: events that lack something, until it is filled in."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence

from schemas.items import Kind, kind_of
from schemas.queues import Queued, Request
from schemas.records import RecordId
from sinks.common.requests import knowledge, pack_request, unpack_request
from sinks.sqlite.database import Database

PART = "requests"

_PUT = (
    "INSERT OR REPLACE INTO requests (kind, id, knowledge, request) SELECT ?1, ?2, ?3, ?4"
    " WHERE NOT EXISTS"
    " (SELECT 1 FROM requests WHERE kind = ?1 AND id = ?2 AND knowledge > ?3)"
)
_TAKE = (
    "SELECT sequence, request, attempts FROM requests WHERE sequence > ? ORDER BY sequence LIMIT ?"
)
_WAITING = "SELECT sequence, kind, id FROM requests WHERE sequence > ? ORDER BY sequence LIMIT 5000"
_SETTLE = "DELETE FROM requests WHERE sequence = ?"
_FAILED = "UPDATE requests SET attempts = attempts + 1 WHERE sequence = ?"


class SqliteRequests:
    """:class:`schemas.queues.RequestQueue`, keyed by event. One that replaces another stands at the
    end, so that settling the one that was taken does not take the new one away."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, requests: Sequence[Request], /) -> None:
        """See :meth:`schemas.queues.Requests.put`."""
        self._many(_PUT, [(*_key(r), knowledge(r), pack_request(r)) for r in requests])

    def take(self, limit: int, /, after: int = 0) -> Sequence[Queued]:
        """See :meth:`schemas.queues.RequestQueue.take`."""

        def read(connection: sqlite3.Connection) -> list[tuple[int, bytes, int]]:
            return connection.execute(_TAKE, (after, limit)).fetchall()

        return [
            Queued(sequence, unpack_request(request), attempts)
            for sequence, request, attempts in self._database.read(PART, read)
        ]

    def settle(self, done: Sequence[Queued], /) -> None:
        """See :meth:`schemas.queues.RequestQueue.settle`."""
        self._many(_SETTLE, [(queued.sequence,) for queued in done])

    def failed(self, tried: Sequence[Queued], /) -> None:
        """See :meth:`schemas.queues.RequestQueue.failed`."""
        self._many(_FAILED, [(queued.sequence,) for queued in tried])

    def waiting(self) -> Iterator[RecordId]:
        """See :meth:`schemas.queues.RequestQueue.waiting`."""
        after = 0
        while found := self._page(after):
            after = found[-1][0]
            yield from (RecordId(kind, id_) for _, kind, id_ in found)

    def caught_up(self) -> bool:
        """See :meth:`schemas.queues.RequestQueue.caught_up`: always, here."""
        return True

    def release(self) -> None:
        """See :meth:`schemas.queues.RequestQueue.release`: nothing is held here."""

    def backlog(self) -> int:
        """How many wait."""
        sql = "SELECT count(*) FROM requests"
        return int(self._database.read(PART, lambda c: c.execute(sql).fetchone()[0]))

    def _page(self, after: int) -> list[tuple[int, Kind, str]]:
        return self._database.read(PART, lambda c: c.execute(_WAITING, (after,)).fetchall())

    def _many(self, statement: str, rows: Sequence[tuple[object, ...]]) -> None:
        def job(connection: sqlite3.Connection) -> None:
            connection.executemany(statement, rows)

        self._database.submit(PART, job).result()


def _key(request: Request) -> tuple[str, str]:
    return kind_of(request.item.event), request.item.event.id
