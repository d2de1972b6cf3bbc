"""The topics of an installation, as data, and how they are made."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec
from confluent_kafka import KafkaError, KafkaException, TopicCollection, Uuid
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    ConfigResource,
    NewTopic,
    ResourceType,
    TopicMetadata,
)

from schemas.failures import UserError
from schemas.ports import Unavailable
from schemas.records import Store
from sinks.kafka.client import WHAT, code_of, open_admin, raise_for, unavailable
from sinks.kafka.settings import KafkaSettings

DAY = 86_400_000
SECONDS = 30.0

INPUTS = {"llm.prompts.v1": (12, 7), "llm.responses.v1": (12, 7), "llm.sessions.v1": (4, 30)}
"""Partitions and days of retention (specification, *Kafka topics*)."""
STORES: tuple[Store, ...] = ("graph", "vector", "timeseries", "search")
ENRICHMENT = "llm.enrichment.v1"


def dead_letters(topic: str) -> str:
    """The twin that keeps the dead letters of an input topic."""
    return f"{topic}-dlq"


def reconciliation(store: Store) -> str:
    """The queue of records that one store could not take."""
    return f"llm.reconciliation.{store}.v1"


class TopicSpec(msgspec.Struct, frozen=True):
    """A topic as it should be. ``name`` is without the prefix."""

    name: str
    partitions: int
    config: Mapping[str, str]


def specified() -> tuple[TopicSpec, ...]:
    """Every topic.

    Nothing but the inputs expires, or what nobody has looked at yet would be lost; and nothing is
    compacted: what a dead letter is follows from all messages of its key, since who puts one does
    not know what stands there, and the latest record of an id in a queue need not have its highest
    version.
    """
    inputs = [
        TopicSpec(
            name,
            partitions,
            {
                "cleanup.policy": "delete",
                "retention.ms": str(days * DAY),
                "retention.bytes": "-1",
                "compression.type": "snappy",
                "max.message.bytes": str(8 << 20),
            },
        )
        for name, (partitions, days) in INPUTS.items()
    ]
    kept = {
        "retention.ms": "-1",
        "retention.bytes": "-1",
        "compression.type": "snappy",
        "max.message.bytes": str(16 << 20),
    }
    letters = [
        TopicSpec(dead_letters(name), 4, {"cleanup.policy": "delete", **kept}) for name in INPUTS
    ]
    queues = [
        TopicSpec(reconciliation(store), 4, {"cleanup.policy": "delete", **kept})
        for store in STORES
    ]
    enrichment = TopicSpec(ENRICHMENT, 12, {"cleanup.policy": "delete", **kept})
    return (*inputs, *letters, *queues, enrichment)


class Created(msgspec.Struct, frozen=True):
    """What became of one topic; ``differs`` names what is not as specified: (key, is, should)."""

    topic: str
    status: Literal["created", "exists"]
    differs: tuple[tuple[str, str, str], ...] = ()


def create_topics(
    settings: KafkaSettings, replication: int = 3, topics: Sequence[TopicSpec] | None = None
) -> list[Created]:
    """Makes the topics that are missing; changes none that exists. Durable when it returns.

    Raises Unavailable, and UserError where the cluster refuses for good.
    """
    wanted = {_name(settings, s): s for s in (specified() if topics is None else topics)}
    admin = open_admin(settings)
    requests = [
        NewTopic(name, s.partitions, replication, config=dict(s.config))
        for name, s in wanted.items()
    ]
    made: set[str] = set()
    try:
        for name, future in admin.create_topics(requests, operation_timeout=SECONDS).items():
            try:
                future.result(SECONDS)
                made.add(name)
            except KafkaException as exception:
                error: KafkaError = exception.args[0]
                if error.code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    raise _refused(settings, name, error, replication) from None
        _listed(admin, list(wanted))
        found = _found(admin, [name for name in wanted if name not in made])
    except KafkaException as exception:
        raise unavailable(exception) from None
    except TimeoutError:
        raise Unavailable(WHAT, "timed_out") from None
    return [
        Created(name, "created")
        if name in made
        else Created(name, "exists", _differs(spec, *found[name]))
        for name, spec in wanted.items()
    ]


def _name(settings: KafkaSettings, spec: TopicSpec) -> str:
    return (settings if spec.name in INPUTS else settings.queues).topic_prefix + spec.name


def retentions(settings: KafkaSettings, topics: Sequence[str]) -> dict[str, int]:
    """The retention in ms of those topics that expire; raises Unavailable."""
    try:
        found = _found(open_admin(settings), [settings.topic_prefix + name for name in topics])
    except KafkaException as exception:
        raise unavailable(exception) from None
    except TimeoutError:
        raise Unavailable(WHAT, "timed_out") from None
    kept = {name: int(found[settings.topic_prefix + name][1]["retention.ms"]) for name in topics}
    return {name: milliseconds for name, milliseconds in kept.items() if milliseconds >= 0}


def topic_id(settings: KafkaSettings, topic: str) -> str:
    """The id that the cluster gave a topic when it was made; another one of the same name has
    another. The name itself where there is no such topic. Raises Unavailable."""
    name = settings.topic_prefix + topic
    admin = open_admin(settings)
    try:
        asked = admin.describe_topics(TopicCollection([name]), request_timeout=SECONDS)
        found: Uuid = asked[name].result(SECONDS).topic_id
    except KafkaException as exception:
        if exception.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            return topic
        raise unavailable(exception) from None
    except TimeoutError:
        raise Unavailable(WHAT, "timed_out") from None
    return str(found)


def _found(admin: AdminClient, names: list[str]) -> dict[str, tuple[int, dict[str, str]]]:
    """Partitions and configuration of existing topics."""
    if not names:
        return {}
    listed = _listed(admin, names)
    resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
    answers = admin.describe_configs(resources, request_timeout=SECONDS)
    return {
        resource.name: (
            len(listed[resource.name].partitions),
            {key: str(entry.value) for key, entry in future.result(SECONDS).items()},
        )
        for resource, future in answers.items()
    }


def _listed(admin: AdminClient, names: Sequence[str]) -> Mapping[str, TopicMetadata]:
    """All topics, once ``names`` are among them with their leaders: it takes a moment until every
    broker knows what was made. Raises KafkaException and TimeoutError."""
    ends = time.monotonic() + SECONDS
    while True:
        listed = admin.list_topics(timeout=SECONDS).topics
        if all(name in listed and _leads(listed[name]) for name in names):
            return listed
        if time.monotonic() > ends:
            raise TimeoutError
        time.sleep(0.05)


def _leads(topic: TopicMetadata) -> bool:
    return topic.error is None and all(p.leader >= 0 for p in topic.partitions.values())


def _differs(
    spec: TopicSpec, partitions: int, config: Mapping[str, str]
) -> tuple[tuple[str, str, str], ...]:
    differing = [
        (key, config.get(key, ""), value)
        for key, value in spec.config.items()
        if config.get(key) != value
    ]
    if partitions != spec.partitions:
        differing.insert(0, ("partitions", str(partitions), str(spec.partitions)))
    return tuple(differing)


def _refused(
    settings: KafkaSettings, name: str, error: KafkaError, replication: int
) -> UserError | Unavailable:
    raise_for(settings, error.code())
    if error.code() == KafkaError.INVALID_REPLICATION_FACTOR:
        return UserError(
            f"The cluster cannot keep {replication} copies of {name}. Give the number of copies "
            "with --replication, at most the number of brokers."
        )
    if error.code() in (KafkaError.POLICY_VIOLATION, KafkaError.TOPIC_EXCEPTION):
        return UserError(f"The cluster does not allow the topic {name} ({code_of(error)}).")
    return Unavailable(WHAT, code_of(error))
