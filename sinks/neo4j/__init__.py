"""The graph in Neo4j."""

from sinks.neo4j.settings import Neo4jSettings
from sinks.neo4j.store import Neo4jStore

__all__ = ["Neo4jSettings", "Neo4jStore"]
