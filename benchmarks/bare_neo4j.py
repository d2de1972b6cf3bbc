"""The same batches through Neo4j's driver alone, as its documentation shows.

What the store's writes are measured against. No versions, stamps, ownership, registers or locks:
of each property the last write wins, and what a rewrite no longer names stays.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from neo4j import Driver, Transaction

from schemas.records import GraphRecord

_NODES = "UNWIND $rows AS row MERGE (n:`{}` {{key: row.key}}) SET n += row.properties"
_EDGES = (
    "UNWIND $rows AS row MATCH (s:`{}` {{key: row.source}}) MATCH (t:`{}` {{key: row.target}}) "
    "MERGE (s)-[e:`{}`]->(t) SET e += row.properties"
)


def write(driver: Driver, records: Iterable[GraphRecord], batch_rows: int = 1_000) -> None:
    """One transaction: a statement for each label and each kind of edge, rows merged and sorted."""
    nodes: defaultdict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
    edges: defaultdict[tuple[str, str, str], dict[tuple[str, str], Any]] = defaultdict(dict)
    for record in records:
        for node in record.nodes:
            row = nodes[node.label].setdefault(node.key, {})
            row.update(_listed(node.properties or {}))
            row.update(_listed({register.name: register.value for register in node.registers}))
        for edge in record.edges:
            for label, key in (edge.source, edge.target):
                nodes[label].setdefault(key, {})
            ends = edges[edge.source[0], edge.target[0], edge.type]
            ends[edge.source[1], edge.target[1]] = _listed(edge.properties)
    with driver.session() as session, session.begin_transaction() as transaction:
        for label, named in sorted(nodes.items()):
            rows = [{"key": key, "properties": named[key]} for key in sorted(named)]
            _send(transaction, _NODES.format(label), rows, batch_rows)
        for kind, pairs in sorted(edges.items()):
            rows = [
                {"source": source, "target": target, "properties": pairs[source, target]}
                for source, target in sorted(pairs)
            ]
            _send(transaction, _EDGES.format(*kind), rows, batch_rows)
        transaction.commit()


def _send(transaction: Transaction, text: str, rows: Sequence[Any], most: int) -> None:
    for start in range(0, len(rows), most):
        transaction.run(text, rows=rows[start : start + most]).consume()


def _listed(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in properties.items()
    }
