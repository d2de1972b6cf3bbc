"""Kafka as the event log: the group's source, its offsets, and replays."""

from flows.kafka.offsets import GroupOffsets
from flows.kafka.source import kafka_source

__all__ = ["GroupOffsets", "kafka_source"]
