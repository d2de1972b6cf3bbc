"""A sink on indices of the test's own, removed at the end, through a proxy that can fail."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from elasticsearch import Elasticsearch

from schemas.ports import Sink
from schemas.records import Store
from sinks.elasticsearch.layout import Names
from sinks.elasticsearch.settings import ElasticsearchSettings
from sinks.elasticsearch.store import ElasticsearchStore
from tests.conformance.harness import Outage
from tests.servers.plugin import port_of
from tests.servers.proxy import Proxy

IMPATIENT = 1.0
"""Seconds for a call while the server hangs."""
PATIENT = 30.0


class ElasticsearchHarness:
    """Implements :class:`tests.conformance.harness.Harness`."""

    store: Store = "search"

    def __init__(self, request: pytest.FixtureRequest) -> None:
        url: str = request.getfixturevalue("elasticsearch").url
        prefix = f"test-{uuid.uuid4().hex}-"
        self.names = Names(prefix)
        self.server = Elasticsearch(url)
        self._target = port_of(url)
        self._proxy = Proxy(self._target).__enter__()
        self.settings = ElasticsearchSettings(prefix=prefix, replicas=0, timeout_seconds=PATIENT)
        request.addfinalizer(self._remove)
        self._opened: ElasticsearchStore | None = None
        self._closed = False
        self._made = False
        self.outages: Mapping[str, Outage] = {
            "refused": lambda: self._while(self._proxy.refuse),
            "hanging": lambda: self._while(self._proxy.hang, IMPATIENT),
            "slow": lambda: self._while(lambda: self._proxy.delay(IMPATIENT), IMPATIENT),
            "cut in mid-batch": lambda: self._while(lambda: self._proxy.cut(after=600)),
            "cut before the answer": lambda: self._while(
                lambda: self._proxy.cut(after=100, direction="down")
            ),
            "tombstones gone": self._without_tombstones,
        }

    def open(self, seconds: float = PATIENT) -> Sink[Any]:
        self._close_store()
        if self._closed:
            self._proxy = Proxy(self._target).__enter__()
            self._closed = False
        self._opened = ElasticsearchStore(
            self.settings.model_copy(
                update={"timeout_seconds": seconds, "urls": (f"http://{self._proxy.address}",)}
            )
        )
        if not self._made:
            self._opened.init()
            self._made = True
        return self._opened.sink

    def current(self) -> Sink[Any]:
        assert self._opened is not None
        return self._opened.sink

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

    def close(self) -> None:
        self._close_store()
        if not self._closed:
            self._closed = True
            self._proxy.__exit__(None, None, None)

    def _remove(self) -> None:
        self.close()
        if self._made:
            self._made = False
            names = [*self.server.indices.get(index=self.names.events), self.names.tombstones]
            self.server.indices.delete(index=names)
            self.server.indices.delete_index_template(name=self.names.template)
        self.server.close()

    def _close_store(self) -> None:
        if self._opened is not None:
            self._opened.close()

    @contextlib.contextmanager
    def _while(self, fail: Callable[[], None], seconds: float = PATIENT) -> Iterator[None]:
        self.open(seconds)
        fail()
        try:
            yield
        finally:
            self._proxy.heal()

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
