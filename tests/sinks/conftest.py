"""Claims and joins by store, and what opens them again as another run would."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from schemas.ports import Claims, Joins
from sinks.redis.claims import RedisClaims
from sinks.redis.joins import RedisJoins
from sinks.redis.server import RedisServer
from sinks.redis.settings import RedisSettings
from sinks.sqlite.claims import SqliteClaims
from sinks.sqlite.database import Database
from sinks.sqlite.joins import SqliteJoins
from tests.sinks.state import TTL

STATE = [pytest.param("sqlite"), pytest.param("redis", marks=pytest.mark.servers)]


@pytest.fixture
def server(redis: Any) -> Iterator[RedisServer]:
    """The test run's Redis, with keys of the test's own."""
    made = RedisServer(RedisSettings(url=redis.url, prefix=f"t{uuid.uuid4().hex}"))
    yield made
    made.close()


@pytest.fixture(params=STATE)
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """A database or a server, to be opened by the name of the store."""
    if request.param == "redis":
        yield request.getfixturevalue("server")
    else:
        with contextlib.closing(Database.open(tmp_path / "memory.db")) as database:
            yield database


@pytest.fixture
def open_claims(opened: Any) -> Callable[[], Claims]:
    if isinstance(opened, Database):
        return lambda: SqliteClaims(opened, ttl=TTL)
    return lambda: RedisClaims(opened, lambda: "set", ttl=TTL)


@pytest.fixture
def open_joins(opened: Any) -> Callable[[], Joins]:
    if isinstance(opened, Database):
        return lambda: SqliteJoins(opened)
    return lambda: RedisJoins(opened, lambda: "set", member="one")
