"""A store on buckets of the test's own."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sinks.influxdb.settings import InfluxSettings
from sinks.influxdb.store import InfluxStore
from tests.conformance.influxdb import remove


@pytest.fixture
def settings(influxdb: Any) -> Iterator[InfluxSettings]:
    made = InfluxSettings(
        url=influxdb.url,
        org=influxdb.org,
        token=influxdb.token,
        bucket=f"test-{uuid.uuid4().hex}",
        timeout_seconds=30,
    )
    yield made
    remove(made)


@pytest.fixture
def opened(settings: InfluxSettings) -> Iterator[Callable[..., InfluxStore]]:
    """Opens stores: with other settings than those of the test where they are given."""
    stores: list[InfluxStore] = []

    def make(**changes: Any) -> InfluxStore:
        stores.append(InfluxStore(settings.model_copy(update=changes)))
        return stores[-1]

    yield make
    for store in stores:
        store.close()


@pytest.fixture
def store(opened: Callable[..., InfluxStore]) -> InfluxStore:
    made = opened()
    made.init()
    return made
