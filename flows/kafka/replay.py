"""Reading a range of the log again, under a group that exists only for that."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime

import msgspec
import structlog

from flows.kafka.offsets import GroupOffsets
from flows.source import Span
from schemas.events import TOPICS
from schemas.failures import UserError
from schemas.log import Partition
from schemas.ports import Unavailable
from sinks.kafka.settings import KafkaSettings

Mark = int | Mapping[Partition, int]
"""A log time in ms since 1970, or the offsets of some partitions."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_log = structlog.get_logger("kafka")


def parse_mark(text: str) -> Mark:
    """``2026-01-31T12:00:00Z``, or ``TOPIC:PARTITION=OFFSET`` with commas between several.
    Raises UserError."""
    if "=" not in text:
        try:
            moment = msgspec.convert(text, datetime)
        except msgspec.ValidationError:
            moment = None
        if moment is None or moment.tzinfo is None:
            raise UserError(
                "A place in the log is a time with its zone (2026-01-31T12:00:00Z), or offsets "
                "(llm.prompts.v1:3=1200,llm.prompts.v1:4=900)."
            )
        return int((moment - _EPOCH).total_seconds() * 1_000)
    offsets: dict[Partition, int] = {}
    for part in text.split(","):
        place, _, offset = part.strip().partition("=")
        topic, _, number = place.rpartition(":")
        if topic not in TOPICS or not number.isdecimal() or not offset.isdecimal():
            raise UserError(
                f"{part.strip()} names no offset: expected TOPIC:PARTITION=OFFSET with one of "
                f"{', '.join(TOPICS)}."
            )
        offsets[Partition(topic, int(number))] = int(offset)
    return offsets


@contextmanager
def replaying(
    settings: KafkaSettings,
    start: Mark,
    end: Mark | None = None,
    topics: Sequence[str] = tuple(TOPICS),
) -> Iterator[tuple[KafkaSettings, Span]]:
    """Settings of a fresh group that stands at ``start``, and the span to read with it: up to
    ``end``, or to where the log ends now. The group is deleted in the end.

    Where ``start`` names offsets, no other partition is read. Raises UserError for offsets that are
    not in the log, and Unavailable.
    """
    unknown = [name for name in topics if name not in TOPICS]
    if unknown:
        raise UserError(f"{unknown[0]} is not a topic of the event log ({', '.join(TOPICS)}).")
    group = f"{settings.group}-replay-{secrets.token_hex(4)}"
    fresh = settings.model_copy(update={"group": group, "instance_id": None})
    offsets = GroupOffsets(fresh, topics)
    try:
        span = _stand(offsets, start, end, tuple(topics))
        try:
            yield fresh, span
        finally:
            _remove(offsets, group)
    finally:
        offsets.close()


def _stand(offsets: GroupOffsets, start: Mark, end: Mark | None, topics: tuple[str, ...]) -> Span:
    bounds = offsets.bounds(offsets.partitions())
    starts = offsets.at(start) if isinstance(start, int) else start
    ends = {p: last for p, (_, last) in bounds.items()}
    if isinstance(end, int):
        ends = offsets.at(end)
    elif end is not None:
        ends |= end
    for partition, offset in {**starts, **ends}.items():
        if partition not in bounds:
            raise UserError(f"Kafka has no partition {partition}.")
        first, last = bounds[partition]
        if not first <= starts.get(partition, first) <= last or not first <= offset <= last:
            raise UserError(f"{partition} holds offsets {first} to {last - 1} only.")
    ends = {p: max(ends[p], starts[p]) if p in starts else ends[p] for p in bounds}
    begins = {p: starts.get(p, ends[p]) for p in bounds}
    offsets.commit(begins)
    return Span(topics, ends)


def _remove(offsets: GroupOffsets, group: str) -> None:
    try:
        offsets.delete_group()
    except Unavailable as error:
        # Kafka forgets it by itself, days later.
        _log.warning("group_left_behind", group=group, code=error.code)
