"""What was acknowledged is there after the server was killed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from elasticsearch import Elasticsearch

from sinks.elasticsearch.settings import ElasticsearchSettings
from sinks.elasticsearch.store import ElasticsearchStore
from tests.sinks.crash import kill_under_writers


@pytest.mark.slow
def test_killed_under_writers(own_server: Callable[..., Any]) -> None:
    server = own_server("elasticsearch")
    url: str = server.address.url
    store = ElasticsearchStore(ElasticsearchSettings(urls=(url,), replicas=0, timeout_seconds=10))
    store.init()

    def recovered() -> None:
        """It answers before its indices are recovered."""
        with Elasticsearch(url, request_timeout=60) as client:
            client.cluster.health(wait_for_status="yellow", timeout="60s")

    kill_under_writers(server, store.sink, recovered)
    store.close()
