"""Reading the graph in Neo4j."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from schemas.queries import Direction, Edge, Name, Node, Scalar
from schemas.records import RecordId, Stamp
from sinks.common.registers import values
from sinks.common.stamps import record_id
from sinks.neo4j.client import Client
from sinks.neo4j.model import INDEXED, LABELS, RECORD, TYPES
from sinks.neo4j.rows import read_stamp
from sinks.neo4j.values import EXACT, OWNED, OWNER, REGISTERS, from_plain, is_plain

PAGE = 2_000
"""Rows of one page of what is streamed. Each page is a call of its own: no snapshot."""

_EDGE = (
    "RETURN type(e) AS type, labels(s)[0] AS source, s.key AS source_key, "
    "labels(t)[0] AS target, t.key AS target_key, properties(e) AS properties"
)
_RECORDS = f"""
MATCH (r:{RECORD})
WHERE r.time >= $time AND (r.time > $time OR r.id > $id OR (r.id = $id AND r.kind > $kind))
AND ($tenant IS NULL OR r.tenant = $tenant)
RETURN properties(r) AS stamp ORDER BY r.time, r.id, r.kind LIMIT $page
"""
_BEFORE_ALL = -(1 << 63)


class Neo4jQueries:
    """:class:`schemas.queries.GraphQueries` over Neo4j; each raises Unavailable."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def node(self, label: str, key: str) -> Node | None:
        """One node, or None."""
        if label not in LABELS:
            return None
        found = self._nodes(label, "WHERE n.key = $key", key=key)
        return found[0] if found else None

    def edges(
        self, label: str, key: str, *, direction: Direction = "both", types: Sequence[str] = ()
    ) -> list[Edge]:
        """The edges of a node, sorted by type, source and target; a loop comes once."""
        if label not in LABELS:
            return []
        wanted = "" if not types else "WHERE type(e) IN $types "
        edges: list[Edge] = []
        for end in {"out": "s", "in": "t", "both": "st"}[direction]:
            other = "t" if end == "s" else "s"
            text = (
                f"MATCH ({end}:`{label}` {{key: $key}}) MATCH (s)-[e]->(t) {wanted}"
                f"WITH {end}, e, {other} {_EDGE}"
            )
            rows = self._client.rows(text, key=key, types=list(types))
            edges += [_edge(row) for row in rows]
        return sorted({_place(edge): edge for edge in edges}.values(), key=_place)

    def find(self, label: str, properties: Mapping[str, Scalar], *, limit: int = -1) -> list[Node]:
        """The nodes of a label whose properties or registers have these values, by key.

        ``textHash``, ``createdAt``, ``userId`` and ``sessionId`` of prompts and responses are
        indexed; other properties are found by a scan of the label.
        """
        if label not in LABELS:
            return []
        condition, parameters, exact = _condition(properties)
        cut = limit if exact and limit >= 0 else None
        found = self._nodes(label, f"WHERE {condition}", cut, **parameters)
        matching = [node for node in found if exact or _matches(node, properties)]
        return matching if limit < 0 else matching[:limit]

    def count(self, label: str, properties: Mapping[str, Scalar]) -> int:
        """How many nodes :meth:`find` would answer."""
        condition, parameters, exact = _condition(properties)
        if label not in LABELS or not exact:
            return len(self.find(label, properties))
        text = f"MATCH (n:`{label}`) WHERE {condition} RETURN count(n) AS count"
        (row,) = self._client.rows(text, **parameters)
        return int(row["count"])

    def nodes(self) -> Iterator[Node]:
        """All nodes, sorted by label and key. Streams page by page."""
        for label in sorted(self.counts()[0]):
            after = ""
            while True:
                page = self._nodes(label, "WHERE n.key > $after", limit=PAGE, after=after)
                yield from page
                if len(page) < PAGE:
                    break
                after = page[-1].key

    def all_edges(self) -> Iterator[Edge]:
        """All edges, sorted by type, source and target. Streams page by page."""
        for kind in sorted(self.counts()[1]):
            (sources,) = self._client.rows(_count(f"(:{x})-[:{kind}]->()" for x in LABELS))
            for label, count in zip(LABELS, sources.values(), strict=True):
                if count:
                    yield from self._edges_from(kind, label)

    def counts(self) -> tuple[dict[str, int], dict[str, int]]:
        """Nodes by label and edges by type."""
        (nodes,) = self._client.rows(_count(f"(:{label})" for label in LABELS))
        (edges,) = self._client.rows(_count(f"()-[:{kind}]->()" for kind in TYPES))
        return (
            {label: n for label, n in zip(LABELS, nodes.values(), strict=True) if n},
            {kind: n for kind, n in zip(TYPES, edges.values(), strict=True) if n},
        )

    def records(self, *, tenant: str | None = None) -> Iterator[Stamp]:
        """The stamps of all records in the order (event time, event id). Streams page by page."""
        place: dict[str, Any] = {"time": _BEFORE_ALL, "id": "", "kind": ""}
        while True:
            rows = self._client.rows(_RECORDS, **place, tenant=tenant, page=PAGE)
            for row in rows:
                yield read_stamp(row["stamp"])
            if len(rows) < PAGE:
                return
            last = rows[-1]["stamp"]
            place = {name: last[name] for name in place}

    def owners(self, nodes: Sequence[Name]) -> dict[Name, Stamp]:
        """The stamps of the records that own these nodes."""
        found: dict[Name, Stamp] = {}
        for label in sorted({label for label, _ in nodes if label in LABELS}):
            keys = [key for each, key in nodes if each == label]
            for start in range(0, len(keys), PAGE):
                text = (
                    f"UNWIND $keys AS key MATCH (n:`{label}` {{key: key}}) "
                    f"MATCH (r:{RECORD} {{key: n._owner}}) "
                    "RETURN key, properties(r) AS stamp"
                )
                for row in self._client.rows(text, keys=keys[start : start + PAGE]):
                    found[label, row["key"]] = read_stamp(row["stamp"])
        return found

    def _nodes(
        self, label: str, where: str, limit: int | None = None, **parameters: Any
    ) -> list[Node]:
        cut = "" if limit is None else f" LIMIT {limit:d}"
        text = f"MATCH (n:`{label}`) {where} RETURN properties(n) AS held ORDER BY n.key{cut}"
        return [_node(label, row["held"]) for row in self._client.rows(text, **parameters)]

    def _edges_from(self, kind: str, label: str) -> Iterator[Edge]:
        """The edges of a type from nodes of a label, by source and target."""
        after = ""
        text = (
            f"MATCH (s:`{label}`) WHERE s.key > $after AND EXISTS {{ (s)-[:`{kind}`]->() }} "
            f"WITH s ORDER BY s.key LIMIT {PAGE} MATCH (s)-[e:`{kind}`]->(t) {_EDGE}"
        )
        while True:
            rows = self._client.rows(text, after=after)
            if not rows:
                return
            page = sorted((_edge(row) for row in rows), key=_place)
            yield from page
            after = page[-1].source[1]


def _count(patterns: Iterable[str]) -> str:
    """A statement that counts each pattern; the server keeps these numbers."""
    counted = (f"COUNT {{ {pattern} }} AS c{number}" for number, pattern in enumerate(patterns))
    return f"RETURN {', '.join(counted)}"


def _condition(properties: Mapping[str, Scalar]) -> tuple[str, dict[str, Any], bool]:
    """A condition, its parameters, and whether it says it all: of what is not held as it is, the
    answers have to be looked through. Names stand in it only if they are indexed."""
    parts = ["true"]
    parameters: dict[str, Any] = {}
    exact = True
    for number, (name, value) in enumerate(properties.items()):
        if not is_plain(name, value):
            exact = False
            parts.append(f"(n.{EXACT} IS NOT NULL OR n.{REGISTERS} IS NOT NULL)")
            continue
        held = f"n.{name}" if name in INDEXED else f"n[$name{number}]"
        parameters |= {f"name{number}": name, f"value{number}": value}
        parts.append(f"{held} = $value{number}")
    return " AND ".join(parts), parameters, exact


def _matches(node: Node, properties: Mapping[str, Scalar]) -> bool:
    held = node.properties
    return all(name in held and held[name] == value for name, value in properties.items())


def _node(label: str, held: Mapping[str, Any]) -> Node:
    owner = held.get(OWNER)
    properties = values(held.get(REGISTERS))
    placeholder = owner is None and not properties
    if owner is not None:
        properties = {**properties, **from_plain(held)}
    return Node(label, held["key"], properties, _identity(owner), placeholder)


def _identity(owner: str | None) -> RecordId | None:
    return record_id(*owner.split("/", 1)) if owner is not None else None


def _edge(row: Mapping[str, Any]) -> Edge:
    properties = row["properties"]
    return Edge(
        row["type"],
        (row["source"], row["source_key"]),
        (row["target"], row["target_key"]),
        from_plain(properties),
        OWNED in properties,
    )


def _place(edge: Edge) -> tuple[str, Name, Name]:
    return edge.type, edge.source, edge.target
