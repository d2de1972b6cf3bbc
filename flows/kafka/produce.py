"""The specified producer: bare events into Kafka, each acknowledged by all replicas."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterable

import msgspec
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from flows.filelog.lines import NewRecord
from flows.filelog.routing import Clock, RefusedLine, batches
from schemas.events import TOPICS
from sinks.kafka.client import code_of, connect, open_producer, properties
from sinks.kafka.settings import KafkaSettings
from sinks.kafka.topics import retentions

SCHEMA_VERSION = b"1.0"
MESSAGE_BYTES = 8 << 20


class Produced(msgspec.Struct):
    """What became of the lines: acknowledged records by topic, lines refused before, and records
    that were not acknowledged, by code. ``expiring``: records whose timestamp is older than their
    topic's retention, so that Kafka may remove them at any time."""

    topics: dict[str, int] = {}
    refused: list[RefusedLine] = []
    failed: dict[str, int] = {}
    expiring: int = 0


class Reports:
    """Counts delivery reports, which come in whatever thread polls."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._lock = threading.Lock()
        self.delivered: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()

    def __call__(self, error: KafkaError | None, message: Message) -> None:
        with self._lock:
            if error is None:
                self.delivered[(message.topic() or "").removeprefix(self._prefix)] += 1
            else:
                self.failed[code_of(error)] += 1


def produce_events(
    settings: KafkaSettings,
    lines: Iterable[bytes],
    *,
    topic: str | None = None,
    timestamp: Clock = "event",
    source: str = "memory-graph",
) -> Produced:
    """Sends each line as a record with the headers ``schema_version`` and ``source``, and waits for
    every delivery report; :func:`flows.filelog.routing.batches` says where a line goes.

    Records of one key stay in order: the producer is idempotent. Raises UserError (sign-in, topics
    missing) and Unavailable before anything is sent.
    """
    topics = tuple(TOPICS) if topic is None else (topic,)
    connect(settings, topics)
    now = time.time_ns() // 1_000_000
    oldest = {name: now - kept for name, kept in retentions(settings, topics).items()}
    expiring = 0
    reports = Reports(settings.topic_prefix)
    producer = open_producer(_properties(settings))
    headers = [("schema_version", SCHEMA_VERSION), ("source", source.encode())]
    refused: list[RefusedLine] = []
    for batch in batches(lines, topic, timestamp):
        refused += batch.refused
        for record in batch.records:
            _send(producer, settings.topic_prefix, record, headers, reports)
            expiring += record.timestamp < oldest.get(record.topic, 0)
    producer.flush()
    return Produced(dict(reports.delivered), refused, dict(reports.failed), expiring)


def _properties(settings: KafkaSettings) -> dict[str, object]:
    defaults = {
        "compression.type": "snappy",
        "linger.ms": 10,
        "queue.buffering.max.kbytes": 64 << 10,
        "message.max.bytes": MESSAGE_BYTES,
    }
    needed = {
        "enable.idempotence": True,
        "acks": "all",
        # As Kafka's Java client places keys, so that the events of a session stay together.
        "partitioner": "murmur2_random",
    }
    return defaults | properties(settings) | needed


def _send(
    producer: Producer,
    prefix: str,
    record: NewRecord,
    headers: list[tuple[str, bytes]],
    reports: Reports,
) -> None:
    while True:
        try:
            producer.produce(
                prefix + record.topic,
                value=record.value,
                key=record.key,
                timestamp=max(1, record.timestamp),  # 0 would be taken for now.
                headers=headers,  # type: ignore[arg-type]
                on_delivery=reports,
            )
        except BufferError:
            producer.poll(0.1)
        except KafkaException as error:
            reports.failed[code_of(error.args[0])] += 1  # Too large, for one.
            return
        else:
            producer.poll(0)
            return
