"""What was sent is on the brokers, or it raises in time and says why."""

from __future__ import annotations

import gc
import itertools
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka import KafkaError

from schemas.failures import UserError
from schemas.log import Partition
from schemas.ports import Unavailable
from sinks.kafka.producer import LIMIT, ROOM, KafkaProducer, Message, _Client
from sinks.kafka.reader import TopicReader
from sinks.kafka.settings import KafkaSettings
from sinks.kafka.topics import ENRICHMENT, reconciliation
from tests.awaiting import answered
from tests.servers.proxy import Proxy
from tests.sinks.kafka.topics import is_queue, own_topics

TOPIC = reconciliation("graph")
SECONDS = 1.5


def message(value: bytes = b"v", key: bytes = b"k", topic: str = TOPIC) -> Message:
    return Message(topic, key, value, [("x-name", b"content"), ("x-name", b"\xff")])


@pytest.fixture
def producer(settings: KafkaSettings) -> Iterator[KafkaProducer]:
    made = KafkaProducer(settings)
    yield made
    made.close()


def read(settings: KafkaSettings, topic: str = TOPIC) -> list[Any]:
    reader = TopicReader(settings, [topic])
    found = [m for _, m in reader.read()]
    reader.close()
    return found


def test_what_was_sent_is_there_with_key_and_headers(
    settings: KafkaSettings, producer: KafkaProducer
) -> None:
    producer.send([message(b"%d" % n) for n in range(3)])
    producer.send([])
    found = read(settings)
    assert [m.value() for m in found] == [b"0", b"1", b"2"], "one key, one partition, in order"
    assert found[0].key() == b"k"
    assert found[0].headers() == [("x-name", b"content"), ("x-name", b"\xff")]


def test_a_record_of_ten_megabytes_passes_and_a_larger_one_is_refused_at_once(
    settings: KafkaSettings, producer: KafkaProducer
) -> None:
    values = [bytes([n]) * (10 << 20) for n in range(5)] + [b"x" * ROOM]
    producer.send([message(value, b"%d" % n) for n, value in enumerate(values)])
    assert sorted(m.value()[:1] for m in read(settings)) == sorted(v[:1] for v in values)
    assert sorted(len(m.value()) for m in read(settings)) == sorted(map(len, values))
    with pytest.raises(Unavailable) as refused:
        producer.send([message(b"x" * (LIMIT + 1))])
    assert "size" in refused.value.code or "large" in refused.value.code


def test_many_threads_share_it(settings: KafkaSettings, producer: KafkaProducer) -> None:
    def work(name: int) -> None:
        for n in range(5):
            producer.send([message(b"%d %d %d" % (name, n, i), b"%d" % i) for i in range(100)])

    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    values = [m.value() for m in read(settings)]
    assert len(values) == len(set(values)) == 3_000


def test_a_missing_topic_is_named_at_once(
    settings: KafkaSettings, producer: KafkaProducer, kafka: Any
) -> None:
    with pytest.raises(Unavailable, match="topics create") as missing:
        producer.send([message(), message(topic="llm.no-such-topic.v1")])
    assert missing.value.code == "unknown_topic"
    assert settings.topic_prefix in missing.value.what
    with pytest.raises(UserError, match="topics create"):
        producer.check([TOPIC, "llm.no-such-topic.v1"])
    producer.check([TOPIC, ENRICHMENT])
    assert read(settings) == [], "nothing is sent in part"


def test_a_topic_made_later_is_found(kafka: Any) -> None:
    settings = own_topics(kafka.bootstrap, lambda spec: False)
    producer = KafkaProducer(settings)
    with pytest.raises(Unavailable):
        producer.send([message()])
    from sinks.kafka.topics import create_topics, specified

    create_topics(settings, 1, [spec for spec in specified() if spec.name == TOPIC])
    producer.send([message()])
    assert len(read(settings)) == 1
    producer.close()


def test_no_broker_raises_within_the_deadline() -> None:
    producer = KafkaProducer(KafkaSettings(bootstrap_servers="127.0.0.1:1"), seconds=SECONDS)
    with pytest.raises(Unavailable) as down:
        producer.send([message()])
    assert (down.value.what, down.value.code) == ("kafka", "unreachable")
    producer.close()


def test_a_wrong_password_is_called_so(kafka: Any) -> None:
    wrong: dict[str, Any] = {
        "bootstrap_servers": kafka.sasl,
        "security_protocol": "SASL_PLAINTEXT",
        "sasl_username": kafka.user,
        "sasl_password": "canary-5a3c",
    }
    producer = KafkaProducer(KafkaSettings(**wrong), seconds=SECONDS)
    with pytest.raises(Unavailable) as refused:
        producer.send([message()])
    assert refused.value.code == "authentication"
    assert "canary" not in str(refused.value)
    producer.close()


def test_signed_in_it_sends(kafka: Any, settings: KafkaSettings) -> None:
    changes: dict[str, Any] = {
        "bootstrap_servers": kafka.sasl,
        "security_protocol": "SASL_PLAINTEXT",
        "sasl_username": kafka.user,
        "sasl_password": kafka.password,
    }
    producer = KafkaProducer(KafkaSettings(**(settings.model_dump() | changes)))
    producer.send([message()])
    assert len(read(settings)) == 1
    producer.close()


def test_after_close_it_is_unavailable(producer: KafkaProducer) -> None:
    producer.close()
    producer.close()
    with pytest.raises(Unavailable) as closed:
        producer.send([message()])
    assert closed.value.code == "closed"


@pytest.mark.parametrize("fault", ["hang", "refuse"])
def test_a_broker_that_goes_away_and_comes_back(
    proxied_kafka: tuple[Any, Proxy], fault: str
) -> None:
    server, between = proxied_kafka
    direct = own_topics(server.address.bootstrap, is_queue)
    settings = direct.model_copy(update={"bootstrap_servers": between.address})
    producer = KafkaProducer(settings, seconds=5.0)
    answered(lambda: producer.send([message(b"before")]))
    getattr(between, fault)()
    with pytest.raises(Unavailable) as down:
        producer.send([message(b"meanwhile")])
    assert down.value.code in ("timed_out", "unreachable")
    between.heal()
    tries = itertools.count()  # One that timed out may have arrived all the same.
    answered(lambda: producer.send([message(b"after %d" % next(tries))]))
    values = [m.value() for m in read(direct)]
    assert values[0] == b"before"
    assert values[-1].startswith(b"after")
    assert len(values) == len(set(values)), "none twice by itself"
    producer.close()


def test_a_fatal_error_is_followed_by_a_fresh_producer(
    settings: KafkaSettings, producer: KafkaProducer
) -> None:
    producer.send([message(b"before")])
    client = producer._client
    assert client is not None
    # As the library tells it; the error itself cannot be provoked on a healthy broker.
    client.state.failed(KafkaError(KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER, "on purpose", True))
    producer.send([message(b"after")])
    assert producer._client is not client
    assert [m.value() for m in read(settings)] == [b"before", b"after"]


def test_the_reader_reads_on_and_finds_single_messages(
    settings: KafkaSettings, producer: KafkaProducer
) -> None:
    reader = TopicReader(settings, [TOPIC])
    assert list(reader.read()) == []
    producer.send([message(b"%d" % n, b"%d" % n) for n in range(50)])
    first = list(reader.read())
    producer.send([message(b"x")])
    (last,) = reader.read()
    assert last[1].value() == b"x"
    assert sorted(int(m.value() or b"") for _, m in first) == list(range(50))
    partition, some = first[7]
    again = reader.at(partition, some.offset() or 0)
    assert again is not None
    assert again.value() == some.value()
    assert reader.at(Partition(TOPIC, partition.number), 10_000) is None
    reader.close()


def test_the_reader_says_when_there_is_nobody() -> None:
    reader = TopicReader(KafkaSettings(bootstrap_servers="127.0.0.1:1"), [TOPIC], seconds=SECONDS)
    with pytest.raises(Unavailable) as down:
        list(reader.read())
    assert down.value.what == "kafka"
    reader.close()


def test_a_client_that_is_given_up_is_gone_at_once() -> None:
    """It has threads and connections, and the collector may not come for long."""
    gc.disable()
    try:
        client = _Client(KafkaSettings(bootstrap_servers="127.0.0.1:1"), 0.1)
        known = weakref.ref(client)
        client.abandon()
        del client
        assert known() is None
    finally:
        gc.enable()
