"""One worker on real servers, killed with ``SIGKILL`` again and again under a steady load: what is
stored is as if nothing had happened. ``make server-faults`` makes a hundred kills.
"""

from __future__ import annotations

import json
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from flows.bus import KafkaBus
from flows.ingest import STAGES
from schemas.log import LogRecord, Partition
from tests.awaiting import answered
from tests.faults.fleet import FleetBench
from tests.faults.harness import Worker
from tests.faults.load import EVENTS, SEED, Calm, calm_run, check, finish, lag, slices

pytestmark = [pytest.mark.servers, pytest.mark.slow, pytest.mark.xdist_group("fleet")]

KILLS = int(os.environ.get("KILLS", "10"))
EACH = 100
"""Events for each life, at least: enough to be killed among them."""
PARTS = 5
"""In which they come, the first before the worker starts."""
PACE = 0.3
"""Seconds between two of them."""
MOMENTS = ("start", "work", "commit", "idle")


class Load:
    """Produces a log in step with the kills: some of it waits for every life, and more comes while
    it lives."""

    def __init__(self, bench: FleetBench, parts: Sequence[Sequence[LogRecord]]) -> None:
        self._bench = bench
        self._parts = parts
        self._changed = threading.Condition()
        self._allowed = self._done = 0
        self._stopped = False

    def allow(self, parts: int) -> None:
        """So many parts, all in all, may be produced; returns when there is one more of them."""
        with self._changed:
            before, self._allowed = self._done, min(parts, len(self._parts))
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._done > before or self.ended)

    @property
    def ended(self) -> bool:
        """Nothing is left that may be produced now."""
        return self._stopped or self._done >= self._allowed

    def stop(self) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def __call__(self) -> None:
        try:
            for part in self._parts:
                with self._changed:
                    self._changed.wait_for(lambda: self._stopped or not self.ended)
                    if self._stopped:
                        return
                self._bench.produce(part)
                with self._changed:
                    self._done += 1
                    self._changed.notify_all()
                    self._changed.wait_for(lambda: self._stopped, PACE)
        finally:
            self.stop()


@contextmanager
def steady(load: Load) -> Iterator[None]:
    """The load comes from a thread; at the end, all that it may produce has come."""
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(load)
        try:
            yield
            running.result()
        finally:
            load.stop()


class Killer:
    """Starts and kills workers of a bench, and notes what they were doing."""

    def __init__(self, bench: FleetBench, load: Load, dice: random.Random) -> None:
        self._bench = bench
        self._load = load
        self._dice = dice
        settings = bench.settings()
        self._epoch = settings.worker.epoch_seconds
        self._bus = KafkaBus(settings)
        self._start = 3.0
        self.kills: Counter[str] = Counter()
        self.before = self.uncommitted = 0

    def kill(self, moment: str) -> None:
        """One life, which ends at about this moment of it."""
        earlier = self._bench.journal()
        with self._bench.worker("--follow") as worker:
            self._wait(moment, worker)
            worker.kill()
        working, mark = self._bench.journal()
        joined = '"event": "assigned"' in worker.err
        if not joined or (not working and mark == earlier[1]):
            self.before += 1
            self.kills["waiting for events" if joined else "starting"] += 1
            return
        assert mark is not None
        self.kills[STAGES[mark.stage] if working else "between the stages"] += 1
        committed = answered(self._bus.committed).get(Partition(mark.topic, mark.partition), 0)
        self.uncommitted += committed <= mark.last

    def close(self) -> None:
        self._bus.close()

    def _wait(self, moment: str, worker: Worker) -> None:
        started = time.monotonic()
        committed = self._committed()
        if moment == "start":
            worker.until(self._pause(self._start), "a moment of its start")
            return
        worker.until(lambda: self._takes(worker), "its first event")
        self._start = time.monotonic() - started
        if moment == "commit":
            worker.until(lambda: self._committed() > committed, "a commit", 0.01)
        elif moment == "idle":
            worker.until(lambda: self._load.ended and not lag(self._bus), "an end of the lag", 0.05)
        worker.until(self._pause(self._epoch), f"a moment of its {moment}")

    def _takes(self, worker: Worker) -> bool:
        """An event is, or was, in a stage."""
        return worker.reads() or (worker.begun and self._bench.health()["events"] > 0)

    def _pause(self, longest: float) -> Callable[[], bool]:
        end = time.monotonic() + self._dice.uniform(0, longest)
        return lambda: time.monotonic() >= end

    def _committed(self) -> int:
        return sum(answered(self._bus.committed).values())


def moments(dice: random.Random) -> Iterator[str]:
    """Each of them once in every four, so that none is killed twice before it can commit."""
    while True:
        yield from dice.sample(MOMENTS, len(MOMENTS))


@pytest.fixture
def whole(request: pytest.FixtureRequest, sections: str, tmp_path: Path) -> Calm:
    """The undisturbed run of all scenarios, where it is long enough."""
    least = KILLS * EACH
    if least <= EVENTS:
        return request.getfixturevalue("calm")
    return calm_run(tmp_path / "calm", sections, least)


@pytest.mark.timeout(7_200)
def test_a_worker_that_is_killed_again_and_again_loses_nothing(
    bench: FleetBench, whole: Calm, record_property: Callable[[str, Any], None]
) -> None:
    print(f"\nSEED={SEED} KILLS={KILLS} events={len(whole.records)}")
    record_property("seed", SEED)
    record_property("events", len(whole.records))
    dice = random.Random(SEED)
    load = Load(bench, slices(whole.records, KILLS * PARTS))
    killer = Killer(bench, load, dice)
    with steady(load):
        for number, moment in zip(range(KILLS), moments(dice), strict=False):
            load.allow((number + 1) * PARTS)
            killer.kill(moment)
    killer.close()
    with bench.worker("--follow") as worker:
        finish(bench, worker, whole)

    kills, before = killer.kills, killer.before
    print(f"killed before the first event of a life: {before}, after it: {KILLS - before}")
    print(f"killed while: {json.dumps(kills)}; {killer.uncommitted} with work not committed")
    record_property("kills", KILLS)
    record_property("before the first event of a life", before)
    record_property("with work not committed", killer.uncommitted)
    assert kills.total() == KILLS
    assert KILLS - before >= KILLS // 2
    assert killer.uncommitted >= KILLS // 10
    check(bench, whole)
