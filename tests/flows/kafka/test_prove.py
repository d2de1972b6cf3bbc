"""Prove over a log in Kafka: committed ranges, control records, what expired, single look-ups."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar

import pytest
from confluent_kafka import KafkaError, Producer

from flows.kafka import GroupOffsets
from flows.prove import Report
from flows.prove import prove as run_prove
from flows.prove.kafkalog import KafkaLogView
from flows.settings import Settings, load_settings
from schemas.log import Partition
from sinks.kafka.settings import KafkaSettings
from tests.flows import tiny
from tests.flows.kafka.world import PARTITIONS, PROMPTS, delete_before
from tests.flows.test_prove import OFF, change, states
from tests.flows.test_worker import run


def over_kafka(data: Path, kafka: KafkaSettings) -> Settings:
    """Only the log is in Kafka; dead letters are sealed with a key of the folder."""
    settings = load_settings(data=data, metrics_port=0)
    backends = settings.backends.model_copy(update={"log": "kafka"})
    dlq = settings.dlq.model_copy(update={"plaintext": True})
    return settings.model_copy(
        update={"backends": backends, "kafka": kafka, "dlq": dlq, "embed": OFF}
    )


def send(kafka: KafkaSettings, events: list[dict[str, Any]], **more: Any) -> None:
    """Each event into a partition of its topic; with ``transactional_id``, behind one commit."""
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers, "acks": "all", **more})
    transactional = "transactional.id" in more
    if transactional:
        producer.init_transactions(30)
        producer.begin_transaction()
    for number, event in enumerate(events):
        topic = topic_of(event)
        producer.produce(
            kafka.topic_prefix + topic,
            json.dumps(event).encode(),
            partition=number % PARTITIONS[topic],
            timestamp=int(datetime.fromisoformat(event["timestamp"]).timestamp() * 1000),
        )
    if transactional:
        producer.commit_transaction(30)
    assert producer.flush(30) == 0


def topic_of(event: dict[str, Any]) -> str:
    if "prompt" in event:
        return PROMPTS
    return "llm.responses.v1" if "response" in event else "llm.sessions.v1"


def prove(settings: Settings, **more: Any) -> Report:
    return run_prove(settings, build=tiny.build, **more)


def test_offsets_of_a_topic_are_accounted_for(tmp_path: Path, settings: KafkaSettings) -> None:
    worker = over_kafka(tmp_path, settings)
    first, second = list(tiny.events(200)), list(tiny.events(60, seed=7))
    send(settings, first)
    assert run(worker).lag == 0
    report = prove(worker, deep=True)
    assert report.ok, report.exceptions
    assert (report.offsets, sum(report.not_compared.values())) == (len(first), 0)
    duplicates = len(first) - len({e["eventId"] for e in first})
    assert states(report).get("duplicate", 0) == duplicates
    send(settings, second)
    report = prove(worker)
    assert (report.ok, report.codes["waiting"]["worker"]) == (True, len(second))
    victim = next(e["eventId"] for e in first if "prompt" in e)
    assert change(worker, "DELETE FROM search_document WHERE id = ?", victim) == 1
    report = prove(worker)
    assert report.exceptions[0].code.endswith("absent_search")
    assert report.exceptions[0].topic == PROMPTS


def test_marks_of_transactions_are_control_records(tmp_path: Path, settings: KafkaSettings) -> None:
    worker = over_kafka(tmp_path, settings)
    events = [e for e in tiny.events(40) if "prompt" in e]
    send(settings, events, **{"transactional.id": settings.group})
    run(worker)
    report = prove(worker)
    assert report.ok, report.exceptions
    assert states(report)["control"] == PARTITIONS[PROMPTS]


def test_what_the_topic_lost_is_expired_and_duplicates_of_it_still_count(
    tmp_path: Path, settings: KafkaSettings
) -> None:
    worker = over_kafka(tmp_path, settings)
    event = next(e for e in tiny.events(4) if "prompt" in e)
    send(settings, [event] * (2 * PARTITIONS[PROMPTS]))
    run(worker)
    assert states(prove(worker)) == {"written": 1, "duplicate": 7}
    for number in range(PARTITIONS[PROMPTS]):
        delete_before(settings, PROMPTS, number, 1)
    report = prove(worker, topics=(PROMPTS,), first=0)
    assert report.ok, report.exceptions
    assert states(report) == {"expired": 4, "duplicate": 4}
    assert report.codes["duplicate"] == {"first_expired": 4}


def test_what_expired_before_it_was_read_is_lost(tmp_path: Path, settings: KafkaSettings) -> None:
    worker = over_kafka(tmp_path, settings)
    prompts = [e for e in tiny.events(40) if "prompt" in e]
    send(settings, prompts)
    run(worker)
    send(settings, prompts)
    offsets = GroupOffsets(settings)
    committed = offsets.load()[Partition(PROMPTS, 0)].offset
    offsets.close()
    delete_before(settings, PROMPTS, 0, committed + 2)
    report = prove(worker)
    assert [(x.partition, x.offset, x.code) for x in report.exceptions] == [
        (0, committed, "expired_unread"),
        (0, committed + 1, "expired_unread"),
    ]


def test_records_may_expire_while_they_are_proved(tmp_path: Path, settings: KafkaSettings) -> None:
    worker = over_kafka(tmp_path, settings)
    send(settings, [e for e in tiny.events(40) if "prompt" in e])
    run(worker)

    class Late(KafkaLogView):
        """Retention is quicker than the reader of the first partition."""

        def read(self, partition: Partition, first: int, end: int) -> Any:
            if partition == Partition(PROMPTS, 0):
                delete_before(settings, PROMPTS, 0, 2)
            return super().read(partition, first, end)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("flows.prove.kafkalog.KafkaLogView", Late)
        report = prove(worker)
    assert report.ok, report.exceptions
    found = states(report)
    assert found["expired"] == 2
    assert found["written"] + found.get("duplicate", 0) == report.offsets - 2


def test_an_end_that_a_new_leader_says_too_early_is_no_end(settings: KafkaSettings) -> None:
    """What it leaves out would pass for control records."""

    class Message:
        def __init__(self, offset: int, error: int | None = None) -> None:
            self._offset, self._error = offset, None if error is None else KafkaError(error)

        def error(self) -> KafkaError | None:
            return self._error

        def offset(self) -> int:
            return self._offset

        def timestamp(self) -> tuple[int, int]:
            return 1, 1

        def headers(self) -> None:
            return None

        key = value = headers

    class Behind:
        batches: ClassVar = [
            [Message(0), Message(1, KafkaError._PARTITION_EOF)],
            [Message(1), Message(2, KafkaError._PARTITION_EOF)],
        ]

        def consume(self, *_: object) -> list[Message]:
            return self.batches.pop(0)

    view = KafkaLogView(settings)
    batches = view._batches(Behind(), Partition(PROMPTS, 0), 2)  # type: ignore[arg-type]
    assert [r.origin.offset for batch in batches for r in batch] == [0, 1]
    view.close()
