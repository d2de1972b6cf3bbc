"""Where a log ends, and the removal of segments that every reader has behind it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from flows.filelog.layout import PARTITIONS, partitions_of, segment_bases, segment_path
from flows.filelog.writer import _count_lines
from schemas.log import Partition


def log_ends(log_dir: Path) -> dict[Partition, int]:
    """The next offset of every partition (Kafka's log-end offset)."""
    ends = {}
    for partition in partitions_of(log_dir, tuple(PARTITIONS)):
        bases = segment_bases(log_dir, partition)
        ends[partition] = 0
        if bases:
            lines, _ = _count_lines(segment_path(log_dir, partition, bases[-1]))
            ends[partition] = bases[-1] + lines
    return ends


def remove_consumed(log_dir: Path, committed: Mapping[Partition, int], keep_bytes: int) -> int:
    """Removes the oldest segments that lie wholly behind the committed offset while a partition
    holds more than ``keep_bytes``; answers how many. The last segment always stays."""
    removed = 0
    for partition, offset in committed.items():
        bases = segment_bases(log_dir, partition)
        paths = [segment_path(log_dir, partition, base) for base in bases]
        total = sum(path.stat().st_size for path in paths)
        for path, following in zip(paths, bases[1:], strict=False):
            if following > offset or total <= keep_bytes:
                break
            total -= path.stat().st_size
            path.unlink()
            removed += 1
    return removed
