"""A store on indices of the test's own."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from elasticsearch import Elasticsearch

from sinks.elasticsearch.layout import Names
from sinks.elasticsearch.settings import ElasticsearchSettings
from sinks.elasticsearch.store import ElasticsearchStore


@pytest.fixture
def server(elasticsearch: Any) -> Iterator[Elasticsearch]:
    """The bare client."""
    with Elasticsearch(elasticsearch.url, request_timeout=60) as client:
        yield client


@pytest.fixture
def settings(elasticsearch: Any, server: Elasticsearch) -> Iterator[ElasticsearchSettings]:
    prefix = f"test-{uuid.uuid4().hex}-"
    yield ElasticsearchSettings(
        urls=(elasticsearch.url,), prefix=prefix, replicas=0, timeout_seconds=30
    )
    names = Names(prefix)
    made = list(server.indices.get(index=f"{prefix}*"))
    if made:
        server.indices.delete(index=made)
    server.options(ignore_status=404).indices.delete_index_template(name=names.template)


@pytest.fixture
def opened(settings: ElasticsearchSettings) -> Iterator[Callable[..., ElasticsearchStore]]:
    """Opens stores: with other settings than those of the test where they are given."""
    stores: list[ElasticsearchStore] = []

    def make(**changes: Any) -> ElasticsearchStore:
        stores.append(ElasticsearchStore(settings.model_copy(update=changes)))
        return stores[-1]

    yield make
    for store in stores:
        store.close()


@pytest.fixture
def store(opened: Callable[..., ElasticsearchStore]) -> ElasticsearchStore:
    made = opened()
    made.init()
    return made
