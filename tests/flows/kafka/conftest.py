"""A cluster's corner of one's own: topics with a prefix, and a group."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from sinks.kafka.settings import KafkaSettings
from tests.flows.kafka.world import World, make_topics, remove_topics


@pytest.fixture
def settings(kafka: Any) -> Iterator[KafkaSettings]:
    """Topics ``llm.prompts.v1`` (4 partitions), ``llm.responses.v1`` (2), ``llm.sessions.v1`` (1)
    under a prefix of their own. What begins with the prefix is removed afterwards."""
    name = uuid.uuid4().hex[:10]
    made = KafkaSettings(
        bootstrap_servers=kafka.bootstrap, topic_prefix=f"t{name}.", group=f"g-{name}"
    )
    make_topics(made)
    yield made
    remove_topics(made)


@pytest.fixture
def world(settings: KafkaSettings) -> Iterator[World]:
    made = World(settings)
    yield made
    made.close()
