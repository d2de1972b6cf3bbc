"""Appends bare events, one JSON object a line, each to the topic that its shape names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import msgspec

from flows.filelog.routing import Clock, RefusedLine, batches
from flows.filelog.writer import LogWriter


class Appended(msgspec.Struct):
    """What became of the lines: records appended by topic, and the lines refused."""

    topics: dict[str, int] = {}
    refused: list[RefusedLine] = []


def append_events(
    lines: Iterable[bytes], log_dir: Path, topic: str | None = None, timestamp: Clock = "event"
) -> Appended:
    """Appends each line as a record, durable when it returns; :func:`flows.filelog.routing.batches`
    says where it goes. Duplicates are appended like any other."""
    writer = LogWriter(log_dir)
    counts: Counter[str] = Counter()
    refused: list[RefusedLine] = []
    for batch in batches(lines, topic, timestamp):
        refused += batch.refused
        if batch.records:
            writer.append(batch.records)
        counts.update(record.topic for record in batch.records)
    return Appended(dict(counts), refused)
