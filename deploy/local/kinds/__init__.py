"""The kinds of server, by name."""

from __future__ import annotations

from deploy.local.kinds.base import Kind
from deploy.local.kinds.elasticsearch import ElasticsearchKind
from deploy.local.kinds.influxdb import InfluxdbKind
from deploy.local.kinds.kafka import KafkaKind
from deploy.local.kinds.neo4j import Neo4jKind
from deploy.local.kinds.ours import PineconeKind, RegistryKind
from deploy.local.kinds.redis import RedisKind

_ALL: tuple[Kind, ...] = (
    KafkaKind(),
    Neo4jKind(),
    ElasticsearchKind(),
    InfluxdbKind(),
    RedisKind(),
    PineconeKind(),
    RegistryKind(),
)
KINDS: dict[str, Kind] = {kind.name: kind for kind in _ALL}
"""In the order in which they are started."""
