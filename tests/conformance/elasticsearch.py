"""A sink on indices of the test's own, removed at the end, through a proxy that can fail."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from elasticsearch import Elasticsearch

from schemas.records import Store
from sinks.elasticsearch.layout import Names
from sinks.elasticsearch.settings import ElasticsearchSettings
from sinks.elasticsearch.store import ElasticsearchStore
from tests.conformance.proxied import ProxiedHarness
from tests.servers.plugin import port_of


class ElasticsearchHarness(ProxiedHarness):
    """Implements :class:`tests.conformance.harness.Harness`."""

    store: Store = "search"

    def __init__(self, request: pytest.FixtureRequest) -> None:
        url: str = request.getfixturevalue("elasticsearch").url
        super().__init__(port_of(url))
        prefix = f"test-{uuid.uuid4().hex}-"
        self.names = Names(prefix)
        self.server = Elasticsearch(url)
        self.settings = ElasticsearchSettings(prefix=prefix, replicas=0)
        self._made = False
        request.addfinalizer(self._remove)
        self.outages["tombstones gone"] = self._without_tombstones

    def make(self, address: str, seconds: float) -> ElasticsearchStore:
        more = {"timeout_seconds": seconds, "urls": (f"http://{address}",)}
        store = ElasticsearchStore(self.settings.model_copy(update=more))
        if not self._made:
            store.init()
            self._made = True
        return store

    def dump(self) -> object:
        """All documents, and those that a search finds."""
        found = []
        for index in (self.names.events, self.names.tombstones):
            self.server.indices.refresh(index=index)
            hits = self.server.search(index=index, size=10_000)["hits"]["hits"]
            found.append(sorted(((_day(h), h["_id"], h["_source"]) for h in hits), key=repr))
        words = self.server.search(
            index=self.names.events, size=10_000, query={"match": {"text": "document words"}}
        )
        return found, sorted(hit["_id"] for hit in words["hits"]["hits"])

    def _remove(self) -> None:
        self.close()
        if self._made:
            self._made = False
            names = [*self.server.indices.get(index=self.names.events), self.names.tombstones]
            self.server.indices.delete(index=names)
            self.server.indices.delete_index_template(name=self.names.template)
        self.server.close()

    @contextlib.contextmanager
    def _without_tombstones(self) -> Iterator[None]:
        """Nobody can tell what was erased."""
        self.server.indices.close(index=self.names.tombstones)
        try:
            yield
        finally:
            self.server.indices.open(index=self.names.tombstones, wait_for_active_shards="1")


def _day(hit: Mapping[str, Any]) -> str:
    """The index without the prefix of this harness."""
    return str(hit["_index"]).rpartition("-")[2]
