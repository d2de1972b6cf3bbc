"""What the benchmarks on Kafka rest on: the moments of sending and of commits are the true ones."""

from __future__ import annotations

import secrets
import time
from itertools import pairwise

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from benchmarks import events
from benchmarks.commits import Commits
from benchmarks.openloop import Sender
from deploy.local import addresses

TEXTS = [f"Text number {number}" for number in range(8)]


@pytest.fixture
def prefix(kafka: addresses.Kafka) -> str:
    """Of topics for the events, with a partition each."""
    made = f"b{secrets.token_hex(4)}."
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    topics = [NewTopic(made + name, 1, 1) for name in (events.PROMPTS, events.RESPONSES)]
    for future in admin.create_topics(topics).values():
        future.result(30)
    return made


def test_events_are_sent_when_they_are_due_and_found_where_it_says(
    kafka: addresses.Kafka, prefix: str
) -> None:
    before = time.time()
    sent = Sender(kafka.bootstrap, prefix).send(events.conversations(TEXTS), len(TEXTS), 50.0)
    assert [round(b.due - a.due, 6) for a, b in pairwise(sent)] == [0.02] * (len(TEXTS) - 1)
    assert all(before < one.due <= one.acknowledged <= time.time() for one in sent)
    assert [one.offset for one in sent if one.topic == prefix + events.PROMPTS] == [0, 1, 2, 3]
    consumer = _consumer(kafka, "reads")
    consumer.assign([TopicPartition(prefix + events.PROMPTS, 0, 0)])
    moments = {}
    while len(moments) < 4:
        for message in consumer.consume(4, 1.0):
            moments[message.offset()] = message.timestamp()[1]
    consumer.close()
    assert moments == {
        one.offset: round(one.due * 1_000) for one in sent if one.topic == prefix + events.PROMPTS
    }


def test_a_commit_is_seen_with_its_moment_and_only_by_its_group(
    kafka: addresses.Kafka, prefix: str
) -> None:
    group, place = prefix + "group", (prefix + events.PROMPTS, 0)
    mine, other = Commits(kafka.bootstrap, group), Commits(kafka.bootstrap, prefix + "other")
    mine.catch_up()
    assert mine.when(place, 0) is None
    consumer = _consumer(kafka, group)
    moments = [time.time_ns() // 1_000_000]
    for offset in (2, 5):
        consumer.commit(offsets=[TopicPartition(*place, offset)], asynchronous=False)
        moments.append(time.time_ns() // 1_000_000)
    consumer.close()
    for commits in (mine, other):
        commits.catch_up()
        commits.close()
    found = [mine.when(place, offset) for offset in range(6)]
    assert found[0] == found[1] != found[2] == found[3] == found[4]
    assert found[5] is None
    assert moments[0] <= (found[0] or 0) <= moments[1] <= (found[2] or 0) <= moments[2]
    assert mine.have({place: 4})
    assert not mine.have({place: 5})
    assert other.when(place, 0) is None


def _consumer(kafka: addresses.Kafka, group: str) -> Consumer:
    return Consumer(
        {
            "bootstrap.servers": kafka.bootstrap,
            "group.id": group,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
        }
    )
