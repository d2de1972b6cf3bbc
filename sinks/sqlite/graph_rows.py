"""Graph records as rows: pure, without a connection."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from schemas.records import GraphRecord, Register
from sinks.sqlite.stamps import Refusal, check_size, check_texts, stamp_row, to_json, value_json

Name = tuple[str, str]
"""Label and key of a node."""

INDEXED = {
    "textHash": "text_hash",
    "createdAt": "created_at",
    "userId": "user_id",
    "sessionId": "session_id",
}
"""Owned properties with an index of their own, and the column that repeats each."""

MAX_KEY_BYTES = 8_192

OwnedRow = tuple[Any, ...]
"""Properties as JSON, then the columns of :data:`INDEXED`."""

RegisterRow = tuple[str, Any, str]
"""Mode, what decides (the stamp, or for min and max the value), value as JSON."""

EdgeRow = tuple[Name, str, Name, str]
"""Source, type, target, properties as JSON."""


class GraphRows(NamedTuple):
    """``names``: every node that is to exist, ends of edges included; may repeat itself."""

    stamp: tuple[object, ...]
    names: list[Name]
    owned: dict[Name, OwnedRow]
    registers: list[tuple[Name, str, RegisterRow]]
    owned_edges: list[EdgeRow]
    shared_edges: list[EdgeRow]


def graph_rows(record: GraphRecord, max_bytes: int) -> GraphRows:
    """Raises Refusal: bad_id, bad_key, bad_text, bad_number, bad_value, bad_edge, too_large."""
    stamp = stamp_row(record.stamp)
    names: list[Name] = []
    owned: dict[Name, OwnedRow] = {}
    registers: list[tuple[Name, str, RegisterRow]] = []
    texts: list[str] = []
    values: list[str] = []
    for node in record.nodes:
        name = (node.label, node.key)
        names.append(name)
        if node.properties is not None:
            owned[name] = row = _owned(node.properties)
            values.append(row[0])
        for register in node.registers:
            if register.mode != "latest" and register.value is None:
                continue
            decided = _register(register)
            registers.append((name, register.name, decided))
            texts += (register.name, register.at)
            values.append(decided[2])
    owned_edges: list[EdgeRow] = []
    shared_edges: list[EdgeRow] = []
    for edge in record.edges:
        properties = "{}"
        if edge.properties:
            properties = to_json(edge.properties)
            values.append(properties)
        if edge.owned and edge.source not in owned:
            raise Refusal("bad_edge")
        rows = owned_edges if edge.owned else shared_edges
        rows.append((edge.source, edge.type, edge.target, properties))
        names += (edge.source, edge.target)
        texts.append(edge.type)
    _check_names(names, texts)
    check_size(values, max_bytes)
    return GraphRows(stamp, names, owned, registers, owned_edges, shared_edges)


def merged_registers(rows: Iterable[GraphRows]) -> dict[tuple[Name, str], RegisterRow]:
    """The same rule as the upsert in the store: least for ``min``, else greatest; ties by value."""
    merged: dict[tuple[Name, str], RegisterRow] = {}
    for row in rows:
        for name, property_, new in row.registers:
            key = (name, property_)
            there = merged.get(key)
            if there is None or _wins(new, there):
                merged[key] = new
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
    return (to_json(properties), *(_scalar(properties.get(name)) for name in INDEXED))


def _scalar(value: object) -> object:
    return value if isinstance(value, str | int | float) else None


def _register(register: Register) -> RegisterRow:
    value = register.value
    encoded = value_json(value)
    if register.mode == "latest":
        return "latest", register.at, encoded
    if isinstance(value, int | float | str):
        return register.mode, value, encoded
    raise Refusal("bad_value")


def _wins(new: RegisterRow, old: RegisterRow) -> bool:
    """Numbers sort before texts, as in SQLite."""
    left: Any = (isinstance(new[1], str), new[1])
    right: Any = (isinstance(old[1], str), old[1])
    if left == right:
        return new[2] > old[2]
    return bool(left < right if old[0] == "min" else left > right)


def _check_names(names: list[Name], texts: list[str]) -> None:
    for label, key in names:
        if not label or not key:
            raise Refusal("bad_key")
        if 4 * len(key) > MAX_KEY_BYTES:
            check_size((key,), MAX_KEY_BYTES)
        texts += (label, key)
    check_texts(texts)
