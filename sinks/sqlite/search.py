"""The full-text store: FTS5 over the documents' text, the rest to filter by and to show."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, ClassVar

from schemas.records import DocumentRecord, Store
from sinks.common.stamps import (
    STAMP_COLUMNS,
    check_size,
    check_texts,
    from_json,
    stamp_row,
    to_json,
)
from sinks.sqlite.base import SqliteSink, StoreSettings, assignments, next_row, placeholders
from sinks.sqlite.database import Database

FILTERS = ("session", "model")
"""Fields with a column of their own; tenant, user, kind and time are the stamp's."""

_COLUMNS = (*STAMP_COLUMNS, *FILTERS, "fields", "text")
_NEW = (
    f"INSERT INTO search_document (record, {', '.join(_COLUMNS)}) "  # noqa: S608
    f"VALUES ({placeholders(1 + len(_COLUMNS))})"
)
_OLD = f"UPDATE search_document SET {assignments(_COLUMNS)} WHERE record = ?"  # noqa: S608
_INDEX = "INSERT INTO search_index (rowid, text) VALUES (?, ?)"
_UNINDEX = "INSERT INTO search_index (search_index, rowid, text) VALUES ('delete', ?, ?)"

Row = tuple[object, ...]


class SearchSettings(StoreSettings):
    """Full-text search in SQLite."""


class SearchSink(SqliteSink[DocumentRecord, Row]):
    """One document per record; a rewrite with the same text leaves the index alone."""

    store: ClassVar[Store] = "search"
    table: ClassVar[str] = "search_document"
    tombstones: ClassVar[str] = "search_tombstone"
    content_columns: ClassVar[str] = "text, fields"

    def __init__(self, database: Database, settings: SearchSettings | None = None) -> None:
        super().__init__(database)
        self._settings = settings or SearchSettings()

    def _prepare(self, record: DocumentRecord) -> Row:
        check_texts((record.text,))
        fields = to_json(record.fields)
        check_size((record.text, fields), self._settings.max_record_bytes)
        filters = (record.fields.get(name) for name in FILTERS)
        return (
            *stamp_row(record.stamp),
            *(value if isinstance(value, str) else None for value in filters),
            fields,
            record.text,
        )

    def _apply(
        self, connection: sqlite3.Connection, rows: Sequence[Row], held: Sequence[int | None]
    ) -> None:
        following = next_row(connection, self.table)
        new: list[Row] = []
        old: list[Row] = []
        index: list[Row] = []
        unindex: list[Row] = []
        for row, record in zip(rows, held, strict=True):
            if record is None:
                new.append((following, *row))
                index.append((following, row[-1]))
                following += 1
                continue
            old.append((*row, record))
            (text,) = connection.execute(
                "SELECT text FROM search_document WHERE record = ?", (record,)
            ).fetchone()
            if text != row[-1]:
                unindex.append((record, text))
                index.append((record, row[-1]))
        connection.executemany(_UNINDEX, unindex)
        connection.executemany(_NEW, new)
        connection.executemany(_OLD, old)
        connection.executemany(_INDEX, index)

    def _forget(self, connection: sqlite3.Connection, records: Sequence[int]) -> None:
        for record in records:
            (text,) = connection.execute(
                "SELECT text FROM search_document WHERE record = ?", (record,)
            ).fetchone()
            connection.execute(_UNINDEX, (record, text))
            connection.execute("DELETE FROM search_document WHERE record = ?", (record,))
        # Words of a removed document stay in the index's segments until these are merged.
        connection.execute("INSERT INTO search_index (search_index) VALUES ('optimize')")

    def _content(
        self, _connection: sqlite3.Connection, row: tuple[Any, ...], /
    ) -> dict[str, object]:
        text, fields = row
        return {"text": text, "fields": from_json(fields)}
