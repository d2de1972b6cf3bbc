"""A source over real topics, with bytewax's part played by hand."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from flows.control import Control
from flows.kafka import GroupOffsets, kafka_source
from flows.kafka.buffer import Place
from flows.source import Keyed, Reading, Settle, SourcePart, Span
from flows.worker import patiently
from schemas.chunk import Chunk
from schemas.log import LogRecord, Partition
from sinks.kafka.settings import KafkaSettings
from sinks.kafka.topics import TopicSpec, create_topics

PROMPTS, RESPONSES, SESSIONS = "llm.prompts.v1", "llm.responses.v1", "llm.sessions.v1"
PARTITIONS = {PROMPTS: 4, RESPONSES: 2, SESSIONS: 1}
DEADLINE = 120.0
T = TypeVar("T")


def make_topics(settings: KafkaSettings) -> None:
    """The input topics with few partitions. Records of 1970 stay in them."""
    config = {"retention.ms": "-1"}
    specs = [TopicSpec(name, count, config) for name, count in PARTITIONS.items()]
    create_topics(settings, 1, specs)


def remove_topics(settings: KafkaSettings, topic: str = "") -> None:
    """A broker with thousands of topics is slow for everybody."""
    admin = AdminClient({"bootstrap.servers": settings.bootstrap_servers})
    listed = admin.list_topics(timeout=60).topics
    mine = [name for name in listed if name.startswith(settings.topic_prefix + topic)]
    for future in admin.delete_topics(mine, operation_timeout=60).values():
        future.result(60)


def produce(
    settings: KafkaSettings, topic: str, partition: int, *times: int, value: bytes = b"{}"
) -> None:
    """Records with these log timestamps, acknowledged when it returns."""
    producer = Producer({"bootstrap.servers": settings.bootstrap_servers, "acks": "all"})
    for moment in times:
        producer.produce(
            settings.topic_prefix + topic, value, partition=partition, timestamp=moment
        )
    assert producer.flush(30) == 0


def delete_before(settings: KafkaSettings, topic: str, partition: int, offset: int) -> None:
    """What retention does: the log then starts at ``offset``."""
    from flows.kafka.offsets import Names

    admin = AdminClient({"bootstrap.servers": settings.bootstrap_servers})
    asked = [Names(settings).to_kafka(Partition(topic, partition), offset)]
    for future in admin.delete_records(asked).values():
        future.result(30)


class World:
    """``settle_faults``: raised by the next seals before they are committed."""

    def __init__(self, settings: KafkaSettings) -> None:
        self.settings = settings
        self.settle_faults: list[BaseException] = []
        self.parts: list[SourcePart[Place]] = []

    def produce(self, topic: str, partition: int, *times: int, value: bytes = b"{}") -> None:
        produce(self.settings, topic, partition, *times, value=value)

    def part(
        self,
        control: Control | None = None,
        *,
        settings: KafkaSettings | None = None,
        accept_gap: bool = False,
        span: Span | None = None,
        **reading: object,
    ) -> SourcePart[Place]:
        """A source, when the broker has a coordinator for its group: a young one has none yet."""
        control = control or Control(quiet=True)
        made = patiently(
            control,
            lambda: kafka_source(
                settings or self.settings,
                Reading(**{"poll": 0.0, **reading}),  # type: ignore[arg-type]
                control,
                self._seal,
                accept_gap=accept_gap,
                span=span,
            ),
        )
        self.parts.append(made)
        return made

    def _seal(self) -> Settle:
        def settle() -> None:
            if self.settle_faults:
                raise self.settle_faults.pop(0)

        return settle

    def committed(self) -> dict[tuple[str, int], int]:
        offsets = GroupOffsets(self.settings)
        try:
            return {(p.topic, p.number): x.offset for p, x in offsets.load().items()}
        finally:
            offsets.close()

    def lag(self) -> int:
        offsets = GroupOffsets(self.settings)
        try:
            return sum(offsets.lag().values())
        finally:
            offsets.close()

    def close(self) -> None:
        for part in self.parts:
            part.close()


def chunk_of(batch: list[Keyed]) -> Chunk[LogRecord]:
    ((key, chunk),) = batch
    assert key == str(chunk.partition)
    return chunk


def full(part: SourcePart[Place]) -> Chunk[LogRecord]:
    """The next chunk that holds records."""
    return until(lambda: next((c for _, c in part.next_batch() if c.items), None))


def until(ask: Callable[[], T | None]) -> T:
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end:
        found = ask()
        if found:
            return found
    raise AssertionError("it did not come to be in time")


def drain(part: SourcePart[Place]) -> list[Chunk[LogRecord]]:
    """Runs to the end of the log, with a snapshot after every batch, and closes."""
    chunks: list[Chunk[LogRecord]] = []
    end = time.monotonic() + DEADLINE
    try:
        while time.monotonic() < end:
            chunks += [chunk for _, chunk in part.next_batch()]
            part.snapshot()
    except StopIteration:
        return chunks
    finally:
        part.close()
    raise AssertionError("it did not end in time")
