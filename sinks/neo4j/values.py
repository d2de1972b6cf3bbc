"""Properties as Neo4j holds them, such that they read back exactly.

What Neo4j holds as it is (texts, booleans, numbers of 64 bits, lists of texts) becomes a property
that Cypher can filter by. The rest (None, lists of mixed types, names that are ours or no
identifiers, texts beyond an index's limit) goes into one JSON object in ``_exact``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from sinks.common.registers import Registers
from sinks.common.stamps import encoded, from_json
from sinks.neo4j.model import INDEXED

EXACT = "_exact"
OWNED = "_owned"
OWNER = "_owner"
REGISTERS = "_registers"
MAX_INDEXED_BYTES = 8_000
_is_name = re.compile(r"[A-Za-z][A-Za-z0-9]{0,63}").fullmatch


def is_plain(name: str, value: object) -> bool:
    """Whether a property can stand in the database as it is."""
    if name == "key" or not _is_name(name):
        return False
    if isinstance(value, str):
        if name in INDEXED and 4 * len(value) > MAX_INDEXED_BYTES:
            return len(value.encode()) <= MAX_INDEXED_BYTES
        return True
    if isinstance(value, tuple | list):
        return all(isinstance(part, str) for part in value)
    return isinstance(value, bool | int | float)


def to_plain(properties: Mapping[str, Any]) -> dict[str, Any]:
    """Properties of an owned node or of an edge. Numbers and texts are checked before."""
    plain: dict[str, Any] = {}
    exact: dict[str, Any] = {}
    for name, value in properties.items():
        (plain if is_plain(name, value) else exact)[name] = value
    if exact:
        plain[EXACT] = encoded(exact).decode()
    return plain


def from_plain(stored: Mapping[str, Any]) -> dict[str, Any]:
    """What :func:`to_plain` was given, sorted by name as canonical JSON is; tuples as lists."""
    found = {name: value for name, value in stored.items() if name != "key" and name[0] != "_"}
    if exact := stored.get(EXACT):
        found |= from_json(exact)
    return dict(sorted(found.items()))


def shown(registers: Registers) -> dict[str, Any]:
    """Registers as properties to filter by; None takes away what stood there."""
    return {
        name: value if is_plain(name, value) else None
        for name, (_, _, value) in registers.items()
        if name != "key" and _is_name(name)
    }
