"""The file log as a source: byte positions, kept beside the stores."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Protocol

import structlog

from flows.control import COMMITS, Control
from flows.filelog.errors import NotALog
from flows.filelog.layout import partitions_of
from flows.filelog.reader import START, PartitionReader, Position
from flows.source import Reading, Settle, SourcePart
from schemas.events import TOPICS
from schemas.log import Partition
from schemas.ports import Damaged

_log = structlog.get_logger("source")

Positions = Mapping[Partition, Position]


class Offsets(Protocol):
    """Where positions are kept. A commit takes effect after all that was written before it."""

    def load(self) -> Positions: ...

    def commit(self, positions: Positions, /) -> Future[None]: ...


class FileLog:
    """A :class:`flows.source.Log` over segments. ``key`` keys the hashes in positions."""

    def __init__(self, log_dir: Path, key: bytes, offsets: Offsets, control: Control) -> None:
        self._dir = log_dir
        self._key = key
        self._offsets = offsets
        self._control = control
        self._readers: dict[Partition, PartitionReader] = {}
        self._idle: set[Partition] = set()
        self._committed: dict[Partition, Position] = {}
        self._commits: list[tuple[Positions, Future[None]]] = []

    def start(self) -> int:
        self.close()
        self._committed = dict(self._offsets.load())
        self._readers.clear()
        self._idle.clear()
        self._find_partitions()
        return max((p.log_time for p in self._committed.values()), default=0)

    def readers(self) -> dict[Partition, PartitionReader]:
        ready = self._ready()
        if not ready:
            self._idle.clear()
            self._find_partitions()
            ready = self._ready()
        return ready

    def in_step(self) -> bool:
        return True

    def ended(self) -> bool:
        for partition, reader in self._readers.items():
            path = reader.torn
            if path is not None:
                _log.warning("torn_line", partition=str(partition), segment=path.name)
        return True

    def places(self) -> dict[Partition, Position]:
        return {p: r.position for p, r in self._readers.items()}

    def commit(self, places: Positions) -> None:
        waiting = []
        for commit, future in self._commits:
            if not future.done():
                waiting.append((commit, future))
            else:
                self._note(future.exception(), commit)
        self._commits = waiting
        self._control.check()
        changed = {p: x for p, x in places.items() if self._committed.get(p) != x}
        if changed:
            self._committed.update(changed)
            self._commits.append((changed, self._offsets.commit(changed)))

    def finish(self) -> None:
        while True:
            failed: dict[Partition, Position] = {}
            for commit, future in self._commits:
                while not future.done():
                    self._control.check()
                    self._control.wait(0.002)
                error = future.exception()
                self._note(error, commit)
                if error is not None:
                    failed.update(commit)
                else:
                    failed = {p: x for p, x in failed.items() if p not in commit}
            self._control.check()
            if not failed:
                return
            self._control.wait(1.0)
            self._commits = [(failed, self._offsets.commit(failed))]

    def close(self) -> None:
        for reader in self._readers.values():
            reader.close()

    def _ready(self) -> dict[Partition, PartitionReader]:
        ready = {}
        for partition, reader in self._readers.items():
            if partition in self._idle:
                continue
            if reader.head() is None:
                self._idle.add(partition)
            else:
                ready[partition] = reader
        return ready

    def _find_partitions(self) -> None:
        for partition in partitions_of(self._dir, tuple(TOPICS)):
            if partition not in self._readers:
                position = self._committed.get(partition, START)
                self._readers[partition] = PartitionReader(
                    self._dir, partition, position, self._key
                )
        self._control.assigned = len(self._readers)

    def _note(self, error: BaseException | None, commit: Positions) -> None:
        """Seals are cumulative: what this commit could not say, the next one will."""
        if error is None:
            self._control.degrade(COMMITS, None)
            return
        if isinstance(error, Damaged):
            self._control.fail(error)
        code = getattr(error, "code", "")
        self._control.degrade(COMMITS, code)
        _log.warning("commit_failed", error=type(error).__name__, code=code)
        for partition in commit:
            self._committed.pop(partition, None)


def file_source(
    log_dir: Path,
    key: bytes,
    reading: Reading,
    offsets: Offsets,
    control: Control,
    seal: Callable[[], Settle],
) -> SourcePart[Position]:
    """The file log's part. Raises NotALog where there is no log and none is waited for."""
    part = SourcePart(FileLog(log_dir, key, offsets, control), reading, control, seal)
    if not reading.follow and not partitions_of(log_dir, tuple(TOPICS)):
        raise NotALog(
            f"{log_dir} holds no event log (none of {', '.join(TOPICS)}). "
            "Put events into it with: memory-graph log append FILE"
        )
    return part
