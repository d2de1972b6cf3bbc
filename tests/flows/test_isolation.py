"""One bad event costs one event: exceptions, time budgets, deaths."""

from __future__ import annotations

import faulthandler
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows.control import Control
from flows.isolation import Alarm, Guard, Screen, Watchdog
from flows.journal import Journal, Suspect
from schemas.chunk import Chunk, Outcome
from schemas.failures import Rejected
from schemas.log import LogRecord, Origin, Original, Partition
from schemas.ports import Damaged, Unavailable

TOPIC = "llm.prompts.v1"
P0 = Partition(TOPIC, 0)
STAGES = ("validate", "pii")


def records(*offsets: int) -> list[LogRecord]:
    return [LogRecord(Origin(TOPIC, 0, n, n), Original(None, (), b"{}")) for n in offsets]


class Stage:
    name = "pii"

    def __init__(self, act: Callable[[int], None]) -> None:
        self.act = act
        self.calls: list[list[int]] = []

    def __call__(self, chunk: Chunk[LogRecord]) -> Outcome[LogRecord]:
        self.calls.append([r.origin.offset for r in chunk.items])
        for record in chunk.items:
            self.act(record.origin.offset)
        return Outcome(chunk)


class Seen:
    def __init__(self) -> None:
        self.calls: list[tuple[str, int, int, int]] = []

    def stage(self, name: str, taken: int, outcome: Outcome[Any], seconds: float) -> None:
        self.calls.append((name, taken, len(outcome.passed.items), len(outcome.rejected)))


class Bench:
    def __init__(self, path: Path, act: Callable[[int], None], budget: float = 30.0) -> None:
        self.control = Control(quiet=True)
        self.journal = Journal(path / "inflight", STAGES)
        self.seen = Seen()
        self.stage = Stage(act)
        self.alarm = Alarm(budget)
        self.guard: Guard[Any, Any] = Guard(
            self.stage, 1, self.journal, self.alarm, self.control, self.seen
        )

    def run(self, *offsets: int) -> Outcome[Any]:
        return self.guard(Chunk(P0, records(*offsets), 9))


def offsets_of(outcome: Outcome[Any]) -> list[int]:
    return [r.origin.offset for r in outcome.passed.items]


def test_a_stage_that_works_is_called_once(tmp_path: Path) -> None:
    bench = Bench(tmp_path, lambda n: None)
    outcome = bench.run(1, 2, 3)
    assert offsets_of(outcome) == [1, 2, 3]
    assert bench.stage.calls == [[1, 2, 3]]
    assert bench.seen.calls == [("pii", 3, 3, 0)]
    assert bench.control.spent > 0


def test_an_exception_costs_its_event_alone_and_shows_type_and_frame_only(tmp_path: Path) -> None:
    def act(number: int) -> None:
        if number == 2:
            raise ValueError("jane.doe@example.com")

    bench = Bench(tmp_path, act)
    outcome = bench.run(1, 2, 3)
    assert offsets_of(outcome) == [1, 3]
    (culprit,) = outcome.rejected
    assert (culprit.stage, culprit.code, culprit.origin.offset) == ("pii", "internal_error", 2)
    assert culprit.original is not None
    assert culprit.detail.expected.startswith("ValueError at tests/flows/test_isolation.py:")
    assert "jane" not in repr(culprit)


def test_a_lone_culprit_is_not_run_twice(tmp_path: Path) -> None:
    def act(number: int) -> None:
        raise KeyError("x")

    bench = Bench(tmp_path, act)
    assert len(bench.run(5).rejected) == 1
    assert bench.stage.calls == [[5]]


def test_an_event_over_its_time_budget_is_isolated(tmp_path: Path) -> None:
    def act(number: int) -> None:
        if number == 2:
            while True:
                sum(range(1000))

    bench = Bench(tmp_path, act, budget=0.2)
    outcome = bench.run(1, 2, 3)
    assert offsets_of(outcome) == [1, 3]
    assert [(r.code, r.origin.offset) for r in outcome.rejected] == [("time_budget", 2)]


def test_a_stage_cannot_swallow_its_time_budget(tmp_path: Path) -> None:
    def act(number: int) -> None:
        try:
            time.sleep(60)
        except Exception:
            time.sleep(60)

    bench = Bench(tmp_path, act, budget=0.1)
    assert [r.code for r in bench.run(1).rejected] == ["time_budget"]


def test_an_unavailable_dependency_is_waited_for_and_the_log_read_again(tmp_path: Path) -> None:
    faults = [Unavailable("joins", "locked"), Unavailable("joins", "locked")]

    def act(number: int) -> None:
        if faults:
            raise faults.pop()

    bench = Bench(tmp_path, act)
    bench.control.wait = lambda seconds: False  # type: ignore[method-assign]
    assert offsets_of(bench.run(1, 2)) == [1, 2]
    assert bench.control.dirty
    assert bench.control.troubles == {}
    assert bench.control.failure is None


def test_a_stop_while_waiting_ends_the_worker_uncommitted(tmp_path: Path) -> None:
    def act(number: int) -> None:
        bench.control.stop()
        raise Unavailable("joins", "locked")

    bench = Bench(tmp_path, act)
    assert bench.run(1).passed.items == ()
    assert isinstance(bench.control.failure, Unavailable)


def test_a_stop_cuts_a_long_wait_short_and_is_tried_for_once_more(tmp_path: Path) -> None:
    waits: list[float] = []
    tries: list[int] = []

    def act(number: int) -> None:
        tries.append(number)
        raise Unavailable("joins", "locked")

    def wait(seconds: float) -> bool:
        waits.append(seconds)
        if sum(waits) > 5:
            bench.control.stop()
        return False

    bench = Bench(tmp_path, act)
    bench.control.wait = wait  # type: ignore[method-assign]
    bench.run(1)
    assert isinstance(bench.control.failure, Unavailable)
    assert sum(waits) < 6
    assert len(tries) == 5


def test_damage_ends_the_worker(tmp_path: Path) -> None:
    def act(number: int) -> None:
        raise Damaged("the database file is damaged (corrupt)")

    bench = Bench(tmp_path, act)
    assert bench.run(1).rejected == ()
    assert isinstance(bench.control.failure, Damaged)


def test_an_exception_without_an_event_to_blame_ends_the_worker(tmp_path: Path) -> None:
    class Empty:
        name = "pii"

        def __call__(self, chunk: Chunk[Any]) -> Outcome[Any]:
            raise ValueError("x")

    bench = Bench(tmp_path, lambda n: None)
    guard: Guard[Any, Any] = Guard(
        Empty(), 1, bench.journal, bench.alarm, bench.control, bench.seen
    )
    guard(Chunk(P0, ()))
    assert isinstance(bench.control.failure, ValueError)


def test_the_watchdog_ends_what_cannot_be_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Its last resort would end these tests where they stand still for a second.
    monkeypatch.setattr(faulthandler, "dump_traceback_later", lambda *_, **__: None)
    ended = threading.Event()
    journal = Journal(tmp_path / "inflight", STAGES)
    alarm = Alarm(0.05)
    journal.enter(1, P0, 4, 4)
    alarm.deadline = time.monotonic() - 10
    watchdog = Watchdog(alarm, journal, 0.05, ended.set)
    assert ended.wait(30)
    watchdog.close()
    # The mark says that it hung, which is proof: twice is not asked for.
    again = die_and_restart(tmp_path, None)
    assert again.careful == {P0: ((4, 4),)}


def die_and_restart(
    path: Path, at: tuple[int, int] | None, committed: int = 0, stage: int = 1
) -> Journal:
    """A process that dies with these offsets in a stage, and the journal of the next."""
    if at is not None:
        Journal(path / "inflight", STAGES).enter(stage, P0, *at)
    journal = Journal(path / "inflight", STAGES)
    journal.learn({P0: committed})
    return journal


def test_two_deaths_in_one_chunk_make_the_next_start_careful(tmp_path: Path) -> None:
    assert die_and_restart(tmp_path, (0, 99)).careful == {}
    assert die_and_restart(tmp_path, (0, 99)).careful == {P0: ((0, 99),)}


def test_what_two_differently_cut_chunks_share_stays_suspect(tmp_path: Path) -> None:
    die_and_restart(tmp_path, (0, 99))
    assert die_and_restart(tmp_path, (50, 149)).careful == {P0: ((50, 99),)}


def test_two_deaths_at_one_event_in_that_mode_isolate_it(tmp_path: Path) -> None:
    die_and_restart(tmp_path, (0, 99))
    die_and_restart(tmp_path, (0, 99))
    assert die_and_restart(tmp_path, (42, 42)).isolated == {}
    journal = die_and_restart(tmp_path, (42, 42))
    assert journal.isolated == {(TOPIC, 0, 42): "pii"}
    passed, rejected = Screen(journal.isolated)(Chunk(P0, records(41, 42, 43)))
    assert [r.origin.offset for r in passed.items] == [41, 43]
    assert [(r.stage, r.code, r.origin.offset) for r in rejected] == [("pii", "process_killed", 42)]
    assert all(isinstance(r, Rejected) and r.original is not None for r in rejected)


def test_deaths_at_different_events_isolate_none(tmp_path: Path) -> None:
    die_and_restart(tmp_path, (0, 99))
    die_and_restart(tmp_path, (0, 99))
    for offset in range(20, 40):
        assert die_and_restart(tmp_path, (offset, offset)).isolated == {}


def test_a_death_outside_of_any_stage_accuses_nobody(tmp_path: Path) -> None:
    for _ in range(5):
        journal = Journal(tmp_path / "inflight", STAGES)
        journal.learn({})
        journal.enter(0, P0, 0, 9)
        journal.idle()
    assert die_and_restart(tmp_path, None).suspects == []


def test_an_orderly_end_accuses_nobody(tmp_path: Path) -> None:
    for _ in range(3):
        journal = Journal(tmp_path / "inflight", STAGES)
        journal.learn({})
        journal.enter(0, P0, 0, 9)
        journal.close()
    assert die_and_restart(tmp_path, None).suspects == []


def test_what_is_committed_is_forgotten(tmp_path: Path) -> None:
    die_and_restart(tmp_path, (0, 99))
    assert die_and_restart(tmp_path, (0, 99), committed=50).careful == {P0: ((0, 99),)}
    assert die_and_restart(tmp_path, None, committed=100).suspects == []


def test_the_suspects_survive_a_torn_journal(tmp_path: Path) -> None:
    die_and_restart(tmp_path, (0, 99))
    path = tmp_path / "inflight"
    data = bytearray(path.read_bytes())
    data[4096 + 20] ^= 0xFF
    path.write_bytes(data)
    assert die_and_restart(tmp_path, None).suspects == []
    path.write_bytes(b"")
    assert die_and_restart(tmp_path, (3, 3)).suspects == [
        Suspect(TOPIC, 0, 3, 3, deaths=1, stage="pii")
    ]


def test_many_suspects_are_bounded(tmp_path: Path) -> None:
    for number in range(60):
        die_and_restart(tmp_path, (number * 1000, number * 1000 + 3))
    assert len(die_and_restart(tmp_path, None).suspects) == 16


@pytest.mark.parametrize("topic", ["t" * 249, "ü" * 100])
def test_long_topic_names_fit_the_mark(tmp_path: Path, topic: str) -> None:
    journal = Journal(tmp_path / "inflight", STAGES)
    journal.enter(1, Partition(topic, 3), 1, 2)
    again = Journal(tmp_path / "inflight", STAGES)
    again.learn({})
    assert again.suspects == [Suspect(topic, 3, 1, 2, deaths=1, stage="pii")]


def test_an_alarm_that_comes_late_interrupts_nothing() -> None:
    """A process that was stopped may get it when the stage is over, or the next has begun."""
    alarm = Alarm(60.0)
    try:
        with alarm:
            pass
        signal.raise_signal(signal.SIGALRM)
        with alarm:
            signal.raise_signal(signal.SIGALRM)
    finally:
        alarm.close()
