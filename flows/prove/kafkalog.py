"""The log in Kafka as a proof reads it: assigned partitions, no group."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from flows.kafka.buffer import to_record
from flows.kafka.offsets import GroupOffsets
from flows.prove.log import BATCH, BATCH_BYTES
from flows.prove.report import Bounds
from schemas.events import TOPICS
from schemas.log import LogRecord, Partition
from schemas.ports import Unavailable
from sinks.kafka.client import WHAT, code_of, open_consumer, properties, unavailable
from sinks.kafka.reader import TopicReader
from sinks.kafka.settings import KafkaSettings

SECONDS = 10.0


class KafkaLogView:
    """:class:`flows.prove.log.LogView`: what the worker's group has committed, and any record.

    ``seconds`` is how long the brokers may answer nothing before a call raises Unavailable.
    """

    leaves_out = True

    def __init__(self, settings: KafkaSettings, *, seconds: float = SECONDS) -> None:
        self._settings = settings
        self._seconds = seconds
        self._offsets = GroupOffsets(settings, tuple(TOPICS))
        self._single = TopicReader(settings, tuple(TOPICS), seconds=seconds)
        self._consumer: Consumer | None = None
        self._known: frozenset[Partition] = frozenset()

    def bounds(self) -> dict[Partition, Bounds]:
        committed, partitions = self._offsets.load(), self._offsets.partitions()
        self._known = frozenset(partitions)
        return {
            partition: Bounds(
                start, end, committed[partition].offset if partition in committed else start
            )
            for partition, (start, end) in self._offsets.bounds(partitions).items()
        }

    def start(self, partition: Partition) -> int:
        if not self._exists(partition):
            return 0
        return self._offsets.bounds([partition])[partition][0]

    def read(self, partition: Partition, first: int, end: int) -> Iterator[list[LogRecord]]:
        following = first
        while following < end:
            try:
                for batch in self._from(partition, following, end):
                    yield batch
                    following = batch[-1].origin.offset + 1
                return
            except _Expired:
                # What comes next was there when this began, and retention has taken it since.
                start = self.start(partition)
                if start <= following:
                    raise Unavailable(WHAT, "offset_out_of_range") from None
                following = start

    def at(self, partition: Partition, offset: int) -> LogRecord | None:
        if not self._exists(partition):
            return None
        message = self._single.at(partition, offset)
        return None if message is None else to_record(partition, offset, message)

    def close(self) -> None:
        self._single.close()
        self._offsets.close()
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None

    def _exists(self, partition: Partition) -> bool:
        if partition not in self._known:
            self._known = frozenset(self._offsets.partitions())
        return partition in self._known

    def _from(self, partition: Partition, first: int, end: int) -> Iterator[list[LogRecord]]:
        consumer = self._open()
        name = self._settings.topic_prefix + partition.topic
        consumer.assign([TopicPartition(name, partition.number, first)])
        try:
            yield from self._batches(consumer, partition, end)
        except KafkaException as error:
            raise unavailable(error) from None
        finally:
            consumer.unassign()

    def _batches(
        self, consumer: Consumer, partition: Partition, end: int
    ) -> Iterator[list[LogRecord]]:
        """Ends where an offset of ``end`` or behind was seen. An end of the partition before it is
        said by a broker that has just taken over and does not know all yet."""
        late = time.monotonic() + self._seconds
        while True:
            batch: list[LogRecord] = []
            ended = False
            for message in consumer.consume(BATCH, 0.1):
                error, offset = message.error(), message.offset() or 0
                if error is None:
                    ended = ended or offset + 1 >= end
                    if offset < end:
                        batch.append(to_record(partition, offset, message))
                elif error.code() == KafkaError._PARTITION_EOF:
                    ended = ended or offset >= end
                elif error.code() == KafkaError._AUTO_OFFSET_RESET:
                    raise _Expired
                elif not error.retriable() and error.code() != KafkaError._ALL_BROKERS_DOWN:
                    raise Unavailable(WHAT, code_of(error))
            if batch:
                yield batch
                late = time.monotonic() + self._seconds
            if ended:
                return
            if time.monotonic() > late:
                raise Unavailable(WHAT, "timed_out")

    def _open(self) -> Consumer:
        if self._consumer is None:
            needed: dict[str, Any] = {
                "group.id": self._settings.group,  # Needed by the client; nothing joins or commits.
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "auto.offset.reset": "error",
                "enable.partition.eof": True,
                "allow.auto.create.topics": False,
                "fetch.queue.backoff.ms": 20,
                "queued.max.messages.kbytes": BATCH_BYTES >> 10,
            }
            self._consumer = open_consumer(properties(self._settings) | needed)
        return self._consumer


class _Expired(Exception):
    """The log begins behind what was to be read."""
