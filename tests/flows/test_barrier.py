"""Barrier and delivery: no epoch passes with a record not written, parked or a dead letter."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows import barrier
from flows.barrier import BarrierPart, await_writes
from flows.breaker import Breaker, BreakerSettings
from flows.control import Control
from flows.delivery import DeliverySettings, LetterWriter, StoreWriter, persist
from schemas.failures import Rejected
from schemas.log import Origin
from schemas.ports import WRITTEN, Damaged, Result, Unavailable
from schemas.queues import Refused
from schemas.records import PointRecord, RecordId, Stamp

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
    troubles: list[dict[str, str]] = []
    wait = control.wait
    control.wait = lambda s: troubles.append(control.troubles) or wait(0)  # type: ignore[func-returns-value,method-assign,assignment]
    deliver.deliver([point(1)])
    assert {"timeseries": "full"} in troubles
    assert memory.parked == [("id-1", "full")]
    assert counter.counts == {"parked": 1}


def test_when_the_file_works_again_the_store_gets_the_record_itself() -> None:
    sink = ScriptedSink(*[Unavailable("database", "full")] * 4)
    memory = Memory(Unavailable("database", "full"))
    deliver, counter, control = writer(sink, memory, UNBROKEN)
    wait = control.wait
    control.wait = lambda s: wait(0)  # type: ignore[method-assign]
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
    troubles: list[dict[str, str]] = []
    wait = control.wait
    control.wait = lambda s: troubles.append(control.troubles) or wait(0)  # type: ignore[func-returns-value,method-assign,assignment]
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


def test_the_breaker_tries_one_call_after_its_recovery_time() -> None:
    now = [0.0]
    breaker = Breaker(BreakerSettings(), lambda: now[0])
    for _ in range(4):
        assert breaker.admit()
        breaker.report(ok=False, seconds=0.1)
    assert (breaker.admit(), breaker.state) == (False, "open")
    now[0] = 30.0
    assert (breaker.admit(), breaker.admit(), breaker.state) == (True, False, "half-open")
    breaker.report(ok=False, seconds=0.1)
    assert not breaker.admit()
    now[0] = 60.0
    assert breaker.admit()
    breaker.report(ok=True, seconds=0.1)
    assert breaker.state == "closed"


def test_slow_calls_open_the_breaker() -> None:
    breaker = Breaker(BreakerSettings(), lambda: 0.0)
    for _ in range(4):
        breaker.report(ok=True, seconds=5.1)
    assert not breaker.admit()


def test_a_pause_of_the_process_does_not_open_the_breaker() -> None:
    """Two threads write; what was under way when the process stood still looks slow."""
    breaker = Breaker(BreakerSettings(), lambda: 0.0)
    breaker.report(ok=True, seconds=400.0)
    breaker.report(ok=True, seconds=400.0)
    for _ in range(20):
        breaker.report(ok=True, seconds=0.1)
        assert breaker.closed


@pytest.mark.parametrize("before", [0, 100])
def test_calls_that_time_out_open_the_breaker_after_one_round(before: int) -> None:
    breaker = Breaker(BreakerSettings(), lambda: 0.0)
    for _ in range(before):
        breaker.report(ok=True, seconds=0.1)
    breaker.report(ok=False, seconds=5.1)
    breaker.report(ok=False, seconds=4.99)
    assert not breaker.closed


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


def test_a_store_that_is_parked_for_is_shown_and_blocks_nothing() -> None:
    deliver, _, control = writer(ScriptedSink(*[[UNAVAILABLE]] * 4), Memory())
    deliver.deliver([point(1)])
    assert (control.troubles, control.blocking) == ({"timeseries": "locked"}, {})


def waits(control: Control) -> list[float]:
    """How long the writer waits; it does not."""
    seconds: list[float] = []
    wait = control.wait
    control.wait = lambda s: seconds.append(s) or wait(0)  # type: ignore[func-returns-value,method-assign,assignment]
    return seconds


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


def test_the_breaker_stays_closed_below_its_share() -> None:
    breaker = Breaker(BreakerSettings(), lambda: 0.0)
    for number in range(100):
        breaker.report(ok=number % 5 != 0, seconds=0.1)
        assert breaker.admit()


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


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


class Gate:
    """A writer that waits to be let through."""

    name = "gate"

    def __init__(self) -> None:
        self.open = threading.Event()
        self.started = threading.Semaphore(0)
        self.done: list[int] = []

    def __call__(self, item: int) -> None:
        self.started.release()
        assert self.open.wait(30)
        self.done.append(item)


def in_thread(action: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=action)
    thread.start()
    return thread


def test_writes_go_on_beside_the_stages_and_a_snapshot_waits_for_all() -> None:
    gate, control = Gate(), Control()
    part: BarrierPart[int] = BarrierPart(gate, control, threads=2, depth=8)
    part.write_batch([1, 2, 3])
    gate.started.acquire()
    snapshot = in_thread(part.snapshot)
    snapshot.join(0.05)
    assert snapshot.is_alive()
    gate.open.set()
    snapshot.join(30)
    assert sorted(gate.done) == [1, 2, 3]
    part.close()


def test_a_full_barrier_holds_the_worker_back() -> None:
    gate, control = Gate(), Control()
    part: BarrierPart[int] = BarrierPart(gate, control, threads=1, depth=2)
    part.write_batch([1, 2])
    third = in_thread(lambda: part.write_batch([3]))
    third.join(0.05)
    assert third.is_alive()
    gate.open.set()
    third.join(30)
    part.snapshot()
    assert sorted(gate.done) == [1, 2, 3]
    part.close()


class Batches:
    """A writer of lists whose calls wait to be let through, each by one more :meth:`let`."""

    name = "batches"

    def __init__(self) -> None:
        self._open = threading.Semaphore(0)
        self.calls: list[list[int]] = []
        self.done: list[int] = []

    def let(self, calls: int) -> None:
        for _ in range(calls):
            self._open.release()

    def __call__(self, *items: list[int]) -> None:
        numbers = [x for item in items for x in item]
        self.calls.append(numbers)
        assert self._open.acquire(timeout=30)
        self.done += numbers


def test_what_piles_up_behind_a_call_goes_in_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not more than five hundred records, in their order, and nothing waits for company. A second
    thread takes only what fills a call."""
    monkeypatch.setattr(barrier, "LONG", 600.0)
    batches = Batches()
    part: BarrierPart[list[int]] = BarrierPart(batches, Control(), 2, 100, len)
    part.write_batch([[1]])
    until(lambda: batches.calls == [[1]])
    part.write_batch([[2, 3], [4]])
    part.write_batch([list(range(150)), list(range(150, 300)), list(range(300, 450))])
    batches.let(1)
    until(lambda: len(batches.calls) == 2)
    assert batches.calls[1] == [2, 3, 4, *range(450)]
    part.write_batch([list(range(450)), [5]])
    assert len(batches.calls) == 2
    part.write_batch([list(range(100))])
    until(lambda: len(batches.calls) == 3)
    assert batches.calls[2] == [*range(450), 5]
    batches.let(3)
    part.snapshot()
    assert batches.calls[3:] == [[*range(100)]]
    part.close()


def test_a_call_that_takes_long_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when nothing more comes."""
    monkeypatch.setattr(barrier, "LONG", 0.3)
    batches = Batches()
    part: BarrierPart[list[int]] = BarrierPart(batches, Control(), 2, 9, len)
    part.write_batch([[1]])
    until(lambda: batches.calls == [[1]])
    part.write_batch([[2]])
    until(lambda: batches.calls == [[1], [2]])
    batches.let(2)
    part.snapshot()
    part.close()


def test_a_store_that_is_never_done_costs_no_memory() -> None:
    """As long as it takes: no more is kept than waits."""
    batches = Batches()
    part: BarrierPart[list[int]] = BarrierPart(batches, Control(), 2, 8, len)
    for number in range(200):
        part.write_batch([[number]])
        batches.let(1)
    assert part._pool._work_queue.qsize() <= 1
    part.snapshot()
    assert sorted(batches.done) == list(range(200))
    part.close()


def test_more_than_a_call_takes_goes_alone() -> None:
    batches = Batches()
    part: BarrierPart[list[int]] = BarrierPart(batches, Control(), 1, 9, len)
    part.write_batch([[1]])
    until(lambda: len(batches.calls) == 1)
    part.write_batch([list(range(5_000)), [], [2]])
    batches.let(3)
    part.snapshot()
    assert batches.calls == [[1], [*range(5_000)], [2]]
    part.close()


def test_a_snapshot_may_leave_the_waiting_to_the_source() -> None:
    batches, control = Batches(), Control()
    part: BarrierPart[list[int]] = BarrierPart(batches, control, 1, 9, len, ahead=True)
    part.write_batch([[1]])
    until(lambda: len(batches.calls) == 1)
    part.write_batch([[2]])
    part.snapshot()
    first, control.unwritten = control.unwritten, []
    part.write_batch([[3]])
    assert not any(written.done() for written in first)
    batches.let(1)
    until(lambda: first[0].done())
    assert batches.done == [1]
    batches.let(1)
    await_writes(first, control)
    assert batches.done == [1, 2, 3]
    part.close()


@given(
    sizes=st.lists(st.integers(0, 700), max_size=60),
    threads=st.integers(1, 4),
    depth=st.integers(1, 9),
)
def test_a_snapshot_waits_for_every_record_once(sizes: list[int], threads: int, depth: int) -> None:
    done: list[int] = []

    class Slow:
        name = "slow"

        def __call__(self, *items: list[int]) -> None:
            time.sleep(0.0002)
            done.extend(x for item in items for x in item)

    numbers = iter(range(sum(sizes)))
    items = [list(islice(numbers, size)) for size in sizes]
    part: BarrierPart[list[int]] = BarrierPart(Slow(), Control(), threads, depth, len)
    for item in items:
        part.write_batch([item])
    part.snapshot()
    assert sorted(done) == list(range(sum(sizes)))
    part.close()


def test_a_long_wait_costs_no_memory() -> None:
    """A store and its queue may be away for hours."""
    gate = Gate()
    kept: list[int] = []

    class Waited(Control):
        def beat(self) -> None:
            kept.append(len(pending._done_callbacks))  # type: ignore[attr-defined]
            if len(kept) == 3:
                gate.open.set()

    control = Waited()
    control.trouble("graph", "unreachable")
    part: BarrierPart[int] = BarrierPart(gate, control, threads=1, depth=2)
    part.write_batch([1])
    (pending,) = part._pending
    part.snapshot()
    part.close()
    assert gate.done == [1]
    assert kept[2] == kept[0]


def test_a_trouble_that_becomes_another_leaves_nothing_behind() -> None:
    faults = [Unavailable("kafka", "timed_out"), Unavailable("the topic", "unknown_topic")]
    control = Control()

    def action() -> None:
        if faults:
            raise faults.pop(0)

    assert persist(action, control)
    assert control.blocking == {}


@pytest.mark.parametrize("error", [ValueError("x"), Damaged("corrupt")])
def test_what_a_writer_raises_is_the_workers_failure(error: Exception) -> None:
    class Broken:
        name = "broken"

        def __call__(self, item: int) -> None:
            raise error

    control = Control()
    part: BarrierPart[int] = BarrierPart(Broken(), control, threads=1, depth=2)
    part.write_batch([1])
    part.snapshot()
    assert control.failure is error
    with pytest.raises(type(error)):
        control.check()
    part.close()
