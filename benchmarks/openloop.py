"""Events into Kafka at moments that are fixed beforehand."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial

import msgspec
from confluent_kafka import KafkaError, Message, Producer

from benchmarks import events

Waiting = Iterator[tuple[str, events.Event]]


class Sent(msgspec.Struct):
    """One event: where it is in the log, and when (seconds since 1970) it was due and when the
    broker acknowledged it."""

    due: float
    acknowledged: float = 0.0
    topic: str = ""
    partition: int = -1
    offset: int = -1


class Sender:
    """The specified producer (idempotent, acknowledged by all replicas, placed by key), without
    waiting for batches to fill."""

    def __init__(self, bootstrap: str, prefix: str) -> None:
        self._prefix = prefix
        self._failed: list[str] = []
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap,
                "enable.idempotence": True,
                "acks": "all",
                "partitioner": "murmur2_random",
                "compression.type": "snappy",
                "linger.ms": 0,
            }
        )

    def send(self, waiting: Waiting, count: int, rate: float | None = None) -> list[Sent]:
        """Sends the next ``count`` events, each at its moment: all at once, or ``rate`` a second
        whether or not anything keeps up. Returns when all are acknowledged; raises RuntimeError
        where one is not."""
        first = time.time() + 0.1
        found = []
        for number, (topic, event) in enumerate(waiting):
            due = first if rate is None else first + number / rate
            self._wait_until(due)
            sent = Sent(due)
            now = round(due * 1_000)
            record = events.record(topic, events.moved(event, now), now)
            self._producer.produce(
                self._prefix + topic,
                record.value,
                record.key,
                timestamp=now,
                headers=[("schema_version", b"1.0"), ("source", b"benchmarks")],
                on_delivery=partial(self._report, sent),
            )
            found.append(sent)
            if len(found) == count:
                break
        if self._producer.flush(60) or self._failed:
            raise RuntimeError(f"not all was acknowledged: {self._failed[:3]}")
        return found

    def _wait_until(self, due: float) -> None:
        # Served while waiting: an acknowledgement's time is when its report is.
        while (left := due - time.time()) > 0:
            self._producer.poll(min(left, 0.05))
        self._producer.poll(0)

    def _report(self, sent: Sent, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self._failed.append(error.name())
            return
        sent.acknowledged = time.time()
        sent.topic, sent.partition = message.topic() or "", message.partition() or 0
        sent.offset = message.offset() or 0
