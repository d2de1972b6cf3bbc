"""The reader of whole topics against a client that answers by script."""

from __future__ import annotations

import threading

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from schemas.log import Partition
from schemas.ports import Unavailable
from sinks.kafka import letters
from sinks.kafka import reader as module
from sinks.kafka.reader import TopicReader
from sinks.kafka.settings import KafkaSettings
from tests.sinks.kafka.script import Told

LENGTH = 6


class Client:
    """A partition of six messages; ``faults``: by the number of the call, what comes instead of
    the third message (an error beside the others) or of the whole answer (raised)."""

    def __init__(self, faults: dict[int, int | KafkaException]) -> None:
        self.faults = faults
        self.calls = 0
        self.at = 0

    def assign(self, partitions: list[TopicPartition]) -> None:
        (self.at,) = [p.offset for p in partitions]

    def consume(self, _count: int, _seconds: float) -> list[Told]:
        self.calls += 1
        fault = self.faults.get(self.calls)
        if isinstance(fault, KafkaException):
            raise fault
        found = [Told(0, offset) for offset in range(self.at, LENGTH)]
        self.at = LENGTH
        if fault is not None:
            found.insert(2, Told(0, -1, fault))
        return found


def test_letters_are_closed_under_nobody_who_reads_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(letters, "LEAVING", 0.1)
    held = letters.KafkaDeadLetters(KafkaSettings(), None, None)  # type: ignore[arg-type]
    asked, go = threading.Event(), threading.Event()
    closed: list[bool] = []

    def unread() -> int:
        asked.set()
        assert go.wait(30)
        return 1 << 30

    monkeypatch.setattr(held._reader, "unread", unread)
    monkeypatch.setattr(held._reader, "close", lambda: closed.append(True))
    sampler = threading.Thread(target=held.at_most)
    sampler.start()
    assert asked.wait(30)
    held.close()
    assert closed == []
    go.set()
    sampler.join(30)


def opened(monkeypatch: pytest.MonkeyPatch, faults: dict[int, int | KafkaException]) -> TopicReader:
    client = Client(faults)
    monkeypatch.setattr(module, "open_consumer", lambda _: client)
    monkeypatch.setattr(module, "open_admin", lambda _: None)
    monkeypatch.setattr(module, "ends", lambda *_: {Partition("topic", 0): LENGTH})
    return TopicReader(KafkaSettings(), ["topic"], seconds=0.5)


@pytest.mark.parametrize(
    "fault",
    [KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaException(KafkaError(KafkaError._STATE))],
)
def test_after_an_error_it_goes_on_where_it_was(
    monkeypatch: pytest.MonkeyPatch, fault: int | KafkaException
) -> None:
    reader = opened(monkeypatch, {1: fault})
    found: list[int | None] = []
    with pytest.raises(Unavailable):
        found += [message.offset() for _, message in reader.read()]
    found.clear()
    rest = [message.offset() for _, message in reader.read()]
    assert rest == list(range(LENGTH))[-len(rest) :]
    assert len(rest) >= LENGTH - 2


def test_what_its_caller_could_not_use_comes_again(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = opened(monkeypatch, {})

    def use(most: int) -> None:
        for _, message in reader.read():
            if (message.offset() or 0) >= most:
                raise ValueError("cannot use it")

    for _ in range(2):
        with pytest.raises(ValueError, match="cannot"):
            use(3)
    assert [message.offset() for _, message in reader.read()] == [3, 4, 5]
    assert list(reader.read()) == []
