"""The specified producer against a broker."""

from __future__ import annotations

import json
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType

from flows.filelog import partition_of
from flows.kafka.produce import produce_events
from schemas.failures import UserError
from schemas.log import LogRecord
from sinks.kafka.settings import KafkaSettings
from sinks.kafka.topics import TopicSpec, create_topics, specified
from tests.flows import tiny
from tests.flows.kafka.world import PARTITIONS, PROMPTS, RESPONSES, World, drain


def read(world: World) -> list[LogRecord]:
    return [r for c in drain(world.part()) for r in c.items]


def test_events_go_where_their_shape_and_session_say(world: World) -> None:
    events = [json.loads(line) for line in tiny.lines(300)]
    done = produce_events(world.settings, [json.dumps(e).encode() for e in events], source="test")
    assert sum(done.topics.values()) == len(events)
    assert (done.refused, done.failed) == ([], {})
    records = read(world)
    assert len(records) == len(events)
    by_id = {e["eventId"]: e for e in events}
    for record in records:
        key, headers, value = record.original.open()
        event = by_id[json.loads(value)["eventId"]]
        wanted = event["session"]["id"] if "session" in event else event["promptEventId"]
        assert key == wanted.encode()
        assert dict(headers) == {"schema_version": b"1.0", "source": b"test"}
        count = PARTITIONS[record.origin.topic]
        # The Java client's partitioner, and that of the log in files.
        assert record.origin.partition == partition_of(key, value, count)


def test_the_log_time_is_the_event_s_own(world: World) -> None:
    event = {"promptEventId": "p", "response": {}, "timestamp": "2026-01-02T03:04:05.678Z"}
    done = produce_events(world.settings, [json.dumps(event).encode()])
    assert done.topics == {RESPONSES: 1}
    (record,) = read(world)
    assert record.origin.timestamp == 1_767_323_045_678


def test_lines_that_fit_no_topic_are_refused_with_their_number(world: World) -> None:
    done = produce_events(world.settings, [b"{}", b"", b"{nope", b'{"prompt":{}}'])
    assert [line.number for line in done.refused] == [1, 3]
    assert done.topics == {PROMPTS: 1}


def test_a_record_that_is_too_large_is_counted_and_the_others_go(world: World) -> None:
    large = json.dumps({"prompt": {"text": "x" * (9 << 20)}}).encode()
    done = produce_events(world.settings, [b'{"prompt":{}}', large, b'{"prompt":{}}'])
    assert done.failed == {"too_large": 1}
    assert done.topics == {PROMPTS: 2}


def test_what_kafka_may_remove_before_it_is_read_is_counted(settings: KafkaSettings) -> None:
    config = {"retention.ms": "604800000"}
    other = settings.model_copy(update={"topic_prefix": f"{settings.topic_prefix}x."})
    create_topics(other, 1, [TopicSpec(PROMPTS, 1, config)])
    old = b'{"prompt":{},"timestamp":"2020-01-01T00:00:00Z"}'
    assert produce_events(other, [old], topic=PROMPTS).expiring == 1
    assert produce_events(other, [old], topic=PROMPTS, timestamp="now").expiring == 0


def test_missing_topics_are_named(settings: KafkaSettings) -> None:
    other = settings.model_copy(update={"topic_prefix": "nowhere."})
    with pytest.raises(UserError, match=r"nowhere.llm.prompts.v1.*memory-graph topics create"):
        produce_events(other, [b"{}"])


def test_the_topics_are_as_specified_and_made_once(kafka: Any, settings: KafkaSettings) -> None:
    other = settings.model_copy(update={"topic_prefix": f"{settings.topic_prefix}all."})
    assert {c.status for c in create_topics(other, 1)} == {"created"}
    again = create_topics(other, 1)
    assert {(c.status, c.differs) for c in again} == {("exists", ())}
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    listed = admin.list_topics(timeout=30).topics
    found = {}
    for spec in specified():
        name = other.topic_prefix + spec.name
        resource = ConfigResource(ResourceType.TOPIC, name)
        config = admin.describe_configs([resource])[resource].result(30)
        keys = ("retention.ms", "compression.type", "max.message.bytes", "cleanup.policy")
        found[spec.name] = (len(listed[name].partitions), *(config[k].value for k in keys))
    day = 86_400_000
    assert found[PROMPTS] == (12, str(7 * day), "snappy", str(8 << 20), "delete")
    assert found[RESPONSES] == (12, str(7 * day), "snappy", str(8 << 20), "delete")
    assert found["llm.sessions.v1"] == (4, str(30 * day), "snappy", str(8 << 20), "delete")
    for name in {*found} - {*PARTITIONS}:
        assert found[name][1:] == ("-1", "snappy", str(16 << 20), "delete"), name
    assert len(found) == 3 + 3 + 4 + 1


def test_what_differs_is_said_and_left_as_it_is(settings: KafkaSettings) -> None:
    spec = TopicSpec(PROMPTS, 12, {"retention.ms": "5000"})
    (done,) = create_topics(settings, 1, [spec])
    assert done.status == "exists"
    assert done.differs == (("partitions", "4", "12"), ("retention.ms", "-1", "5000"))


def test_too_many_copies_are_the_person_s_to_change(settings: KafkaSettings) -> None:
    other = settings.model_copy(update={"topic_prefix": f"{settings.topic_prefix}r."})
    with pytest.raises(UserError, match="--replication"):
        create_topics(other, 99)
