"""How far the groups that read the queues are behind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from schemas.log import Partition
from sinks.kafka.reader import EARLIEST, SECONDS, TopicReader, ends, headers_of, patiently
from sinks.kafka.settings import KafkaSettings


def backlog(
    admin: AdminClient, settings: KafkaSettings, groups: Mapping[str, str], seconds: float = SECONDS
) -> dict[str, int]:
    """For topics (without prefix) and the group that reads each: how many messages it has before
    it. Raises UserError where a topic is missing, and Unavailable."""
    topics = list(groups)
    last = ends(admin, settings, topics, seconds)
    first = ends(admin, settings, topics, seconds, spec=EARLIEST)
    left = dict.fromkeys(topics, 0)
    for group in dict.fromkeys(groups.values()):
        mine = [p for p in last if groups[p.topic] == group]
        committed = _positions(admin, settings, group, mine, seconds)
        for partition in mine:
            begin = max(first[partition], committed.get(partition, 0))
            left[partition.topic] += max(0, last[partition] - begin)
    return left


def waiting(
    admin: AdminClient, settings: KafkaSettings, topic: str, group: str
) -> Iterator[dict[str, bytes]]:
    """The headers of all messages that a group has before it, without being one of its members.
    Raises as :func:`backlog`."""
    partitions = list(ends(admin, settings, [topic]))
    begin = _positions(admin, settings, group, partitions, SECONDS)
    reader = TopicReader(settings, [topic], begin=begin)
    try:
        for _, message in reader.read():
            yield headers_of(message)
    finally:
        reader.close()


def _positions(
    admin: AdminClient,
    settings: KafkaSettings,
    group: str,
    partitions: Sequence[Partition],
    seconds: float,
) -> dict[Partition, int]:
    """What a group has committed; nothing where there is no such group yet."""
    prefix = settings.topic_prefix
    asked = [TopicPartition(prefix + p.topic, p.number) for p in partitions]
    request = [ConsumerGroupTopicPartitions(group, asked)]

    def ask() -> list[TopicPartition]:
        (future,) = admin.list_consumer_group_offsets(request, request_timeout=seconds).values()
        try:
            return future.result(seconds).topic_partitions or []
        except KafkaException as error:
            if error.args[0].code() == KafkaError.GROUP_ID_NOT_FOUND:
                return []
            raise

    found = patiently(ask, seconds)
    return {
        Partition(tp.topic.removeprefix(prefix), tp.partition): tp.offset
        for tp in found
        if tp.offset >= 0
    }
