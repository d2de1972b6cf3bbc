"""Removes from the queues' topics what is done: nothing there is to outlive its purpose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from schemas.log import Partition
from schemas.records import STORES
from sinks.kafka.client import open_admin
from sinks.kafka.reader import EARLIEST, SECONDS, ends, patiently
from sinks.kafka.settings import KafkaSettings
from sinks.kafka.topics import ENRICHMENT, reconciliation

QUEUES: Final = (*map(reconciliation, STORES), ENRICHMENT)


class Purged(msgspec.Struct):
    """Of one queue: how many messages were removed, how many are left, and the groups that have not
    passed the latter yet."""

    removed: int = 0
    left: int = 0
    behind: list[str] = []


def purge(settings: KafkaSettings, topics: Sequence[str] = QUEUES) -> dict[str, Purged]:
    """Deletes the messages that every group which ever read a topic has passed, and answers by
    topic (without prefix). A topic that no group has read keeps all.

    A group commits what it has settled, so this loses nothing. Raises UserError where a topic is
    missing, and Unavailable, also where the brokers do not allow it.
    """
    admin = open_admin(settings)
    first = ends(admin, settings, topics, spec=EARLIEST)
    last = ends(admin, settings, topics)
    committed = _committed(admin, settings, list(last))
    found = {topic: Purged() for topic in topics}
    wanted = []
    for partition, end in last.items():
        purged = found[partition.topic]
        groups = committed.get(partition, {})
        begin = max(first[partition], min(groups.values(), default=first[partition]))
        purged.removed += begin - first[partition]
        purged.left += end - begin
        behind = {group for group, offset in groups.items() if offset < end}
        purged.behind = sorted(behind.union(purged.behind))
        if begin > first[partition]:
            name = settings.topic_prefix + partition.topic
            wanted.append(TopicPartition(name, partition.number, begin))
    if wanted:
        _delete(admin, wanted)
    return found


def _delete(admin: AdminClient, wanted: Sequence[TopicPartition]) -> None:
    def ask() -> None:
        for future in admin.delete_records(list(wanted), request_timeout=SECONDS).values():
            future.result(SECONDS)

    patiently(ask, SECONDS)


def _committed(
    admin: AdminClient, settings: KafkaSettings, partitions: Sequence[Partition]
) -> Mapping[Partition, Mapping[str, int]]:
    """What each group has committed of each partition."""
    prefix = settings.topic_prefix
    asked = [TopicPartition(prefix + p.topic, p.number) for p in partitions]

    def ask() -> dict[Partition, dict[str, int]]:
        listed = admin.list_consumer_groups(request_timeout=SECONDS).result(SECONDS)
        if listed.errors:
            raise KafkaException(listed.errors[0].args[0])
        found: dict[Partition, dict[str, int]] = {}
        for group in listed.valid:
            request = [ConsumerGroupTopicPartitions(group.group_id, asked)]
            (future,) = admin.list_consumer_group_offsets(request, request_timeout=SECONDS).values()
            for one in future.result(SECONDS).topic_partitions or ():
                if one.offset >= 0:
                    partition = Partition(one.topic.removeprefix(prefix), one.partition)
                    found.setdefault(partition, {})[group.group_id] = one.offset
        return found

    return patiently(ask, SECONDS)
