"""A worker whose queues are Kafka topics, also while their broker is gone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flows.filelog import append_events
from flows.health import read_health
from flows.reconcile import reconcile
from flows.retry import retry_letters
from flows.settings import Settings
from flows.stores import Stores
from schemas.failures import UserError
from sinks.kafka.reader import TopicReader
from sinks.kafka.settings import KafkaSettings
from sinks.kafka.topics import create_topics
from tests.awaiting import until
from tests.flows import tiny
from tests.flows.test_faults import beside, stop_run
from tests.flows.test_worker import contents, filled, lag, letters, run, stores_of
from tests.servers.proxy import Proxy
from tests.sinks.kafka.topics import is_queue, own_topics

CANARY = "canary-5a3c"


def on_kafka(settings: Settings, kafka: KafkaSettings, **delivery: Any) -> Settings:
    changes = {
        "backends": settings.backends.model_copy(update={"queues": "kafka"}),
        "kafka": kafka,
        "delivery": settings.delivery.model_copy(update=delivery),
    }
    return settings.model_copy(update=changes)


def test_what_is_rejected_goes_to_the_twin_and_is_retried_from_there(
    kafka: Any, tmp_path: Path
) -> None:
    calm, events = filled(tmp_path / "calm", 120)
    run(calm)
    own = own_topics(kafka.bootstrap, is_queue)
    settings, _ = filled(tmp_path / "kafka", 120)
    settings = on_kafka(settings, own)
    append_events([b'{"' + CANARY.encode()], settings.log_dir, topic="llm.prompts.v1")
    wrong = {e["eventId"] for e in events[::10]}

    def build(*parts: Any) -> Any:
        def hook(decoded: Any) -> None:
            if decoded.id in wrong:
                raise ValueError(CANARY)

        return tiny.build(*parts, hook=hook)

    run(settings, build=build)
    assert lag(settings) == 0
    dead = letters(settings)
    assert {x.event_id for x in dead} == wrong | {None}
    reader = TopicReader(own, ["llm.prompts.v1-dlq", "llm.responses.v1-dlq", "llm.sessions.v1-dlq"])
    found = [message for _, message in reader.read()]
    reader.close()
    assert len(found) == len(dead)
    assert CANARY not in repr([(m.key(), m.headers(), m.value()) for m in found])

    codes = retry_letters(settings, build=build).outcomes
    assert codes["rejected: internal_error"] == len(dead) - 1
    outcomes = retry_letters(settings, build=tiny.build).outcomes
    assert sum(n for what, n in outcomes.items() if what.startswith("rejected")) == 1
    assert [x.event_id for x in letters(settings)] == [None]
    run(settings)
    assert contents(settings, events) == contents(calm, events)


def test_what_a_store_owes_waits_in_its_topic(kafka: Any, tmp_path: Path) -> None:
    calm, events = filled(tmp_path / "calm", 60)
    run(calm)
    settings, _ = filled(tmp_path / "kafka", 60)
    own = own_topics(kafka.bootstrap, is_queue)
    settings = on_kafka(settings, own, deadline_seconds=0.1)

    def build(given: Settings, keys: Any, stores: Stores) -> Any:
        stores.sinks["search"].close()
        return tiny.build(given, keys, stores)

    summary = run(settings, build=build)
    assert (summary.lag, lag(settings)) == (0, 0)
    with stores_of(settings) as stores:
        owed = stores.parking.backlog()
    assert owed == {s: n for s, n in owed.items() if s == "search" or n == 0}
    assert owed["search"] == summary.written["search"]["parked"]
    drained = reconcile(settings)
    assert (drained["search"].written, drained["search"].left) == (owed["search"], 0)
    assert contents(settings, events) == contents(calm, events)


def test_two_sets_of_stores_over_one_log_owe_apart(kafka: Any, tmp_path: Path) -> None:
    own = own_topics(kafka.bootstrap)
    other = own.model_copy(update={"queue_prefix": f"{own.topic_prefix}second.", "group": "second"})
    made = {one.topic.removeprefix(own.topic_prefix): one.status for one in create_topics(other, 1)}
    assert made.pop("llm.prompts.v1") == "exists"
    assert made["second.llm.reconciliation.search.v1"] == "created"
    assert made["second.llm.prompts.v1-dlq"] == "created"
    first, events = filled(tmp_path / "first", 60)
    second, _ = filled(tmp_path / "second", 60)

    def build(given: Settings, keys: Any, stores: Stores) -> Any:
        stores.sinks["search"].close()
        return tiny.build(given, keys, stores)

    first = on_kafka(first, own)
    run(first)
    second = on_kafka(second, other, deadline_seconds=0.1)
    run(second, build=build)
    assert reconcile(first)["search"].written == 0
    assert reconcile(second)["search"].written > 0
    assert contents(second, events) == contents(first, events)


def test_neither_store_nor_queue_stops_reading_until_one_is_back(
    proxied_kafka: tuple[Any, Proxy], tmp_path: Path
) -> None:
    server, between = proxied_kafka
    calm, events = filled(tmp_path / "calm", 60)
    run(calm)
    own = own_topics(server.address.bootstrap, is_queue)
    own = own.model_copy(update={"bootstrap_servers": between.address})
    settings, _ = filled(tmp_path / "kafka", 60)
    settings = on_kafka(settings, own, deadline_seconds=0.1)
    opened: list[Stores] = []
    refused: list[bool] = []

    def build(given: Settings, keys: Any, stores: Stores) -> Any:
        stores.sinks["search"].close()
        opened.append(stores)
        return tiny.build(given, keys, stores, hook=cut)

    def cut(_: Any) -> None:
        """With the first event: the start itself waits for the queues."""
        if not refused:
            refused.append(True)
            between.refuse()

    def heal() -> None:
        until(lambda: bool(opened) and _stuck(settings))
        assert lag(calm) == 0
        between.heal()
        until(lambda: not _stuck(settings))
        opened[0].sinks["search"]._closed = False  # type: ignore[attr-defined]
        until(lambda: not any(opened[0].parking.backlog().values()))
        until(lambda: _lag(opened[0], settings) == 0)
        stop_run()

    wait = beside(heal)
    run(settings, follow=True, build=build)
    wait()
    assert contents(settings, events) == contents(calm, events)


def _stuck(settings: Settings) -> bool:
    """Whether the worker says that it waits for the search index, and for its queue."""
    health = read_health(settings.data)
    return health is not None and "search" in health.blocking


def _lag(stores: Stores, settings: Settings) -> int:
    from flows.filelog import log_ends

    assert stores.offsets is not None
    committed = {p: x.offset for p, x in stores.offsets.load().items()}
    return sum(end - committed.get(p, 0) for p, end in log_ends(settings.log_dir).items())


def test_a_worker_without_its_topics_says_what_to_run(kafka: Any, tmp_path: Path) -> None:
    settings, _ = filled(tmp_path, 10)
    own = own_topics(kafka.bootstrap, lambda spec: "search" not in spec.name)
    with pytest.raises(UserError, match=r"reconciliation\.search\.v1.*topics create"):
        run(on_kafka(settings, own))
    assert lag(settings) > 0
