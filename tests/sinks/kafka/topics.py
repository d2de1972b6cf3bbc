"""Topics of one's own on a shared broker."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from typing import Any

import msgspec

from schemas.ports import Unavailable
from sinks.kafka.settings import KafkaSettings
from sinks.kafka.topics import TopicSpec, create_topics, specified


def own_topics(
    bootstrap: str,
    wanted: Callable[[TopicSpec], bool] = lambda spec: True,
    partitions: int | None = None,
    **settings: Any,
) -> KafkaSettings:
    """Settings with a prefix and a group of their own; of the topics, those wanted exist."""
    mark = f"t-{uuid.uuid4().hex[:12]}."
    made = KafkaSettings(
        bootstrap_servers=bootstrap, topic_prefix=mark, group=f"{mark}group", **settings
    )
    specs = [spec for spec in specified() if wanted(spec)]
    if partitions is not None:
        specs = [msgspec.structs.replace(spec, partitions=partitions) for spec in specs]
    end = time.monotonic() + 60
    while specs:
        try:
            create_topics(made, replication=1, topics=specs)
        except Unavailable:  # A broker that makes the topics of many tests at once.
            assert time.monotonic() < end
        else:
            break
    return made


def is_queue(spec: TopicSpec) -> bool:
    """Twins, reconciliation and enrichment: all but the inputs."""
    return spec.config["max.message.bytes"] == str(16 << 20)
