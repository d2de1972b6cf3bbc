"""A backlog of conversations in Kafka."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from itertools import islice

from benchmarks import events
from flows.kafka.produce import produce_events
from sinks.kafka.settings import KafkaSettings


def produce(
    settings: KafkaSettings, waiting: Iterator[tuple[str, events.Event]], count: int
) -> None:
    """Sends the next ``count`` events as the specified producer does, a millisecond apart, the last
    of this moment. Raises RuntimeError where one is not acknowledged."""
    first = time.time_ns() // 1_000_000 - count
    lines = [
        json.dumps(events.moved(event, first + number), ensure_ascii=False).encode()
        for number, (_, event) in enumerate(islice(waiting, count))
    ]
    done = produce_events(settings, lines)
    if sum(done.topics.values()) != count:
        raise RuntimeError(f"of {count} events {done.topics} are in Kafka: {done.failed}")
