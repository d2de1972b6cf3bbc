"""Reads the file log: chunks in step by log time, positions committed behind the barrier."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

import msgspec
import structlog
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition

from flows.control import Control
from flows.filelog import START, NotALog, PartitionReader, Position, partitions_of
from flows.pacing import Pace
from schemas.chunk import Chunk
from schemas.events import TOPICS, PromptEvent
from schemas.failures import UserError
from schemas.log import LogRecord, Partition
from schemas.ports import Damaged, Unavailable

Keyed = tuple[str, Chunk[LogRecord]]
Ranges = Mapping[Partition, tuple[tuple[int, int], ...]]

_AHEAD = {topic for topic, event in TOPICS.items() if event is PromptEvent}
_log = structlog.get_logger("source")


Positions = Mapping[Partition, Position]
Settle = Callable[[], None]


class Offsets(Protocol):
    """Where positions are kept. A commit takes effect after all that was written before it."""

    def load(self) -> Positions: ...

    def commit(self, positions: Positions, /) -> Future[None]: ...


class SourceSettings(msgspec.Struct, frozen=True):
    """``careful``: ranges of offsets (both ends included) to be read one event a chunk."""

    log_dir: Path
    follow: bool = False
    limit: int = 500
    limit_bytes: int = 4 << 20
    work: float = 0.1
    poll: float = 0.05
    key: bytes = b""
    careful: Ranges = {}


class LogPart(StatefulSourcePartition[Keyed, None]):
    """The one part of the source: all partitions of the log.

    Positions are sealed in ``snapshot`` at the end of an epoch and committed by the next
    ``next_batch``, which bytewax calls only when every output has finished that epoch. ``seal`` is
    called with each seal; what it returns runs before that seal is committed and raises Unavailable
    when something written behind the stages was lost: the log is then read again from what is
    committed.
    """

    def __init__(
        self,
        settings: SourceSettings,
        offsets: Offsets,
        control: Control,
        seal: Callable[[], Settle],
    ) -> None:
        self._settings = settings
        self._offsets = offsets
        self._control = control
        self._seal = seal
        self._pace = Pace()
        self._commits: list[tuple[Positions, Future[None]]] = []
        self._last: tuple[int, int] = (0, 0)
        self._lead = 0.0
        self._awake: datetime | None = None
        self._readers: dict[Partition, PartitionReader] = {}
        self._start()
        if not self._readers and not settings.follow:
            raise NotALog(
                f"{settings.log_dir} holds no event log (none of {', '.join(TOPICS)}). "
                "Put events into it with: memory-graph log append FILE"
            )

    def _start(self) -> None:
        """Stands at what is committed."""
        self.close()
        self._committed = dict(self._offsets.load())
        self._greatest = max((p.log_time for p in self._committed.values()), default=0)
        self._log_time = 0
        self._readers.clear()
        self._idle: set[Partition] = set()
        self._sealed: tuple[Positions, Settle] | None = None
        self._told = -1
        self._draining = 0
        self._find_partitions()

    def next_batch(self) -> list[Keyed]:
        try:
            return self._next()
        except (UserError, Damaged) as error:
            self._control.fail(error)
            self._control.check()
            raise

    def _next(self) -> list[Keyed]:
        control = self._control
        control.check()
        self._awake = None
        if control.dirty and not self._rewind():
            return []
        if self._sealed is not None:
            sealed, self._sealed = self._sealed, None
            if not self._commit(*sealed):
                return []
            if self._draining == 2:
                self._finish()
                raise StopIteration
        if self._draining:
            return []
        if control.stopping:
            self._draining = 1
            return []
        if self._last[0]:
            self._pace.observe(*self._last, control.spent)
            self._last = (0, 0)
        control.spent = 0.0
        chunk = self._read() or self._tell_time()
        if chunk is not None:
            return [(str(chunk.partition), chunk)]
        if self._settings.follow:
            self._awake = datetime.now(UTC) + timedelta(seconds=self._settings.poll)
        else:
            self._report_torn()
            self._draining = 1
        return []

    def next_awake(self) -> datetime | None:
        return self._awake

    def snapshot(self) -> None:
        positions = {p: r.position for p, r in self._readers.items()}
        self._sealed = positions, self._seal()
        if self._draining == 1:
            self._draining = 2

    def close(self) -> None:
        """Never commits: it also runs when a failure unwinds."""
        for reader in self._readers.values():
            reader.close()

    def _find_partitions(self) -> None:
        settings = self._settings
        for partition in partitions_of(settings.log_dir, tuple(TOPICS)):
            if partition not in self._readers:
                position = self._committed.get(partition, START)
                self._readers[partition] = PartitionReader(
                    settings.log_dir, partition, position, settings.key
                )

    def _read(self) -> Chunk[LogRecord] | None:
        """A chunk of the partition whose next record is the oldest; None at the end of all."""
        chosen = self._oldest()
        if chosen is None:
            self._idle.clear()
            self._find_partitions()
            chosen = self._oldest()
            if chosen is None:
                return None
        timestamp, partition = chosen
        self._log_time = max(self._log_time, timestamp)
        settings, reader = self._settings, self._readers[partition]
        left = settings.work
        size = 0

        def admit(length: int) -> bool:
            nonlocal left, size
            left -= self._pace.estimate(length)
            if left < 0 or size + length > settings.limit_bytes:
                return False
            size += length
            return True

        records = reader.take(self._limit(partition, reader.offset), admit)
        self._last = (len(records), size)
        last = max(r.origin.timestamp for r in records)
        self._greatest = max(self._greatest, last)
        self._lead = max(0.9 * self._lead, last - records[0].origin.timestamp)
        return Chunk(partition, records, self._log_time)

    def _oldest(self) -> tuple[int, Partition] | None:
        """The least log time of all, and the partition to read: that of the oldest record, where
        prompts are ahead by a chunk, so that most responses find theirs."""
        least: int | None = None
        chosen: tuple[float, Partition] | None = None
        for partition, reader in self._readers.items():
            if partition in self._idle:
                continue
            timestamp = reader.head()
            if timestamp is None:
                self._idle.add(partition)
                continue
            least = timestamp if least is None else min(least, timestamp)
            rank = timestamp - self._lead if partition.topic in _AHEAD else float(timestamp)
            if chosen is None or rank < chosen[0]:
                chosen = (rank, partition)
        return None if least is None or chosen is None else (least, chosen[1])

    def _limit(self, partition: Partition, offset: int) -> int:
        """Most records of the next chunk: one inside a careful range, up to it before it."""
        limit = self._settings.limit
        for first, last in self._settings.careful.get(partition, ()):
            if first <= offset <= last:
                return 1
            if offset < first:
                limit = min(limit, first - offset)
        return limit

    def _tell_time(self) -> Chunk[LogRecord] | None:
        """All read: an empty chunk with the greatest log time, until nothing more comes of it."""
        if not self._readers:
            return None
        self._log_time = max(self._log_time, self._greatest)
        if self._told == self._log_time and not self._control.emitted:
            return None
        self._told = self._log_time
        self._control.emitted = 0
        return Chunk(next(iter(self._readers)), (), self._log_time)

    def _commit(self, positions: Positions, settle: Settle) -> bool:
        """Commits a seal; False when it may not be, and the log is read again."""
        try:
            settle()
        except Unavailable as error:
            _log.warning("lost_write", what=error.what, code=error.code)
            self._control.dirty = True
            return False
        except Damaged as error:
            self._control.fail(error)
            self._control.check()
        waiting = []
        for commit, future in self._commits:
            if not future.done():
                waiting.append((commit, future))
            elif (failed := future.exception()) is not None:
                self._note(failed, commit)
        self._commits = waiting
        self._control.check()
        changed = {p: x for p, x in positions.items() if self._committed.get(p) != x}
        if changed:
            self._committed.update(changed)
            self._commits.append((changed, self._offsets.commit(changed)))
        return True

    def _rewind(self) -> bool:
        """After a write behind the stages was lost: reads again from what is committed."""
        if self._control.stopping:
            self._control.fail(Unavailable("database", "lost_write"))
            self._control.check()
        try:
            self._start()
        except Unavailable as error:
            self._control.trouble(error.what, error.code)
            self._awake = datetime.now(UTC) + timedelta(seconds=1)
            return False
        self._control.trouble("database", None)
        self._control.dirty = False
        return True

    def _note(self, error: BaseException, commit: Positions) -> None:
        """Seals are cumulative: what this commit could not say, the next one will."""
        if isinstance(error, Damaged):
            self._control.fail(error)
        _log.warning("commit_failed", error=type(error).__name__, code=getattr(error, "code", ""))
        for partition in commit:
            self._committed.pop(partition, None)

    def _finish(self) -> None:
        """Waits until everything is committed; tries again while the store cannot take it."""
        while True:
            failed: dict[Partition, Position] = {}
            for commit, future in self._commits:
                while not future.done():
                    self._control.check()
                    self._control.wait(0.002)
                error = future.exception()
                if error is not None:
                    self._note(error, commit)
                    failed.update(commit)
                else:
                    failed = {p: x for p, x in failed.items() if p not in commit}
            self._control.check()
            if not failed:
                return
            self._control.wait(1.0)
            self._commits = [(failed, self._offsets.commit(failed))]

    def _report_torn(self) -> None:
        for partition, reader in self._readers.items():
            path = reader.torn
            if path is not None:
                _log.warning("torn_line", partition=str(partition), segment=path.name)


class LogSource(FixedPartitionedSource[Keyed, None]):
    """The file log as one part. It is built before: bytewax's own recovery is not used, and what
    is wrong with the log is then an error of ours, not one of bytewax's."""

    def __init__(self, part: LogPart) -> None:
        self._part = part

    def list_parts(self) -> list[str]:
        return ["log"]

    def build_part(self, step_id: str, for_part: str, resume_state: Any) -> LogPart:  # noqa: ARG002
        return self._part
