"""The vector store: one unit vector per text, kept as little-endian float32."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from schemas.records import Store, VectorRecord
from sinks.common.stamps import (
    STAMP,
    check_size,
    check_texts,
    from_json,
    stamp_row,
    to_json,
)
from sinks.common.vectors import unit_vector
from sinks.sqlite.base import SqliteSink, StoreSettings, placeholders
from sinks.sqlite.database import Database

_COLUMNS = "model, text_hash, metadata, embedding"
_NEW = f"INSERT INTO vector_record ({STAMP}, {_COLUMNS}) VALUES ({placeholders(16)})"  # noqa: S608
_OLD = "DELETE FROM vector_record WHERE record = ?"

Row = tuple[object, ...]


class VectorSettings(StoreSettings):
    """Vectors in SQLite."""

    dimensions: int = Field(
        default=384, ge=1, le=65_536, description="Length of every vector; others are refused."
    )


class VectorSink(SqliteSink[VectorRecord, Row]):
    """Refuses vectors of another length (``wrong_dimension``) or not of unit length."""

    store: ClassVar[Store] = "vector"
    table: ClassVar[str] = "vector_record"
    tombstones: ClassVar[str] = "vector_tombstone"
    content_columns: ClassVar[str] = _COLUMNS

    def __init__(self, database: Database, settings: VectorSettings | None = None) -> None:
        super().__init__(database)
        self._settings = settings or VectorSettings()

    def _prepare(self, record: VectorRecord) -> Row:
        unit_vector(record.values, self._settings.dimensions)
        check_texts((record.model, record.text_hash))
        metadata = to_json(record.metadata)
        check_size((record.model, record.text_hash, metadata), self._settings.max_record_bytes)
        return (
            *stamp_row(record.stamp),
            record.model,
            record.text_hash,
            metadata,
            record.values,
        )

    def _apply(
        self, connection: sqlite3.Connection, rows: Sequence[Row], held: Sequence[int | None]
    ) -> None:
        self._forget(connection, [record for record in held if record is not None])
        connection.executemany(_NEW, rows)

    def _forget(self, connection: sqlite3.Connection, records: Sequence[int]) -> None:
        connection.executemany(_OLD, [(record,) for record in records])

    def _content(
        self, _connection: sqlite3.Connection, row: tuple[Any, ...], /
    ) -> dict[str, object]:
        model, text_hash, metadata, embedding = row
        return {
            "values": np.frombuffer(embedding, dtype="<f4").tolist(),
            "model": model,
            "text_hash": text_hash,
            "metadata": from_json(metadata),
        }
