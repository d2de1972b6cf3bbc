"""The graph store in Neo4j, behind :class:`schemas.ports.Sink`."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar, TypeVar

from schemas.ports import ERASED, WRITTEN, Result, Stored, Unavailable
from schemas.records import GraphRecord, RecordId, Store
from sinks.common.stamps import Refusal, is_identity
from sinks.neo4j.client import Client
from sinks.neo4j.cypher import READ_VERSIONS
from sinks.neo4j.errors import APART, REFUSED, SERVER, SLOW
from sinks.neo4j.model import RECORD, STORE, TOMBSTONE
from sinks.neo4j.rows import Prepared, prepare, record_key
from sinks.neo4j.settings import Neo4jSettings
from sinks.neo4j.transaction import Work

TRANSACTION = 500
"""Most records in one transaction: longer ones hold their locks for longer."""

FEW = 20
"""Records in one transaction of a server that is so slow that larger ones ran out of time."""

HASTE = 0.2
"""Share of the time for a call; a transaction that took less may be followed by a larger one."""

SPLITS = 24
"""How often a write halves what the database did not take, looking for the record at fault."""

_BAD_ID = Result("rejected", "bad_id")
_COUNT = (
    f"CALL () {{ MATCH (r:{RECORD}) RETURN count(r) AS records }} "
    f"CALL () {{ MATCH (r:{TOMBSTONE}) RETURN count(r) AS erased }} "
    "RETURN records - erased AS count"
)
_TRY = f"MATCH (s:{STORE}) SET s.tried = timestamp() RETURN s.key AS key"

T = TypeVar("T")


class Neo4jSink:
    """Nodes and edges, the same as in SQLite. Safe from any thread and beside other workers."""

    store: ClassVar[Store] = "graph"

    def __init__(self, client: Client, settings: Neo4jSettings) -> None:
        self._client = client
        self._settings = settings
        self._most = TRANSACTION

    def write(self, records: Sequence[GraphRecord], /) -> Sequence[Result]:
        """Two transactions for each few hundred records, fewer where the server is slow."""
        results: list[Result] = [WRITTEN] * len(records)
        good: list[tuple[int, Prepared]] = []
        for index, record in enumerate(records):
            try:
                good.append((index, prepare(record, self._settings.max_record_bytes)))
            except Refusal as refusal:
                results[index] = Result("rejected", refusal.code)
        parts = list(_parts(good, self._most))
        splits = 0
        while parts:
            part = parts.pop(0)
            started = time.monotonic()
            try:
                erased = self._write([prepared for _, prepared in part])
            except Unavailable as error:
                if error.code in SLOW:
                    self._most = max(FEW, len(part) // 2)
                apart = error.code in APART
                if apart and len(part) > 1 and splits < SPLITS:
                    splits += 1
                    parts[:0] = _parts(part, -(-len(part) // 2))
                    continue
                if apart and len(part) == 1:
                    ((index, prepared),) = part
                    results[index] = self._alone(prepared, error)
                    continue
                for index, _ in [pair for each in (part, *parts) for pair in each]:
                    results[index] = Result("unavailable", error.code)
                break
            else:
                if time.monotonic() - started < HASTE * self._settings.timeout_seconds:
                    self._most = min(TRANSACTION, 2 * self._most)
                for index, prepared in part:
                    if prepared.key in erased:
                        results[index] = ERASED
        return results

    def fetch(self, ids: Sequence[RecordId], /) -> Mapping[RecordId, Stored]:
        """What is there. Raises Unavailable."""
        self._client.check_open()
        found: dict[RecordId, Stored] = {}
        for part in _parts([i for i in ids if is_identity(i.kind, i.id)], TRANSACTION):
            found |= self._fetch(part)
        return found

    def delete(self, ids: Sequence[RecordId], /) -> Sequence[Result]:
        """Removes records with what they own and leaves tombstones in the database."""
        results = [ERASED if is_identity(i.kind, i.id) else _BAD_ID for i in ids]
        known = [record_key(i) for i in ids if is_identity(i.kind, i.id)]
        try:
            for part in _parts(known, TRANSACTION):
                self._erase(part)
        except Unavailable as error:
            outcome = Result("unavailable", error.code)
            return [result if result is _BAD_ID else outcome for result in results]
        return results

    def erased(self, ids: Sequence[RecordId], /) -> frozenset[RecordId]:
        """See :meth:`schemas.ports.Tombstones.erased`."""
        self._client.check_open()
        keys = {record_key(i): i for i in ids if is_identity(i.kind, i.id)}
        found: set[RecordId] = set()
        for part in _parts(list(keys), TRANSACTION):
            rows = self._client.rows(READ_VERSIONS, rows=[{"key": key} for key in part])
            found.update(keys[row["key"]] for row in rows if row["erased"])
        return frozenset(found)

    def count(self) -> int:
        """How many records it holds. Raises Unavailable."""
        (row,) = self._client.rows(_COUNT)
        return int(row["count"])

    def close(self) -> None:
        """Later calls find the store unavailable."""
        self._client.close()

    def _write(self, records: Sequence[Prepared]) -> set[str]:
        rows = self._settings.batch_rows
        self._client.run(lambda transaction: Work(transaction, rows).share(records))
        return self._client.run(lambda transaction: Work(transaction, rows).write(records))

    def _alone(self, prepared: Prepared, error: Unavailable) -> Result:
        """What becomes of a record that failed by itself. A failure of the server's that has no
        name is the record's (a property too large for an index that somebody has made, say) where
        the server takes another write, and this one a second time not."""
        if error.code == REFUSED:
            return Result("rejected", REFUSED)
        if error.code != SERVER or not self._takes_writes():
            return Result("unavailable", error.code)
        try:
            erased = self._write([prepared])
        except Unavailable as again:
            if again.code == SERVER:
                return Result("rejected", "refused_record")
            return Result("unavailable", again.code)
        return ERASED if prepared.key in erased else WRITTEN

    def _takes_writes(self) -> bool:
        """Whether the server does what it is asked, right now and all the way to a commit."""
        try:
            return bool(self._client.rows(_TRY))
        except Unavailable:
            return False

    def _fetch(self, ids: Sequence[RecordId]) -> dict[RecordId, Stored]:
        rows = self._settings.batch_rows
        return self._client.run(lambda transaction: Work(transaction, rows).fetch(ids))

    def _erase(self, keys: Sequence[str]) -> None:
        rows = self._settings.batch_rows
        self._client.run(lambda transaction: Work(transaction, rows).erase(keys))


def _parts(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
