"""A fake of the test's own, and stores on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from deploy.local.pinecone import Fake
from deploy.local.pinecone_index import Index
from sinks.pinecone.settings import PineconeSettings
from sinks.pinecone.store import PineconeStore
from tests.conformance.pinecone import KEY, served
from tests.conformance.records import DIMENSIONS

Open = Callable[..., PineconeStore]


@pytest.fixture
def index() -> Index:
    return Index(DIMENSIONS)


@pytest.fixture
def fake(index: Index) -> Iterator[Fake]:
    with served(index) as running:
        yield running


@pytest.fixture
def open_store(fake: Fake) -> Iterator[Open]:
    made: list[PineconeStore] = []

    def start(**changes: Any) -> PineconeStore:
        settings = {"host": fake.address, "api_key": KEY, "dimensions": DIMENSIONS, **changes}
        made.append(PineconeStore(PineconeSettings.model_validate(settings)))
        return made[-1]

    yield start
    for each in made:
        each.close()
