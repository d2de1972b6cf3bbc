"""Full text in Elasticsearch. The client's library is imported with :class:`ElasticsearchStore`."""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    if name == "ElasticsearchStore":
        from sinks.elasticsearch.store import ElasticsearchStore

        return ElasticsearchStore
    raise AttributeError(name)
