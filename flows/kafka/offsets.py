"""How far a group has read, and where the log begins and ends; without being a member."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from confluent_kafka import Consumer, IsolationLevel, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]

from flows.kafka.buffer import Place
from schemas.events import TOPICS
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

SECONDS = 10.0
_MOVING = (
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.FENCED_LEADER_EPOCH,
    KafkaError.UNKNOWN_LEADER_EPOCH,
)
_EARLIEST: OffsetSpec = OffsetSpec.earliest()  # type: ignore[no-untyped-call]
_LATEST: OffsetSpec = OffsetSpec.latest()  # type: ignore[no-untyped-call]


class GroupOffsets:
    """Offsets of ``settings.group`` over ``topics``. Connects when it is first asked.

    Every question raises Unavailable where the cluster does not answer, and UserError where a
    topic is missing.
    """

    def __init__(self, settings: KafkaSettings, topics: Sequence[str] = tuple(TOPICS)) -> None:
        self._settings = settings
        self._topics = tuple(topics)
        self._names = Names(settings)
        self._opened: tuple[Consumer, AdminClient] | None = None

    def partitions(self) -> list[Partition]:
        """Every partition of the topics."""
        try:
            listed = self._clients()[1].list_topics(timeout=SECONDS).topics
        except KafkaException as error:
            raise unavailable(error) from None
        missing = [t for t in self._topics if self._settings.topic_prefix + t not in listed]
        if missing:
            raise missing_topics(self._settings, missing)
        return [
            Partition(topic, number)
            for topic in self._topics
            for number in sorted(listed[self._settings.topic_prefix + topic].partitions)
        ]

    def load(self) -> dict[Partition, Place]:
        """What is committed; partitions without a commit are absent."""
        asked = [self._names.to_kafka(p) for p in self.partitions()]
        try:
            found = self._clients()[0].committed(asked, timeout=SECONDS)
        except KafkaException as error:
            raise unavailable(error) from None
        return committed_places(self._names, found)

    def commit(self, offsets: Mapping[Partition, int]) -> None:
        """Sets the offsets of a group that has no members."""
        todo = [self._names.to_kafka(p, offset) for p, offset in offsets.items()]
        if not todo:
            return
        try:
            done = self._clients()[0].commit(offsets=todo, asynchronous=False)
        except KafkaException as error:
            raise unavailable(error) from None
        for one in done or ():
            if one.error is not None:
                raise unavailable(one.error)

    def starts(self) -> dict[Partition, int]:
        """The first offset of every partition."""
        return self._list(_EARLIEST, self.partitions())

    def ends(self) -> dict[Partition, int]:
        """The offset after the last committed record of every partition."""
        return self._list(_LATEST, self.partitions())

    def bounds(self, partitions: Iterable[Partition]) -> dict[Partition, tuple[int, int]]:
        """First offset and end of some partitions."""
        asked = list(partitions)
        starts = self._list(_EARLIEST, asked)
        ends = self._list(_LATEST, asked)
        return {p: (starts[p], ends[p]) for p in asked}

    def at(self, milliseconds: int) -> dict[Partition, int]:
        """The first offset with a timestamp of at least ``milliseconds``; the end where none is."""
        partitions = self.partitions()
        found = self._list(OffsetSpec.for_timestamp(milliseconds), partitions)
        ends = self._list(_LATEST, partitions)
        return {p: ends[p] if offset < 0 else offset for p, offset in found.items()}

    def lag(self, ends: Mapping[Partition, int] | None = None) -> dict[str, int]:
        """Records behind the committed offsets, by topic; of partitions without a commit, all.
        ``ends``: up to there instead of to the log's ends."""
        ends, committed = self.ends() if ends is None else ends, self.load()
        unread = [p for p in ends if p not in committed]
        starts = self._list(_EARLIEST, unread) if unread else {}
        lag = dict.fromkeys(self._topics, 0)
        for partition, end in ends.items():
            place = committed.get(partition)
            start = starts[partition] if place is None else place.offset
            lag[partition.topic] += max(0, end - start)
        return lag

    def unread(self, ends: Mapping[Partition, int]) -> dict[Partition, int]:
        """What the group has committed (0: nothing) of those partitions where that is less than the
        given end and the log still holds something before it."""
        committed = {p: place.offset for p, place in self.load().items()}
        behind = {p: committed.get(p, 0) for p, end in ends.items() if committed.get(p, 0) < end}
        starts = self._list(_EARLIEST, list(behind)) if behind else {}
        return {p: offset for p, offset in behind.items() if starts[p] < ends[p]}

    def delete_group(self) -> None:
        """Removes the group and its offsets; one that is not there is removed already."""
        futures = self._clients()[1].delete_consumer_groups([self._settings.group])
        for future in futures.values():
            try:
                future.result(SECONDS)
            except KafkaException as error:
                if error.args[0].code() != KafkaError.GROUP_ID_NOT_FOUND:
                    raise unavailable(error) from None
            except TimeoutError:
                raise Unavailable(WHAT, "timed_out") from None

    def close(self) -> None:
        if self._opened is not None:
            self._opened[0].close()
            self._opened = None

    def _clients(self) -> tuple[Consumer, AdminClient]:
        if self._opened is None:
            made = properties(self._settings) | {
                "group.id": self._settings.group,
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "allow.auto.create.topics": False,
            }
            self._opened = open_consumer(made), open_admin(self._settings)
        return self._opened

    def _list(self, spec: OffsetSpec, partitions: Sequence[Partition]) -> dict[Partition, int]:
        deadline = time.monotonic() + SECONDS
        while partitions:
            asked = {self._names.to_kafka(p): spec for p in partitions}
            futures: dict[TopicPartition, Future[Any]] = self._clients()[1].list_offsets(
                asked, isolation_level=IsolationLevel.READ_COMMITTED, request_timeout=SECONDS
            )
            try:
                return {
                    self._names.to_partition(p): future.result(SECONDS).offset
                    for p, future in futures.items()
                }
            except KafkaException as error:
                # A partition has no leader for a moment after its topic was made, or moved.
                if not _passes(error) or time.monotonic() > deadline:
                    raise unavailable(error) from None
            except TimeoutError:
                raise Unavailable(WHAT, "timed_out") from None
            time.sleep(0.1)
        return {}


def _passes(error: KafkaException) -> bool:
    return error.args[0].code() in _MOVING


class Names:
    """Partitions by our names and by Kafka's, which have the prefix."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._prefix = settings.topic_prefix

    def to_kafka(self, partition: Partition, offset: int = -1001, note: str = "") -> TopicPartition:
        name = self._prefix + partition.topic
        if note:
            return TopicPartition(name, partition.number, offset, note)
        return TopicPartition(name, partition.number, offset)

    def to_partition(self, found: TopicPartition) -> Partition:
        return Partition(found.topic.removeprefix(self._prefix), found.partition)

    def of(self, topic: str, number: int) -> Partition:
        return Partition(topic.removeprefix(self._prefix), number)


def committed_places(names: Names, found: Iterable[TopicPartition]) -> dict[Partition, Place]:
    """What the broker answers of committed offsets; the note beside each is its log time."""
    places = {}
    for one in found:
        if one.error is not None:
            raise Unavailable(WHAT, code_of(one.error))
        if one.offset >= 0:
            note = one.metadata or ""
            places[names.to_partition(one)] = Place(one.offset, int(note) if note.isdigit() else 0)
    return places
