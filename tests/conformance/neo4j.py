"""A sink on the test run's Neo4j, emptied first, through a proxy that can fail."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from schemas.records import Store
from sinks.neo4j.settings import Neo4jSettings
from sinks.neo4j.store import Neo4jStore
from tests.conformance.proxied import ProxiedHarness
from tests.servers.plugin import port_of


def empty(uri: str) -> None:
    """Removes all data, and makes what the graph needs in the database."""
    store = Neo4jStore(Neo4jSettings(uri=uri, timeout_seconds=60))
    try:
        store.sink._client.rows("MATCH (n) DETACH DELETE n")
        store.init()
    finally:
        store.close()


class Neo4jHarness(ProxiedHarness):
    """Implements :class:`tests.conformance.harness.Harness`."""

    store: Store = "graph"
    impatient = 0.7
    greeting = 200

    def __init__(self, request: pytest.FixtureRequest) -> None:
        uri: str = request.getfixturevalue("neo4j").uri
        empty(uri)
        super().__init__(port_of(uri))

    def make(self, address: str, seconds: float) -> Neo4jStore:
        return Neo4jStore(Neo4jSettings(uri=f"bolt://{address}", timeout_seconds=seconds))

    def dump(self) -> object:
        """All nodes, relationships and records with all that is stored of them."""
        rows = self._opened.sink._client.rows
        nodes = rows("MATCH (n) WHERE NOT n:MemoryGraph RETURN labels(n), properties(n)")
        edges = rows(
            "MATCH (s)-[e]->(t) RETURN labels(s), s.key, type(e), labels(t), t.key, properties(e)"
        )
        return [sorted((_sorted(row) for row in each), key=repr) for each in (nodes, edges)]


def _sorted(row: Mapping[str, Any]) -> list[Any]:
    return [sorted(v.items()) if isinstance(v, dict) else v for v in row.values()]
