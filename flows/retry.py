"""Retries dead letters: the stages run on the original bytes under the original origin."""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec

from flows.control import Control
from flows.delivery import write
from flows.isolation import Alarm, Guard
from flows.journal import Journal
from flows.keys import load_keys
from flows.lock import holder_of
from flows.pipeline import Pipeline, build_pipeline
from flows.settings import Settings
from flows.stats import RunStats
from flows.stores import Stores, open_stores, opened_letters
from flows.worker import Build
from flows.writing import write_all
from schemas.chunk import Chunk
from schemas.failures import Rejected, UserError
from schemas.items import PromptSide
from schemas.log import LogRecord, Original, Partition
from schemas.ports import Waiting
from schemas.queues import DeadLetter, DeadLetters, Refused
from schemas.records import RecordId

SETTLE_SECONDS = 1.0


class Retried(msgspec.Struct, frozen=True):
    """What became of a dead letter: ``written``, ``parked`` (a store could not take it now),
    ``duplicate`` (another delivery of the event has been stored), ``rejected`` again (with the
    code), or ``unreadable`` (it came without its bytes)."""

    sequence: int
    outcome: str
    code: str = ""


class RetryResult(msgspec.Struct, frozen=True):
    """Every letter that was retried, and how many came to which outcome (a rejection: its code)."""

    letters: list[Retried]
    outcomes: dict[str, int]


def retry_letters(
    settings: Settings,
    *,
    numbers: Sequence[int] | None = None,
    code: str | None = None,
    build: Build = build_pipeline,
) -> RetryResult:
    """Retries the open letters of these numbers (None: all), or only those with this code."""
    with opened_letters(settings) as letters:
        chosen = [n for n in numbers if letters.get(n)] if numbers else list(_open_ones(letters))
        if code is not None:
            chosen = [n for n in chosen if (x := letters.get(n)) and x.code == code]
    missing = set(numbers or ()) - set(chosen)
    if missing and code is None:
        raise UserError(
            f"There is no dead letter {min(missing)}. 'memory-graph dlq list' shows them."
        )
    done = list(retry(settings, chosen, build=build))
    outcomes = Counter(f"rejected: {r.code}" if r.code else r.outcome for r in done)
    return RetryResult(done, dict(outcomes))


def _open_ones(letters: DeadLetters) -> Iterator[int]:
    after = 0
    while found := letters.list(after=after, limit=1_000):
        yield from (letter.sequence for letter in found)
        after = found[-1].sequence


def retry(
    settings: Settings, sequences: Iterable[int], *, build: Build = build_pipeline
) -> Iterator[Retried]:
    """Retries the open letters of these sequences, one after the other.

    Works beside a running worker; nothing is produced to the input topics. A letter is resolved
    only after what it held is durable. Raises Unavailable (the letter stays as it was) and Damaged.
    """
    keys = load_keys(settings.data, create=False)
    with open_stores(settings, keys) as stores:
        retrier: Retrier | None = None
        with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
            for sequence in sequences:
                letter = stores.letters.get(sequence)
                if letter is None or letter.resolved is not None:
                    continue
                held = stores.letters.open(sequence)
                if isinstance(held, Refused):
                    yield _record(stores, letter, held)
                elif held is None:
                    yield Retried(sequence, "unreadable")
                else:
                    if retrier is None:
                        beside = holder_of(settings.data) is not None
                        joins = _Beside(stores.joins) if beside else _Alone(stores.joins)
                        changed = msgspec.structs.replace(stores, joins=joins)
                        pipeline = build(settings, keys, changed)
                        stack.callback(pipeline.close)
                        retrier = Retrier(stores, pipeline, Path(folder), settings)
                        stack.callback(retrier.close)
                    yield retrier.event(letter, held)


class Retrier:
    """Runs single events through the stages and into the stores."""

    def __init__(
        self, stores: Stores, pipeline: Pipeline, folder: Path, settings: Settings
    ) -> None:
        self._stores = stores
        # Stopping from the start: a dependency that is unavailable is an error, not a wait.
        self._control = Control(quiet=True)
        self._control.stop()
        names = tuple(stage.name for stage in pipeline.stages)
        self._journal = Journal(folder / "inflight", names)
        self._alarm = Alarm(settings.worker.time_budget_seconds)
        self._guards: list[Guard[Any, Any]] = [
            Guard(stage, number, self._journal, self._alarm, self._control, RunStats())
            for number, stage in enumerate(pipeline.stages)
        ]

    def close(self) -> None:
        """Gives the alarm back; the pipeline has another owner."""
        self._alarm.close()
        self._journal.close()

    def event(self, letter: DeadLetter, original: Original) -> Retried:
        origin = letter.origin
        partition = Partition(origin.topic, origin.partition)
        chunk: Chunk[Any] = Chunk(partition, (LogRecord(origin, original),), 0)
        for guard in self._guards:
            outcome = guard(chunk)
            if self._control.failure is not None:
                raise self._control.failure
            if outcome.rejected:
                return self._rejected(letter, outcome.rejected[0])
            if outcome.duplicates:
                self._stores.letters.resolve(letter.sequence, "duplicate")
                return Retried(letter.sequence, "duplicate")
            chunk = outcome.passed
        self._stores.claims.flush()
        self._stores.joins.flush()
        written = write_all(self._stores, chunk.items)
        self._stores.letters.resolve(letter.sequence, "written" if written else "parked")
        return Retried(letter.sequence, "written" if written else "parked")

    def _rejected(self, letter: DeadLetter, rejected: Rejected) -> Retried:
        if rejected.event_id and rejected.kind and rejected.stage not in ("validate", "dedupe"):
            held = RecordId(rejected.kind, rejected.event_id)  # type: ignore[arg-type]
            self._stores.claims.release([(held, rejected.origin)])
            self._stores.claims.flush()
        self._stores.letters.retried(letter.sequence, rejected.code)
        return Retried(letter.sequence, "rejected", rejected.code)


class _Alone:
    """The joins of a retry: what is overdue is the worker's business."""

    def __init__(self, joins: Any) -> None:
        self._joins = joins

    def add_prompts(
        self, sides: Sequence[tuple[PromptSide, int]], /
    ) -> Mapping[str, Sequence[Waiting]]:
        found: Mapping[str, Sequence[Waiting]] = self._joins.add_prompts(sides)
        return found

    def add_responses(
        self, waiting: Sequence[Waiting], /
    ) -> Mapping[str, tuple[PromptSide | None, bool]]:
        found: Mapping[str, tuple[PromptSide | None, bool]] = self._joins.add_responses(waiting)
        return found

    def overdue(self, before: int, limit: int, /) -> Sequence[Waiting]:  # noqa: ARG002
        return ()

    def unheard(self) -> None:
        """Nothing is told."""

    def expire(self, before: int, /) -> None:
        pass

    def flush(self) -> None:
        self._joins.flush()


class _Beside(_Alone):
    """The same beside a worker, whose rows may be seen late: each side looks again after both have
    had the time to commit."""

    def add_prompts(
        self, sides: Sequence[tuple[PromptSide, int]], /
    ) -> Mapping[str, Sequence[Waiting]]:
        if sides:
            super().add_prompts(sides)
            self.flush()
            time.sleep(SETTLE_SECONDS)
        return super().add_prompts(sides)

    def add_responses(
        self, waiting: Sequence[Waiting], /
    ) -> Mapping[str, tuple[PromptSide | None, bool]]:
        if waiting:
            super().add_responses(waiting)
            self.flush()
            time.sleep(SETTLE_SECONDS)
        return super().add_responses(waiting)


def _record(stores: Stores, letter: DeadLetter, refused: Refused) -> Retried:
    (outcome,) = write(stores.sinks[refused.store], [refused.record])
    if outcome.status == "rejected":
        stores.letters.retried(letter.sequence, outcome.code)
        return Retried(letter.sequence, "rejected", outcome.code)
    if outcome.status == "unavailable":
        stores.parking.park(refused.store, [(refused.record, outcome.code)])
    state = "parked" if outcome.status == "unavailable" else "written"
    stores.letters.resolve(letter.sequence, state)
    return Retried(letter.sequence, state)
