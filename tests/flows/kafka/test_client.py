"""Signing in, properties passed through, and what a client's own lines become."""

from __future__ import annotations

import threading
import uuid
from typing import Any

import pytest
import structlog
from bytewax.inputs import AbortExecution

from flows.control import Control
from schemas.failures import UserError
from schemas.ports import Unavailable
from sinks.kafka.client import connect, open_consumer, properties
from sinks.kafka.settings import KafkaSettings
from tests.flows.kafka.world import PROMPTS, World, drain, full, make_topics, produce, until

SASL = {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "SCRAM-SHA-512"}


def signed_in(settings: KafkaSettings, kafka: Any, password: str) -> KafkaSettings:
    return KafkaSettings.model_validate(
        settings.model_dump()
        | SASL
        | {"bootstrap_servers": kafka.sasl, "sasl_username": kafka.user, "sasl_password": password}
    )


def test_scram_signs_in_and_reads(world: World, kafka: Any) -> None:
    world.produce(PROMPTS, 0, 1, 2)
    settings = signed_in(world.settings, kafka, kafka.password)
    chunks = drain(world.part(settings=settings))
    assert sum(len(c.items) for c in chunks) == 2
    assert world.lag() == 0


def test_a_wrong_password_says_which_settings_to_check(world: World, kafka: Any) -> None:
    settings = signed_in(world.settings, kafka, "not-the-password")
    with pytest.raises(UserError, match="MEMORY_GRAPH_KAFKA__SASL_PASSWORD") as raised:
        world.part(settings=settings)
    assert "not-the-password" not in str(raised.value)


def test_a_cluster_that_does_not_answer_is_unavailable(kafka: Any) -> None:
    from deploy.local.ports import free_ports

    settings = KafkaSettings(bootstrap_servers=f"127.0.0.1:{free_ports(1)[0]}")
    with pytest.raises(Unavailable) as raised:
        connect(settings, seconds=1.0)
    assert raised.value.code == "unreachable"


def test_a_missing_topic_says_how_to_make_it(world: World) -> None:
    settings = world.settings.model_copy(update={"topic_prefix": "nowhere."})
    with pytest.raises(UserError, match="memory-graph topics create"):
        world.part(settings=settings)


@pytest.mark.parametrize(
    "key",
    [
        "enable.auto.commit",
        "auto.offset.reset",
        "enable.auto.offset.store",
        "group.id",
        "bootstrap.servers",
        "sasl.password",
        "acks",
        "enable.idempotence",
        "partition.assignment.strategy",
        "error_cb",
        "no.such.property",
    ],
)
def test_what_the_guarantees_rest_on_cannot_be_passed_through(key: str) -> None:
    with pytest.raises(UserError, match=f"kafka.properties: {key}"):
        properties(KafkaSettings(properties={key: "true"}))


def test_a_value_that_is_none_is_refused_without_being_shown() -> None:
    with pytest.raises(UserError, match=r"fetch.wait.max.ms") as raised:
        properties(KafkaSettings(properties={"fetch.wait.max.ms": "a-secret"}))
    assert "a-secret" not in str(raised.value)


def test_other_properties_go_before_ours(world: World) -> None:
    settings = world.settings.model_copy(
        update={"properties": {"client.id": "mine", "fetch.wait.max.ms": "50"}}
    )
    made = properties(settings)
    assert (made["client.id"], made["fetch.wait.max.ms"]) == ("mine", "50")
    world.produce(PROMPTS, 0, 1)
    assert sum(len(c.items) for c in drain(world.part(settings=settings))) == 1


def test_a_static_name_needs_the_classic_protocol(world: World) -> None:
    settings = world.settings.model_copy(update={"instance_id": "a"})
    with pytest.raises(UserError, match='protocol = "classic"'):
        world.part(settings=settings)


def test_the_client_s_own_lines_become_codes() -> None:
    from deploy.local.ports import free_ports

    address = f"127.0.0.1:{free_ports(1)[0]}"
    with structlog.testing.capture_logs() as lines:
        consumer = open_consumer(
            properties(KafkaSettings(bootstrap_servers=address)) | {"group.id": "g"}
        )
        until(lambda: consumer.poll(0.1) is None and lines)
        consumer.close()
    assert lines[0] == {"event": "client", "code": "fail", "log_level": "warning"}
    assert not [line for line in lines if address in repr(line)]


def test_a_broker_that_is_away_is_a_trouble_that_passes(proxied_kafka: Any) -> None:
    server, between = proxied_kafka
    make_topics(KafkaSettings(bootstrap_servers=server.address.bootstrap))
    world = World(KafkaSettings(bootstrap_servers=between.address, group="away"))
    control = Control(quiet=True)
    part = world.part(control, follow=True)
    try:
        until(lambda: [c for _, c in part.next_batch() if not c.items] or control.assigned)
        between.refuse()
        until(lambda: part.next_batch() is None or control.troubles)
        assert control.troubles == {"kafka": "unreachable"}
        between.heal()
        until(lambda: part.next_batch() is None or not control.troubles)
        direct = KafkaSettings(bootstrap_servers=server.address.bootstrap)
        World(direct).produce(PROMPTS, 0, 1)
        until(lambda: [c for _, c in part.next_batch() if c.items])
    finally:
        world.close()


def test_a_last_commit_that_nobody_answers_can_be_given_up(proxied_kafka: Any) -> None:
    server, between = proxied_kafka
    name = uuid.uuid4().hex[:10]
    direct = KafkaSettings(
        bootstrap_servers=server.address.bootstrap, topic_prefix=f"t{name}.", group=f"g-{name}"
    )
    make_topics(direct)
    world = World(direct.model_copy(update={"bootstrap_servers": between.address}))
    produce(direct, PROMPTS, 0, 1, 2)
    control = Control(quiet=True)
    part = world.part(control, follow=True)
    full(part)
    control.stop()
    until(lambda: not part.next_batch() and part._draining)
    part.snapshot()
    between.hang()
    ended: list[BaseException] = []

    def end() -> None:
        try:
            part.next_batch()
        except BaseException as error:
            ended.append(error)

    last = threading.Thread(target=end, daemon=True)
    last.start()
    last.join(1.0)
    assert last.is_alive()
    control.fail(Unavailable("kafka", "given_up"))
    last.join(30)
    between.heal()
    assert [type(error) for error in ended] == [AbortExecution]
    part.close()
