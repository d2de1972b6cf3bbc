"""Two members of a group against one, over the same backlog in Kafka, with stores that discard."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from benchmarks import events
from benchmarks.backlog import produce
from benchmarks.corpus import Corpus
from benchmarks.machine import ROOT
from benchmarks.servers import Installation, running
from flows.keys import load_keys
from flows.settings import Settings
from flows.stores import open_stores

EVENTS = int(os.environ.get("EVENTS", "30000"))
ROUNDS = int(os.environ.get("ROUNDS", "3"))
CHARACTERS = 1_000
SECTIONS: dict[str, dict[str, object]] = {
    "embed": {"mode": "off"},
    "pii.detect": {"names": False},
    "metrics": {"port": 0},
}
HASTY = {"group.consumer.heartbeat.interval.ms": "500"}
"""So that the second member gets its share early in a run that takes seconds."""
Row = dict[str, float]


def measure(corpus: Corpus) -> dict[str, Any]:
    """``ROUNDS`` times by turns: one member reads all of the backlog, then two share it, each time
    as a new group with new claims and joins.

    The claims and the joins are in Redis, as they are for any group. CPU is that of the members
    alone, from joining the group to leaving it; the broker, Redis and all members have the
    machine's cores together, so that the time by the clock says less.
    """
    texts = corpus.pieces(CHARACTERS, EVENTS)
    rounds: dict[str, list[Row]] = {"one": [], "two": []}
    with running(("kafka", "redis"), HASTY) as servers:
        place = servers.installation("scaling", SECTIONS)
        with place.signed_in() as settings:
            produce(settings.kafka, events.conversations(texts), len(texts))
        for number in range(ROUNDS):
            for name, members in (("one", 1), ("two", 2)):
                rounds[name].append(_run(place, f"{name}-{number}", members, len(texts)))
    one, two = _median(rounds["one"]), _median(rounds["two"])
    return {
        "characters": CHARACTERS,
        "events": len(texts),
        "one": one,
        "two": two,
        "work": round(2 * two["events_per_cpu_second"] / one["events_per_cpu_second"], 2),
        "wall": round(two["events_per_second"] / one["events_per_second"], 2),
        "rounds": rounds,
    }


def _run(place: Installation, group: str, members: int, count: int) -> Row:
    """What so many members take for the backlog."""
    folder = place.config.parent / group
    with place.signed_in():
        _mint(folder)
    with ExitStack() as stack:
        started = []
        for number in range(members):
            data = folder.with_name(f"{group}-{number}")
            shutil.copytree(folder, data)
            started.append(stack.enter_context(_member(place, group, data)))
        for process in started:
            _await_ready(process)
        for process in started:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        told = [json.loads(_rest(process)) for process in started]
    done = sum(one["events"] for one in told)
    complete = sum(one["written"]["timeseries"] for one in told)
    if done < count or complete < count or any(one["rejected"] for one in told):
        raise RuntimeError(f"not all of {count} events were written: {told}")
    cpu = sum(one["cpu_seconds"] for one in told)
    wall = max(one["last"] for one in told) - min(one["first"] for one in told)
    return {
        "cpu_seconds": round(cpu, 2),
        "wall_seconds": round(wall, 2),
        "events_per_cpu_second": round(count / cpu),
        "events_per_second": round(count / wall),
        "read_again": done - count,
        "greatest_share": round(max(one["events"] for one in told) / done, 3),
    }


def _mint(data: Path) -> None:
    """A data folder whose id all members of the group are to have: they are one store set."""
    data.mkdir()
    settings = Settings(worker={"data": data})  # type: ignore[arg-type]
    with open_stores(settings, load_keys(data)) as stores:
        assert stores.store_set()


@contextmanager
def _member(place: Installation, group: str, data: Path) -> Iterator[subprocess.Popen[str]]:
    """A member that is ready to join."""
    own = {"KAFKA__GROUP": group, "REDIS__PREFIX": group, "WORKER__DATA": str(data)}
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.member", str(place.config)], cwd=ROOT, text=True,
        env=place.environment | {f"MEMORY_GRAPH_{name}": value for name, value in own.items()},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def _await_ready(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    if process.stdout.readline() != "ready\n":
        raise RuntimeError(f"a member ended with {process.wait(60)} before it joined")


def _rest(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    out = process.stdout.read()
    if process.wait(60):
        raise RuntimeError(f"a member ended with {process.returncode}")
    return out


def _median(rows: list[Row]) -> Row:
    return {name: statistics.median(row[name] for row in rows) for name in rows[0]}


def table(result: dict[str, Any]) -> str:
    """The figures as Markdown."""
    lines = [
        f"| {result['events']:,} events of {result['characters']:,} characters, stores that discard"
        " | events/s of worker CPU | events/s | s CPU | s |",
        "|---|---|---|---|---|",
    ]
    for name in ("one", "two"):
        row = result[name]
        lines.append(
            f"| {name} | {row['events_per_cpu_second']:,.0f} | {row['events_per_second']:,.0f} "
            f"| {row['cpu_seconds']:.1f} | {row['wall_seconds']:.1f} |"
        )
    lines.append(
        f"| **two do the work of** | **{result['work']:.2f}** | **{result['wall']:.2f}** | | |"
    )
    return "\n".join(lines)
