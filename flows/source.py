"""The source of the dataflow: chunks in step by log time, positions committed behind the barrier.

Here is what every log has in common; :mod:`flows.filelog.source` and :mod:`flows.kafka.source` are
the two logs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, Protocol, TypeVar

import msgspec
import structlog
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition

from flows.barrier import await_writes
from flows.control import Control, Waiting
from flows.pacing import Pace
from schemas.chunk import Chunk
from schemas.events import TOPICS, PromptEvent
from schemas.failures import UserError
from schemas.log import LogRecord, Partition
from schemas.ports import Damaged, Unavailable

Keyed = tuple[str, Chunk[LogRecord]]
Ranges = Mapping[Partition, tuple[tuple[int, int], ...]]
Settle = Callable[[], None]
Admit = Callable[[int], bool]
Place = TypeVar("Place")

MOST_SEALS = 2
"""Epochs that the stages may be ahead of what is committed."""
_AHEAD = {topic for topic, event in TOPICS.items() if event is PromptEvent}
_log = structlog.get_logger("source")


class Reader(Protocol):
    """The records of one partition, in order."""

    @property
    def offset(self) -> int:
        """The next offset to take."""
        ...

    def head(self) -> int | None:
        """The log timestamp of the next record in ms; None when there is none at hand."""
        ...

    def take(self, limit: int, admit: Admit, /) -> list[LogRecord]:
        """Up to ``limit`` records, at least one if there is one, while ``admit`` agrees to the
        bytes of the next."""
        ...


class Log(Protocol[Place]):
    """What the logs do each in their own way. A ``Place`` is how far a partition was taken."""

    def start(self) -> int:
        """Stands at what is committed; answers the greatest log time (ms) consumed by then. Called
        again after a lost write. Raises Unavailable."""
        ...

    def readers(self) -> Mapping[Partition, Reader]:
        """Takes in what has come; answers those that have a record to give now."""
        ...

    def in_step(self) -> bool:
        """Whether each partition that has more is among :meth:`readers`: only then is the oldest
        record there the oldest of all."""
        ...

    def ended(self) -> bool:
        """Whether all that was there at the start was taken, by this process or by others of its
        group. Asked when there are no readers."""
        ...

    def places(self) -> Mapping[Partition, Place]:
        """How far each partition was taken."""
        ...

    def commit(self, places: Mapping[Partition, Place], /) -> None:
        """Commits in the background. What fails to be is committed with the next."""
        ...

    def finish(self) -> None:
        """Waits until everything is committed; tries again while that cannot be."""
        ...

    def close(self) -> None:
        """Never commits: it also runs when a failure unwinds."""
        ...


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """How a log is read: bounds of a chunk (events, bytes, seconds of estimated work), seconds
    between two looks at a log that has ended, and ``careful``, ranges of offsets (both ends
    included) to be read one event a chunk."""

    follow: bool = False
    limit: int = 500
    limit_bytes: int = 4 << 20
    work: float = 0.1
    poll: float = 0.05
    careful: Ranges = {}


class Span(msgspec.Struct, frozen=True):
    """What is read of a log in Kafka: the topics, and for a part of them the offsets at which
    reading stops. Without ``ends`` and without following, it stops at the ends found at the start.
    """

    topics: tuple[str, ...] = tuple(TOPICS)
    ends: Mapping[Partition, int] | None = None


class Seal(msgspec.Struct, Generic[Place], frozen=True):
    """How far an epoch has read, and what is to be done and to be written before that is
    committed."""

    places: Mapping[Partition, Place]
    settle: Settle
    unwritten: Sequence[Future[None]]

    @property
    def written(self) -> bool:
        return all(future.done() for future in self.unwritten)


class SourcePart(StatefulSourcePartition[Keyed, None], Generic[Place]):
    """The one part of the source: all partitions that this process reads.

    Places are sealed in ``snapshot`` at the end of an epoch. bytewax calls the next ``next_batch``
    only when every output has seen that epoch: what they have not written by then belongs to the
    seal, and when it is written the seal is committed, in the order of the epochs. At most
    :data:`MOST_SEALS` wait for that; then the source does. ``seal`` is called with each seal; what
    it returns runs before that seal is committed and raises Unavailable when something written
    behind the stages was lost: the log is then read again from what is committed.
    """

    def __init__(
        self,
        log: Log[Place],
        reading: Reading,
        control: Control,
        seal: Callable[[], Settle],
    ) -> None:
        self._log = log
        self._reading = reading
        self._control = control
        self._seal = seal
        self._waiting = Waiting(control)
        self._pace = Pace()
        self._last: tuple[int, int] = (0, 0)
        self._lead = 0.0
        self._awake: datetime | None = None
        self._start()

    def _start(self) -> None:
        self._greatest = self._log.start()
        self._log_time = 0
        self._sealed: tuple[Mapping[Partition, Place], Settle] | None = None
        self._seals: deque[Seal[Place]] = deque()
        self._told = -1
        self._draining = 0

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
            unwritten, control.unwritten = control.unwritten, []
            self._seals.append(Seal(*self._sealed, unwritten))
            self._sealed = None
        if not self._commit_written():
            return []
        if self._draining == 2:
            self._log.finish()
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
        if self._reading.follow or not self._log.ended():
            if self._log.in_step():  # Or the log itself has waited for what it lacks.
                self._awake = datetime.now(UTC) + timedelta(seconds=self._reading.poll)
        else:
            self._draining = 1
        return []

    def next_awake(self) -> datetime | None:
        return self._awake

    def snapshot(self) -> None:
        self._sealed = self._log.places(), self._seal()
        if self._draining == 1:
            self._draining = 2

    def close(self) -> None:
        self._log.close()

    def _read(self) -> Chunk[LogRecord] | None:
        """A chunk of the partition whose next record is the oldest; None where there is none."""
        readers = self._log.readers()
        chosen = _oldest(readers, self._lead)
        if chosen is None:
            return None
        timestamp, partition = chosen
        if self._log.in_step():
            self._log_time = max(self._log_time, timestamp)
        reading, reader = self._reading, readers[partition]
        left = reading.work
        size = 0

        def admit(length: int) -> bool:
            nonlocal left, size
            left -= self._pace.estimate(length)
            if left < 0 or size + length > reading.limit_bytes:
                return False
            size += length
            return True

        records = reader.take(self._limit(partition, reader.offset), admit)
        self._last = (len(records), size)
        last = max(r.origin.timestamp for r in records)
        self._greatest = max(self._greatest, last)
        self._lead = max(0.9 * self._lead, last - records[0].origin.timestamp)
        return Chunk(partition, records, self._log_time)

    def _limit(self, partition: Partition, offset: int) -> int:
        """Most records of the next chunk: one inside a careful range, up to it before it."""
        limit = self._reading.limit
        for first, last in self._reading.careful.get(partition, ()):
            if first <= offset <= last:
                return 1
            if offset < first:
                limit = min(limit, first - offset)
        return limit

    def _tell_time(self) -> Chunk[LogRecord] | None:
        """All read: an empty chunk with the greatest log time, until nothing more comes of it."""
        if not self._log.in_step():
            return None
        self._log_time = max(self._log_time, self._greatest)
        if self._told == self._log_time and not self._control.emitted:
            return None
        partition = next(iter(self._log.places()), None)
        if partition is None:
            return None
        self._told = self._log_time
        self._control.emitted = 0
        return Chunk(partition, (), self._log_time)

    def _commit_written(self) -> bool:
        """Commits the seals of which everything is written, and waits where there are too many;
        False when the log is to be read again."""
        most = 0 if self._draining == 2 else MOST_SEALS
        while self._seals and (self._seals[0].written or len(self._seals) > most):
            await_writes(self._seals[0].unwritten, self._control)
            self._control.check()
            seal = self._seals.popleft()
            if not self._commit(seal.places, seal.settle):
                return False
        return True

    def _commit(self, places: Mapping[Partition, Place], settle: Settle) -> bool:
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
        self._log.commit(places)
        self._control.check()
        return True

    def _rewind(self) -> bool:
        """After a write behind the stages was lost: reads again from what is committed."""
        if self._control.stopping:
            self._control.fail(Unavailable("database", "lost_write"))
            self._control.check()
        # What follows from the joins alone is not read again: its writes bind the next seal.
        while self._seals:
            self._control.unwritten += self._seals.popleft().unwritten
        try:
            self._start()
        except Unavailable as error:
            self._waiting.on(error)
            self._awake = datetime.now(UTC) + timedelta(seconds=1)
            return False
        self._waiting.over()
        self._control.dirty = False
        return True


def _oldest(readers: Mapping[Partition, Reader], lead: float) -> tuple[int, Partition] | None:
    """The least log time of all, and the partition to read: that of the oldest record, where
    prompts are ahead by ``lead``, so that most responses find theirs."""
    least: int | None = None
    chosen: tuple[float, Partition] | None = None
    for partition, reader in readers.items():
        timestamp = reader.head()
        if timestamp is None:
            continue
        least = timestamp if least is None else min(least, timestamp)
        rank = timestamp - lead if partition.topic in _AHEAD else float(timestamp)
        if chosen is None or rank < chosen[0]:
            chosen = (rank, partition)
    return None if least is None or chosen is None else (least, chosen[1])


class LogSource(FixedPartitionedSource[Keyed, None]):
    """A log as one part. It is built before: bytewax's own recovery is not used, and what is wrong
    with the log is then an error of ours, not one of bytewax's."""

    def __init__(self, part: SourcePart[Any]) -> None:
        self._part = part

    def list_parts(self) -> list[str]:
        return ["log"]

    def build_part(self, step_id: str, for_part: str, resume_state: Any) -> SourcePart[Any]:  # noqa: ARG002
        return self._part
