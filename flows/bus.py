"""The event log that the settings name: a folder of files, or Kafka."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Protocol

from flows.control import Control
from flows.filelog import LogEnds, log_ends, remove_consumed
from flows.filelog.source import Offsets, file_source
from flows.keys import Keys
from flows.settings import Settings
from flows.source import Reading, Settle, SourcePart, Span
from schemas.events import TOPICS
from schemas.failures import UserError
from schemas.log import Partition

LEAVING = 1.0
"""Seconds that closing waits for a question that brokers do not answer."""


class Bus(Protocol):
    """The log and how far it is consumed. Each call raises Unavailable."""

    def committed(self) -> dict[Partition, int]:
        """The next offset of each partition of which something is consumed for good."""
        ...

    def ends(self) -> dict[Partition, int]:
        """The offset behind the last record of each partition."""
        ...

    def lag(self) -> dict[str, int]:
        """Records not consumed for good, by topic."""
        ...

    def source(
        self, reading: Reading, control: Control, seal: Callable[[], Settle], *, accept_gap: bool
    ) -> SourcePart[Any]:
        """The source's part for a worker. Raises UserError."""
        ...

    def close(self) -> None: ...


class FileBus:
    """Asking for the lag also removes segments that nobody needs any more."""

    def __init__(self, settings: Settings, keys: Keys, offsets: Offsets) -> None:
        self._dir = settings.log_dir
        self._keep_bytes = settings.log.keep_bytes
        self._key = keys.log
        self._offsets = offsets
        self._measured = LogEnds(settings.log_dir)

    def committed(self) -> dict[Partition, int]:
        return {partition: place.offset for partition, place in self._offsets.load().items()}

    def ends(self) -> dict[Partition, int]:
        return dict(log_ends(self._dir))

    def lag(self) -> dict[str, int]:
        committed = self.committed()
        lag = dict.fromkeys(TOPICS, 0)
        for partition, end in self._measured.measure().items():
            lag[partition.topic] += max(0, end - committed.get(partition, 0))
        if self._keep_bytes is not None:
            remove_consumed(self._dir, committed, self._keep_bytes)
        return lag

    def source(
        self, reading: Reading, control: Control, seal: Callable[[], Settle], *, accept_gap: bool
    ) -> SourcePart[Any]:
        if accept_gap:
            raise UserError("--accept-gap is for a log in Kafka: a log in files has no gaps.")
        return file_source(self._dir, self._key, reading, self._offsets, control, seal)

    def close(self) -> None:
        pass


class KafkaBus:
    """The topics as the worker's group reads them, or the part of them that is in ``span``. Safe
    for several threads; who still asks when it is closed keeps its client to the end."""

    def __init__(self, settings: Settings, span: Span | None = None) -> None:
        from flows.kafka.offsets import GroupOffsets

        self._settings = settings.kafka
        self._span = span
        topics = tuple(TOPICS) if span is None else span.topics
        self._offsets = GroupOffsets(settings.kafka, topics)
        self._lock = threading.Lock()

    def committed(self) -> dict[Partition, int]:
        with self._lock:
            found = self._offsets.load()
        return {partition: place.offset for partition, place in found.items()}

    def ends(self) -> dict[Partition, int]:
        with self._lock:
            return self._offsets.ends()

    def lag(self) -> dict[str, int]:
        with self._lock:
            return self._offsets.lag(None if self._span is None else self._span.ends)

    def source(
        self, reading: Reading, control: Control, seal: Callable[[], Settle], *, accept_gap: bool
    ) -> SourcePart[Any]:
        from flows.kafka.source import kafka_source

        return kafka_source(
            self._settings, reading, control, seal, accept_gap=accept_gap, span=self._span
        )

    def close(self) -> None:
        if self._lock.acquire(timeout=LEAVING):
            try:
                self._offsets.close()
            finally:
                self._lock.release()


def open_bus(
    settings: Settings, keys: Keys, offsets: Offsets | None, span: Span | None = None
) -> Bus:
    """The log of the settings; ``offsets`` are those of a log in files, ``span`` what is read of
    one in Kafka."""
    if settings.backends.log == "kafka":
        return KafkaBus(settings, span)
    assert offsets is not None
    return FileBus(settings, keys, offsets)
