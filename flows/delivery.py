"""What happens to records on their way into a store, and to what was rejected."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import msgspec
import structlog

from flows.breaker import Breaker, BreakerSettings
from flows.control import Control, Waiting
from schemas.chunk import Chunk
from schemas.failures import Rejected
from schemas.log import Origin
from schemas.ports import Claims, Damaged, Result, Sink, Unavailable
from schemas.queues import DeadLetters, Parking, Refused
from schemas.records import Mutation, Record, RecordId, Store

BACKOFF = (1.0, 2.0, 4.0)
JITTER = 0.2
BEFORE_CLAIM = frozenset({"validate", "dedupe"})
"""Stages whose rejections hold no claim."""
CIRCUIT_OPEN = "circuit_open"

_log = structlog.get_logger("delivery")


class Observer(Protocol):
    """Who counts what became of records and dead letters."""

    def written(self, store: Store, status: str, count: int, /) -> None:
        """``status``: written, erased, rejected or parked."""
        ...

    def write_took(self, store: Store, seconds: float, /) -> None: ...

    def dead(self, rejected: Sequence[Rejected], /) -> None: ...


class WriteTracer(Protocol):
    """Who traces writes."""

    def write(self, traced: object, store: Store, started: int, records: int, /) -> None: ...


class DeliverySettings(msgspec.Struct, frozen=True):
    """``deadline``: seconds in which a record is tried before it is parked."""

    deadline: float = 5.0
    backoff: tuple[float, ...] = BACKOFF
    breaker: BreakerSettings = BreakerSettings()


Failed = list[tuple[Record, str]]


class StoreWriter:
    """Writes the records of one store: retried within the deadline, then parked; what the store
    refuses for good becomes a dead letter. While neither the store nor its queue can be written it
    does not return, so the worker reads no further. A fault of the file that both are in is waited
    for, not parked: it is over for both at once.

    A store is found down or up again beside the barrier: once its breaker is open, its records are
    parked at once, and the call that tries it goes on in a thread of its own with records that are
    parked already. So a store that hangs costs the others the deadline once, not every half minute.
    """

    def __init__(
        self,
        sink: Sink[Any],
        select: Callable[[Mutation], Record | None],
        parking: Parking,
        letters: DeadLetters,
        control: Control,
        observer: Observer,
        settings: DeliverySettings,
        tracer: WriteTracer | None = None,
    ) -> None:
        self.name: str = sink.store
        self._tracer = tracer
        self.breaker = Breaker(settings.breaker)
        self._store = sink.store
        self._sink = sink
        self._select = select
        self._parking = parking
        self._letters = letters
        self._control = control
        self._observer = observer
        self._settings = settings
        self._showing = threading.Lock()
        self._quiet_until = 0.0
        """When a store that answered with Retry-After may be called again (monotonic)."""
        self._circuit()

    def __call__(self, *chunks: Chunk[Mutation]) -> None:
        parts = [[r for m in c.items if (r := self._select(m)) is not None] for c in chunks]
        records = [record for part in parts for record in part]
        if not records:
            return
        started = time.time_ns()
        self.deliver(records)
        if self._tracer is not None:
            for chunk, part in zip(chunks, parts, strict=True):
                if chunk.trace is not None and part:
                    self._tracer.write(chunk.trace, self._store, started, len(part))

    def deliver(self, records: Sequence[Record]) -> None:
        """Returns when every record is written, parked or a dead letter, or the worker fails."""
        pending: Failed = [(record, "") for record in records]
        told = 0.0
        forced = False
        while pending and not self._control.failed:
            pending = self._try(pending, forced)
            if not pending:
                break
            shared = [code for _, code in pending if code in self._parking.outages]
            try:
                if shared:
                    raise Unavailable("database", shared[0])
                self._parking.park(self._store, pending)
            except Unavailable as error:
                self._control.trouble(self.name, error.code)
                if time.monotonic() - told > 5.0:
                    told = time.monotonic()
                    _log.error("stopped_reading", store=self.name, what=error.what, code=error.code)
                forced = True
                self._control.wait(0.5)
            else:
                self._parked(pending)
                return
        if not pending:
            self._control.trouble(self.name, None)
            self._show(None)

    def _parked(self, pending: Failed) -> None:
        codes = sorted({code for _, code in pending})
        _log.warning("parked", store=self.name, records=len(pending), codes=codes)
        self._observer.written(self._store, "parked", len(pending))
        self._control.trouble(self.name, None)
        self._show(codes[0])
        if not self.breaker.closed and self.breaker.admit():
            # As many as ever: a store that can take but a few would hold up everybody again.
            trial = [record for record, _ in pending]
            threading.Thread(
                target=self._trial, args=(trial,), name=f"trial-{self.name}", daemon=True
            ).start()
        self._circuit()

    def _trial(self, records: Sequence[Record]) -> None:
        """Tries a store that was down. What becomes of the records is up to reconciliation: they
        are parked, and a second write of them changes nothing."""
        before = time.monotonic()
        try:
            results = write(self._sink, records)
        except Damaged as error:
            self._control.fail(error)
            return
        ok = all(result.status != "unavailable" for result in results)
        self.breaker.report(ok, time.monotonic() - before)
        if ok:
            _log.info("store_is_back", store=self.name)
            self._show(None)
        else:
            self._circuit()

    def _try(self, pending: Failed, forced: bool) -> Failed:
        """Tries until the deadline; answers what could not be written, with the codes of why."""
        started = time.monotonic()
        attempt = 0
        while not self._control.failed:
            if not forced and not self.breaker.closed:
                return [(record, code or CIRCUIT_OPEN) for record, code in pending]
            rest = self._quiet_until - time.monotonic()
            if rest > 0 and not forced:
                if time.monotonic() - started + rest > self._settings.deadline:
                    return [(record, code or "asked_to_wait") for record, code in pending]
                self._control.wait(rest)
            pending = self._attempt([record for record, _ in pending], forced, attempt > 0)
            if not pending or forced or attempt == len(self._settings.backoff):
                return pending
            if not self.breaker.closed:
                return pending
            # Jitter only spreads retries in time; nothing is decided by it.
            delay = self._settings.backoff[attempt] * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311
            if time.monotonic() - started + delay > self._settings.deadline:
                return pending
            self._control.wait(delay)
            attempt += 1
        return pending

    def _attempt(self, records: Sequence[Record], forced: bool, again: bool) -> Failed:
        """Writes once and handles what was refused; answers the records to try again."""
        before = time.monotonic()
        results = write(self._sink, records)
        seconds = time.monotonic() - before
        self._observer.write_took(self._store, seconds)
        failed = [result for result in results if result.status == "unavailable"]
        if any(result.code in self._parking.outages for result in failed):
            self.breaker.forgo()
        elif not forced:
            again = again and len(failed) == len(results)
            self.breaker.report(not failed, seconds, again=again)
            self._circuit()
        asked = max((result.retry_after or 0.0 for result in failed), default=0.0)
        if asked:
            self._quiet_until = max(self._quiet_until, time.monotonic() + asked)
        return self._sort(records, results)

    def _sort(self, records: Sequence[Record], results: Sequence[Result]) -> Failed:
        again: Failed = []
        refused: list[Refused] = []
        counts: dict[str, int] = {}
        for record, result in zip(records, results, strict=True):
            if result.status == "unavailable":
                again.append((record, result.code))
                continue
            counts[result.status] = counts.get(result.status, 0) + 1
            if result.status == "rejected":
                refused.append(Refused(self._store, record, result.code))
        if refused and not persist(lambda: self._letters.put(refused), self._control):
            return again
        for status, count in counts.items():
            self._observer.written(self._store, status, count)
        return again

    def _show(self, code: str | None) -> None:
        """Why records are parked, in the health. A trial may have found the store up meanwhile."""
        with self._showing:
            if code == CIRCUIT_OPEN and self.breaker.closed:
                code = None
            self._control.degrade(self.name, code)
            self._control.circuit(self.name, self.breaker.state)

    def _circuit(self) -> None:
        with self._showing:
            self._control.circuit(self.name, self.breaker.state)


def write(sink: Sink[Any], records: Sequence[Record]) -> Sequence[Result]:
    """Writes, with a result for each record whatever the store raises; only Damaged passes.

    Where a batch makes the store raise, each record is written alone: the culprit is ``rejected``
    with the code ``internal_error``. Where all of them do, the store is at fault, not a record, and
    they are ``unavailable``.
    """
    try:
        return sink.write(records)
    except Damaged:
        raise
    except Unavailable as error:
        return [Result("unavailable", error.code, error.retry_after)] * len(records)
    except Exception as error:
        _log.warning("isolating", store=sink.store, error=type(error).__name__)
    results = [_write_one(sink, record) for record in records]
    if any(r.status not in ("unavailable", "rejected") for r in results):
        return results
    return [Result("unavailable", "internal_error")] * len(records)


def _write_one(sink: Sink[Any], record: Record) -> Result:
    try:
        return sink.write([record])[0]
    except Damaged:
        raise
    except Unavailable as error:
        return Result("unavailable", error.code, error.retry_after)
    except Exception:
        return Result("rejected", "internal_error")


class LetterWriter:
    """Makes rejected events dead letters, and then releases the claims they held."""

    name = "dlq"

    def __init__(
        self, letters: DeadLetters, claims: Claims, control: Control, observer: Observer
    ) -> None:
        self._letters = letters
        self._claims = claims
        self._control = control
        self._observer = observer

    def __call__(self, *parts: tuple[Rejected, ...]) -> None:
        rejected = [one for part in parts for one in part]
        if not persist(lambda: self._letters.put(rejected), self._control):
            return
        held: list[tuple[RecordId, Origin]] = [
            (RecordId(r.kind, r.event_id), r.origin)  # type: ignore[arg-type]
            for r in rejected
            if r.event_id and r.kind and r.stage not in BEFORE_CLAIM
        ]
        if held and not persist(lambda: self._claims.release(held), self._control):
            return
        self._observer.dead(rejected)


def persist(action: Callable[[], None], control: Control) -> bool:
    """Repeats an action until what it needs is available; False when the worker fails meanwhile.

    This is one of the two places where a worker stops reading: its outputs fill up.
    """
    told = 0.0
    waiting = Waiting(control)
    while not control.failed:
        try:
            action()
        except Unavailable as error:
            waiting.on(error)
            if time.monotonic() - told > 5.0:
                told = time.monotonic()
                _log.error("stopped_reading", what=error.what, code=error.code)
            control.wait(0.5)
        else:
            waiting.over()
            return True
    return False
