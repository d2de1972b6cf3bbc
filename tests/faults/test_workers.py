"""``run --workers``: members that are killed under load, on real servers; nothing is lost."""

from __future__ import annotations

import os
import signal
import urllib.request
from pathlib import Path
from typing import Any

import psutil
import pytest

from flows.bus import KafkaBus
from tests.faults.fleet import FleetBench
from tests.faults.harness import Worker
from tests.faults.load import EVENTS, SEED, drain, lag
from tests.generate import write_log

pytestmark = [pytest.mark.servers, pytest.mark.slow, pytest.mark.xdist_group("fleet")]

WORKERS = 2


def members(bench: FleetBench) -> dict[str, Any]:
    """The members that read, as the supervisor sees them."""
    found = bench.health().get("members", {})
    return {number: health for number, health in found.items() if health["ready"]}


def page(supervisor: Worker, path: str) -> str:
    (line,) = (e for e in _entries(supervisor, "metrics") if "worker" not in e)
    with urllib.request.urlopen(f"http://127.0.0.1:{line['port']}{path}", timeout=30) as answer:
        return str(answer.read().decode())


def _entries(supervisor: Worker, event: str) -> list[dict[str, Any]]:
    import json

    lines = (line for line in supervisor.err.splitlines() if line.startswith("{"))
    return [entry for entry in map(json.loads, lines) if entry["event"] == event]


@pytest.mark.timeout(1_800)
def test_members_that_are_killed_cost_nothing(bench: FleetBench, tmp_path: Path) -> None:
    print(f"\nSEED={SEED} EVENTS={EVENTS}")
    records = write_log(tmp_path / "log", EVENTS, SEED)
    half = len(records) // 2
    options = ("--workers", str(WORKERS), "--follow", "--metrics-port", "0")
    with bench.worker(*options) as supervisor:
        supervisor.until(lambda: len(members(bench)) == WORKERS, "all members read", 0.1)
        bench.produce(records[:half])
        supervisor.until(lambda: bench.health()["events"] > half // 4, "work has begun", 0.05)
        supervisor.until(lambda: "1" in members(bench), "the first reads")
        victim = members(bench)["1"]["pid"]
        os.kill(victim, signal.SIGKILL)
        bench.produce(records[half:])
        supervisor.until(
            lambda: members(bench).get("1", {}).get("pid", victim) != victim, "a restart", 0.1
        )
        bus = KafkaBus(bench.settings())
        supervisor.until(lambda: lag(bus) == 0, "everything is read", 0.5)
        bus.close()
        # A member that does not answer at once is missing on a page.
        series = 'llm_memory_graph_log_lag{topic="llm.prompts.v1"}'
        supervisor.until(lambda: series in page(supervisor, "/metrics"), "the lag of all", 0.1)
        text = page(supervisor, "/metrics")
        assert 'llm_memory_graph_worker_restarts_total{worker="1"} 1.0' in text
        pids = [health["pid"] for health in members(bench).values()]
        supervisor.signal(signal.SIGTERM)
        supervisor.wait(0)
    assert not [pid for pid in pids if psutil.pid_exists(pid)]
    drain(bench)
    bench.patiently("prove", "--all")
