"""The time-series store: one point per event, with the columns that rollups read."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, ClassVar

from pydantic import Field

from schemas.records import PointRecord, Store
from sinks.common.stamps import (
    GREATEST,
    LEAST,
    STAMP,
    Refusal,
    check_size,
    check_texts,
    from_json,
    stamp_row,
    to_json,
)
from sinks.sqlite.base import SqliteSink, StoreSettings, placeholders
from sinks.sqlite.database import Database

TAGS = ("model", "provider", "purpose", "status")
"""Tags with a column of their own; the tenant's is the stamp's."""

COUNTS = (
    "prompt_tokens",
    "completion_tokens",
    "total_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
    "latency_ms",
    "ttft_ms",
    "cost_pico_usd",
)
"""Integer fields with a column of their own."""

_DAY_NS = 86_400_000_000_000
_COLUMNS = ("time_ns", "day", "tags", "fields", *TAGS, *COUNTS, "cost_status")
_NEW = (
    f"INSERT INTO timeseries_point ({STAMP}, {', '.join(_COLUMNS)}) "  # noqa: S608
    f"VALUES ({placeholders(12 + len(_COLUMNS))})"
)

Row = tuple[object, ...]


class TimeseriesSettings(StoreSettings):
    """Points in SQLite."""

    max_tag_bytes: int = Field(
        default=1_024, ge=16, description="Largest value of a tag, in bytes of UTF-8."
    )


class TimeseriesSink(SqliteSink[PointRecord, Row]):
    """Refuses empty or overlong tags (``bad_tag``) and counts that are no integers."""

    store: ClassVar[Store] = "timeseries"
    table: ClassVar[str] = "timeseries_point"
    tombstones: ClassVar[str] = "timeseries_tombstone"
    content_columns: ClassVar[str] = "time_ns, tags, fields"

    def __init__(self, database: Database, settings: TimeseriesSettings | None = None) -> None:
        super().__init__(database)
        self._settings = settings or TimeseriesSettings()

    def _prepare(self, record: PointRecord) -> Row:
        tags, fields = record.tags, record.fields
        most = self._settings.max_tag_bytes
        check_texts((*tags, *tags.values()))
        for name, value in tags.items():
            if not name or not value or len(value.encode()) > most:
                raise Refusal("bad_tag")
        counts = [fields.get(name) for name in COUNTS]
        for count in counts:
            if count is not None and type(count) is not int:
                raise Refusal("bad_field")
        if not isinstance(fields.get("cost_status", ""), str):
            raise Refusal("bad_field")
        if not LEAST <= record.time_ns <= GREATEST:
            raise Refusal("bad_number")
        tags_json, fields_json = to_json(tags), to_json(fields)
        check_size((tags_json, fields_json), self._settings.max_record_bytes)
        return (
            *stamp_row(record.stamp),
            record.time_ns,
            record.time_ns // _DAY_NS,
            tags_json,
            fields_json,
            *(_plain(tags.get(name)) for name in TAGS),
            *counts,
            fields.get("cost_status"),
        )

    def _apply(
        self, connection: sqlite3.Connection, rows: Sequence[Row], held: Sequence[int | None]
    ) -> None:
        self._forget(connection, [record for record in held if record is not None])
        connection.executemany(_NEW, rows)

    def _forget(self, connection: sqlite3.Connection, records: Sequence[int]) -> None:
        connection.executemany(
            "DELETE FROM timeseries_point WHERE record = ?", [(record,) for record in records]
        )

    def _content(
        self, _connection: sqlite3.Connection, row: tuple[Any, ...], /
    ) -> dict[str, object]:
        time_ns, tags, fields = row
        return {"time_ns": time_ns, "tags": from_json(tags), "fields": from_json(fields)}


def _plain(tag: str | None) -> str | None:
    """In tags ``_`` stands for absent and ``%5F`` for a literal ``_``; in columns neither does."""
    return {"_": None, "%5F": "_"}.get(tag, tag) if tag is not None else None
