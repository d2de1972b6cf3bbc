"""Reads whole topics to their ends, and single messages, without a group."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from confluent_kafka import (
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]

from schemas.log import Partition
from schemas.ports import Unavailable
from sinks.kafka.client import (
    WHAT,
    code_of,
    missing_topics,
    open_admin,
    open_consumer,
    properties,
    unavailable,
)
from sinks.kafka.settings import KafkaSettings

T = TypeVar("T")

SECONDS = 10.0
EARLIEST: OffsetSpec = OffsetSpec.earliest()  # type: ignore[no-untyped-call]
LATEST: OffsetSpec = OffsetSpec.latest()  # type: ignore[no-untyped-call]
_BATCH = 500
_FINAL = (
    KafkaError._FATAL,
    KafkaError._UNKNOWN_TOPIC,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
)
_MOVING = (
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError.FENCED_LEADER_EPOCH,
    KafkaError.UNKNOWN_LEADER_EPOCH,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.NOT_COORDINATOR,
    KafkaError._WAIT_COORD,
)
"""What brokers answer for a moment, after topics were made or another of them took over."""


class TopicReader:
    """Reads topics from their beginnings, or from ``begin``, each message once. For one thread.

    ``seconds`` is how long the brokers may answer nothing before a call raises Unavailable. Topics
    by their logical names. Connects at the first call.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        topics: Sequence[str],
        *,
        begin: Mapping[Partition, int] = {},
        seconds: float = SECONDS,
    ) -> None:
        self._settings = settings
        self._topics = topics
        self._begin = begin
        self._seconds = seconds
        self._admin: AdminClient | None = None
        self._consumer: Consumer | None = None
        self._single: Consumer | None = None
        self._next: dict[Partition, int] = {}
        self._astray = False  # The client may have passed on more than was used.

    def read(self) -> Iterator[tuple[Partition, Message]]:
        """What has come since the last call, up to where the topics end now; of one partition in
        order. What the caller did not ask for, or raised at, comes again. Raises UserError where a
        topic is missing, and Unavailable."""
        ends = self._ends()
        consumer = self._assigned(ends)
        self._astray = True
        late = time.monotonic() + self._seconds
        while any(self._next[partition] < end for partition, end in ends.items()):
            try:
                messages = consumer.consume(_BATCH, 0.1)
            except KafkaException as exception:
                raise unavailable(exception) from None
            if messages:
                late = time.monotonic() + self._seconds
            elif time.monotonic() > late:
                raise Unavailable(WHAT, "timed_out")
            for message in messages:
                partition = self._partition(message)
                error = message.error()
                if error is None:
                    yield partition, message
                    self._next[partition] = _offset(message) + 1
                elif error.code() == KafkaError._PARTITION_EOF:
                    # Behind the last message stand records of transactions, which nobody sees.
                    self._next[partition] = max(self._next[partition], _offset(message))
                elif error.code() in _FINAL:
                    raise Unavailable(WHAT, code_of(error))
        self._astray = False

    def unread(self) -> int:
        """How many messages the next :meth:`read` has before it, roughly. Raises as that."""
        behind = (
            end - self._next.get(partition, self._begin.get(partition, 0))
            for partition, end in self._ends().items()
        )
        return sum(max(0, count) for count in behind)

    def at(self, partition: Partition, offset: int) -> Message | None:
        """The message that stands there; None where there is none any more."""
        if self._single is None:
            self._single = self._open({"queued.min.messages": 1, "fetch.wait.max.ms": 10})
        name = self._settings.topic_prefix + partition.topic
        late = time.monotonic() + self._seconds
        try:
            self._single.assign([TopicPartition(name, partition.number, offset)])
            while time.monotonic() < late:
                message = self._single.poll(0.1)
                if message is None:
                    continue
                error = message.error()
                if error is None:
                    return message if _offset(message) == offset else None
                if error.code() == KafkaError._PARTITION_EOF:
                    return None
                if error.code() in _FINAL:
                    raise Unavailable(WHAT, code_of(error))
            raise Unavailable(WHAT, "timed_out")
        except KafkaException as error:
            raise unavailable(error) from None
        finally:
            self._single.unassign()

    def close(self) -> None:
        for consumer in (self._consumer, self._single):
            if consumer is not None:
                consumer.close()
        self._consumer = self._single = self._admin = None
        self._next.clear()

    def _ends(self) -> dict[Partition, int]:
        """Where each partition ends: the offset of the next message."""
        if self._admin is None:
            self._admin = open_admin(self._settings)
        return ends(self._admin, self._settings, self._topics, self._seconds)

    def _assigned(self, found: dict[Partition, int]) -> Consumer:
        """The consumer, which reads each partition from where its last message was used."""
        if self._consumer is None:
            self._consumer = self._open({"queued.max.messages.kbytes": 32 << 10})
            self._next.clear()
        if self._astray or found.keys() - self._next.keys():
            for partition in found:
                self._next.setdefault(partition, self._begin.get(partition, 0))
            prefix = self._settings.topic_prefix
            self._consumer.assign(
                [TopicPartition(prefix + p.topic, p.number, at) for p, at in self._next.items()]
            )
        return self._consumer

    def _open(self, defaults: dict[str, Any]) -> Consumer:
        needed = {
            "group.id": self._settings.group,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "enable.partition.eof": True,
            "isolation.level": "read_uncommitted",
            "fetch.queue.backoff.ms": 20,
        }
        return open_consumer(defaults | properties(self._settings) | needed)

    def _partition(self, message: Message) -> Partition:
        name = (message.topic() or "").removeprefix(self._settings.topic_prefix)
        return Partition(name, message.partition() or 0)


def ends(
    admin: AdminClient,
    settings: KafkaSettings,
    topics: Sequence[str],
    seconds: float = SECONDS,
    *,
    spec: OffsetSpec = LATEST,
) -> dict[Partition, int]:
    """The offset behind the last message of each partition, or what ``spec`` asks for. Raises
    UserError where a topic is missing, and Unavailable."""
    prefix = settings.topic_prefix

    def ask() -> dict[Partition, int]:
        listed = admin.list_topics(timeout=seconds).topics
        missing = [topic for topic in topics if prefix + topic not in listed]
        if missing:
            raise missing_topics(settings, missing)
        partitions = [
            Partition(topic, number)
            for topic in topics
            for number in listed[prefix + topic].partitions
        ]
        asked = {TopicPartition(prefix + p.topic, p.number): spec for p in partitions}
        futures = admin.list_offsets(
            asked, isolation_level=IsolationLevel.READ_UNCOMMITTED, request_timeout=seconds
        )
        answers = {(tp.topic, tp.partition): future for tp, future in futures.items()}
        return {
            p: int(answers[prefix + p.topic, p.number].result(seconds).offset) for p in partitions
        }

    return patiently(ask, seconds)


def patiently(ask: Callable[[], T], seconds: float) -> T:
    """What an admin call answers, asked again while leaders move. Raises Unavailable."""
    late = time.monotonic() + seconds
    while True:
        try:
            return ask()
        except KafkaException as error:
            if error.args[0].code() not in _MOVING or time.monotonic() > late:
                raise unavailable(error) from None
        except TimeoutError:
            raise Unavailable(WHAT, "timed_out") from None
        time.sleep(0.1)


def headers_of(message: Message) -> dict[str, bytes]:
    """The headers of a message by name; of those with one name the last."""
    found: Any = message.headers() or ()
    return {name: content or b"" for name, content in found}


def _offset(message: Message) -> int:
    return message.offset() or 0
