"""Appends to a file log: one lock, torn tails cut, nothing confirmed that is not on the disk."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from flows.filelog.layout import (
    PARTITIONS,
    create_topic,
    segment_bases,
    segment_path,
    sync_folder,
)
from flows.filelog.lines import NewRecord, encode_line
from flows.filelog.murmur2 import partition_of
from schemas.log import Origin, Partition

SEGMENT_BYTES = 64 * 1024 * 1024
_BLOCK = 1 << 20


class LogWriter:
    """Appends batches of records to the log in ``log_dir``; several may work side by side.

    A segment that has reached ``segment_bytes`` is followed by a new one.
    """

    def __init__(self, log_dir: Path, segment_bytes: int = SEGMENT_BYTES) -> None:
        self._dir = log_dir
        self._segment_bytes = segment_bytes
        self._ends: dict[Partition, tuple[int, int, int]] = {}

    def append(self, records: Sequence[NewRecord]) -> list[Origin]:
        """Appends in order and answers where each record stands. Durable when it returns."""
        with _locked(self._dir):
            counts = {t: create_topic(self._dir, t).partitions for t in {r.topic for r in records}}
            by_partition: dict[Partition, list[int]] = {}
            for index, record in enumerate(records):
                number = record.partition
                if number is None:
                    number = partition_of(record.key, record.value, counts[record.topic])
                by_partition.setdefault(Partition(record.topic, number), []).append(index)
            origins: dict[int, Origin] = {}
            for partition, indexes in by_partition.items():
                first = self._append_to(partition, [encode_line(records[i]) for i in indexes])
                for line, index in enumerate(indexes):
                    origins[index] = Origin(
                        partition.topic, partition.number, first + line, records[index].timestamp
                    )
            return [origins[i] for i in range(len(records))]

    def _append_to(self, partition: Partition, lines: list[bytes]) -> int:
        base, size, next_offset = self._end(partition)
        first = next_offset
        while lines:
            if size >= self._segment_bytes:
                base, size = next_offset, 0
            take, grown = 0, size
            while take < len(lines) and grown < self._segment_bytes:
                grown += len(lines[take])
                take += 1
            path = segment_path(self._dir, partition, base)
            with open(path, "ab", opener=_private) as file:
                file.write(b"".join(lines[:take]))
                file.flush()
                os.fsync(file.fileno())
            if size == 0:
                sync_folder(path.parent)
            size, next_offset, lines = grown, next_offset + take, lines[take:]
        self._ends[partition] = (base, size, next_offset)
        return first

    def _end(self, partition: Partition) -> tuple[int, int, int]:
        """(base of the last segment, its size, next offset), after a torn tail was cut."""
        bases = segment_bases(self._dir, partition)
        if not bases:
            segment_path(self._dir, partition, 0).parent.mkdir(0o750, exist_ok=True)
            sync_folder(self._dir / partition.topic)
            return 0, 0, 0
        base = bases[-1]
        path = segment_path(self._dir, partition, base)
        known = self._ends.get(partition)
        size = path.stat().st_size
        if known is not None and known[:2] == (base, size):
            return known
        lines, whole = _count_lines(path)
        if whole < size:
            os.truncate(path, whole)
        return base, whole, base + lines


def _private(path: str, flags: int) -> int:
    """The log holds texts as they came: not for everybody on the machine."""
    return os.open(path, flags, 0o640)


def _count_lines(path: Path) -> tuple[int, int]:
    """How many complete lines a segment has, and where the last of them ends."""
    lines = position = whole = 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            lines += block.count(b"\n")
            last = block.rfind(b"\n")
            if last >= 0:
                whole = position + last + 1
            position += len(block)
    return lines, whole


@contextmanager
def _locked(log_dir: Path) -> Iterator[None]:
    """Holds the log's append lock; waits for whoever appends now."""
    log_dir.mkdir(0o750, parents=True, exist_ok=True)
    with (log_dir / "append.lock").open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def create_topics(log_dir: Path) -> None:
    """Makes the three input topics, so that a worker can follow a log that is still empty."""
    with _locked(log_dir):
        for topic in PARTITIONS:
            create_topic(log_dir, topic)
