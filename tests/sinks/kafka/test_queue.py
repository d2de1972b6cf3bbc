"""The queue's reader against a client that answers by script: what no broker does on demand."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from schemas.ports import Unavailable
from sinks.kafka import queue as module
from sinks.kafka.parking import KafkaParking
from sinks.kafka.producer import Message
from sinks.kafka.queue import KafkaQueue
from sinks.kafka.settings import KafkaSettings
from tests.conformance.records import record
from tests.sinks.kafka.script import Told

NAME = "llm.enrichment.v1"


class Client:
    """librdkafka's part: a member that is given partitions and hands over what is scripted."""

    def __init__(self, script: Sequence[Told | KafkaException]) -> None:
        self.script = list(script)
        self.given: set[int] = set()
        self.paused: set[int] = set()
        self.committed: dict[int, int] = {}
        self.commits: list[list[TopicPartition]] = []
        self.answers = True
        self.closed = 0
        self.told: Any = None

    def opened(self, made: dict[str, Any]) -> Client:
        self.told = made["on_commit"]
        return self

    def subscribe(self, _topics: list[str], *, on_assign: Any, **_: Any) -> None:
        self._on_assign = on_assign

    def give(self, *partitions: int) -> None:
        """A re-balance: these come as well, unpaused."""
        self.given.update(partitions)
        self._on_assign(self, [TopicPartition(NAME, p) for p in partitions])

    def assignment(self) -> list[TopicPartition]:
        return [TopicPartition(NAME, p) for p in sorted(self.given)]

    def pause(self, partitions: list[TopicPartition]) -> None:
        self.paused |= {p.partition for p in partitions}

    def resume(self, partitions: list[TopicPartition]) -> None:
        self.paused -= {p.partition for p in partitions}

    def poll(self, _seconds: float) -> Told | None:
        found = self.consume(1, 0)
        return found[0] if found else None

    def consume(self, count: int, _seconds: float) -> list[Told]:
        while self.answers and self.commits:
            self.told(None, self.commits.pop(0))
        found: list[Told] = []
        while len(found) < count and self.script:
            told = self.script[0]
            if isinstance(told, KafkaException):
                if not found:
                    self.script.pop(0)
                    raise told
                break
            if told.partition() in self.paused:
                break
            self.script.pop(0)
            found.append(told)
        return found

    def commit(self, *, offsets: list[TopicPartition], asynchronous: bool) -> None:
        assert asynchronous, "no signal gets through while nobody answers"
        self.commits.append(offsets)
        if self.answers:
            self.committed.update({p.partition: p.offset for p in offsets})

    def close(self) -> None:
        self.closed += 1


def joined(
    monkeypatch: pytest.MonkeyPatch, *script: Told | KafkaException
) -> tuple[KafkaQueue, Client]:
    """A queue of partition 0 and its client."""
    client = Client(script)
    monkeypatch.setattr(module, "open_consumer", client.opened)
    queue = KafkaQueue(KafkaSettings(), NAME, "group")
    queue._joined()
    client.give(0)
    return queue, client


@pytest.mark.parametrize("place", [0, 1, 2])
def test_an_error_among_messages_takes_none_of_them_along(
    monkeypatch: pytest.MonkeyPatch, place: int
) -> None:
    script = [Told(0, n) for n in range(3)]
    script.insert(place, Told(0, -1, KafkaError.UNKNOWN_TOPIC_OR_PART))
    queue, client = joined(monkeypatch, *script, Told(0, 3))
    with pytest.raises(Unavailable, match="unknown_topic"):
        queue.take(10)
    taken = list(queue.take(10))
    taken += queue.take(10, len(taken))
    assert [item.offset for item in taken] == [0, 1, 2, 3]
    queue.settle([taken[-1].sequence])
    assert client.committed == {0: 0}


def test_a_failing_client_takes_no_message_along(monkeypatch: pytest.MonkeyPatch) -> None:
    failing = KafkaException(KafkaError(KafkaError._STATE))
    queue, _ = joined(monkeypatch, Told(0, 0), failing, Told(0, 1))
    with pytest.raises(Unavailable):
        queue.take(10)
    assert [item.offset for item in queue.take(10)] == [0]
    assert [item.offset for item in queue.take(10, 1)] == [1]


def test_who_gets_more_partitions_while_it_takes_nothing_reads_all_of_them_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    queue, client = joined(monkeypatch, Told(0, 0))
    (first,) = queue.take(10)
    queue.take(1)  # It is held: the partitions rest meanwhile.
    assert client.paused == {0}
    client.give(1)
    queue.settle([first.sequence])
    client.script += [Told(0, 1), Told(1, 0)]
    found = [(item.partition, item.offset) for _ in range(2) for item in queue.take(10)]
    assert set(found) == {(0, 1), (1, 0)}


def test_what_is_held_is_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    large = [Told(0, n, value=bytes(8 << 20)) for n in range(40)]
    queue, client = joined(monkeypatch, *large)
    after = 0
    for _ in range(40):
        taken = queue.take(1, after)
        after = taken[-1].sequence if taken else after
    assert len(client.script) > 0
    queue.settle(range(1, after + 1))
    assert queue.take(1, after)


class Sender:
    """A producer that keeps what it is given; ``faults`` are raised first."""

    def __init__(self) -> None:
        self.sent: list[Message] = []
        self.faults: list[BaseException] = []

    def send(self, messages: Sequence[Message]) -> None:
        if self.faults:
            raise self.faults.pop(0)
        self.sent += messages


def test_an_attempt_counts_once_however_often_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    client, sender = Client(()), Sender()
    monkeypatch.setattr(module, "open_consumer", client.opened)
    parking = KafkaParking(KafkaSettings(), sender, None, None)  # type: ignore[arg-type]
    parking.park("graph", [(record("graph", 0), "busy")])
    (message,) = sender.sent
    assert parking.take("graph", 10) == []
    client.give(0)
    client.script.append(Told(0, 0, value=message.value, key=message.key, headers=message.headers))
    for attempts in range(2):
        (parked,) = parking.take("graph", 10)
        assert parked.attempts == attempts
        parking.failed([(parked, "busy")])
    sender.faults = [Unavailable("kafka", "timed_out")] * 2
    (parked,) = parking.take("graph", 10)
    for _ in sender.faults.copy():
        with pytest.raises(Unavailable):
            parking.failed([(parked, "busy")])
    assert parking.take("graph", 10) == [parked]
    parking.failed([(parked, "busy")])
    assert dict(sender.sent[-1].headers)["x-retry-count"] == b"3"
    assert parking.take("graph", 10) == []


@pytest.mark.parametrize("answers", [True, False])
def test_who_leaves_waits_for_the_last_commit_but_not_for_ever(
    monkeypatch: pytest.MonkeyPatch, answers: bool
) -> None:
    monkeypatch.setattr(module, "LEAVING", 0.3)
    queue, client = joined(monkeypatch, Told(0, 0))
    (item,) = queue.take(1)
    client.answers = answers
    queue.settle([item.sequence])
    queue.close()
    assert client.committed == ({0: 1} if answers else {})
    assert client.closed == 1


def test_who_closes_for_another_thread_does_not_take_its_client_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "LEAVING", 0.3)
    queue, client = joined(monkeypatch)
    polled, go = threading.Event(), threading.Event()

    def poll(_seconds: float) -> None:
        polled.set()
        assert go.wait(30)

    monkeypatch.setattr(client, "poll", poll)
    reader = threading.Thread(target=queue.take, args=(1,))
    reader.start()
    assert polled.wait(30)
    queue.close()
    assert client.closed == 0
    go.set()
    reader.join(30)
    monkeypatch.undo()
    queue.close()
    assert client.closed == 1
