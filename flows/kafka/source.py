"""Kafka as a source."""

from __future__ import annotations

from collections.abc import Callable

from flows.control import Control
from flows.kafka.buffer import Place
from flows.kafka.log import KafkaLog
from flows.source import Reading, Settle, SourcePart, Span
from schemas.failures import UserError
from sinks.kafka.settings import KafkaSettings


def kafka_source(
    settings: KafkaSettings,
    reading: Reading,
    control: Control,
    seal: Callable[[], Settle],
    *,
    accept_gap: bool = False,
    span: Span | None = None,
) -> SourcePart[Place]:
    """A member of the group as the source's part; it joins at once, and leaves when it is closed.

    Raises UserError (topics missing, sign-in refused, properties) and Unavailable.
    """
    if settings.instance_id is not None and settings.protocol != "classic":
        raise UserError(
            'kafka.instance_id needs kafka.protocol = "classic": with the protocol consumer, the '
            "successor of a static member that was killed is refused until its session ends."
        )
    log = KafkaLog(
        settings,
        span or Span(),
        control,
        follow=reading.follow,
        accept_gap=accept_gap,
    )
    try:
        return SourcePart(log, reading, control, seal)
    except BaseException:
        log.close()
        raise
