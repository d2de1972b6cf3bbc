"""Mutated and hostile events through the whole worker: each is accounted for, memory stays flat.

``make hostile`` sends 100,000 of them.
"""

from __future__ import annotations

import os
import time
from itertools import islice
from pathlib import Path
from statistics import median

import pytest

from flows.filelog import LogWriter, NewRecord
from schemas.log import LogRecord
from stages.dedupe import CODES as DEDUPE_CODES
from stages.validate import CODES as VALIDATE_CODES
from tests.faults.contents import fates
from tests.faults.harness import Bench, Worker
from tests.fuzz.hostile import hostile

EVENTS = int(os.environ.get("HOSTILE", "20000"))
SEED = int(os.environ.get("SEED", "0"))
CODES = {*VALIDATE_CODES, *DEDUPE_CODES, "too_deep"}
REFUSED = {"refused: too_large", "refused: bad_tag"}
"""Names too long for a key of the graph or a tag: that store's part is a dead letter of its own."""
GROWTH = 1.2
"""Most median memory in the last third of the log, against that in the second."""
SECTIONS = '[embed]\nmode = "off"\n[worker]\ntime_budget_seconds = 600\n'
"""The longest texts take seconds in the name model, and this machine may be busy."""


class Memory:
    """Resident memory of a worker against the events it has read, a few times a second."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self.samples: list[tuple[int, float]] = []

    def watch(self) -> None:
        """Until the worker ends."""
        told = 0.0
        while self._worker.process.poll() is None:
            time.sleep(0.05)
            health = self._worker.bench.health()
            if health.get("pid") == self._worker.process.pid and health["time"] != told:
                told = health["time"]
                self.samples.append((int(health["events"]), self._resident()))

    def _resident(self) -> float:
        """MB; 0 when the process has gone."""
        try:
            status = Path(f"/proc/{self._worker.process.pid}/status").read_text("ascii")
        except (FileNotFoundError, ProcessLookupError):
            return 0.0
        sizes = [line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")]
        return int(sizes[0]) / 1024 if sizes else 0.0

    def median(self, first: float, last: float) -> float:
        """Between two shares of the log."""
        return median(mb for n, mb in self.samples if first * EVENTS <= n <= last * EVENTS)

    def curve(self) -> str:
        """Ten points of it."""
        step = max(1, len(self.samples) // 10)
        return ", ".join(f"{events}: {mb:.0f} MB" for events, mb in self.samples[::step])


def write_hostile(folder: Path) -> None:
    writer = LogWriter(folder)
    records = hostile(EVENTS, SEED)
    while batch := list(islice(records, 5_000)):
        writer.append([_new(record) for record in batch])


def _new(record: LogRecord) -> NewRecord:
    key, headers, value = record.original.open()
    origin = record.origin
    return NewRecord(origin.topic, value, origin.timestamp, key, headers, origin.partition)


@pytest.mark.slow
@pytest.mark.timeout(3_600)
def test_hostile_events_are_written_or_dead_letters(tmp_path: Path) -> None:
    print(f"SEED={SEED} EVENTS={EVENTS}")
    write_hostile(tmp_path / "log")
    bench = Bench(tmp_path / "bench", tmp_path / "log", SECTIONS)
    with bench.worker("--json") as worker:
        memory = Memory(worker)
        memory.watch()
        ended = worker.wait(0)
    print(f"memory: {memory.curve()}")
    found = fates(bench.database, hostile(EVENTS, SEED))
    print(f"fates: {dict(found)}")
    assert found.total() == EVENTS == bench.committed()
    assert set(found) - {"written", "duplicate"} <= CODES | REFUSED
    assert found["written"] > EVENTS * 0.3
    assert "Traceback" not in ended.err
    assert ended.entries("isolating") == []
    assert bench.query("SELECT count(*) FROM parking") == [(0,)]
    assert memory.median(2 / 3, 1) < GROWTH * memory.median(1 / 3, 2 / 3)
