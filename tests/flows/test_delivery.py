"""What becomes of the records of a store, and of rejections: retries, parking, dead letters."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import pytest

from flows.breaker import BreakerSettings
from flows.control import Control
from flows.delivery import DeliverySettings, LetterWriter, StoreWriter, persist
from schemas.failures import Rejected
from schemas.log import Origin
from schemas.ports import WRITTEN, Result, Unavailable
from schemas.queues import Refused
from schemas.records import PointRecord, RecordId, Stamp
from tests.awaiting import until

T = TypeVar("T")
ORIGIN = Origin("llm.prompts.v1", 0, 7, 1)
UNAVAILABLE = Result("unavailable", "locked")


def point(number: int) -> PointRecord:
    stamp = Stamp("prompt", f"id-{number}", 1, 0, ORIGIN, "p", None, None, "")
    return PointRecord(stamp, number, {}, {})


class ScriptedSink:
    """Answers as scripted, call by call; then writes."""

    store = "timeseries"

    def __init__(self, *script: object) -> None:
        self.script = list(script)
        self.calls: list[list[str]] = []
        self.held: set[str] = set()

    def write(self, records: Sequence[Any]) -> Sequence[Result]:
        self.calls.append([r.stamp.id for r in records])
        step = self.script.pop(0) if self.script else None
        if isinstance(step, BaseException):
            raise step
        if callable(step):
            step = step(records)
        results = step or [WRITTEN] * len(records)
        for record, result in zip(records, results, strict=True):
            if result.status == "written":
                self.held.add(record.stamp.id)
        return results


class Memory:
    """Parking, dead letters and claims in memory; ``faults`` are raised first."""

    def __init__(self, *faults: BaseException) -> None:
        self.faults = list(faults)
        self.outages: frozenset[str] = frozenset()
        self.parked: list[tuple[str, str]] = []
        self.letters: list[Any] = []
        self.released: list[tuple[RecordId, Origin]] = []

    def _fault(self) -> None:
        if self.faults:
            raise self.faults.pop(0)

    def park(self, store: str, records: Sequence[tuple[Any, str]]) -> None:
        self._fault()
        self.parked += [(record.stamp.id, code) for record, code in records]

    def put(self, letters: Sequence[Any]) -> None:
        self._fault()
        self.letters += letters

    def release(self, held: Sequence[tuple[RecordId, Origin]]) -> None:
        self.released += held


class Counter:
    def __init__(self) -> None:
        self.counts: dict[str, int] = {}

    def written(self, store: str, status: str, count: int) -> None:
        self.counts[status] = self.counts.get(status, 0) + count

    def write_took(self, store: str, seconds: float) -> None:
        pass

    def dead(self, rejected: Sequence[Rejected]) -> None:
        self.counts["dead"] = self.counts.get("dead", 0) + len(rejected)


FAST = DeliverySettings(deadline=5.0, backoff=(0.0, 0.0, 0.0))
UNBROKEN = DeliverySettings(deadline=5.0, backoff=FAST.backoff, breaker=BreakerSettings(least=99))


def writer(
    sink: ScriptedSink, memory: Memory, settings: DeliverySettings = FAST
) -> tuple[StoreWriter, Counter, Control]:
    counter, control = Counter(), Control()
    made = StoreWriter(sink, lambda m: m, memory, memory, control, counter, settings)  # type: ignore[arg-type]
    return made, counter, control


def at_waits(control: Control, note: Callable[[float], T]) -> list[T]:
    """What ``note`` says of the seconds at each wait of the writer, which does not wait."""
    noted: list[T] = []
    wait = control.wait
    control.wait = lambda s: noted.append(note(s)) or wait(0)  # type: ignore[func-returns-value,method-assign,assignment]
    return noted


def waits(control: Control) -> list[float]:
    """How long the writer waits; it does not."""
    return at_waits(control, lambda seconds: seconds)


def test_every_record_is_written_once() -> None:
    sink, memory = ScriptedSink(), Memory()
    deliver, counter, _ = writer(sink, memory)
    deliver.deliver([point(1), point(2)])
    assert sink.calls == [["id-1", "id-2"]]
    assert counter.counts == {"written": 2}


def test_only_what_may_pass_is_tried_again() -> None:
    sink = ScriptedSink([WRITTEN, UNAVAILABLE, Result("rejected", "too_large")])
    memory = Memory()
    deliver, counter, _ = writer(sink, memory)
    deliver.deliver([point(1), point(2), point(3)])
    assert sink.calls == [["id-1", "id-2", "id-3"], ["id-2"]]
    assert [(r.record.stamp.id, r.code) for r in memory.letters] == [("id-3", "too_large")]
    assert isinstance(memory.letters[0], Refused)
    assert memory.parked == []
    assert counter.counts == {"written": 2, "rejected": 1}


def test_what_stays_unavailable_is_parked_after_three_retries() -> None:
    sink, memory = ScriptedSink(*[[UNAVAILABLE]] * 9), Memory()
    deliver, counter, _ = writer(sink, memory, UNBROKEN)
    deliver.deliver([point(1)])
    assert len(sink.calls) == 4
    assert memory.parked == [("id-1", "locked")]
    assert counter.counts == {"parked": 1}


def test_nothing_is_retried_beyond_the_deadline() -> None:
    sink, memory = ScriptedSink([UNAVAILABLE]), Memory()
    deliver, _, _ = writer(sink, memory, DeliverySettings(deadline=0.5))
    deliver.deliver([point(1)])
    assert len(sink.calls) == 1
    assert memory.parked == [("id-1", "locked")]


def test_while_neither_store_nor_queue_can_be_written_it_goes_on_trying() -> None:
    sink = ScriptedSink(*[Unavailable("database", "full")] * 5)
    memory = Memory(Unavailable("database", "full"))
    deliver, counter, control = writer(sink, memory)
    troubles = at_waits(control, lambda _: control.troubles)
    deliver.deliver([point(1)])
    assert {"timeseries": "full"} in troubles
    assert memory.parked == [("id-1", "full")]
    assert counter.counts == {"parked": 1}


def test_when_the_file_works_again_the_store_gets_the_record_itself() -> None:
    sink = ScriptedSink(*[Unavailable("database", "full")] * 4)
    memory = Memory(Unavailable("database", "full"))
    deliver, counter, control = writer(sink, memory, UNBROKEN)
    waits(control)
    deliver.deliver([point(1)])
    assert sink.held == {"id-1"}
    assert memory.parked == []
    assert counter.counts == {"written": 1}
    assert control.troubles == {}


def test_a_fault_of_the_file_that_the_queue_is_in_is_waited_for() -> None:
    """Also when it is over just before the queue is asked; the store is not blamed for it."""
    sink = ScriptedSink(*[[UNAVAILABLE]] * 9)
    memory = Memory()
    memory.outages = frozenset({"locked"})
    deliver, counter, control = writer(sink, memory)
    troubles = at_waits(control, lambda _: control.troubles)
    deliver.deliver([point(1)])
    assert {"timeseries": "locked"} in troubles
    assert (sink.held, memory.parked) == ({"id-1"}, [])
    assert counter.counts == {"written": 1}
    assert deliver.breaker.state == "closed"
    assert control.troubles == {}


def test_the_first_failure_is_named_where_it_opens_the_breaker() -> None:
    settings = DeliverySettings(backoff=(0.0,) * 9, breaker=BreakerSettings(least=1))
    sink, memory = ScriptedSink([Result("unavailable", "sql_error")]), Memory()
    deliver, _, _ = writer(sink, memory, settings)
    deliver.deliver([point(1)])
    assert memory.parked == [("id-1", "sql_error")]


def test_a_record_that_makes_the_store_raise_is_isolated() -> None:
    def fail_on_two(records: Sequence[Any]) -> Sequence[Result]:
        if any(r.stamp.id == "id-2" for r in records):
            raise ValueError("secret")
        return [WRITTEN] * len(records)

    sink, memory = ScriptedSink(*[fail_on_two] * 9), Memory()
    deliver, _, _ = writer(sink, memory)
    deliver.deliver([point(1), point(2), point(3)])
    assert sink.held == {"id-1", "id-3"}
    assert [(r.record.stamp.id, r.code) for r in memory.letters] == [("id-2", "internal_error")]


def test_a_store_that_always_raises_is_at_fault_itself() -> None:
    sink, memory = ScriptedSink(*[ValueError("secret")] * 99), Memory()
    deliver, _, _ = writer(sink, memory)
    deliver.deliver([point(1), point(2)])
    assert memory.letters == []
    assert {code for _, code in memory.parked} == {"internal_error"}


def test_an_open_breaker_parks_without_asking_the_store() -> None:
    sink, memory = ScriptedSink(*[[UNAVAILABLE]] * 4), Memory()
    deliver, _, _ = writer(sink, memory)
    deliver.deliver([point(1)])
    calls = len(sink.calls)
    deliver.deliver([point(2)])
    assert len(sink.calls) == calls
    assert memory.parked[-1] == ("id-2", "circuit_open")


def test_a_store_that_was_down_is_tried_beside_the_barrier() -> None:
    """The records are parked and the writer returns while the trial still hangs."""
    hanging, free = threading.Event(), threading.Event()

    def hang(records: Sequence[Any]) -> Sequence[Result]:
        hanging.set()
        assert free.wait(60)
        return [WRITTEN] * len(records)

    settings = DeliverySettings(backoff=(0.0,), breaker=BreakerSettings(least=2, recovery=0.0))
    sink, memory = ScriptedSink(*[[UNAVAILABLE]] * 2, hang), Memory()
    deliver, _, control = writer(sink, memory, settings)
    deliver.deliver([point(1)])
    assert hanging.wait(60)
    assert (memory.parked, deliver.breaker.state) == ([("id-1", "locked")], "half-open")
    assert control.circuits == {"timeseries": "half-open"}
    deliver.deliver([point(2)])
    assert memory.parked[-1] == ("id-2", "circuit_open")
    free.set()
    until(lambda: control.circuits == {"timeseries": "closed"})
    deliver.deliver([point(3)])
    assert sink.held == {"id-1", "id-3"}
    assert control.troubles == {}


def test_a_store_found_up_while_its_records_are_parked_is_no_trouble() -> None:
    class Slow(Memory):
        """A trial ends while something is being parked."""

        def park(self, store: str, records: Sequence[tuple[Any, str]]) -> None:
            super().park(store, records)
            if records[0][1] == "circuit_open" and deliver.breaker.admit():
                deliver._trial([record for record, _ in records])

    settings = DeliverySettings(backoff=(0.0,), breaker=BreakerSettings(least=2, recovery=0.0))
    sink, memory = ScriptedSink(*[[UNAVAILABLE]] * 3), Slow()
    deliver, _, control = writer(sink, memory, settings)
    deliver.deliver([point(1)])
    until(lambda: deliver.breaker.state == "open" and len(sink.calls) == 3)
    assert control.troubles == {"timeseries": "locked"}
    deliver.deliver([point(2)])
    assert memory.parked[-1] == ("id-2", "circuit_open")
    assert (control.troubles, control.circuits) == ({}, {"timeseries": "closed"})


def test_a_store_that_is_parked_for_is_shown_and_blocks_nothing() -> None:
    deliver, _, control = writer(ScriptedSink(*[[UNAVAILABLE]] * 4), Memory())
    deliver.deliver([point(1)])
    assert (control.troubles, control.blocking) == ({"timeseries": "locked"}, {})


def test_a_store_that_goes_down_holds_up_the_others_for_one_back_off() -> None:
    """Nobody goes on behind the barrier meanwhile; after long work, too."""
    sink, memory = ScriptedSink(*[[WRITTEN]] * 20, *[[UNAVAILABLE]] * 9), Memory()
    deliver, _, control = writer(sink, memory, DeliverySettings())
    waited = waits(control)
    for number in range(20):
        deliver.deliver([point(number)])
    deliver.deliver([point(20)])
    deliver.deliver([point(21)])
    assert memory.parked == [("id-20", "locked"), ("id-21", "circuit_open")]
    assert len(waited) == 1


def test_a_store_is_left_alone_for_as_long_as_it_asks() -> None:
    sink, memory = ScriptedSink([Result("unavailable", "throttled", 3.0)]), Memory()
    deliver, _, control = writer(sink, memory)
    waited = waits(control)
    deliver.deliver([point(1)])
    assert sink.held == {"id-1"}
    assert waited[0] == 0.0
    assert waited[1] == pytest.approx(3.0, abs=1.0)


def test_a_store_that_asks_for_more_than_the_deadline_is_not_called_until_then() -> None:
    sink, memory = ScriptedSink(Unavailable("timeseries", "throttled", 60.0)), Memory()
    deliver, _, control = writer(sink, memory)
    waited = waits(control)
    deliver.deliver([point(1)])
    deliver.deliver([point(2)])
    assert len(sink.calls) == 1
    assert memory.parked == [("id-1", "throttled"), ("id-2", "asked_to_wait")]
    assert sum(waited) < 1


def rejected(stage: str, number: int) -> Rejected:
    return Rejected(stage, "code", ORIGIN, event_id=f"id-{number}", kind="prompt")


def test_a_rejection_behind_dedupe_releases_its_claim_after_the_letter_is_durable() -> None:
    memory, counter = Memory(Unavailable("database", "locked")), Counter()
    control = Control()
    letters = LetterWriter(memory, memory, control, counter)  # type: ignore[arg-type]
    letters((rejected("pii", 1), rejected("validate", 2), rejected("dedupe", 3)))
    assert len(memory.letters) == 3
    assert memory.released == [(RecordId("prompt", "id-1"), ORIGIN)]
    assert counter.counts == {"dead": 3}
    assert control.troubles == {}


def test_a_trouble_that_becomes_another_leaves_nothing_behind() -> None:
    faults = [Unavailable("kafka", "timed_out"), Unavailable("the topic", "unknown_topic")]
    control = Control()

    def action() -> None:
        if faults:
            raise faults.pop(0)

    assert persist(action, control)
    assert control.blocking == {}
