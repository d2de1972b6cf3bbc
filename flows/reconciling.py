"""The dataflow that drains one store's reconciliation queue::

    queue ─ write ─ (settled behind the barrier)

One dataflow for each store, in a thread of its own: none waits for another.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import bytewax.operators as op
import msgspec
import structlog
from bytewax.dataflow import Dataflow
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition

from flows.barrier import BarrierSink
from flows.control import Control
from flows.delivery import JITTER, persist, write
from schemas.failures import UserError
from schemas.ports import Damaged, Result, Sink, Unavailable
from schemas.queues import DeadLetters, Parked, ParkingQueue, Refused
from schemas.records import Store

BATCH = 500
AHEAD = 8
"""Batches that may be on their way at once."""
MOST_ATTEMPTS = 5
"""Attempts after which a record that makes its store raise becomes a dead letter."""
EPOCH = timedelta(seconds=0.2)

_log = structlog.get_logger("reconcile")


class Drained(msgspec.Struct):
    """What became of one store's queue. ``left`` is what waits now, with the codes of why."""

    written: int = 0
    rejected: int = 0
    left: int = 0
    codes: dict[str, int] = {}


class Drain(msgspec.Struct, frozen=True):
    """How a queue is drained. ``follow``: until stopped, and what a store does not take is tried
    again after ``first`` seconds, twice that, … ``longest``; else until a store takes nothing of a
    batch, ``tries`` times in a row: one that is slow learns by failing how little it can take.
    ``until_empty``: as ``follow``, until nothing is left. ``patience``:
    seconds to wait for what another member of the group may hold."""

    follow: bool = False
    first: float = 1.0
    longest: float = 30.0
    until_empty: bool = False
    poll: float = 0.5
    patience: float = 60.0
    tries: int = 3


class Batch(msgspec.Struct):
    """Parked records on their way to the store, and then what became of them."""

    parked: Sequence[Parked]
    done: list[Parked] = []
    refused: int = 0
    again: list[tuple[Parked, str]] = []
    retry_after: float = 0.0


class BatchWriter:
    """Writes each batch once. What the store refuses for good becomes a dead letter."""

    def __init__(self, sink: Sink[Any], letters: DeadLetters, control: Control) -> None:
        self.name: str = sink.store
        self._sink = sink
        self._letters = letters
        self._control = control

    def __call__(self, *batches: Batch) -> None:
        for batch in batches:
            self._write(batch)

    def _write(self, batch: Batch) -> None:
        store = self._sink.store
        results = write(self._sink, [parked.record for parked in batch.parked])
        done: list[Parked] = []
        refused: list[Refused] = []
        for parked, result in zip(batch.parked, results, strict=True):
            if hopeless(parked, result):
                refused.append(Refused(store, parked.record, result.code))
                done.append(parked)
            elif result.status == "unavailable":
                batch.again.append((parked, result.code))
                batch.retry_after = max(batch.retry_after, result.retry_after or 0.0)
            else:
                done.append(parked)
        if refused and not persist(lambda: self._letters.put(refused), self._control):
            return
        batch.refused, batch.done = len(refused), done


class QueuePart(StatefulSourcePartition[tuple[str, Batch], None]):
    """Reads one store's queue. What was handed out is settled when bytewax asks for more after the
    end of the epoch, which it does only when every write of that epoch is over."""

    def __init__(
        self, queue: ParkingQueue, store: Store, control: Control, drain: Drain, drained: Drained
    ) -> None:
        self._queue = queue
        self._store = store
        self._control = control
        self._drain = drain
        self._drained = drained
        self._ahead: list[Batch] = []
        self._sealed: list[Batch] = []
        self._after = 0
        self._delay = drain.first
        self._down = False
        self._vain = 0
        self._came_on = False
        self._again: Counter[str] = Counter()
        self._not_before = 0.0
        self._moved = time.monotonic()
        self._awake: datetime | None = None
        self._finished = False
        self._draining = 0
        self._hurry = False

    def hurry(self) -> None:
        """The store takes records again: does not wait any longer, if it does. Safe in any
        thread."""
        self._hurry = True

    def next_batch(self) -> list[tuple[str, Batch]]:
        self._awake = None
        self._control.check()
        try:
            return self._next()
        except Unavailable as error:
            if not self._drain.follow:
                self._fail(error)
            self._control.trouble(error.what, error.code)
            _log.warning("queue_unavailable", store=self._store, what=error.what, code=error.code)
            self._pause(1.0)
            return self._wait()
        except (UserError, Damaged) as error:
            self._fail(error)
            raise

    def snapshot(self) -> None:
        self._sealed = list(self._ahead)
        if self._draining == 1:
            self._draining = 2

    def next_awake(self) -> datetime | None:
        return self._awake

    def _next(self) -> list[tuple[str, Batch]]:
        if self._sealed:
            self._settle()
        if self._draining == 2 and not self._ahead:
            raise StopIteration
        if self._draining:
            return self._wait()
        if self._finished or self._control.stopping:
            self._draining = 1
            return []
        if self._hurry and time.monotonic() < self._not_before:
            self._hurry, self._not_before, self._delay = False, 0.0, self._drain.first
        if time.monotonic() < self._not_before:
            if not self._ahead:
                # Nothing new is wanted, but whoever reads a queue in a group has to be heard of.
                self._queue.take(self._store, 1)
            return self._wait()
        if len(self._ahead) >= (1 if self._down else AHEAD):
            return self._wait()
        taken = self._queue.take(self._store, BATCH, self._after)
        for what in self._control.troubles:
            self._control.trouble(what, None)
        if not taken:
            return self._nothing()
        self._after = taken[-1].sequence
        batch = Batch(taken)
        self._ahead.append(batch)
        return [(self._store, batch)]

    def _nothing(self) -> list[tuple[str, Batch]]:
        """The end of the queue, or of what may be read of it."""
        if self._ahead:
            return self._wait()
        drain = self._drain
        if drain.follow and (self._again or not drain.until_empty):
            self._after = 0
            self._pause(self._delay if self._again else drain.poll)
        elif self._again and self._came_on:
            self._after = 0
            self._pause(self._delay)
        elif self._again or self._queue.caught_up(self._store):
            self._finished = True
        elif time.monotonic() - self._moved > drain.patience:
            self._drained.codes = {"read_elsewhere": 0}
            self._finished = True
        self._came_on = False
        self._again.clear()
        return self._wait()

    def _settle(self) -> None:
        """Removes what is written from the queue; counts, and decides when to try the rest."""
        for batch in self._sealed:
            self._queue.settle(batch.done)
            if batch.again:
                self._queue.failed(batch.again)
            self._ahead.remove(batch)
            self._drained.rejected += batch.refused
            self._drained.written += len(batch.done) - batch.refused
        batches, self._sealed = self._sealed, []
        done = sum(len(batch.done) for batch in batches)
        codes = Counter(code for batch in batches for _, code in batch.again)
        self._again += codes
        self._drained.codes = dict(sorted(self._again.items()))
        if done:
            self._moved = time.monotonic()
            self._delay = self._drain.first
            self._down = False
            self._came_on, self._vain = True, 0
            _log.info("reconciled", store=self._store, records=done)
        elif codes:
            self._store_is_down(sorted(codes), max(b.retry_after for b in batches))

    def _store_is_down(self, codes: list[str], asked: float) -> None:
        self._vain += 1
        if not self._drain.follow and self._vain >= self._drain.tries:
            self._finished = True
            return
        # Jitter only spreads retries in time; nothing is decided by it.
        delay = max(asked, self._delay * random.uniform(1 - JITTER, 1 + JITTER))  # noqa: S311
        _log.warning("waiting", store=self._store, codes=codes, seconds=round(delay, 1))
        self._delay = min(2 * self._delay, self._drain.longest)
        self._down = True
        self._again.clear()
        self._after = 0
        self._pause(delay)

    def _pause(self, seconds: float) -> None:
        self._not_before = time.monotonic() + seconds

    def _wait(self) -> list[tuple[str, Batch]]:
        """Comes again when there may be something to do: soon enough for a stop, too."""
        rest = self._not_before - time.monotonic()
        self._awake = datetime.now(UTC) + timedelta(seconds=min(max(rest, 0.02), 0.25))
        return []

    def _fail(self, error: Exception) -> None:
        self._control.fail(error)
        self._control.check()


class QueueSource(FixedPartitionedSource[tuple[str, Batch], None]):
    """One queue as one part."""

    def __init__(self, part: QueuePart) -> None:
        self._part = part

    def list_parts(self) -> list[str]:
        return ["queue"]

    def build_part(self, step_id: str, for_part: str, resume_state: Any) -> QueuePart:  # noqa: ARG002
        return self._part


def build(part: QueuePart, writer: BatchWriter, control: Control) -> Dataflow:
    """The dataflow of one store."""
    flow = Dataflow(f"reconcile_{writer.name}")
    batches = op.input("queue", flow, QueueSource(part))
    op.output("write", batches, BarrierSink(writer, control, threads=2, depth=AHEAD))
    return flow


def hopeless(parked: Parked, result: Result) -> bool:
    """Whether trying again is no use: refused, or the store raises whenever it gets the record."""
    if result.status == "rejected":
        return True
    raised = result.status == "unavailable" and result.code == "internal_error"
    return raised and parked.attempts + 1 >= MOST_ATTEMPTS
