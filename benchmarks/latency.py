"""From the append to the log to the last confirmation, with a worker that follows the log."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks import events
from benchmarks.corpus import Corpus
from benchmarks.machine import ROOT
from benchmarks.worker import WITHOUT_MODELS, run_worker
from flows.filelog import LogWriter, create_topics
from flows.settings import DATABASE

CHARACTERS = 1_000
PROBE = 4_000
SECONDS = 10.0
LOAD = 0.7
BATCH_SECONDS = 0.05
LEAST_RATE = 20.0
WARM_UP = 20
PERCENTILES = (50, 95, 99)

Waiting = Iterator[tuple[str, events.Event]]


def measure(corpus: Corpus) -> dict[str, Any]:
    """The rate comes from a run over ``PROBE`` events; then ``LOAD`` of it, for ``SECONDS``.

    An event's time starts before the append that makes it durable in the log and ends when the
    last of its records, with what its prompt or response adds, is committed in the last store.
    """
    texts = corpus.pieces(CHARACTERS, PROBE)
    with TemporaryDirectory(prefix="bench-") as folder:
        probe = run_worker(Path(folder), texts, WITHOUT_MODELS)
    most = probe["events"] / probe["wall_seconds"]
    rate = max(LEAST_RATE, LOAD * most)
    texts = corpus.pieces(CHARACTERS, int(rate * SECONDS) // 2 * 2)
    with TemporaryDirectory(prefix="bench-") as folder:
        ours = _follow(Path(folder), texts, rate)
    found = sorted(ms for at, ms in ours.pop("latencies_ms") if at >= ours["appended_from"])
    if len(found) != len(texts) - WARM_UP:
        raise RuntimeError(f"of {len(texts) - WARM_UP} events {len(found)} were confirmed")
    return {
        "characters": CHARACTERS,
        "most_events_per_second": round(most),
        "events_per_second": round(len(found) / ours["appended_in_seconds"]),
        "events": len(found),
        "milliseconds": {
            str(p): found[min(len(found) - 1, len(found) * p // 100)] for p in PERCENTILES
        },
        "greatest_milliseconds": found[-1],
        "worker": ours,
    }


def _follow(folder: Path, texts: list[str], rate: float) -> dict[str, Any]:
    create_topics(folder / "log")
    sections = json.dumps(WITHOUT_MODELS)
    command = [sys.executable, "-m", "benchmarks.child", str(folder), sections, "--follow"]
    waiting = events.conversations(texts)
    _append(folder / "log", waiting, WARM_UP)
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as child:
        _await(folder, WARM_UP, child)
        start = time.time_ns() // 1_000_000
        seconds = _append(folder / "log", waiting, len(texts) - WARM_UP, rate)
        _await(folder, len(texts), child)
        child.send_signal(signal.SIGTERM)
        out, _ = child.communicate(timeout=60)
    if child.returncode:
        raise RuntimeError(f"the worker ended with {child.returncode}")
    return {**json.loads(out), "appended_in_seconds": seconds, "appended_from": start}


def _append(log: Path, waiting: Waiting, count: int, rate: float | None = None) -> float:
    """Appends ``count`` events, all at once or at ``rate`` a second in small batches, each with the
    clock's time. Answers the seconds it took."""
    writer = LogWriter(log)
    started = time.monotonic()
    sent = 0
    while sent < count:
        passed = time.monotonic() - started
        due = count if rate is None else min(count, int(passed * rate))
        now = time.time_ns() // 1_000_000
        batch = [next(waiting) for _ in range(due - sent)]
        if batch:
            writer.append([events.record(t, events.moved(e, now), now) for t, e in batch])
        sent = due
        if sent < count:
            time.sleep(BATCH_SECONDS)
    return time.monotonic() - started


def _await(folder: Path, count: int, child: subprocess.Popen[str]) -> None:
    """Until so many events are committed. Raises RuntimeError when that takes a minute."""
    end = time.monotonic() + 60
    while time.monotonic() < end and child.poll() is None:
        with suppress(sqlite3.Error):
            connection = sqlite3.connect(f"file:{folder / DATABASE}?mode=ro", uri=True)
            with closing(connection):
                (done,) = connection.execute("SELECT sum(next) FROM offsets").fetchone()
            if done is not None and done >= count:
                return
        time.sleep(BATCH_SECONDS)
    raise RuntimeError(f"the worker did not commit {count} events")


def table(result: dict[str, Any]) -> str:
    """The figures as Markdown."""
    cells = " | ".join(f"{result['milliseconds'][str(p)]:,.0f}" for p in PERCENTILES)
    head = " | ".join(f"p{p}" for p in PERCENTILES)
    return "\n".join(
        [
            f"| ms from append to the last commit | {head} | greatest |",
            "|---|" + "---|" * (len(PERCENTILES) + 1),
            f"| {result['events']:,} events at {result['events_per_second']:,}/s, of at most "
            f"{result['most_events_per_second']:,}/s | {cells} "
            f"| {result['greatest_milliseconds']:,.0f} |",
        ]
    )
