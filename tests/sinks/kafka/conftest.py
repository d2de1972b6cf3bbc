"""The queues of one test, on a shared broker."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from sinks.kafka.queues import KafkaQueues
from sinks.kafka.settings import KafkaSettings
from tests.sinks.kafka.topics import is_queue, own_topics

KEY = bytes(range(32))


@pytest.fixture
def settings(kafka: Any) -> KafkaSettings:
    return own_topics(kafka.bootstrap, is_queue, partitions=2)


@pytest.fixture
def queues(settings: KafkaSettings) -> Iterator[KafkaQueues]:
    made = KafkaQueues(settings, KEY)
    yield made
    made.close()
