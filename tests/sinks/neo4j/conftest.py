"""The test run's Neo4j, emptied before each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local import addresses
from sinks.neo4j.settings import Neo4jSettings
from sinks.neo4j.store import Neo4jStore
from sinks.sqlite.database import Database
from tests.conformance.neo4j import empty


@pytest.fixture
def settings(neo4j: addresses.Neo4j) -> Neo4jSettings:
    return Neo4jSettings(uri=neo4j.uri, timeout_seconds=60)


@pytest.fixture
def store(settings: Neo4jSettings) -> Iterator[Neo4jStore]:
    empty(settings.uri)
    opened = Neo4jStore(settings)
    yield opened
    opened.close()


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database.open(tmp_path / "memory.db")
    yield opened
    opened.close()
