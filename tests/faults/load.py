"""A generated log as load on real servers, and what has to be there when it is over."""

from __future__ import annotations

import heapq
import math
import os
import random
import signal
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest

from flows.bus import KafkaBus
from schemas.log import LogRecord
from schemas.ports import Unavailable
from tests.awaiting import answered
from tests.e2e.holdings import Holdings, assert_equal, holdings
from tests.faults.fleet import PATIENT, FleetBench
from tests.faults.harness import KEY, Bench, Worker
from tests.generate import write_log

EVENTS = int(os.environ.get("EVENTS", "1500"))
SEED = int(os.environ.get("SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
SECTIONS = (
    '[embed]\nprovider = "openai"\ndimensions = 384\ntimeout_seconds = 60\n'
    'base_url = "http://127.0.0.1:{port}/v1"\n[pii.detect]\nnames = false\n'
)
"""Without models: a stand-in at this port makes the vectors."""
SECRETS = {"MEMORY_GRAPH_EMBED__API_KEY": "sk-test-1"}
SLICES = 12


class Calm(NamedTuple):
    """The records, and what an undisturbed worker on embedded stores makes of them."""

    records: list[LogRecord]
    holdings: Holdings


def calm_run(folder: Path, sections: str, events: int = EVENTS, seed: int = SEED) -> Calm:
    """Generates a log and works through it, undisturbed."""
    records = write_log(folder / "log", events, seed)
    bench = Bench(folder / "bench", folder / "log", sections)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**SECRETS, "MEMORY_GRAPH_KEY": KEY}.items():
            patch.setenv(name, value)
        with bench.worker("--json", env=SECRETS) as worker:
            worker.wait(0)
        calm = Calm(records, holdings(bench.settings()))
    assert all(calm.holdings.records.values()), "every store has something to lose"
    return calm


def slices(records: Sequence[LogRecord], count: int = SLICES) -> list[list[LogRecord]]:
    """So many parts, in step by log time, each partition in its order."""
    partitions: dict[tuple[str, int], list[LogRecord]] = {}
    for record in records:
        partitions.setdefault((record.origin.topic, record.origin.partition), []).append(record)
    ordered = list(heapq.merge(*partitions.values(), key=lambda r: r.origin.timestamp))
    ends = [len(ordered) * i // count for i in range(count + 1)]
    return [ordered[i:j] for i, j in pairwise(ends)]


def feed(bench: FleetBench, parts: Sequence[Sequence[LogRecord]]) -> None:
    for part in parts:
        bench.produce(part)


def taken(bench: FleetBench, worker: Worker, least: int) -> None:
    """Waits until the worker has taken so many events."""
    worker.until(lambda: bench.health().get("events", 0) >= least, "its first events", 0.05)


def finish(bench: FleetBench, worker: Worker, calm: Calm) -> None:
    """Waits until everything is consumed, ends the worker in order, and drains what is parked."""
    bus = KafkaBus(bench.settings())
    assert sum(answered(bus.ends).values()) == len(calm.records)
    left: float = len(calm.records) + 1
    while left:  # A busy machine may take its time for all of it, but not for some of it.
        worker.until(lambda: lag(bus) < left, f"a lag of less than {left}", 0.5)  # noqa: B023
        left = lag(bus)
    bus.close()
    # The life before may have taken all of it, and this one may have no handler yet.
    worker.until(lambda: worker.begun, "the turning of its main loop")
    worker.signal(signal.SIGTERM)
    worker.wait(0)
    drain(bench)


def drain(bench: FleetBench) -> None:
    """Reconciles until nothing is parked, as often as it takes, while it helps."""
    left, vain = sum(backlog(bench).values()), 0
    while left:
        bench.patiently("reconcile")
        before, left = left, sum(backlog(bench).values())
        vain = 0 if left < before else vain + 1
        assert vain < PATIENT, f"{left} records stay parked"


def lag(bus: KafkaBus) -> float:
    """How many records are not yet consumed, as far as the broker tells."""
    try:
        return sum(bus.lag().values())
    except Unavailable:
        return math.inf


def check(bench: FleetBench, calm: Calm) -> None:
    """Every store holds what an undisturbed one does, and every offset is accounted for."""
    with bench.signed_in():
        assert_equal(calm.holdings, holdings(bench.settings()))
    bench.patiently("prove", "--all")


def backlog(bench: FleetBench) -> dict[str, int]:
    """How many records of each store are parked."""
    from flows.stores import open_stores
    from flows.worker import worker_keys

    with bench.signed_in():
        settings = bench.settings()
        with open_stores(settings, worker_keys(settings)) as stores:
            left = answered(stores.parking.backlog)
            return {str(store): n for store, n in left.items()}
