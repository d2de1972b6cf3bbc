"""Dead letters on Kafka: what their messages show, and what readers make of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from schemas.failures import Detail, Rejected
from schemas.log import Origin, Original
from schemas.ports import Damaged, Unavailable
from schemas.queues import Refused
from sinks.kafka import letters
from sinks.kafka.letters import KafkaDeadLetters
from sinks.kafka.producer import LIMIT, KafkaProducer, Message
from sinks.kafka.queues import KafkaQueues
from sinks.kafka.reader import TopicReader
from sinks.kafka.settings import KafkaSettings
from sinks.kafka.topics import INPUTS, dead_letters
from sinks.seal import Tampered
from tests.sinks.kafka.conftest import KEY
from tests.sinks.sqlite.records import ORIGIN, record

CANARY = "canary-5a3c"
TWINS = [dead_letters(topic) for topic in INPUTS]


def raw(value: bytes = CANARY.encode()) -> Original:
    return Original(CANARY.encode(), ((f"x-{CANARY}", CANARY.encode()),), value)


def letter(
    offset: int, topic: str = "llm.prompts.v1", original: Original | None = None
) -> Rejected:
    origin = Origin(topic, offset % 12, offset, 1_000 + offset)
    detail = Detail("$.prompt.text", "string")
    return Rejected("validate", "wrong_type", origin, detail, original or raw(), CANARY, "prompt")


def messages(settings: KafkaSettings) -> list[Any]:
    reader = TopicReader(settings, TWINS)
    found = [message for _, message in reader.read()]
    reader.close()
    return found


@pytest.fixture
def producer(settings: KafkaSettings) -> Iterator[KafkaProducer]:
    made = KafkaProducer(settings)
    yield made
    made.close()


def test_the_specified_headers_say_where_and_why_and_nothing_raw(
    settings: KafkaSettings, queues: KafkaQueues
) -> None:
    queues.letters.put([letter(17)])
    queues.letters.retried(queues.letters.list()[0].sequence, "still_wrong")
    first, second = messages(settings)
    headers = dict(first.headers())
    assert first.topic() == f"{settings.topic_prefix}llm.prompts.v1-dlq"
    assert headers["x-original-topic"] == b"llm.prompts.v1"
    assert headers["x-original-partition"] == b"5"
    assert headers["x-original-offset"] == b"17"
    assert headers["x-original-timestamp"] == b"1017"
    assert headers["x-failure-stage"] == b"validate"
    assert headers["x-failure-reason"] == b"wrong_type"
    assert headers["x-retry-count"] == b"0"
    assert dict(second.headers())["x-retry-count"] == b"1"
    assert first.key() == second.key() == b"llm.prompts.v1:5@17"
    for message in (first, second):
        shown = repr((message.key(), message.headers(), message.value()))
        assert CANARY not in shown


def test_letters_go_to_the_twin_of_their_origin(
    settings: KafkaSettings, queues: KafkaQueues
) -> None:
    queues.letters.put([letter(n, topic) for n, topic in enumerate(INPUTS)])
    queues.letters.put([Refused("search", record("search"), "too_big")])
    found = sorted((m.topic(), dict(m.headers())["x-letter-kind"]) for m in messages(settings))
    expected = [(dead_letters(topic), b"event") for topic in INPUTS]
    expected.append((dead_letters(ORIGIN.topic), b"record"))
    assert found == sorted((settings.topic_prefix + topic, kind) for topic, kind in expected)


def test_plaintext_keeps_what_was_sent_as_it_was(
    settings: KafkaSettings, producer: KafkaProducer
) -> None:
    letters = KafkaDeadLetters(settings, producer, None)
    refused = Refused("vector", record("vector"), "too_big")
    letters.put([letter(1), refused, letter(2, original=Original(None, (), b""))])
    assert CANARY.encode() in [m.value() for m in messages(settings)]
    opened = {x.sequence: letters.open(x.sequence) for x in letters.list()}
    events = [held.open() for held in opened.values() if isinstance(held, Original)]
    assert raw().open() in events
    assert (None, (), b"") in events
    assert refused in opened.values()
    letters.close()


def test_both_kinds_open_after_a_change_of_the_settings(
    settings: KafkaSettings, producer: KafkaProducer
) -> None:
    plain = KafkaDeadLetters(settings, producer, None)
    sealed = KafkaDeadLetters(settings, producer, KEY)
    plain.put([letter(1)])
    sealed.put([letter(2)])
    first, second = sorted(sealed.list(), key=lambda x: x.origin.offset)
    assert isinstance(sealed.open(first.sequence), Original)
    assert isinstance(sealed.open(second.sequence), Original)
    with pytest.raises(Tampered):
        plain.open(second.sequence)
    other = KafkaDeadLetters(settings, producer, bytes(32))
    with pytest.raises(Tampered):
        other.open(second.sequence)
    for each in (plain, sealed, other):
        each.close()


def test_a_payload_moved_to_other_coordinates_does_not_open(
    settings: KafkaSettings, producer: KafkaProducer, queues: KafkaQueues
) -> None:
    queues.letters.put([letter(1)])
    (message,) = messages(settings)
    changed = [
        (name, b"2" if name == "x-original-offset" else value) for name, value in message.headers()
    ]
    producer.send([Message(TWINS[0], b"llm.prompts.v1:1@2", message.value(), changed)])
    moved = queues.letters.find(Origin("llm.prompts.v1", 1, 2, 0))
    assert moved is not None
    with pytest.raises(Tampered):
        queues.letters.open(moved.sequence)


def test_every_reader_gives_a_letter_the_same_number(
    settings: KafkaSettings, queues: KafkaQueues
) -> None:
    mine = {}
    for batch in range(5):
        queues.letters.put([letter(10 * batch + n) for n in range(10)])
        mine = {x.origin: x.sequence for x in queues.letters.list()}
    assert len(set(mine.values())) == 50
    other = KafkaQueues(settings, KEY)
    assert {x.origin: x.sequence for x in other.letters.list()} == mine
    paged: list[int] = []
    while page := other.letters.list(after=paged[-1] if paged else 0, limit=7):
        paged += [x.sequence for x in page]
    assert paged == sorted(mine.values())
    other.close()


def test_a_payload_of_ten_megabytes_opens_and_one_too_large_leaves_its_letter(
    queues: KafkaQueues,
) -> None:
    import random

    noise = random.Random(1)
    large, too_large = noise.randbytes(10 << 20), noise.randbytes(LIMIT + 1)
    queues.letters.put([letter(1, original=raw(large)), letter(2, original=raw(too_large))])
    first, second = sorted(queues.letters.list(), key=lambda x: x.origin.offset)
    opened = queues.letters.open(first.sequence)
    assert isinstance(opened, Original)
    assert opened.open()[2] == large
    assert queues.letters.open(second.sequence) is None


def test_what_compresses_is_not_too_large(queues: KafkaQueues) -> None:
    queues.letters.put([letter(1, original=raw(b"a" * (2 * LIMIT)))])
    (listed,) = queues.letters.list()
    opened = queues.letters.open(listed.sequence)
    assert isinstance(opened, Original)
    assert opened.size == 2 * LIMIT


def test_what_others_put_into_a_twin_is_passed_over(
    producer: KafkaProducer, queues: KafkaQueues
) -> None:
    broken = [("x-letter-format", b"1"), ("x-letter-entry", b"put"), ("x-original-offset", b"x")]
    producer.send([Message(TWINS[0], b"k", b"v", []), Message(TWINS[0], b"k", b"v", broken)])
    queues.letters.put([letter(1)])
    assert len(queues.letters.list(resolved=None)) == 1


def test_a_newer_format_is_refused(producer: KafkaProducer, queues: KafkaQueues) -> None:
    producer.send([Message(TWINS[0], b"k", b"", [("x-letter-format", b"2")])])
    with pytest.raises(Damaged, match="format"):
        queues.letters.list()


def test_no_broker_is_unavailable() -> None:
    queues = KafkaQueues(KafkaSettings(bootstrap_servers="127.0.0.1:1"), KEY)
    with pytest.raises(Unavailable):
        queues.letters.put([letter(1)])
    queues.close()


def test_who_only_counts_does_not_read_very_much(
    queues: KafkaQueues, monkeypatch: pytest.MonkeyPatch
) -> None:
    queues.letters.put([letter(n) for n in range(5)])
    assert queues.letters.at_most() == 5
    first = queues.letters.list(limit=1)[0]
    queues.letters.resolve(first.sequence, "written")
    assert queues.letters.at_most() == 4
    monkeypatch.setattr(letters, "AT_ONCE", 2)
    queues.letters.put([letter(n) for n in range(5, 8)])
    monkeypatch.setattr(queues.letters._reader, "read", None)
    assert queues.letters.at_most() == 4 + 3
