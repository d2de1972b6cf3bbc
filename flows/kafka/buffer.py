"""What was fetched of one partition and not yet taken."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable
from typing import Any, Literal

import msgspec
from confluent_kafka import Message

from flows.source import Admit
from schemas.log import LogRecord, Origin, Original, Partition

OVERHEAD = 800
"""Bytes of a record beside its value."""


class Place(msgspec.Struct, frozen=True):
    """How far a partition was taken: the next offset, the greatest log timestamp before it (ms),
    and the ``era``, the assignment in which it was taken."""

    offset: int
    log_time: int = 0
    era: int = 0


class Buffer:
    """A :class:`flows.source.Reader` over what the consumer has handed over.

    ``fetched`` is the offset after the last that came (None: none yet), ``end`` where reading stops
    (None: never); ``at_end``: the broker said that there is no more for now. ``late``: it was
    waited for in vain; ``stopped``: a gap stands before its next record. ``misplaced``: the broker
    cannot give what comes next, or it is to be read again. ``committed``: the last commit of this
    era. ``size``: bytes in memory, roughly.
    """

    def __init__(
        self, partition: Partition, era: int, end: int | None, lock: threading.RLock
    ) -> None:
        self.partition = partition
        self.era = era
        self.end = end
        self.fetched: int | None = None
        self.at_end = self.late = self.stopped = False
        self.paused = True  # Perhaps: the client keeps that beyond an assignment.
        self.misplaced: Literal["lost", "again"] | None = None
        self.committed: int | None = None
        self.size = 0
        self._lock = lock
        self._records: deque[tuple[LogRecord, int]] = deque()
        self._taken: int | None = None
        self._log_time = 0

    def __len__(self) -> int:
        return len(self._records)

    @property
    def offset(self) -> int:
        if self._records:
            return self._records[0][0].origin.offset
        return self.fetched or 0

    def head(self) -> int | None:
        return self._records[0][0].origin.timestamp if self._records else None

    def take(self, limit: int, admit: Admit) -> list[LogRecord]:
        taken: list[LogRecord] = []
        with self._lock:
            while self._records and len(taken) < limit:
                record, size = self._records[0]
                if not admit(size) and taken:
                    break
                self._records.popleft()
                self.size -= size + OVERHEAD
                taken.append(record)
                self._log_time = max(self._log_time, record.origin.timestamp)
            if taken:
                self._taken = taken[-1].origin.offset + 1
        return taken

    def put(self, message: Message) -> None:
        """Keeps a message, unless it lies behind ``end`` or was there already."""
        offset = message.offset()
        assert offset is not None
        self.at_end = self.late = False
        if self.fetched is not None and offset < self.fetched:
            return
        self.fetched = offset + 1
        if self.end is not None and offset >= self.end:
            return
        record = to_record(self.partition, offset, message)
        size = record.original.size
        self.size += size + OVERHEAD
        self._records.append((record, size))

    def reached(self, offset: int) -> None:
        """The broker has nothing at ``offset`` yet (what lies before may be control records)."""
        self.fetched = max(self.fetched or 0, offset)
        self.at_end, self.late = True, False

    @property
    def place(self) -> Place | None:
        """How far it was taken; None while nothing is known of it."""
        if not self._records and self.fetched is not None:
            offset = self.fetched if self.end is None else min(self.fetched, self.end)
            return Place(max(offset, self._taken or 0), self._log_time, self.era)
        return None if self._taken is None else Place(self._taken, self._log_time, self.era)

    @property
    def past_end(self) -> bool:
        """Whether all that is wanted has come."""
        return self.end is not None and self.fetched is not None and self.fetched >= self.end

    @property
    def done(self) -> bool:
        """Whether everything before ``end`` was taken."""
        if self._records or self.end is None:
            return False
        return self.stopped or self.past_end


def to_record(partition: Partition, offset: int, message: Message[Any, Any]) -> LogRecord:
    """The log record of a message. A tombstone's value is empty: validation refuses it."""
    _, timestamp = message.timestamp()
    pairs: Iterable[tuple[str, Any]] = message.headers() or ()  # type: ignore[assignment]
    headers = tuple((name, _bytes(value)) for name, value in pairs)
    return LogRecord(
        Origin(partition.topic, partition.number, offset, max(0, timestamp)),
        Original(message.key(), headers, message.value() or b""),
    )


def _bytes(value: object) -> bytes:
    if isinstance(value, bytes):
        return value
    return value.encode() if isinstance(value, str) else b""
