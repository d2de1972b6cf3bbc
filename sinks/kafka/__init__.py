"""Dead letters, parked records and enrichment requests in Kafka topics. The client's library is
imported with :class:`KafkaQueues`."""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    if name == "KafkaQueues":
        from sinks.kafka.queues import KafkaQueues

        return KafkaQueues
    raise AttributeError(name)
