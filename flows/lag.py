"""How far the worker is behind the log, by topic."""

from __future__ import annotations

from pathlib import Path

from flows.filelog import LogEnds, remove_consumed
from flows.filelog.source import Offsets
from schemas.events import TOPICS


class FileLag:
    """Records behind the committed offsets of a file log, by topic; with ``keep_bytes``, each call
    also removes segments that nobody needs any more. Raises Unavailable and OSError."""

    def __init__(self, log_dir: Path, offsets: Offsets, keep_bytes: int | None) -> None:
        self._log_dir = log_dir
        self._offsets = offsets
        self._keep_bytes = keep_bytes
        self._ends = LogEnds(log_dir)

    def __call__(self) -> dict[str, int]:
        committed = {p: x.offset for p, x in self._offsets.load().items()}
        lag = dict.fromkeys(TOPICS, 0)
        for partition, end in self._ends.measure().items():
            lag[partition.topic] += max(0, end - committed.get(partition, 0))
        if self._keep_bytes is not None:
            remove_consumed(self._log_dir, committed, self._keep_bytes)
        return lag
