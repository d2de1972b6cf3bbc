"""Reading the graph store."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from schemas.queries import Direction, Edge, Name, Node, Scalar
from schemas.records import RecordId, Stamp
from sinks.common.graph_rows import INDEXED
from sinks.common.registers import values
from sinks.common.stamps import STAMP, STAMP_COLUMNS, from_json, read_stamp
from sinks.sqlite.database import Database
from sinks.sqlite.errors import translate

_NODE = """
SELECT n.label, n.key, n.properties, n.registers, o.kind, o.id
FROM graph_node AS n LEFT JOIN graph_record AS o ON o.record = n.owner
"""
_EDGE = """
SELECT e.type, s.label, s.key, t.label, t.key, e.properties, e.owner IS NOT NULL
FROM graph_edge AS e
JOIN graph_node AS s ON s.node = e.source JOIN graph_node AS t ON t.node = e.target
"""
_EDGE_ORDER = " ORDER BY e.type, s.label, s.key, t.label, t.key"
_FETCH = 1_000


class GraphQueries:
    """Queries over the graph tables; each raises Unavailable or Damaged. Safe from any thread."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def node(self, label: str, key: str) -> Node | None:
        """One node, or None."""
        rows = self._rows(_NODE + "WHERE n.label = ? AND n.key = ?", (label, key))
        return _node(rows[0]) if rows else None

    def edges(
        self,
        label: str,
        key: str,
        *,
        direction: Direction = "both",
        types: Sequence[str] = (),
    ) -> list[Edge]:
        """The edges of a node, sorted by type, source and target; a loop comes once."""
        chosen = ""
        arguments: list[object] = []
        if types:
            chosen = " AND e.type IN (SELECT value FROM json_each(?))"
            arguments = [json.dumps(list(types))]
        end = "(SELECT node FROM graph_node WHERE label = ? AND key = ?)"
        sides = {"out": ("source",), "in": ("target",), "both": ("source", "target")}[direction]
        rows: set[tuple[Any, ...]] = set()
        for side in sides:
            sql = f"{_EDGE} WHERE e.{side} = {end}{chosen}"
            rows.update(self._rows(sql, (label, key, *arguments)))
        return [_edge(row) for row in sorted(rows, key=lambda row: row[:5])]

    def find(self, label: str, properties: Mapping[str, Scalar], *, limit: int = -1) -> list[Node]:
        """The nodes of a label whose owned properties or registers have these values, by key.

        ``textHash``, ``createdAt``, ``userId`` and ``sessionId`` of owned nodes are indexed; other
        properties are found by a scan of the label.
        """
        where, arguments = _matching(label, properties)
        sql = f"{_NODE} WHERE {where} ORDER BY n.key LIMIT ?"
        return [_node(row) for row in self._rows(sql, (*arguments, limit))]

    def count(self, label: str, properties: Mapping[str, Scalar]) -> int:
        """How many nodes :meth:`find` would answer."""
        where, arguments = _matching(label, properties)
        sql = f"SELECT count(*) FROM graph_node AS n WHERE {where}"  # noqa: S608
        return int(self._rows(sql, arguments)[0][0])

    def nodes(self) -> Iterator[Node]:
        """All nodes, sorted by label and key. Streams from one snapshot: finish or close it."""
        for row in self._stream(_NODE + " ORDER BY n.label, n.key"):
            yield _node(row)

    def all_edges(self) -> Iterator[Edge]:
        """All edges, sorted by type, source, target. Streams from one snapshot."""
        for row in self._stream(_EDGE + _EDGE_ORDER):
            yield _edge(row)

    def counts(self) -> tuple[dict[str, int], dict[str, int]]:
        """Nodes by label and edges by type."""
        nodes = self._rows("SELECT label, count(*) FROM graph_node GROUP BY label")
        edges = self._rows("SELECT type, count(*) FROM graph_edge GROUP BY type")
        return dict(nodes), dict(edges)

    def records(self, *, tenant: str | None = None) -> Iterator[Stamp]:
        """The stamps of all records in the order (event time, event id), streamed."""
        where = "" if tenant is None else " WHERE tenant = ?"
        sql = f"SELECT {STAMP} FROM graph_record{where} ORDER BY time, id, kind"  # noqa: S608
        for row in self._stream(sql, () if tenant is None else (tenant,)):
            yield read_stamp(row)

    def owners(self, nodes: Sequence[Name]) -> dict[Name, Stamp]:
        """The stamps of the records that own these nodes."""
        columns = ", ".join(f"o.{column}" for column in STAMP_COLUMNS)
        sql = (
            f"SELECT {columns} FROM graph_node AS n "  # noqa: S608
            "JOIN graph_record AS o ON o.record = n.owner WHERE n.label = ? AND n.key = ?"
        )
        found = {}
        for name in nodes:
            for row in self._rows(sql, name):
                found[name] = read_stamp(row)
        return found

    def _rows(self, sql: str, arguments: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        return self._database.read(
            "graph", lambda connection: connection.execute(sql, arguments).fetchall()
        )

    def _stream(self, sql: str, arguments: Sequence[object] = ()) -> Iterator[tuple[Any, ...]]:
        try:
            with contextlib.closing(self._database.reader().execute(sql, arguments)) as cursor:
                while rows := cursor.fetchmany(_FETCH):
                    yield from rows
        except sqlite3.Error as error:
            raise translate("graph", error) from None


def _matching(label: str, properties: Mapping[str, Scalar]) -> tuple[str, list[object]]:
    conditions = ["n.label = ?"]
    arguments: list[object] = [label]
    for name, value in properties.items():
        condition, values = _equals(name, value)
        conditions.append(condition)
        arguments += values
    return " AND ".join(conditions), arguments


def _equals(name: str, value: Scalar) -> tuple[str, list[object]]:
    column = INDEXED.get(name)
    if column is not None:
        return f"n.{column} = ?", [value]
    path = f'$."{name}"'
    return (
        "(json_extract(n.properties, ?) = ? OR json_extract(n.registers, ?) = ?)",
        [path, value, f"{path}[2]", value],
    )


def _node(row: tuple[Any, ...]) -> Node:
    label, key, properties, registers, kind, id_ = row
    merged = values(registers)
    placeholder = properties is None and not merged
    if properties is not None:
        merged = {**merged, **from_json(properties)}
    return Node(label, key, merged, RecordId(kind, id_) if kind else None, placeholder)


def _edge(row: tuple[Any, ...]) -> Edge:
    kind, source, source_key, target, target_key, properties, owned = row
    return Edge(
        kind, (source, source_key), (target, target_key), from_json(properties), bool(owned)
    )
