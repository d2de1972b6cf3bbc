"""Removal of segments that the worker has behind it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from flows.filelog.layout import segment_bases, segment_path
from schemas.log import Partition


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
