"""The graph store: nodes, registers and edges merged so that the order of arrival does not matter.

What a record owns (its nodes, and the edges that start there) is replaced as a set by a version
that is not lower. What it shares only ever grows: nodes are made if missing, registers are won by
their greatest (or least) value, edges are added.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any, ClassVar

from schemas.queries import Name
from schemas.records import GraphRecord, Store
from sinks.common.graph_rows import (
    INDEXED,
    GraphRows,
    graph_rows,
    merged_edges,
    merged_registers,
)
from sinks.common.registers import merge_stored, to_stored
from sinks.common.stamps import STAMP, STAMP_COLUMNS, from_json
from sinks.sqlite.base import (
    SqliteSink,
    StoreSettings,
    assignments,
    next_row,
    placeholders,
)
from sinks.sqlite.database import Database

SWEPT = ("Text", "Template", "Document")
"""Labels of nodes that mean nothing once no edge holds them."""

_OWNED_COLUMNS = ("owner", "properties", *INDEXED.values())
_SHARED = (None,) * len(_OWNED_COLUMNS)
_NEW_RECORD = f"INSERT INTO graph_record (record, {STAMP}) VALUES ({placeholders(13)})"  # noqa: S608
_OLD_RECORD = f"UPDATE graph_record SET {assignments(STAMP_COLUMNS)} WHERE record = ?"  # noqa: S608
_FIND_NODE = "SELECT node, registers FROM graph_node WHERE label = ? AND key = ?"
_NEW_NODE = (
    f"INSERT INTO graph_node (node, label, key, registers, {', '.join(_OWNED_COLUMNS)}) "  # noqa: S608
    f"VALUES ({placeholders(4 + len(_OWNED_COLUMNS))}) ON CONFLICT (label, key) DO NOTHING"
)
_NODES_FROM = "SELECT node FROM graph_node WHERE node >= ?"
_OWN_NODE = f"UPDATE graph_node SET {assignments(_OWNED_COLUMNS)} WHERE node = ?"  # noqa: S608
_DISOWN_NODE = (
    f"UPDATE graph_node SET {', '.join(f'{c} = NULL' for c in _OWNED_COLUMNS)} WHERE node = ?"  # noqa: S608
)
_SET_REGISTERS = "UPDATE graph_node SET registers = ? WHERE node = ?"
_OWNED_EDGE = """
INSERT INTO graph_edge (source, type, target, owner, properties) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (source, type, target)
DO UPDATE SET owner = excluded.owner, properties = excluded.properties
"""
_SHARED_EDGE = """
INSERT INTO graph_edge (source, type, target, properties) VALUES (?, ?, ?, ?)
ON CONFLICT (source, type, target) DO UPDATE SET properties = excluded.properties
WHERE owner IS NULL AND excluded.properties > properties
"""
_EDGES_OF_OWNER = """
SELECT e.source, e.type, e.target FROM graph_node AS n
CROSS JOIN graph_edge AS e ON e.source = n.node AND e.owner = n.owner WHERE n.owner = ?
"""
_UNHELD = f"""
SELECT 1 FROM graph_node AS n WHERE n.node = ? AND n.owner IS NULL
AND (n.label IN ({placeholders(len(SWEPT))}) OR n.registers IS NULL)
AND NOT EXISTS (SELECT 1 FROM graph_edge AS e WHERE e.target = n.node)
AND NOT EXISTS (SELECT 1 FROM graph_edge AS e WHERE e.source = n.node)
"""  # noqa: S608
_DROP_EDGE = "DELETE FROM graph_edge WHERE source = ? AND type = ? AND target = ?"

Edge = tuple[int, str, int]


class GraphSettings(StoreSettings):
    """The graph in SQLite."""


class GraphSink(SqliteSink[GraphRecord, GraphRows]):
    """Nodes and edges. ``fetch`` answers the nodes and edges that the record owns."""

    store: ClassVar[Store] = "graph"
    table: ClassVar[str] = "graph_record"
    tombstones: ClassVar[str] = "graph_tombstone"
    content_columns: ClassVar[str] = "record"

    def __init__(self, database: Database, settings: GraphSettings | None = None) -> None:
        super().__init__(database)
        self._settings = settings or GraphSettings()

    def _prepare(self, record: GraphRecord) -> GraphRows:
        return graph_rows(record, self._settings.max_record_bytes)

    def _apply(
        self,
        connection: sqlite3.Connection,
        rows: Sequence[GraphRows],
        held: Sequence[int | None],
    ) -> None:
        owners = _write_records(connection, rows, held)
        nodes = _write_nodes(connection, rows, owners, held)
        owned = [
            (nodes[source], kind, nodes[target], owner, properties)
            for owner, row in zip(owners, rows, strict=True)
            for (source, kind, target), properties in merged_edges(row.owned_edges).items()
        ]
        shared = merged_edges(edge for row in rows for edge in row.shared_edges)
        before = [record for record in held if record is not None]
        loose: set[int] = set()
        if before:
            loose = _drop_edges(connection, before, {edge[:3] for edge in owned})
            kept = {nodes[name] for row in rows for name in row.owned}
            loose |= _disown(connection, before, kept)
        connection.executemany(_OWNED_EDGE, owned)
        connection.executemany(
            _SHARED_EDGE,
            [(nodes[s], kind, nodes[t], p) for (s, kind, t), p in shared.items()],
        )
        _sweep(connection, loose)

    def _forget(self, connection: sqlite3.Connection, records: Sequence[int]) -> None:
        loose = _drop_edges(connection, records, set()) | _disown(connection, records, set())
        connection.executemany(
            "DELETE FROM graph_record WHERE record = ?", [(record,) for record in records]
        )
        _sweep(connection, loose)

    def _content(
        self, connection: sqlite3.Connection, row: tuple[Any, ...], /
    ) -> dict[str, object]:
        owner = row[0]
        nodes = connection.execute(
            "SELECT label, key, properties FROM graph_node WHERE owner = ? ORDER BY label, key",
            (owner,),
        ).fetchall()
        edges = connection.execute(
            "SELECT e.type, s.label, s.key, t.label, t.key, e.properties FROM graph_node AS s "
            "CROSS JOIN graph_edge AS e ON e.source = s.node AND e.owner = s.owner "
            "JOIN graph_node AS t ON t.node = e.target WHERE s.owner = ? ORDER BY 1, 2, 3, 4, 5",
            (owner,),
        ).fetchall()
        return {
            "nodes": [
                {"label": label, "key": key, "properties": from_json(properties)}
                for label, key, properties in nodes
            ],
            "edges": [
                {
                    "type": kind,
                    "source": [source, source_key],
                    "target": [target, target_key],
                    "properties": from_json(properties),
                }
                for kind, source, source_key, target, target_key, properties in edges
            ],
        }


def _write_records(
    connection: sqlite3.Connection, rows: Sequence[GraphRows], held: Sequence[int | None]
) -> list[int]:
    """Writes the stamps; answers the row id of each record, in order."""
    following = next_row(connection, "graph_record")
    owners: list[int] = []
    new: list[tuple[object, ...]] = []
    old: list[tuple[object, ...]] = []
    for row, record in zip(rows, held, strict=True):
        if record is None:
            record, following = following, following + 1
            new.append((record, *row.stamp))
        else:
            old.append((*row.stamp, record))
        owners.append(record)
    connection.executemany(_NEW_RECORD, new)
    connection.executemany(_OLD_RECORD, old)
    return owners


def _write_nodes(
    connection: sqlite3.Connection,
    rows: Sequence[GraphRows],
    owners: Sequence[int],
    held: Sequence[int | None],
) -> dict[Name, int]:
    """Makes, takes over or merges the nodes of all rows; answers the row id of each."""
    owned = {
        name: (owner, *columns)
        for owner, row in zip(owners, rows, strict=True)
        for name, columns in row.owned.items()
    }
    registers = merged_registers(rows)
    fresh = {
        name
        for row, record in zip(rows, held, strict=True)
        for name in row.names
        if name[0] in SWEPT or (record is None and name in row.owned)
    }
    first = next_row(connection, "graph_node", "node")

    def row_of(node: int, name: Name) -> tuple[object, ...]:
        stored = to_stored(registers[name]) if name in registers else None
        return (node, *name, stored, *owned.get(name, _SHARED))

    # Most of these are new, and an insert says so without a search before it.
    offered = {name: first + place for place, name in enumerate(fresh)}
    connection.executemany(_NEW_NODE, [row_of(node, name) for name, node in offered.items()])
    made = {node for (node,) in connection.execute(_NODES_FROM, (first,)).fetchall()}
    nodes = {name: node for name, node in offered.items() if node in made}
    following = first + len(offered)
    find = connection.cursor()
    new: list[tuple[object, ...]] = []
    old: list[tuple[object, ...]] = []
    merged: list[tuple[object, ...]] = []
    for name in chain.from_iterable(row.names for row in rows):
        if name in nodes:
            continue
        found = find.execute(_FIND_NODE, name).fetchone()
        if found is None:
            nodes[name] = following
            new.append(row_of(following, name))
            following += 1
            continue
        node, stored = found
        nodes[name] = node
        if name in owned:
            old.append((*owned[name], node))
        if name in registers:
            merge_stored(registers[name], stored)
            after = to_stored(registers[name])
            if after != stored:
                merged.append((after, node))
    connection.executemany(_NEW_NODE, new)
    connection.executemany(_OWN_NODE, old)
    connection.executemany(_SET_REGISTERS, merged)
    return nodes


def _drop_edges(connection: sqlite3.Connection, owners: Iterable[int], keep: set[Edge]) -> set[int]:
    """Removes the edges of the owners that are not to be kept; answers their ends."""
    gone = [
        edge
        for owner in owners
        for edge in connection.execute(_EDGES_OF_OWNER, (owner,)).fetchall()
        if edge not in keep
    ]
    connection.executemany(_DROP_EDGE, gone)
    return {end for source, _, target in gone for end in (source, target)}


def _disown(connection: sqlite3.Connection, owners: Iterable[int], keep: set[int]) -> set[int]:
    """Makes placeholders of the nodes of the owners that are not to be kept."""
    gone = [
        node
        for owner in owners
        for (node,) in connection.execute(
            "SELECT node FROM graph_node WHERE owner = ?", (owner,)
        ).fetchall()
        if node not in keep
    ]
    connection.executemany(_DISOWN_NODE, [(node,) for node in gone])
    return set(gone)


def _sweep(connection: sqlite3.Connection, candidates: Iterable[int]) -> None:
    """Removes placeholders and content nodes that no edge holds any more."""
    unheld = [
        (node,)
        for node in candidates
        if connection.execute(_UNHELD, (node, *SWEPT)).fetchone() is not None
    ]
    connection.executemany("DELETE FROM graph_node WHERE node = ?", unheld)
