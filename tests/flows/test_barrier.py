"""The barrier: writes beside the stages, what goes together, and what a snapshot waits for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows import barrier
from flows.barrier import BarrierPart, await_writes
from flows.control import Control
from schemas.ports import Damaged
from tests.awaiting import until


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
