"""Where a log ends, measured again and again at the cost of what was appended since."""

from __future__ import annotations

from pathlib import Path

from flows.filelog.layout import PARTITIONS, partitions_of, segment_bases, segment_path
from schemas.log import Partition

_BLOCK = 1 << 20


class LogEnds:
    """The next offset of every partition of a log (Kafka's log-end offset)."""

    def __init__(self, log_dir: Path) -> None:
        self._dir = log_dir
        self._known: dict[Partition, tuple[int, int, int]] = {}

    def measure(self) -> dict[Partition, int]:
        """Counts complete lines behind what was counted the last time."""
        return {p: self._end(p) for p in partitions_of(self._dir, tuple(PARTITIONS))}

    def _end(self, partition: Partition) -> int:
        bases = segment_bases(self._dir, partition)
        if not bases:
            return 0
        base, byte, lines = self._known.get(partition, (-1, 0, 0))
        if base != bases[-1]:
            base, byte, lines = bases[-1], 0, 0
        with segment_path(self._dir, partition, base).open("rb") as file:
            file.seek(byte)
            position = byte
            while block := file.read(_BLOCK):
                lines += block.count(b"\n")
                # A torn tail may be cut and written anew: it is read again.
                byte = max(byte, position + block.rfind(b"\n") + 1)
                position += len(block)
        self._known[partition] = (base, byte, lines)
        return base + lines


def log_ends(log_dir: Path) -> dict[Partition, int]:
    """The next offset of every partition, measured once."""
    return LogEnds(log_dir).measure()
