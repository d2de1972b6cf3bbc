"""Polls and commits: ``python -m benchmarks.bareconsumer TOPICS PROPERTIES`` (both JSON), with
properties of librdkafka. Prints when it was assigned partitions, as the worker logs it."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime

from confluent_kafka import Consumer, TopicPartition


def main(topics: list[str], properties: dict[str, str]) -> None:
    consumer = Consumer(
        {**properties, "enable.auto.commit": False, "auto.offset.reset": "earliest"}
    )
    consumer.subscribe(topics, on_assign=_assigned)
    while True:
        if consumer.consume(1, 1.0):
            consumer.consume(499, 0)
            consumer.commit(asynchronous=False)


def _assigned(_: Consumer, partitions: list[TopicPartition]) -> None:
    now = datetime.now(UTC).isoformat()
    line = {"event": "assigned", "partitions": len(partitions), "timestamp": now}
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), json.loads(sys.argv[2]))
