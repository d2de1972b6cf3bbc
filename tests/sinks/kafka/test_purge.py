"""What is done leaves the queues' topics, and nothing else does."""

from __future__ import annotations

import time
from typing import Any

import pytest

from schemas.queues import Parked
from sinks.kafka.purge import purge
from sinks.kafka.queues import KafkaQueues
from sinks.kafka.reader import TopicReader
from sinks.kafka.settings import KafkaSettings
from sinks.kafka.topics import reconciliation
from tests.conformance.records import record
from tests.sinks.kafka.conftest import KEY

TOPIC = reconciliation("graph")

pytestmark = pytest.mark.servers


def held(settings: KafkaSettings) -> set[bytes]:
    """The keys of the messages that the brokers still have."""
    reader = TopicReader(settings, [TOPIC])
    try:
        return {message.key() or b"" for _, message in reader.read()}
    finally:
        reader.close()


def key(parked: Any) -> bytes:
    return f"{parked.record.stamp.kind}/{parked.record.stamp.id}".encode()


def take(queues: KafkaQueues, count: int) -> list[Parked]:
    found: list[Parked] = []
    end = time.monotonic() + 60
    while len(found) < count:
        found += queues.parking.take("graph", 500, found[-1].sequence if found else 0)
        assert time.monotonic() < end
    return found


def park(queues: KafkaQueues, *numbers: int) -> None:
    queues.parking.park("graph", [(record("graph", n), "full") for n in numbers])


def test_what_is_settled_goes_and_what_waits_stays(
    settings: KafkaSettings, queues: KafkaQueues
) -> None:
    park(queues, *range(40))
    nobody = purge(settings)
    assert (nobody[TOPIC].removed, nobody[TOPIC].left, nobody[TOPIC].behind) == (0, 40, [])
    found = take(queues, 40)
    kept = found[20:22]
    queues.parking.settle([parked for parked in found if parked not in kept])
    queues.parking.release("graph")
    some = purge(settings)[TOPIC]
    assert some.removed
    assert some.behind == [f"{settings.group}-reconcile-graph"]
    left = held(settings)
    assert len(left) == some.left == 40 - some.removed
    assert {key(parked) for parked in kept} <= left
    queues.parking.settle(take(queues, len(left)))
    queues.parking.release("graph")
    assert purge(settings)[TOPIC].left == 0
    assert held(settings) == set()
    park(queues, 60, 61)
    assert len(list(queues.parking.waiting("graph"))) == 2
    assert len(take(queues, 2)) == 2


def test_another_groups_messages_stay_until_it_has_passed_them(
    settings: KafkaSettings, queues: KafkaQueues
) -> None:
    """Two installations may share a log and its queues, each with a group of its own."""
    second = settings.model_copy(update={"group": f"{settings.group}-2"})
    others = KafkaQueues(second, KEY)
    park(queues, *range(8))
    for one in (others, queues):
        one.parking.settle(take(one, 8))
        one.parking.release("graph")
    park(queues, *range(20, 28))
    queues.parking.settle(take(queues, 8))
    queues.parking.release("graph")
    found = purge(settings)[TOPIC]
    assert (found.removed, found.left) == (8, 8)
    assert found.behind == [f"{second.group}-reconcile-graph"]
    assert len(take(others, 8)) == 8
    others.close()
