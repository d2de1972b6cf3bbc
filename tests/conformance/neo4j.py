"""A sink on the test run's Neo4j, emptied first, through a proxy that can fail."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from schemas.ports import Sink
from schemas.records import Store
from sinks.neo4j.settings import Neo4jSettings
from sinks.neo4j.store import Neo4jStore
from tests.conformance.harness import Outage
from tests.servers.plugin import port_of
from tests.servers.proxy import Proxy

IMPATIENT = 0.7
"""Seconds for a call while the server hangs."""


def empty(uri: str) -> None:
    """Removes all data, and makes what the graph needs in the database."""
    store = Neo4jStore(Neo4jSettings(uri=uri, timeout_seconds=60))
    try:
        store.sink._client.rows("MATCH (n) DETACH DELETE n")
        store.init()
    finally:
        store.close()


class Neo4jHarness:
    """Implements :class:`tests.conformance.harness.Harness`."""

    store: Store = "graph"

    def __init__(self, request: pytest.FixtureRequest) -> None:
        self._uri: str = request.getfixturevalue("neo4j").uri
        empty(self._uri)
        self._proxy = Proxy(port_of(self._uri)).__enter__()
        self._opened: Neo4jStore | None = None
        self._closed = False
        self.outages: Mapping[str, Outage] = {
            "refused": lambda: self._while(self._proxy.refuse),
            "hanging": lambda: self._while(self._proxy.hang, IMPATIENT),
            "slow": lambda: self._while(lambda: self._proxy.delay(IMPATIENT), IMPATIENT),
            "cut in mid-batch": lambda: self._while(lambda: self._proxy.cut(after=600)),
            "cut before the answer": lambda: self._while(
                lambda: self._proxy.cut(after=200, direction="down")
            ),
        }

    def open(self, seconds: float = 30.0) -> Sink[Any]:
        self._close_store()
        if self._closed:
            self._proxy = Proxy(port_of(self._uri)).__enter__()
            self._closed = False
        self._opened = Neo4jStore(
            Neo4jSettings(uri=f"bolt://{self._proxy.address}", timeout_seconds=seconds)
        )
        return self._opened.sink

    def current(self) -> Sink[Any]:
        assert self._opened is not None
        return self._opened.sink

    def dump(self) -> object:
        """All nodes, relationships and records with all that is stored of them."""
        assert self._opened is not None
        rows = self._opened.sink._client.rows
        nodes = rows("MATCH (n) WHERE NOT n:MemoryGraph RETURN labels(n), properties(n)")
        edges = rows(
            "MATCH (s)-[e]->(t) RETURN labels(s), s.key, type(e), labels(t), t.key, properties(e)"
        )
        return [sorted((_sorted(row) for row in each), key=repr) for each in (nodes, edges)]

    def close(self) -> None:
        self._close_store()
        if not self._closed:
            self._closed = True
            self._proxy.__exit__(None, None, None)

    def _close_store(self) -> None:
        if self._opened is not None:
            self._opened.close()

    @contextlib.contextmanager
    def _while(self, fail: Callable[[], None], seconds: float = 30.0) -> Iterator[None]:
        self.open(seconds)
        fail()
        try:
            yield
        finally:
            self._proxy.heal()


def _sorted(row: Mapping[str, Any]) -> list[Any]:
    return [sorted(v.items()) if isinstance(v, dict) else v for v in row.values()]
