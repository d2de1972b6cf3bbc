"""Runs a stage so that one bad event costs one event: exceptions, time budgets, a crash mark."""

from __future__ import annotations

import faulthandler
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, Generic, Protocol, TypeVar

import msgspec
import structlog

from flows.control import Control
from flows.journal import Journal
from flows.tracing import Tracer, ids_of
from schemas.chunk import Chunk, Outcome, Stage
from schemas.failures import Detail, Rejected
from schemas.items import Decoded, Embedded, Enriched, Measured, kind_of
from schemas.log import LogRecord, Origin, Original
from schemas.ports import Damaged, Unavailable

In = TypeVar("In")
Out = TypeVar("Out")

_ROOT = Path(__file__).resolve().parents[1]
_SLICE = 0.25
_log = structlog.get_logger("isolation")


class OverBudget(BaseException):
    """A stage exceeded its time budget. Not an ``Exception``, so that no stage handles it."""


class Observer(Protocol):
    """Who counts what the stages made of the events."""

    def stage(self, name: str, taken: int, outcome: Outcome[Any], seconds: float, /) -> None: ...


class Alarm:
    """Interrupts the main thread when a stage exceeds ``seconds``; elsewhere it does nothing."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._active = threading.current_thread() is threading.main_thread()
        self.deadline = 0.0
        if self._active:
            self._before = signal.signal(signal.SIGALRM, self._ring)

    def close(self) -> None:
        """Puts back who handled the alarm before."""
        if self._active:
            signal.signal(signal.SIGALRM, self._before)

    def __enter__(self) -> None:
        self.deadline = time.monotonic() + self.seconds
        if self._active:
            signal.setitimer(signal.ITIMER_REAL, self.seconds)

    def __exit__(self, *_: object) -> None:
        self.deadline = 0.0
        if self._active:
            signal.setitimer(signal.ITIMER_REAL, 0)

    def _ring(self, _signal: int, _frame: FrameType | None) -> None:
        # A process that was stopped may hear of it when the stage is over, or the next has begun.
        if self.deadline and time.monotonic() >= self.deadline:
            self.deadline = 0.0
            raise OverBudget


class Guard(Generic[In, Out]):
    """A stage that never raises for the sake of an event.

    An exception, or more than the time budget, runs the chunk again event by event; the culprit is
    rejected as ``internal_error`` or ``time_budget`` with the exception's type and frame. While a
    dependency is unavailable the guard waits; what no event is to blame for ends the worker.
    """

    def __init__(
        self,
        stage: Stage[In, Out],
        number: int,
        journal: Journal,
        alarm: Alarm,
        control: Control,
        observer: Observer,
        tracer: Tracer | None = None,
    ) -> None:
        self.name = stage.name
        self._tracer = tracer
        self._stage = stage
        self._number = number
        self._journal = journal
        self._alarm = alarm
        self._control = control
        self._observer = observer

    def __call__(self, chunk: Chunk[In]) -> Outcome[Out]:
        started = time.perf_counter()
        began = time.time_ns() if chunk.trace is not None else 0
        try:
            outcome = self._waiting(chunk)
        except (Exception, OverBudget) as error:
            outcome = self._one_by_one(chunk, error)
        seconds = time.perf_counter() - started
        self._control.spent += seconds
        if not chunk.items:
            self._control.emitted += len(outcome.passed.items)
        self._observer.stage(self.name, len(chunk.items), outcome, seconds)
        if chunk.trace is not None and self._tracer is not None:
            self._tracer.stage(chunk.trace, self.name, began, len(chunk.items), outcome)
            passed = msgspec.structs.replace(outcome.passed, trace=chunk.trace)
            outcome = msgspec.structs.replace(outcome, passed=passed)
        return outcome

    def _waiting(self, chunk: Chunk[In]) -> Outcome[Out]:
        """Runs the stage; while something it needs is unavailable, waits and tries again."""
        delay = 0.5
        missed: set[str] = set()
        while True:
            try:
                outcome = self._run(chunk)
            except Unavailable as error:
                self._control.dirty = True
                self._control.trouble(error.what, error.code)
                self._control.beat()
                missed.add(error.what)
                _log.warning("waiting", stage=self.name, what=error.what, code=error.code)
                if self._gives_up(delay):
                    self._control.fail(error)
                    return _nothing(chunk)
                delay = min(2 * delay, 8.0)
            except Damaged as error:
                self._control.fail(error)
                return _nothing(chunk)
            else:
                for what in missed:
                    self._control.trouble(what, None)
                return outcome

    def _gives_up(self, seconds: float) -> bool:
        """Waits; answers whether to end the worker instead of trying again. A stop in between cuts
        the wait short: it has little time."""
        control = self._control
        late = control.stopping
        left = 0 if late else round(seconds / _SLICE)
        while left and not control.stopping:
            if control.wait(_SLICE):
                return True
            left -= 1
        return late

    def _run(self, chunk: Chunk[In]) -> Outcome[Out]:
        self._control.beat()
        span = _span(chunk)
        if span is None:
            return self._stage(chunk)
        self._journal.enter(self._number, chunk.partition, *span)
        try:
            with self._alarm:
                return self._stage(chunk)
        finally:
            self._journal.idle()

    def _one_by_one(self, chunk: Chunk[In], error: BaseException) -> Outcome[Out]:
        if not chunk.items:
            self._control.fail(error)
            return _nothing(chunk)
        _log.warning(
            "isolating", stage=self.name, partition=str(chunk.partition), error=frame_of(error)
        )
        passed: list[Out] = []
        rejected: list[Rejected] = []
        duplicates = 0
        for item in chunk.items:
            single = Chunk(chunk.partition, (item,), chunk.log_time)
            try:
                if len(chunk.items) == 1:
                    raise error
                outcome = self._waiting(single)
            except (Exception, OverBudget) as culprit:
                code = "time_budget" if isinstance(culprit, OverBudget) else "internal_error"
                rejected.append(reject(self.name, code, item, frame_of(culprit)))
                _log.warning("rejected", stage=self.name, code=code, **ids_of(item))
            else:
                passed += outcome.passed.items
                rejected += outcome.rejected
                duplicates += outcome.duplicates
            if self._control.failed:
                break
        return Outcome(Chunk(chunk.partition, passed, chunk.log_time), tuple(rejected), duplicates)


class Screen:
    """Takes out the events that are known to kill the process, before the first stage; here a chunk
    that is traced begins."""

    def __init__(
        self, isolated: Mapping[tuple[str, int, int], str], tracer: Tracer | None = None
    ) -> None:
        self._isolated = isolated
        self._tracer = tracer

    def __call__(self, chunk: Chunk[LogRecord]) -> tuple[Chunk[LogRecord], tuple[Rejected, ...]]:
        if self._tracer is not None and (traced := self._tracer.begin(chunk)) is not None:
            chunk = msgspec.structs.replace(chunk, trace=traced)
        if not self._isolated:
            return chunk, ()
        passed: list[LogRecord] = []
        rejected: list[Rejected] = []
        for record in chunk.items:
            origin = record.origin
            stage = self._isolated.get((origin.topic, origin.partition, origin.offset))
            if stage is None:
                passed.append(record)
            else:
                rejected.append(reject(stage, "process_killed", record))
        return Chunk(chunk.partition, passed, chunk.log_time, chunk.trace), tuple(rejected)


class Watchdog:
    """Ends the process when a stage does not even let the alarm interrupt it.

    The mark in the journal then tells the next start which events were at work. Code that holds the
    interpreter's lock stops this thread as well: then a timer of :mod:`faulthandler`, which this
    thread winds up as long as it runs, ends the process with exit code 1 and a list of frames.
    """

    def __init__(
        self, alarm: Alarm, journal: Journal, grace: float, end: Callable[[], None]
    ) -> None:
        self._alarm = alarm
        self._last_resort = alarm.seconds + 4 * grace + 1.0
        self._journal = journal
        self._grace = grace
        self._end = end
        self._closed = threading.Event()
        self._wind_up()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self._thread.start()

    def _wind_up(self) -> None:
        if sys.__stderr__ is not None:
            faulthandler.dump_traceback_later(self._last_resort, exit=True, file=sys.__stderr__)

    def _watch(self) -> None:
        while not self._closed.wait(min(1.0, self._grace)):
            self._wind_up()
            deadline = self._alarm.deadline
            if deadline and time.monotonic() > deadline + self._grace:
                self._journal.hung()
                self._end()
                return

    def close(self) -> None:
        self._closed.set()
        self._thread.join()
        faulthandler.cancel_dump_traceback_later()


def _span(chunk: Chunk[Any]) -> tuple[int, int] | None:
    """The offsets of the chunk's own events, which are in order; completed ones, behind them, may
    come from anywhere."""
    items = chunk.items
    if not items:
        return None
    first, last = origin_of(items[0]), origin_of(items[-1])
    number, topic = chunk.partition.number, chunk.partition.topic
    if last.offset >= first.offset and (
        first.partition == last.partition == number and first.topic == last.topic == topic
    ):
        return first.offset, last.offset
    offsets = [
        origin.offset
        for origin in map(origin_of, items)
        if origin.partition == number and origin.topic == topic
    ]
    return (min(offsets), max(offsets)) if offsets else None


def origin_of(item: Any) -> Origin:
    """Where an item of any stage came from."""
    if isinstance(item, LogRecord | Decoded):
        return item.origin
    return item.decoded.origin if isinstance(item, Measured) else item.event.origin


def reject(stage: str, code: str, item: Any, expected: str = "") -> Rejected:
    """A rejection of an item of any stage."""
    detail = Detail("$", expected)
    original: Original | None
    if isinstance(item, LogRecord):
        return Rejected(stage, code, item.origin, detail, item.original)
    if isinstance(item, Measured):
        item = item.decoded
    if isinstance(item, Decoded):
        return Rejected(stage, code, item.origin, detail, item.original, item.id, item.kind)
    assert isinstance(item, Embedded | Enriched)
    event, original = item.event, item.original
    return Rejected(stage, code, event.origin, detail, original, event.id, kind_of(event))


def frame_of(error: BaseException) -> str:
    """``ValueError at stages/pii/walk.py:12``: the type and the innermost frame of ours."""
    name = type(error).__name__
    frames: Sequence[traceback.FrameSummary] = traceback.extract_tb(error.__traceback__)
    for frame in reversed(frames):
        path = Path(frame.filename)
        if path.is_relative_to(_ROOT) and "site-packages" not in path.parts:
            return f"{name} at {path.relative_to(_ROOT)}:{frame.lineno}"
    return name


def _nothing(chunk: Chunk[Any]) -> Outcome[Any]:
    return Outcome(Chunk(chunk.partition, (), chunk.log_time))
