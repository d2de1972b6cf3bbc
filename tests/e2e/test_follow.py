"""A worker that follows a log which does not exist yet and then grows, until it is asked to end."""

from __future__ import annotations

import json
import signal
from functools import partial
from itertools import pairwise
from pathlib import Path

from flows.filelog import LogWriter
from tests.e2e.conversations import pools
from tests.e2e.derived import Derived
from tests.faults.harness import Bench
from tests.generate import read_log


def test_what_is_appended_while_the_worker_runs(tmp_path: Path) -> None:
    odd, plain, broken = pools()
    conversations = [*odd[:10], *odd[-10:], *plain[:10], *broken[:10]]
    records = sorted((r for c in conversations for r in c), key=lambda record: record.timestamp)
    bench = Bench(tmp_path / "bench", tmp_path / "log")
    with bench.worker("--follow", "--json") as worker:
        worker.until(lambda: bool(bench.health()), "the start")
        counts = (0, 1, len(records) // 2, len(records))
        for before, count in pairwise(counts):
            LogWriter(bench.log).append(records[before:count])
            worker.until(partial(reached, bench, count), f"{count} events", pause=0.05)
        status = json.loads(bench.command("status", "--json").out)
        assert status["worker"] == worker.process.pid
        assert {row["lag"] for row in status["partitions"]} == {0}
        worker.signal(signal.SIGTERM)
        summary = json.loads(worker.wait(0).out)
    assert (summary["events"], summary["lag"], summary["stopped"]) == (len(records), 0, True)
    derived = Derived(read_log(bench.log), bench.settings())
    derived.check(bench.settings())
    assert set(derived.expected.states.values()) == {"complete", "waiting", "orphan"}


def reached(bench: Bench, count: int) -> bool:
    """So many events are committed, and the worker says that it has seen them."""
    return bool(bench.committed() == count == bench.health()["events"])
