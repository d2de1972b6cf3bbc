"""Events a second of worker CPU, without models, into the four embedded stores."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks import events
from benchmarks.corpus import Corpus
from benchmarks.machine import ROOT
from benchmarks.plain import Stack
from benchmarks.timing import cpu_seconds

CHARACTERS = 1_000
EVENTS = 20_000
PLAIN_EVENTS = 200
WITHOUT_MODELS: dict[str, Any] = {"embed": {"mode": "off"}, "pii": {"detect": {"names": False}}}
_KINDS = {events.PROMPTS: "prompt", events.RESPONSES: "response"}


def measure(corpus: Corpus) -> dict[str, Any]:
    """The worker on ``EVENTS`` events of ``CHARACTERS`` characters, the plain stack on the first
    ``PLAIN_EVENTS`` of them (its time per event does not depend on how many there are)."""
    texts = corpus.pieces(CHARACTERS, EVENTS)
    with TemporaryDirectory(prefix="bench-") as folder:
        ours = run_worker(Path(folder), texts, WITHOUT_MODELS)
        database = (Path(folder) / "memory.db").stat().st_size
        plain = _plain(Path(folder) / "plain.db", texts[:PLAIN_EVENTS])
    per_event = ours["cpu_seconds"] / ours["events"] * 1e6
    return {
        "characters": CHARACTERS,
        "worker": ours,
        "worker_cpu_us_per_event": round(per_event, 1),
        "events_per_cpu_second": round(1e6 / per_event),
        "events_per_second": round(ours["events"] / ours["wall_seconds"]),
        "bytes_per_event": round(database / ours["events"]),
        "plain": plain,
        "ratio_cpu": round(plain["cpu_us_per_event"] / per_event, 1),
        "ratio_wall": round(
            plain["wall_us_per_event"] / (ours["wall_seconds"] / ours["events"] * 1e6), 1
        ),
    }


def run_worker(folder: Path, texts: list[str], overrides: dict[str, Any]) -> dict[str, Any]:
    """What :mod:`benchmarks.child` says of a run over the texts' conversations. Raises
    RuntimeError when anything of them is missing in the stores that get a record of each."""
    written = events.write_log(folder / "log", texts)
    command = [sys.executable, "-m", "benchmarks.child", str(folder), json.dumps(overrides)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the worker ended with {done.returncode}: {done.stderr[-2_000:]}")
    result: dict[str, Any] = json.loads(done.stdout)
    points = result["written"]["timeseries"]
    if result["events"] != written or points != written or result["lag"] or result["rejected"]:
        raise RuntimeError(f"the worker did not write all of {written} events: {result}")
    return result


def _plain(path: Path, texts: list[str]) -> dict[str, Any]:
    stack = Stack(path)
    values = [(_KINDS[topic], value) for topic, value in events.encoded(texts)]
    stack(values[:20])
    stack.close()
    path.unlink()
    stack = Stack(path)
    before = time.perf_counter()
    seconds = cpu_seconds(lambda: stack(values))
    wall = time.perf_counter() - before
    stack.close()
    return {
        "events": len(values),
        "cpu_us_per_event": round(seconds / len(values) * 1e6, 1),
        "wall_us_per_event": round(wall / len(values) * 1e6, 1),
        "events_per_cpu_second": round(len(values) / seconds),
    }


def table(result: dict[str, Any]) -> str:
    """The figures as Markdown."""
    worker, plain = result["worker"], result["plain"]
    wall = worker["wall_seconds"] / worker["events"] * 1e6
    return "\n".join(
        [
            f"| {worker['events']:,} events of {result['characters']:,} characters, no models "
            "| µs CPU an event | events/s of CPU | µs wall an event |",
            "|---|---|---|---|",
            f"| worker, four stores | {result['worker_cpu_us_per_event']:.0f} "
            f"| {result['events_per_cpu_second']:,} | {wall:.0f} |",
            f"| plain stack (on {plain['events']} of them) | {plain['cpu_us_per_event']:,.0f} "
            f"| {plain['events_per_cpu_second']:,} | {plain['wall_us_per_event']:,.0f} |",
            f"| **ratio** | **{result['ratio_cpu']}×** | | **{result['ratio_wall']}×** |",
        ]
    )
