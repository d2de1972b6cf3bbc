"""Which log timestamp an event without a readable time gets."""

from __future__ import annotations

import json
from pathlib import Path

from flows.filelog import append_events, partitions_of
from flows.filelog.reader import START, PartitionReader

TOPIC = "llm.prompts.v1"


def timestamps(folder: Path) -> dict[int, int]:
    """Log timestamp by the number each value carries."""
    found = {}
    for partition in partitions_of(folder, (TOPIC,)):
        reader = PartitionReader(folder, partition, START, b"k" * 32)
        while records := reader.take(100, lambda _: True):
            for record in records:
                value = json.loads(record.original.open()[2])
                found[value["n"]] = record.origin.timestamp
        reader.close()
    return found


def test_leading_lines_take_the_first_readable_time(tmp_path: Path) -> None:
    """The clock would run ahead of a log of the past and make orphans of what waits in it."""
    times = [None, "soon", "2023-11-16T18:15:46Z", None, "2023-11-16T18:15:47Z", 5]
    lines = [json.dumps({"n": n, "timestamp": t}).encode() for n, t in enumerate(times)]
    append_events(lines, tmp_path, topic=TOPIC)
    first, second = 1_700_158_546_000, 1_700_158_547_000
    assert timestamps(tmp_path) == {0: first, 1: first, 2: first, 3: first, 4: second, 5: second}
