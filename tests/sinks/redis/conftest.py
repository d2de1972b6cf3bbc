"""A Redis for all tests of a process, with keys of its own for each; and one to be broken."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from sinks.redis.server import RedisServer
from tests.sinks.redis.private import PrivateRedis


@pytest.fixture(scope="session")
def shared_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateRedis]:
    made = PrivateRedis(tmp_path_factory.mktemp("redis"))
    made.start()
    yield made
    made.close()


@pytest.fixture
def private(tmp_path: Path) -> Iterator[PrivateRedis]:
    made = PrivateRedis(tmp_path / "redis")
    made.start()
    yield made
    made.close()


@pytest.fixture
def server(shared_redis: PrivateRedis) -> Iterator[RedisServer]:
    made = RedisServer(shared_redis.settings(prefix=f"t{uuid.uuid4().hex}"))
    yield made
    made.close()
