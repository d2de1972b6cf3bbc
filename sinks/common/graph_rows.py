"""Graph records as rows: pure, without a connection."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from typing import Any, NamedTuple

from schemas.queries import Name
from schemas.records import GraphRecord, NodeWrite
from sinks.common.registers import Registers, check, merge
from sinks.common.stamps import Refusal, check_numbers, check_size, measured, stamp_row, to_json

INDEXED = {
    "textHash": "text_hash",
    "createdAt": "created_at",
    "userId": "user_id",
    "sessionId": "session_id",
}
"""Owned properties with an index of their own, and the column that repeats each."""

MAX_KEY_BYTES = 8_000
"""A little less than the 8,160 bytes that an index of Neo4j takes."""

OwnedRow = tuple[Any, ...]
"""Properties as JSON, then the columns of :data:`INDEXED`."""

EdgeRow = tuple[Name, str, Name, str]
"""Source, type, target, properties as JSON."""


class GraphRows(NamedTuple):
    """``names``: every node that is to exist, ends of edges included."""

    stamp: tuple[object, ...]
    names: list[Name]
    owned: dict[Name, OwnedRow]
    shared: list[NodeWrite]
    owned_edges: list[EdgeRow]
    shared_edges: list[EdgeRow]


def graph_rows(record: GraphRecord, max_bytes: int) -> GraphRows:
    """Raises Refusal: bad_id, bad_key, bad_text, bad_number, bad_value, bad_edge, too_large."""
    stamp = stamp_row(record.stamp)
    if measured((record.nodes, record.edges)) > max_bytes:
        raise Refusal("too_large")
    names: list[Name] = []
    owned: dict[Name, OwnedRow] = {}
    shared: list[NodeWrite] = []
    for node in record.nodes:
        name = (node.label, node.key)
        names.append(name)
        if node.properties is not None:
            owned[name] = _owned(node.properties)
        if node.registers:
            check(node.registers)
            shared.append(node)
    check_numbers([register.value for node in shared for register in node.registers])
    owned_edges: list[EdgeRow] = []
    shared_edges: list[EdgeRow] = []
    for edge in record.edges:
        if edge.owned and edge.source not in owned:
            raise Refusal("bad_edge")
        properties = to_json(edge.properties) if edge.properties else "{}"
        rows = owned_edges if edge.owned else shared_edges
        rows.append((edge.source, edge.type, edge.target, properties))
        names += (edge.source, edge.target)
    names = list(dict.fromkeys(names))
    for label, key in names:
        if not label or not key:
            raise Refusal("bad_key")
        if 4 * len(key) > MAX_KEY_BYTES:
            check_size((key,), MAX_KEY_BYTES)
    return GraphRows(stamp, names, owned, shared, owned_edges, shared_edges)


def merged_registers(rows: Iterable[GraphRows]) -> dict[Name, Registers]:
    """The registers of all rows, by node."""
    merged: dict[Name, Registers] = {}
    for node in chain.from_iterable(row.shared for row in rows):
        merge(merged.setdefault((node.label, node.key), {}), node.registers)
    return merged


def merged_edges(rows: Iterable[EdgeRow]) -> dict[tuple[Name, str, Name], str]:
    """Where one edge is named twice with different properties, the greater JSON stays."""
    merged: dict[tuple[Name, str, Name], str] = {}
    for source, kind, target, properties in rows:
        triple = (source, kind, target)
        if properties >= merged.get(triple, properties):
            merged[triple] = properties
    return merged


def _owned(properties: dict[str, Any]) -> OwnedRow:
    get = properties.get
    return (to_json(properties), *[_scalar(get(name)) for name in INDEXED])


def _scalar(value: object) -> object:
    return value if isinstance(value, str | int | float) else None
