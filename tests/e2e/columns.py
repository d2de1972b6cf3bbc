"""Columns that repeat what a row holds, for indexes and sums, say the same as the row."""

from __future__ import annotations

import json
import sqlite3
from typing import Any

from sinks.common.graph_rows import INDEXED
from sinks.sqlite.timeseries import COUNTS, TAGS

OWNED = ("Prompt", "Response", "ToolCall")
SHARED_EDGES = ("STARTED_BY", "IN", "MEMBER_OF", "ALIAS_OF")
DAY_NS = 86_400_000_000_000


def check_columns(connection: sqlite3.Connection) -> None:
    """Raises AssertionError naming the first row that contradicts itself."""
    connection.row_factory = sqlite3.Row
    _check_nodes(connection)
    _check_edges(connection)
    for row in connection.execute("SELECT * FROM timeseries_point"):
        tags, fields = json.loads(row["tags"]), json.loads(row["fields"])
        plain = {name: {"_": None, "%5F": "_"}.get(tag, tag) for name, tag in tags.items()}
        wanted: dict[str, Any] = {name: plain[name] for name in (*TAGS, "kind", "tenant")}
        wanted |= {name: fields.get(name) for name in (*COUNTS, "cost_status")}
        wanted |= {"id": fields["event_id"], "user": fields.get("user_id")}
        wanted |= {"day": row["time_ns"] // DAY_NS}
        _same(row, wanted)
        assert row["time"] // 1_000 == row["time_ns"] // 1_000_000
    for table, column in (("search_document", "fields"), ("vector_record", "metadata")):
        for row in connection.execute(f"SELECT * FROM {table}"):
            values = json.loads(row[column])
            _same(row, {name: values.get(name) for name in ("kind", "time", "tenant", "user")})


def _check_nodes(connection: sqlite3.Connection) -> None:
    sql = (
        "SELECT n.*, r.id AS record_id, r.kind AS record_kind, r.time AS record_time"
        " FROM graph_node AS n LEFT JOIN graph_record AS r ON r.record = n.owner"
    )
    for row in connection.execute(sql):
        properties = json.loads(row["properties"] or "{}")
        _same(row, {column: properties.get(name) for name, column in INDEXED.items()})
        owned = row["label"] in OWNED and bool(properties)
        assert (row["owner"] is not None) == owned == (row["properties"] is not None), tuple(row)
        assert not (owned and row["registers"]), tuple(row)
        if owned:
            kind = "prompt" if row["label"] == "Prompt" else "response"
            _same(row, {"record_id": row["key"].split("/")[0], "record_kind": kind})
            assert properties.get("createdAt", row["record_time"]) == row["record_time"]


def _check_edges(connection: sqlite3.Connection) -> None:
    """Owned edges belong to the record that owns their start; the others to none."""
    sql = (
        "SELECT DISTINCT e.type, e.owner IS NOT NULL, e.owner = s.owner FROM graph_edge AS e"
        " JOIN graph_node AS s ON s.node = e.source"
    )
    for type_, has_owner, of_source in map(tuple, connection.execute(sql)):
        shared = type_ in SHARED_EDGES
        assert (has_owner, of_source) == ((0, None) if shared else (1, 1)), type_


def _same(row: sqlite3.Row, wanted: dict[str, Any]) -> None:
    for name, value in wanted.items():
        assert row[name] == value, (tuple(row), name)
