"""The event log as a proof reads it: any range, and single records, without a group."""

from __future__ import annotations

import contextlib
from array import array
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Protocol

from flows.filelog import START, PartitionReader, Position, log_ends
from flows.filelog.layout import segment_bases, segment_path
from flows.filelog.lines import decode_line, to_record
from flows.filelog.source import Offsets
from flows.prove.report import Bounds
from schemas.log import LogRecord, Partition

BATCH = 500
BATCH_BYTES = 8 << 20
"""Of records that are looked at together, so that large ones do not fill the memory."""
_EVERY = 1_000
"""Lines between two entries of a segment's index."""


class LogView(Protocol):
    """Reads what is in the log. Each call raises Unavailable. ``leaves_out``: offsets may be
    missing in it for good reasons (marks of transactions, compaction)."""

    leaves_out: bool

    def start(self, partition: Partition, /) -> int:
        """Where a partition begins now; 0 where there is no such partition."""
        ...

    def bounds(self) -> Mapping[Partition, Bounds]:
        """Of every partition."""
        ...

    def read(self, partition: Partition, first: int, end: int, /) -> Iterator[list[LogRecord]]:
        """The records from ``first`` up to, not including, ``end``, in order and in batches.
        Offsets may be missing, also because they expire meanwhile."""
        ...

    def at(self, partition: Partition, offset: int, /) -> LogRecord | None:
        """The record that stands there; None where there is none any more."""
        ...

    def close(self) -> None: ...


class FileLogView:
    """The log in files, beside whoever appends to it, reads it, or removes its oldest segments."""

    leaves_out = False

    def __init__(self, log_dir: Path, offsets: Offsets) -> None:
        self._dir = log_dir
        self._offsets = offsets
        self._indexes: dict[tuple[Partition, int], array[int]] = {}

    def bounds(self) -> dict[Partition, Bounds]:
        committed = self._offsets.load()
        found = {}
        for partition, end in log_ends(self._dir).items():
            bases = segment_bases(self._dir, partition)
            place = committed.get(partition, START)
            found[partition] = Bounds(bases[0] if bases else 0, end, place.offset)
        return found

    def start(self, partition: Partition) -> int:
        bases = segment_bases(self._dir, partition)
        return bases[0] if bases else 0

    def read(self, partition: Partition, first: int, end: int) -> Iterator[list[LogRecord]]:
        following: int | None = first
        while following is not None and following < end:
            base = self._base(partition, following)
            if base is None:
                return
            reader = PartitionReader(
                self._dir, partition, Position(base, base=-1) if base else START
            )
            try:
                while reader.offset < end:
                    records = reader.take(min(BATCH, end - reader.offset), _room())
                    if not records:
                        break
                    wanted = [record for record in records if record.origin.offset >= following]
                    if wanted:
                        yield wanted
                # Behind a segment that is gone, the log may go on.
                bases = segment_bases(self._dir, partition)
                following = next((b for b in bases if b > reader.offset), None)
            finally:
                reader.close()

    def _base(self, partition: Partition, offset: int) -> int | None:
        """The segment to begin with: the one that holds the offset, else the first."""
        bases = segment_bases(self._dir, partition)
        return max((base for base in bases if base <= offset), default=min(bases, default=None))

    def at(self, partition: Partition, offset: int) -> LogRecord | None:
        bases = [base for base in segment_bases(self._dir, partition) if base <= offset]
        if not bases:
            return None
        path = segment_path(self._dir, partition, bases[-1])
        line, found = offset - bases[-1], b""
        with contextlib.suppress(FileNotFoundError):  # Removed in this moment.
            index = self._index(partition, bases[-1], path)
            if line // _EVERY >= len(index):
                return None
            with path.open("rb") as file:
                file.seek(index[line // _EVERY])
                for _ in range(line % _EVERY):
                    file.readline()
                found = file.readline()
        if not found.endswith(b"\n"):
            return None
        return to_record(decode_line(found[:-1]), partition.topic, partition.number, offset)

    def close(self) -> None:
        """Holds nothing open."""

    def _index(self, partition: Partition, base: int, path: Path) -> array[int]:
        """Where every so many lines begin; counted again when the segment has grown since."""
        found = self._indexes.get((partition, base))
        if found is None or path.stat().st_size > found[0]:
            found = array("q", [path.stat().st_size, 0])
            byte = 0
            with path.open("rb") as file:
                for number, line in enumerate(file, 1):
                    byte += len(line)
                    if number % _EVERY == 0:
                        found.append(byte)
            self._indexes[partition, base] = found
        return found[1:]


def _room() -> Callable[[int], bool]:
    """Agrees to as many lines as a batch may hold bytes."""
    left = BATCH_BYTES

    def admit(size: int) -> bool:
        nonlocal left
        left -= size
        return left >= 0

    return admit
