"""Exact nearest neighbours in the vector store."""

from __future__ import annotations

import sqlite3
from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.items import Kind
from schemas.queries import Neighbour
from schemas.records import RecordId
from sinks.common.stamps import from_json
from sinks.sqlite.database import Database
from sinks.sqlite.snapshot import snapshot

Floats = npt.NDArray[np.float32]
_CHUNK = 256
"""Rows at a time: small enough for the processor's caches (4,096 take three times as long)."""
_SPARE = 64
"""Candidates beyond k, so that (kind, id) can decide between texts that are stored repeatedly."""


class VectorQueries:
    """Queries over the vector table; each raises Unavailable or Damaged. Safe from any thread."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def vector(self, record: RecordId) -> tuple[bytes, str] | None:
        """The vector of a record (little-endian float32) and the model that made it, or None."""
        sql = "SELECT embedding, model FROM vector_record WHERE id = ? AND kind = ?"
        row = self._database.read(
            "vector", lambda c: c.execute(sql, (record.id, record.kind)).fetchone()
        )
        return None if row is None else (row[0], row[1])

    def models(self) -> dict[str, int]:
        """How many vectors there are of each model."""
        sql = "SELECT model, count(*) FROM vector_record GROUP BY model ORDER BY model"
        return dict(self._database.read("vector", lambda c: c.execute(sql).fetchall()))

    def similar(
        self,
        vector: bytes,
        k: int = 10,
        *,
        model: str,
        tenant: str | None = None,
        kind: Kind | None = None,
        exclude: RecordId | None = None,
    ) -> list[Neighbour]:
        """The ``k`` nearest by cosine, best first, equals by (kind, id).

        ``vector``: unit length, little-endian float32, made by ``model``; vectors of other models
        or lengths are never compared with it. The scan is exact and reads ``vector_record`` once,
        in constant memory.
        """
        asked = np.frombuffer(vector, dtype="<f4")
        conditions, arguments = ["model = ?", "length(embedding) = ?"], [model, len(vector)]
        for column, value in (("tenant", tenant), ("kind", kind)):
            if value is not None:
                conditions.append(f"{column} = ?")
                arguments.append(value)
        if exclude is not None:
            conditions.append("NOT (id = ? AND kind = ?)")
            arguments += [exclude.id, exclude.kind]
        sql = f"SELECT record, embedding FROM vector_record WHERE {' AND '.join(conditions)}"  # noqa: S608
        return snapshot(
            self._database,
            "vector",
            lambda connection: _nearest(connection, sql, arguments, asked, k),
        )


def _nearest(
    connection: sqlite3.Connection, sql: str, arguments: list[Any], asked: Floats, k: int
) -> list[Neighbour]:
    best = np.empty(0, dtype=np.float32)
    records = np.empty(0, dtype=np.int64)
    cursor = connection.execute(sql, arguments)
    try:
        while k > 0 and (rows := cursor.fetchmany(_CHUNK)):
            matrix = np.frombuffer(b"".join([row[1] for row in rows]), dtype="<f4")
            scores = matrix.reshape(len(rows), len(asked)) @ asked
            best = np.concatenate((best, scores))
            records = np.concatenate((records, np.array([row[0] for row in rows])))
            kept = np.argsort(-best, kind="stable")[: k + _SPARE]
            best, records = best[kept], records[kept]
    finally:
        cursor.close()
    found = [
        neighbour
        for record, score in zip(records, best, strict=True)
        if (neighbour := _neighbour(connection, int(record), round(float(score), 6)))
    ]
    found.sort(key=lambda neighbour: (-neighbour.score, neighbour.id))
    return found[: max(k, 0)]


def _neighbour(connection: sqlite3.Connection, record: int, score: float) -> Neighbour | None:
    """None for a record that was erased after the scan."""
    row = connection.execute(
        "SELECT kind, id, time, tenant, user, text_hash, metadata "
        "FROM vector_record WHERE record = ?",
        (record,),
    ).fetchone()
    if row is None:
        return None
    kind, id_, time, tenant, user, text_hash, metadata = row
    return Neighbour(RecordId(kind, id_), score, time, tenant, user, text_hash, from_json(metadata))
