"""Graph records as rows: pure, without a connection."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from typing import Any, NamedTuple

from schemas.records import EdgeWrite, GraphRecord, NodeWrite, Register
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


class RegisterRow(NamedTuple):
    mode: str
    at: int | float | str
    value: str


class GraphRows(NamedTuple):
    stamp: tuple[object, ...]
    owned: dict[Name, OwnedRow]
    registers: dict[tuple[Name, str], RegisterRow]
    nodes: tuple[Name, ...]
    owned_edges: dict[tuple[Name, str, Name], str]
    shared_edges: dict[tuple[Name, str, Name], str]


def graph_rows(record: GraphRecord, max_bytes: int) -> GraphRows:
    """Raises Refusal: bad_id, bad_text, bad_number, bad_value, bad_edge, too_large."""
    stamp = stamp_row(record.stamp)
    owned = {
        (node.label, node.key): _owned(node.properties)
        for node in record.nodes
        if node.properties is not None
    }
    registers: dict[tuple[Name, str], RegisterRow] = {}
    for node in record.nodes:
        merge_registers(registers, _registers(node))
    owned_edges: dict[tuple[Name, str, Name], str] = {}
    shared_edges: dict[tuple[Name, str, Name], str] = {}
    for edge in record.edges:
        if edge.owned and edge.source not in owned:
            raise Refusal("bad_edge")
        properties = to_json(edge.properties) if edge.properties else "{}"
        merge_edge(owned_edges if edge.owned else shared_edges, _triple(edge), properties)
    # Sources and targets count as nodes: a placeholder is made where nothing else makes one.
    names = tuple(
        dict.fromkeys(
            [(node.label, node.key) for node in record.nodes]
            + [end for edge in record.edges for end in (edge.source, edge.target)]
        )
    )
    _check_names(names)
    check_texts(edge.type for edge in record.edges)
    check_size(
        chain(
            (row[0] for row in owned.values()),
            (row.value for row in registers.values()),
            owned_edges.values(),
            shared_edges.values(),
        ),
        max_bytes,
    )
    return GraphRows(stamp, owned, registers, names, owned_edges, shared_edges)


def merge_registers(
    into: dict[tuple[Name, str], RegisterRow],
    rows: Iterable[tuple[tuple[Name, str], RegisterRow]],
) -> None:
    """The same rule as the upsert in the store: least for ``min``, else greatest; ties by value."""
    for name, row in rows:
        there = into.get(name)
        if there is None or _wins(row, there):
            into[name] = row


def merge_edge(
    into: dict[tuple[Name, str, Name], str], triple: tuple[Name, str, Name], properties: str
) -> None:
    """Where one edge is named twice with different properties, the greater JSON stays."""
    there = into.get(triple)
    if there is None or properties > there:
        into[triple] = properties


def _owned(properties: dict[str, Any] | None) -> OwnedRow:
    values = properties or {}
    return (to_json(values), *(_scalar(values.get(name)) for name in INDEXED))


def _scalar(value: object) -> object:
    return value if isinstance(value, str | int | float) else None


def _registers(node: NodeWrite) -> list[tuple[tuple[Name, str], RegisterRow]]:
    name = (node.label, node.key)
    rows = []
    for register in node.registers:
        check_texts((register.name, register.at))
        if register.mode == "latest":
            row = RegisterRow("latest", register.at, value_json(register.value))
        elif register.value is None:
            continue
        else:
            row = RegisterRow(register.mode, _ordered(register), value_json(register.value))
        rows.append(((name, register.name), row))
    return rows


def _ordered(register: Register) -> int | float | str:
    if isinstance(register.value, int | float | str):
        return register.value
    raise Refusal("bad_value")


def _wins(new: RegisterRow, old: RegisterRow) -> bool:
    """Numbers sort before texts, as in SQLite."""
    left: Any = (isinstance(new.at, str), new.at)
    right: Any = (isinstance(old.at, str), old.at)
    if left == right:
        return new.value > old.value
    least = left < right
    return least if old.mode == "min" else not least


def _triple(edge: EdgeWrite) -> tuple[Name, str, Name]:
    return edge.source, edge.type, edge.target


def _check_names(names: tuple[Name, ...]) -> None:
    check_texts(part for name in names for part in name)
    for label, key in names:
        if not label or not key:
            raise Refusal("bad_key")
        check_size((key,), MAX_KEY_BYTES)
